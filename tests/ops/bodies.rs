//! Running an op's bodies in every form they have, for the tests of what they do.
#![allow(dead_code, reason = "not every test file needs all of it")]

use pvbench::op::xen::CallKind;
use pvbench::op::{Args, CpuModel, Op, Ret, xen_entry};

/// Runs a native body in all three forms, each on a CPU of its own: `prepare` sets it up and gives the arguments,
/// `check` sees it afterwards, with the result (0 where there is none).
pub fn native<O: Op>(prepare: impl Fn(&mut CpuModel) -> O::Args, check: impl Fn(&mut CpuModel, u64)) {
    // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
    let inline = |args| unsafe { O::inline(args) };
    let clobber = |args| unsafe { O::inline_clobber(args) };
    let callee = |args: O::Args| {
        let [a, b, c, d] = args.into_regs();
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        unsafe { O::Ret::from_reg(O::native(a, b, c, d)) }
    };
    let forms: [&dyn Fn(O::Args) -> O::Ret; 3] = [&inline, &clobber, &callee];
    run::<O>(&forms, prepare, check);
}

/// The same for the Xen body, inline and as a callee. The hypervisor refuses nothing that it asks for.
pub fn xen<O: Op>(prepare: impl Fn(&mut CpuModel) -> O::Args, check: impl Fn(&mut CpuModel, u64)) {
    // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
    let inline = |args| unsafe { O::xen(args) };
    let callee = |args: O::Args| {
        let [a, b, c, d] = args.into_regs();
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        unsafe { O::Ret::from_reg(xen_entry::<O>(a, b, c, d)) }
    };
    let forms: [&dyn Fn(O::Args) -> O::Ret; 2] = [&inline, &callee];
    run::<O>(&forms, prepare, |cpu, result| {
        assert_eq!((cpu.xen.hypervisor.refused, cpu.xen.multicall.failed), (0, 0), "{}", O::META.name);
        check(cpu, result);
    });
}

/// Both bodies, where Xen has the native one or one that does the same.
pub fn both<O: Op>(prepare: impl Fn(&mut CpuModel) -> O::Args + Copy, check: impl Fn(&mut CpuModel, u64) + Copy) {
    native::<O>(prepare, check);
    xen::<O>(prepare, check);
}

/// The hypercalls that came, with how often each; those that preparing made are not among them.
pub fn calls<const N: usize>(cpu: &CpuModel, expected: [(CallKind, u64); N]) {
    for (kind, count) in expected {
        assert_eq!(cpu.xen.hypervisor.count(kind), count, "{kind:?}");
    }
    let all: u64 = expected.iter().map(|(_, count)| count).sum();
    assert_eq!(cpu.xen.hypervisor.calls(), all, "other hypercalls came, too");
}

/// What the hypervisor counts starts from zero behind `prepare`.
fn run<O: Op>(
    forms: &[&dyn Fn(O::Args) -> O::Ret],
    prepare: impl Fn(&mut CpuModel) -> O::Args,
    check: impl Fn(&mut CpuModel, u64),
) {
    for form in forms {
        let mut cpu = CpuModel::install().unwrap();
        let args = prepare(&mut cpu);
        cpu.xen.hypervisor.reset_counts();
        let result = form(args).value();
        check(&mut cpu, result);
    }
}
