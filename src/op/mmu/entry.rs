//! Setting an entry of a page table.

use std::marker::PhantomData;

use super::level::{P4d, Pgd, Pmd, Pud, Upper};
use super::{MMU_OP, reset_mmu};
use crate::native;
use crate::op::xen::memory::ENTRIES;
use crate::op::xen::{Call, LazyMode, XenVcpu, guest};
use crate::op::{CpuModel, Kind, Op, OpMeta, catalogue::Slot};

/// The index of the entry that is measured; no other op of the group uses it.
const INDEX: usize = 7;

/// `xen_set_pte` (`arch/x86/xen/mmu_pv.c`): appends to the batch in lazy MMU mode, otherwise makes its own hypercall,
/// whether the table is pinned or not. Linux could store to the table and let Xen trap and emulate the store, but a
/// hypercall is cheaper.
#[inline]
pub(super) fn xen_set_pte(xen: &mut XenVcpu, ptep: u64, pte: u64) {
    let call = Call::MmuUpdate { ptr: xen.virt_to_machine(ptep), val: pte };
    if xen.lazy == LazyMode::Mmu {
        xen.batched(call, LazyMode::Mmu);
    } else {
        xen.hypercall(call);
    }
}

/// Writes an entry of the last level.
pub struct SetPte;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: one 8-byte store to the entry
// the caller names; in Xen a hypercall that checks the address.
unsafe impl Op for SetPte {
    const META: OpMeta = OpMeta {
        name: "set_pte",
        native_kind: Kind::Real,
        prototype: "void (*set_pte)(pte_t *ptep, pte_t pteval)",
        purpose: "write a page-table entry",
        source: "arch/x86/include/asm/pgtable_64.h, native_set_pte",
        ..MMU_OP
    };
    const SLOT: usize = Slot::SetPte as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! { (ptep: "rdi", pte: "rsi"); "mov [rdi], rsi" }

    /// `arch/x86/xen/mmu_pv.c`, `xen_set_pte`: appends to the batch in lazy MMU mode, where it extends the last entry
    /// if that is also an update. Otherwise it makes its own hypercall.
    unsafe fn xen((ptep, pte): (u64, u64)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        xen_set_pte(&mut unsafe { CpuModel::current() }.xen, ptep, pte);
    }

    /// An entry of a pinned table, and a value that maps a page of the guest writable.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        reset_mmu(cpu);
        (cpu.xen.memory.entry(guest::PTE, INDEX), cpu.xen.machine_entry(guest::DATA, guest::TABLE_FLAGS))
    }
}

/// Writes an entry of a level above the last.
pub struct SetEntry<L>(PhantomData<L>);

/// `set_pmd`
pub type SetPmd = SetEntry<Pmd>;
/// `set_pud`
pub type SetPud = SetEntry<Pud>;
/// `set_p4d`
pub type SetP4d = SetEntry<P4d>;
/// `set_pgd`: 6.1 uses it with five levels, but Xen's guests have four and never call it. The Xen body is that of
/// 2.6.30, `xen_set_pgd`, which later kernels call `xen_set_p4d`.
pub type SetPgd = SetEntry<Pgd>;

// SAFETY: one 8-byte store to the entry the caller names. In Xen the same store, also to the same entry of user mode's
// root, or a batch that checks the addresses.
unsafe impl<L: Upper> Op for SetEntry<L> {
    const META: OpMeta = OpMeta {
        name: L::SET.name,
        native_kind: Kind::Real,
        prototype: L::SET.prototype,
        purpose: "write an entry that points to a page table",
        source: L::SET.source,
        ..MMU_OP
    };
    const SLOT: usize = L::SET.slot as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! { (entry: "rdi", value: "rsi"); "mov [rdi], rsi" }

    /// `arch/x86/xen/mmu_pv.c`, `xen_set_pmd`, `xen_set_pud` and `xen_set_p4d`: a plain store if the table is not
    /// pinned, otherwise a batched update. An entry of user space in the root is also set in user mode's root.
    unsafe fn xen((entry, value): (u64, u64)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        let user = if L::ROOT { user_entry(xen, entry) } else { None };
        if !xen.memory.pinned(entry) {
            // SAFETY: the caller's entry, a word of the guest's memory.
            unsafe { (entry as *mut u64).write_volatile(value) };
            if let Some(user) = user {
                // SAFETY: the same entry of the root that `pgd_alloc` made.
                unsafe { (user as *mut u64).write_volatile(value) };
            }
            return;
        }
        let mask = xen.mask_events();
        xen.extend(Call::MmuUpdate { ptr: xen.virt_to_machine(entry), val: value });
        if let Some(user) = user {
            xen.extend(Call::MmuUpdate { ptr: xen.virt_to_machine(user), val: value });
        }
        xen.issue(LazyMode::Mmu);
        xen.restore_events(mask);
    }

    /// An entry of a pinned table, and a value that points to another table.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        reset_mmu(cpu);
        let (table, target) = L::EXAMPLE;
        (cpu.xen.memory.entry(table, INDEX), cpu.xen.machine_entry(target, guest::TABLE_FLAGS))
    }
}

/// `xen_get_user_pgd`: the address of the same entry in user mode's root; `None` for the kernel's half.
fn user_entry(xen: &XenVcpu, entry: u64) -> Option<u64> {
    let offset = entry & 0xfff;
    let user = xen.memory.page_of(entry)?.private;
    (user != 0 && offset / 8 < ENTRIES as u64 / 2).then_some(user + offset)
}
