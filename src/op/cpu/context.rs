//! Both ends of a context switch.

use super::{CPU_OP, Task, end_batching};
use crate::native;
use crate::op::xen::LazyMode;
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, catalogue::Slot};

/// `_TIF_LAZY_MMU_UPDATES`: the task was switched away from while it was batching page-table updates.
pub const TIF_LAZY_MMU_UPDATES: u64 = 1 << 27;

/// The flags of a task.
fn flags_address(task: u64) -> *mut u64 {
    (task as *mut u8).wrapping_add(std::mem::offset_of!(Task, flags)).cast()
}

/// Begins a context switch: from here on its updates are collected.
pub struct StartContextSwitch;

// SAFETY: does nothing; in Xen it changes the installed model and the flags of the caller's task.
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

    /// `arch/x86/kernel/paravirt.c`, `paravirt_start_context_switch`: a batch of page-table updates is sent out and the
    /// task marked to begin another when it is back. Linux stops where something is being batched still; the model,
    /// whose ops may come in any order, goes on.
    unsafe fn xen((prev,): (u64,)) {
        // SAFETY: the only reference to the model in use; it ends before the task, which may be the model's, is
        // changed.
        let cpu = unsafe { CpuModel::current() };
        let was = cpu.xen.lazy;
        if was == LazyMode::Mmu {
            cpu.xen.flush();
        }
        cpu.xen.lazy = LazyMode::Cpu;
        if was == LazyMode::Mmu {
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

/// Ends a context switch: what was collected takes effect.
pub struct EndContextSwitch;

// SAFETY: as for `StartContextSwitch`.
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

    /// `xen_end_context_switch`: the batch goes out; a task that was batching page-table updates does so again.
    unsafe fn xen((next,): (u64,)) {
        // SAFETY: the only reference to the model in use; it ends before the task, which may be the model's, is
        // changed.
        let cpu = unsafe { CpuModel::current() };
        cpu.xen.flush();
        cpu.xen.lazy = LazyMode::None;
        let flags = flags_address(next);
        // SAFETY: the caller's task.
        let before = unsafe { flags.read_volatile() };
        if before & TIF_LAZY_MMU_UPDATES != 0 {
            // SAFETY: as above.
            unsafe { flags.write_volatile(before & !TIF_LAZY_MMU_UPDATES) };
            // SAFETY: the only reference to the model in use.
            unsafe { CpuModel::current() }.xen.lazy = LazyMode::Mmu;
        }
    }

    /// A task that batches nothing.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        StartContextSwitch::arguments(cpu)
    }
}
