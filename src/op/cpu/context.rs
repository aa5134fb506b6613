//! The start and the end of a context switch.

use super::{CPU_OP, Task, end_batching};
use crate::native;
use crate::op::xen::LazyMode;
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, catalogue::Slot};

/// `_TIF_LAZY_MMU_UPDATES`: the kernel switched away from the task while it was batching page-table updates.
pub const TIF_LAZY_MMU_UPDATES: u64 = 1 << 27;

/// The address of a task's flags.
fn flags_address(task: u64) -> *mut u64 {
    (task as *mut u8).wrapping_add(std::mem::offset_of!(Task, flags)).cast()
}

/// Begins a context switch: its updates are batched from here on.
pub struct StartContextSwitch;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; in
// Xen it changes the installed model and the flags of the caller's task.
unsafe impl Op for StartContextSwitch {
    const META: OpMeta = OpMeta {
        name: "start_context_switch",
        native_kind: Kind::Real,
        bytes: Bytes::Nop,
        prototype: "void (*start_context_switch)(struct task_struct *prev)",
        purpose: "begin to collect the updates of a context switch",
        source: "arch/x86/kernel/paravirt.c, paravirt_nop",
        ..CPU_OP
    };
    const SLOT: usize = Slot::StartContextSwitch as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (prev: "rdi"); }

    /// `arch/x86/kernel/paravirt.c`, `paravirt_start_context_switch`: sends a batch of page-table updates, and marks
    /// the task, so that it begins another batch when it runs again. Linux stops if a context switch is being batched
    /// already. The model continues, because its ops may run in any order.
    unsafe fn xen((prev,): (u64,)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one; it ends before the task, which may be the model's, is changed.
        let cpu = &mut *unsafe { CpuModel::current() };
        let before = cpu.xen.lazy;
        if before == LazyMode::Mmu {
            cpu.xen.flush();
        }
        cpu.xen.lazy = LazyMode::Cpu;
        if before == LazyMode::Mmu {
            let flags = flags_address(prev);
            // SAFETY: the caller's task.
            unsafe { flags.write_volatile(flags.read_volatile() | TIF_LAZY_MMU_UPDATES) };
        }
    }

    /// A task that batches nothing.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        end_batching(cpu);
        cpu.cpu.task.flags &= !TIF_LAZY_MMU_UPDATES;
        (&raw mut cpu.cpu.task as u64,)
    }
}

/// Ends a context switch: the batched updates take effect.
pub struct EndContextSwitch;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; in
// Xen it changes the installed model and the flags of the caller's task.
unsafe impl Op for EndContextSwitch {
    const META: OpMeta = OpMeta {
        name: "end_context_switch",
        native_kind: Kind::Real,
        bytes: Bytes::Nop,
        prototype: "void (*end_context_switch)(struct task_struct *next)",
        purpose: "send out the updates of a context switch",
        source: "arch/x86/kernel/paravirt.c, paravirt_nop",
        ..CPU_OP
    };
    const SLOT: usize = Slot::EndContextSwitch as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (next: "rdi"); }

    /// `xen_end_context_switch`: sends the batch. A task that was batching page-table updates begins a new batch.
    unsafe fn xen((next,): (u64,)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one; it ends before the task, which may be the model's, is changed.
        let cpu = &mut *unsafe { CpuModel::current() };
        cpu.xen.flush();
        cpu.xen.lazy = LazyMode::None;
        let flags = flags_address(next);
        // SAFETY: the caller's task.
        let before = unsafe { flags.read_volatile() };
        if before & TIF_LAZY_MMU_UPDATES != 0 {
            // SAFETY: the caller's task.
            unsafe { flags.write_volatile(before & !TIF_LAZY_MMU_UPDATES) };
            // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the
            // only one.
            unsafe { CpuModel::current() }.xen.lazy = LazyMode::Mmu;
        }
    }

    /// A task that batches nothing.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        StartContextSwitch::arguments(cpu)
    }
}
