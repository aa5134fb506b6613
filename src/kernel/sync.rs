//! The inline parts of Linux's locks and counts, with their hooks.

use super::hooks::page_lock;
use super::memory::PageTableEntry;
use super::{Config, Kernel, Machine};
use crate::dispatch::Dispatch;
use crate::op::lock::RawSpinlock;

/// The interrupt flag in `save_fl`'s result.
const X86_EFLAGS_IF: u64 = 1 << 9;

/// Adds to a count in memory by `lock xadd` and returns the old count. A kernel for one CPU has no lock prefix
/// (`LOCK_PREFIX` in `arch/x86/include/asm/alternative.h`).
#[inline(always)]
pub(super) fn xadd<C: Config>(count: &mut u32, by: i32) -> u32 {
    let mut value = by as u32;
    // SAFETY: the caller's own count.
    unsafe {
        if C::SMP {
            std::arch::asm!("lock xadd [{at}], {value:e}", at = in(reg) &raw mut *count, value = inout(reg) value,
                options(nostack));
        } else {
            std::arch::asm!("xadd [{at}], {value:e}", at = in(reg) &raw mut *count, value = inout(reg) value,
                options(nostack));
        }
    }
    value
}

/// `native_ptep_get_and_clear`: exchanges a page-table entry with 0; not a hook. `xchg` with memory always locks, so a
/// kernel for one CPU loads and stores instead.
#[inline(always)]
pub(super) fn get_and_clear<C: Config>(machine: &mut Machine, at: PageTableEntry) -> u64 {
    if C::XEN {
        return machine.get_and_clear_trapped(at);
    }
    if !C::SMP {
        let old = machine.memory.read(at);
        machine.memory.write(at, 0);
        return old;
    }
    let mut old = 0u64;
    // SAFETY: entries lie inside the machine's memory, and the machine is borrowed.
    unsafe { std::arch::asm!("xchg [{at}], {old}", at = in(reg) at.0, old = inout(reg) old, options(nostack)) };
    old
}

/// `ptep_set_wrprotect`: clears the write permission of an entry by `clear_bit`; not a hook.
#[inline(always)]
pub(super) fn write_protect<C: Config>(machine: &mut Machine, at: PageTableEntry) {
    if C::XEN {
        machine.write_protect_trapped(at);
        return;
    }
    // SAFETY: the instruction needs a writable byte: only `entry` makes entries, which lie inside the machine's memory;
    // bit 1 lies in the first byte.
    unsafe {
        if C::SMP {
            std::arch::asm!("lock and byte ptr [{at}], 0xfd", at = in(reg) at.0, options(nostack));
        } else {
            std::arch::asm!("and byte ptr [{at}], 0xfd", at = in(reg) at.0, options(nostack));
        }
    }
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `local_irq_save`
    #[inline(always)]
    pub(super) fn local_irq_save(&mut self) -> u64 {
        let flags = self.save_fl();
        self.irq_disable();
        flags
    }

    /// `local_irq_restore`: enables interrupts if they were enabled before (`arch/x86/include/asm/irqflags.h`).
    #[inline(always)]
    pub(super) fn local_irq_restore(&mut self, flags: u64) {
        if flags & X86_EFLAGS_IF != 0 {
            self.irq_enable();
        }
    }

    /// `queued_spin_lock`: an inline locked `cmpxchg`; a held lock goes to the hook.
    #[inline(always)]
    pub(super) fn spin_lock(&mut self, lock: *mut RawSpinlock) {
        if C::PREEMPT_COUNT {
            self.machine.preempt_count += 1;
        }
        let mut seen = 0u32;
        // SAFETY: locks are fields of the machine or of its pages; the word is the first field.
        unsafe {
            if C::SMP {
                std::arch::asm!("lock cmpxchg [{at}], {one:e}", at = in(reg) lock, one = in(reg) 1u32,
                    inout("eax") seen, options(nostack));
            } else {
                std::arch::asm!("cmpxchg [{at}], {one:e}", at = in(reg) lock, one = in(reg) 1u32, inout("eax") seen,
                    options(nostack));
            }
        }
        if seen != 0 {
            self.queued_spin_lock_slowpath(lock, seen.into());
        }
    }

    /// `spin_unlock`
    #[inline(always)]
    pub(super) fn spin_unlock(&mut self, lock: *mut RawSpinlock) {
        self.queued_spin_unlock(lock);
        if C::PREEMPT_COUNT {
            self.machine.preempt_count -= 1;
            if self.machine.preempt_count == 0 && self.machine.need_resched {
                self.machine.need_resched = false;
            }
        }
    }

    /// `spin_lock_irqsave`
    #[inline(always)]
    pub(super) fn spin_lock_irqsave(&mut self, lock: *mut RawSpinlock) -> u64 {
        let flags = self.local_irq_save();
        self.spin_lock(lock);
        flags
    }

    /// `spin_unlock_irqrestore`
    #[inline(always)]
    pub(super) fn spin_unlock_irqrestore(&mut self, lock: *mut RawSpinlock, flags: u64) {
        self.spin_unlock(lock);
        self.local_irq_restore(flags);
    }

    /// The lock of the page table in a frame: `ptlock_ptr`.
    #[inline(always)]
    pub(super) fn table_lock(&mut self, frame: u64) -> *mut RawSpinlock {
        page_lock(self.machine.memory.page(frame))
    }

    /// The fast path of an `rwsem`, as in `mmap_write_lock`: a locked add to its count.
    #[inline(always)]
    pub(super) fn rwsem(&mut self, by: i32) {
        xadd::<C>(&mut self.machine.mm_mut().mmap_lock, by);
    }
}
