//! The pv_ops hooks as methods of the kernel, with the kernel's types. All hooks go through [`Kernel::call`], so one
//! safety contract covers them.

use super::memory::{Page, PageTableEntry};
use super::{Config, Kernel};
use crate::dispatch::Dispatch;
use crate::op::Op;
use crate::op::cpu::{EndContextSwitch, LoadTls, StartContextSwitch};
use crate::op::irq::{IrqDisable, IrqEnable, SaveFl};
use crate::op::lock::{QueuedSpinLockSlowpath, QueuedSpinUnlock, RawSpinlock};
use crate::op::mmu::{
    ActivateMm, AllocPmd, AllocPte, AllocPud, DupMmap, ExitMmap, FlushTlbOneUser, FlushTlbUser, Gather, LazyEnter,
    LazyLeave, MakeP4d, MakePmd, MakePte, MakePud, Mm, P4dVal, PgdAlloc, PgdFree, PmdVal, PteVal, PtepModifyProtCommit,
    PtepModifyProtStart, PudVal, ReadCr2, ReleasePmd, ReleasePte, ReleasePud, SetP4d, SetPmd, SetPte, SetPud,
    TlbRemoveTable, WriteCr3,
};
use crate::op::time::SchedClock;

/// Declares methods for hooks that take only integers: `hooks! { fn irq_disable() = IrqDisable; }`.
macro_rules! hooks {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident),*) $(-> $ret:ty)? = $op:ty;)*) => {
        impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
            $($(#[$doc])* #[inline(always)] pub(super) fn $name(&mut self, $($arg: u64),*) $(-> $ret)? {
                // SAFETY: `call` needs arguments that the native body accepts: it takes any integers.
                unsafe { self.call::<$op>(($($arg,)*)) }
            })*
        }
    };
}

hooks! {
    fn save_fl() -> u64 = SaveFl;
    fn irq_disable() = IrqDisable;
    fn irq_enable() = IrqEnable;
    fn read_cr2() -> u64 = ReadCr2;
    fn write_cr3(root) = WriteCr3;
    fn flush_tlb_user() = FlushTlbUser;
    fn flush_tlb_one_user(address) = FlushTlbOneUser;
    fn lazy_enter() = LazyEnter;
    fn lazy_leave() = LazyLeave;
    fn pte_val(pte) -> u64 = PteVal;
    fn make_pte(value) -> u64 = MakePte;
    fn pmd_val(pmd) -> u64 = PmdVal;
    fn make_pmd(value) -> u64 = MakePmd;
    fn pud_val(pud) -> u64 = PudVal;
    fn make_pud(value) -> u64 = MakePud;
    fn p4d_val(p4d) -> u64 = P4dVal;
    fn make_p4d(value) -> u64 = MakeP4d;
    fn release_pte(frame) = ReleasePte;
    fn release_pmd(frame) = ReleasePmd;
    fn release_pud(frame) = ReleasePud;
    fn start_context_switch(task) = StartContextSwitch;
    fn end_context_switch(task) = EndContextSwitch;
    fn sched_clock() -> u64 = SchedClock;
}

/// Declares methods for hooks that take an address space; their native bodies at most read it.
macro_rules! mm_hooks {
    ($(fn $name:ident = $op:ty, ($($arg:ident),*);)*) => {
        impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
            $(#[inline(always)] pub(super) fn $name(&mut self, mm: *mut Mm, $($arg: u64),*) {
                // SAFETY: `call` needs a pointer to an address space: it is one of this kernel, whose root is one of
                // its frames.
                let _ = unsafe { self.call::<$op>((mm as u64, $($arg),*)) };
            })*
        }
    };
}

