//! Lazy MMU mode: between enter and leave, updates of page tables may be collected.

use super::{MMU_OP, settle};
use crate::native;
use crate::op::xen::LazyMode;
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, catalogue::Slot};

/// Nothing on bare metal.
const LAZY_OP: OpMeta = OpMeta {
    native_kind: Kind::Real,
    bytes: Bytes::Nop,
    source: "arch/x86/kernel/paravirt.c, paravirt_nop (pv_lazy_ops)",
    ..MMU_OP
};

/// Begins to collect.
pub struct LazyEnter;

// SAFETY: nothing; in Xen a store to the installed model.
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
        // SAFETY: the only reference to the model in use.
        unsafe { CpuModel::current() }.xen.lazy = LazyMode::Mmu;
    }

    fn arguments(cpu: &mut CpuModel) {
        settle(cpu);
    }
}

/// Sends out what was collected and ends.
pub struct LazyLeave;

// SAFETY: nothing; in Xen hypercalls and a store to the installed model.
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
        // SAFETY: the only reference to the model in use.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        xen.flush();
        xen.lazy = LazyMode::None;
    }

    /// Nothing collected: what a repeated call meets.
    fn arguments(cpu: &mut CpuModel) {
        settle(cpu);
    }
}

/// Sends out what was collected and goes on collecting.
pub struct LazyFlush;

// SAFETY: nothing; in Xen hypercalls and stores to the installed model.
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

    /// `arch/x86/kernel/paravirt.c`, `paravirt_flush_lazy_mmu`: leave and enter, if in that mode; what
    /// remains of both is the flush.
    unsafe fn xen((): ()) {
        // SAFETY: the only reference to the model in use.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        if xen.lazy == LazyMode::Mmu {
            xen.flush();
        }
    }

    /// Not in lazy mode, as nearly every call finds it.
    fn arguments(cpu: &mut CpuModel) {
        settle(cpu);
    }
}
