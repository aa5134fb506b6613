//! `struct pv_mmu_ops`: page tables, TLB, page-table roots.

use super::{Bytes, Conventions, CpuModel, Group, Kind, Meta, Op, catalogue::Slot};
use crate::native;

/// Page-table state of the model.
#[repr(C)]
pub struct MmuState {
    /// A page table of the guest.
    pub table: [u64; 512],
}

impl MmuState {
    /// Empty tables.
    #[must_use]
    pub fn new() -> Self {
        MmuState { table: [0; 512] }
    }
}

impl Default for MmuState {
    fn default() -> Self {
        Self::new()
    }
}

/// `_PAGE_PRESENT`
const PRESENT: u64 = 1;

/// The value of a page-table entry: what frame and flags it holds.
pub struct PteVal;

// SAFETY: a register move; the Xen body reads its own tables.
unsafe impl Op for PteVal {
    const META: Meta = Meta {
        name: "pte_val",
        group: Group::Mmu,
        native_kind: Kind::Real,
        xen_kind: Kind::Real,
        bytes: Bytes::Identity,
        conventions: Conventions::CalleeSave,
        prototype: "pteval_t (*pte_val)(pte_t)",
        purpose: "the value of a page-table entry, in the guest's own frame numbers",
        source: "arch/x86/include/asm/pgtable_types.h, native_pte_val",
        chains: true,
        ..Meta::BASE
    };
    const SLOT: usize = Slot::PteVal as usize;
    type Args = (u64,);
    type Ret = u64;

    native! { (pte: "rdi") -> "rax"; "mov rax, rdi" }

    unsafe fn xen((pte,): (u64,)) -> u64 {
        if pte & PRESENT == 0 { pte } else { pte ^ 0x1000 }
    }

    fn arguments(_: &mut CpuModel) -> (u64,) {
        (0x1234_5067,)
    }
}

/// Writes a page-table entry.
pub struct SetPte;

// SAFETY: one 8-byte store to the entry the caller names.
unsafe impl Op for SetPte {
    const META: Meta = Meta {
        name: "set_pte",
        group: Group::Mmu,
        native_kind: Kind::Real,
        xen_kind: Kind::Modelled,
        prototype: "void (*set_pte)(pte_t *ptep, pte_t pteval)",
        purpose: "write a page-table entry",
        source: "arch/x86/include/asm/pgtable_64.h, native_set_pte",
        ..Meta::BASE
    };
    const SLOT: usize = Slot::SetPte as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! { (ptep: "rdi", pte: "rsi"); "mov [rdi], rsi" }

    unsafe fn xen((ptep, pte): (u64, u64)) {
        // SAFETY: the caller's entry.
        unsafe { (ptep as *mut u64).write_volatile(pte) };
    }

    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        (&raw mut cpu.mmu.table[3] as u64, 0x1234_5067)
    }
}