mm_hooks! {
    fn alloc_pte = AllocPte, (frame);
    fn alloc_pmd = AllocPmd, (frame);
    fn alloc_pud = AllocPud, (frame);
    fn pgd_free = PgdFree, (root);
    fn exit_mmap = ExitMmap, ();
    fn dup_mmap_hook = DupMmap, (mm_to);
    fn activate_mm = ActivateMm, (next);
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// Calls a hook.
    ///
    /// # Safety
    /// Pointers among the arguments point to the data that the native body expects. [`Kernel::new`] keeps the rest of
    /// the contract of [`Dispatch::call`]: it installs a model and binds every hook.
    #[inline(always)]
    unsafe fn call<O: Op>(&mut self, args: O::Args) -> O::Ret {
        // SAFETY: `D::call` needs valid arguments, which the caller vouches for, and a model and a bound hook, which
        // `Kernel::new` made.
        unsafe { D::call::<O>(args) }
    }

    /// Calls the hook; returns an errno, or 0.
    #[inline(always)]
    pub(super) fn pgd_alloc(&mut self, mm: *mut Mm) -> u64 {
        // SAFETY: `call` needs a pointer to an address space: it is one of this kernel.
        unsafe { self.call::<PgdAlloc>((mm as u64,)) }
    }

    #[inline(always)]
    pub(super) fn set_pte(&mut self, at: PageTableEntry, pte: u64) {
        // SAFETY: `call` needs a pointer to an entry: entries lie inside the machine's memory.
        unsafe { self.call::<SetPte>((at.0 as u64, pte)) }
    }

    #[inline(always)]
    pub(super) fn set_pmd(&mut self, at: PageTableEntry, pmd: u64) {
        // SAFETY: `call` needs a pointer to an entry: entries lie inside the machine's memory.
        unsafe { self.call::<SetPmd>((at.0 as u64, pmd)) }
    }

    #[inline(always)]
    pub(super) fn set_pud(&mut self, at: PageTableEntry, pud: u64) {
        // SAFETY: `call` needs a pointer to an entry: entries lie inside the machine's memory.
        unsafe { self.call::<SetPud>((at.0 as u64, pud)) }
    }

    #[inline(always)]
    pub(super) fn set_p4d(&mut self, at: PageTableEntry, p4d: u64) {
        // SAFETY: `call` needs a pointer to an entry: entries lie inside the machine's memory.
        unsafe { self.call::<SetP4d>((at.0 as u64, p4d)) }
    }

    #[inline(always)]
    pub(super) fn ptep_modify_prot_start(&mut self, address: u64, at: PageTableEntry) -> u64 {
        // SAFETY: `call` needs a pointer to an entry: entries lie inside the machine's memory; no body reads the area.
        unsafe { self.call::<PtepModifyProtStart>((0, address, at.0 as u64)) }
    }

    #[inline(always)]
    pub(super) fn ptep_modify_prot_commit(&mut self, address: u64, at: PageTableEntry, pte: u64) {
        // SAFETY: `call` needs a pointer to an entry: entries lie inside the machine's memory; no body reads the area.
        unsafe { self.call::<PtepModifyProtCommit>((0, address, at.0 as u64, pte)) }
    }

    #[inline(always)]
    pub(super) fn tlb_remove_table(&mut self, gather: &mut Gather, page: u64) {
        // SAFETY: the caller's own gather; the body stores the page number and does not access the page.
        unsafe { self.call::<TlbRemoveTable>(((&raw mut *gather) as u64, page)) }
    }

    #[inline(always)]
    pub(super) fn queued_spin_unlock(&mut self, lock: *mut RawSpinlock) {
        // SAFETY: `call` needs a pointer to a lock: locks are fields of the machine or of its pages, which live as long
        // as the machine.
        unsafe { self.call::<QueuedSpinUnlock>((lock as u64,)) }
    }

    #[cold]
    pub(super) fn queued_spin_lock_slowpath(&mut self, lock: *mut RawSpinlock, seen: u64) {
        // SAFETY: `call` needs a pointer to a lock: locks are fields of the machine or of its pages, which live as long
        // as the machine.
        unsafe { self.call::<QueuedSpinLockSlowpath>((lock as u64, seen)) }
    }

    #[inline(always)]
    pub(super) fn load_tls(&mut self, descriptors: &[u64; 3]) {
        // SAFETY: three words, as `tls_array` has.
        unsafe { self.call::<LoadTls>((descriptors.as_ptr() as u64, 0)) }
    }
}

/// The address of a page's lock.
#[inline(always)]
pub(super) fn page_lock(page: &mut Page) -> *mut RawSpinlock {
    &raw mut page.lock
}
