//! The ops on page tables, TLB and roots: the effects of each body on memory, registers and the hypervisor.

mod entries;
mod tables;
mod tlb;

use pvbench::op::mmu::*;
use pvbench::op::xen::{CallKind, FrameType, LazyMode, MmuExtCmd, guest};
use pvbench::op::{Args, Bytes, Conventions, CpuModel, Op, Ret, xen_entry};

/// Runs a native body in all three forms, each on its own CPU model. `prepare` sets up the model and returns the
/// arguments; `check` gets the model afterwards, with the arguments and the result (0 if there is none).
fn native<O: Op>(prepare: impl Fn(&mut CpuModel) -> O::Args, check: impl Fn(&mut CpuModel, O::Args, u64)) {
    // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
    let inline = |args| unsafe { O::inline(args) };
    let clobber = |args| unsafe { O::inline_clobber(args) };
    let callee = |args: O::Args| {
        let [a, b, c, d] = args.into_regs();
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        unsafe { O::Ret::from_reg(O::native(a, b, c, d)) }
    };
    run::<O>(&[&inline, &clobber, &callee], prepare, check);
}

/// The same for the Xen body, inline and as a callee. The hypervisor's counts start from 0, and it must refuse no call.
fn xen<O: Op>(prepare: impl Fn(&mut CpuModel) -> O::Args, check: impl Fn(&mut CpuModel, O::Args, u64)) {
    // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
    let inline = |args| unsafe { O::xen(args) };
    let callee = |args: O::Args| {
        let [a, b, c, d] = args.into_regs();
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        unsafe { O::Ret::from_reg(xen_entry::<O>(a, b, c, d)) }
    };
    let prepare = |cpu: &mut CpuModel| {
        let args = prepare(cpu);
        cpu.xen.hypervisor.reset_counts();
        args
    };
    run::<O>(&[&inline, &callee], prepare, |cpu, args, result| {
        assert_eq!((cpu.xen.hypervisor.refused, cpu.xen.multicall.failed), (0, 0), "{}", O::META.name);
        check(cpu, args, result);
    });
}

fn run<O: Op>(
    forms: &[&dyn Fn(O::Args) -> O::Ret],
    prepare: impl Fn(&mut CpuModel) -> O::Args,
    check: impl Fn(&mut CpuModel, O::Args, u64),
) {
    for form in forms {
        let mut cpu = CpuModel::install().unwrap();
        let args = prepare(&mut cpu);
        let result = form(args).value();
        check(&mut cpu, args, result);
    }
}

/// Asserts that a body changed no register of the model and made no hypercall.
fn assert_untouched<A, R>(cpu: &mut CpuModel, _: A, _: R) {
    assert_eq!((cpu.mmu.cr2, cpu.mmu.invlpg, cpu.mmu.ipi, cpu.mmu.cr4), (0, 0, 0, CR4_PGE));
    assert_eq!(cpu.xen.hypervisor.calls(), 0);
}

/// Asserts that the native body does nothing, and that patching writes nops for it.
fn assert_native_nop<O: Op>() {
    assert_eq!(O::META.bytes, Bytes::Nop, "{}", O::META.name);
    native::<O>(
        |cpu| {
            let args = O::arguments(cpu);
            cpu.xen.hypervisor.reset_counts();
            args
        },
        assert_untouched,
    );
}

fn load(address: u64) -> u64 {
    // SAFETY: the address of a word in the CPU model or the guest's memory.
    unsafe { (address as *const u64).read_volatile() }
}

fn frame_type(cpu: &CpuModel, pfn: u64) -> FrameType {
    cpu.xen.hypervisor.frames.get(cpu.xen.p2m.pfn_to_mfn(pfn)).unwrap().kind
}

fn is_pinned(cpu: &CpuModel, pfn: u64) -> bool {
    cpu.xen.memory.pinned(cpu.xen.memory.pfn_to_virt(pfn))
}

fn count_calls(cpu: &CpuModel, call: CallKind) -> u64 {
    cpu.xen.hypervisor.count(call)
}

/// Sets up an op's arguments without recycling frames, so that the effect of a call stays visible.
fn prepare_once<O: Op>(cpu: &mut CpuModel) -> O::Args {
    let args = O::arguments(cpu);
    cpu.xen.recycled = guest::Recycled::new();
    args
}

/// The same, with the count of TLB flushes set to 0.
fn prepare_unflushed<O: Op>(cpu: &mut CpuModel) -> O::Args {
    let args = prepare_once::<O>(cpu);
    cpu.xen.hypervisor.tlb_flushes = 0;
    args
}
