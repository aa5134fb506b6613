//! Lazy MMU mode: between enter and leave, page-table updates may be batched.

use super::{MMU_OP, reset_mmu};
use crate::native;
use crate::op::xen::LazyMode;
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, catalogue::Slot};

/// Defaults of these ops: a nop on bare metal.
const LAZY_OP: OpMeta = OpMeta {
    native_kind: Kind::Real,
    bytes: Bytes::Nop,
    source: "arch/x86/kernel/paravirt.c, paravirt_nop (pv_lazy_ops)",
    ..MMU_OP
};

/// Begins to batch page-table updates.
pub struct LazyEnter;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; in
// Xen a store to the installed model.
unsafe impl Op for LazyEnter {
    const META: OpMeta = OpMeta {
        name: "lazy_enter",
        xen_kind: Kind::Real,
        prototype: "void (*lazy_mode.enter)(void) [lazy_enter]",
        purpose: "begin to collect page-table updates",
        ..LAZY_OP
    };
    const SLOT: usize = Slot::LazyEnter as usize;
    type Args = ();
    type Ret = ();

    native! { (); }

    /// `arch/x86/kernel/paravirt.c`, `paravirt_enter_lazy_mmu`
    unsafe fn xen((): ()) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        unsafe { CpuModel::current() }.xen.lazy = LazyMode::Mmu;
    }

    fn arguments(cpu: &mut CpuModel) {
        reset_mmu(cpu);
    }
}

/// Sends out the batched updates and stops batching.
pub struct LazyLeave;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; in
// Xen hypercalls and a store to the installed model.
unsafe impl Op for LazyLeave {
    const META: OpMeta = OpMeta {
        name: "lazy_leave",
        prototype: "void (*lazy_mode.leave)(void) [lazy_leave]",
        purpose: "send out the collected page-table updates and collect no more",
        ..LAZY_OP
    };
    const SLOT: usize = Slot::LazyLeave as usize;
    type Args = ();
    type Ret = ();

    native! { (); }

    /// `arch/x86/xen/mmu_pv.c`, `xen_leave_lazy_mmu`
    unsafe fn xen((): ()) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        xen.flush();
        xen.lazy = LazyMode::None;
    }

    /// An empty batch, as every repeated call finds it.
    fn arguments(cpu: &mut CpuModel) {
        reset_mmu(cpu);
    }
}

/// Sends out the batched updates and continues to batch.
pub struct LazyFlush;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; in
// Xen hypercalls and stores to the installed model.
unsafe impl Op for LazyFlush {
    const META: OpMeta = OpMeta {
        name: "lazy_flush",
        prototype: "void (*lazy_mode.flush)(void) [lazy_flush]",
        purpose: "send out the collected page-table updates and go on collecting",
        ..LAZY_OP
    };
    const SLOT: usize = Slot::LazyFlush as usize;
    type Args = ();
    type Ret = ();

    native! { (); }

    /// `arch/x86/kernel/paravirt.c`, `paravirt_flush_lazy_mmu`: leave and enter if the mode is on, which amounts to the
    /// flush.
    unsafe fn xen((): ()) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        if xen.lazy == LazyMode::Mmu {
            xen.flush();
        }
    }

    /// The mode is off, as in nearly every call.
    fn arguments(cpu: &mut CpuModel) {
        reset_mmu(cpu);
    }
}
