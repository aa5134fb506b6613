//! Helpers that run an op's bodies in all their forms, for the tests of their effects.
#![allow(dead_code, reason = "not every test file needs all of it")]

use pvbench::op::xen::CallKind;
use pvbench::op::{Args, CpuModel, Op, Ret, xen_entry};

/// Runs a native body in all three forms, each on its own CPU model. `prepare` sets up the model and returns the
/// arguments; `check` gets the model afterwards, with the result (0 if there is none).
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

/// The same for the Xen body, inline and as a callee. Asserts that the hypervisor refuses no call.
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

/// Runs both bodies, for ops whose Xen body has the same effect as the native one.
pub fn both<O: Op>(prepare: impl Fn(&mut CpuModel) -> O::Args + Copy, check: impl Fn(&mut CpuModel, u64) + Copy) {
    native::<O>(prepare, check);
    xen::<O>(prepare, check);
}

/// Asserts the number of hypercalls of each kind, and that there were no others. Those of `prepare` do not count.
pub fn assert_calls<const N: usize>(cpu: &CpuModel, expected: [(CallKind, u64); N]) {
    for (kind, count) in expected {
        assert_eq!(cpu.xen.hypervisor.count(kind), count, "{kind:?}");
    }
    let all: u64 = expected.iter().map(|(_, count)| count).sum();
    assert_eq!(cpu.xen.hypervisor.calls(), all, "there were hypercalls of other kinds");
}

/// Runs all forms of a body. The hypervisor's counts start from 0 after `prepare`.
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
