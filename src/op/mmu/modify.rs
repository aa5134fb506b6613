//! Changing an entry's protection in two steps, between which the hardware may set its accessed and dirty bits.

use super::{MMU_OP, reset_mmu};
use crate::native;
use crate::op::xen::{Call, LazyMode, PRESERVE_AD, guest};
use crate::op::{CpuModel, Kind, Op, OpMeta, catalogue::Slot};

/// The index of the entry that is measured.
const INDEX: usize = 9;

/// Reads an entry and clears it, so that the hardware does not change it meanwhile.
pub struct PtepModifyProtStart;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: an exchange with the entry the
// caller names; in Xen a read of it.
unsafe impl Op for PtepModifyProtStart {
    const META: OpMeta = OpMeta {
        name: "ptep_modify_prot_start",
        native_kind: Kind::Real,
        xen_kind: Kind::Real,
        prototype: "pte_t (*ptep_modify_prot_start)(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep)",
        purpose: "begin to change an entry's protection: read it without losing a bit that the hardware sets",
        source: "include/linux/pgtable.h, __ptep_modify_prot_start; arch/x86/include/asm/pgtable_64.h, \
                 native_ptep_get_and_clear",
        ..MMU_OP
    };
    const SLOT: usize = Slot::PtepModifyProtStart as usize;
    type Args = (u64, u64, u64);
    type Ret = u64;

    // xchg with a memory operand is locked without a prefix.
    native! { (vma: "rdi", addr: "rsi", ptep: "rdx") -> "rax"; "xor eax, eax", "xchg rax, [rdx]" }

    /// `arch/x86/xen/mmu_pv.c`, `xen_ptep_modify_prot_start`: the entry stays, because the commit preserves the
    /// accessed and dirty bits.
    unsafe fn xen((_, _, ptep): (u64, u64, u64)) -> u64 {
        // SAFETY: the caller's entry.
        unsafe { (ptep as *const u64).read_volatile() }
    }

    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64) {
        reset_mmu(cpu);
        (&raw const cpu.mmu.mm as u64, guest::USER_VA + (INDEX << 12) as u64, cpu.xen.memory.entry(guest::PTE, INDEX))
    }
}

/// Writes the changed entry.
pub struct PtepModifyProtCommit;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a store to the entry the
// caller names; in Xen a batch that checks the address.
unsafe impl Op for PtepModifyProtCommit {
    const META: OpMeta = OpMeta {
        name: "ptep_modify_prot_commit",
        native_kind: Kind::Real,
        prototype: "void (*ptep_modify_prot_commit)(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep, \
                    pte_t pte)",
        purpose: "write an entry with changed protection",
        source: "include/linux/pgtable.h, __ptep_modify_prot_commit",
        ..MMU_OP
    };
    const SLOT: usize = Slot::PtepModifyProtCommit as usize;
    type Args = (u64, u64, u64, u64);
    type Ret = ();

    native! { (vma: "rdi", addr: "rsi", ptep: "rdx", pte: "rcx"); "mov [rdx], rcx" }

    /// `arch/x86/xen/mmu_pv.c`, `xen_ptep_modify_prot_commit`: a batched update that keeps the accessed and dirty bits.
    unsafe fn xen((_, _, ptep, pte): (u64, u64, u64, u64)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        let ptr = xen.virt_to_machine(ptep) | PRESERVE_AD;
        xen.batched(Call::MmuUpdate { ptr, val: pte }, LazyMode::Mmu);
    }

    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64, u64) {
        let (vma, addr, ptep) = PtepModifyProtStart::arguments(cpu);
        (vma, addr, ptep, cpu.xen.machine_entry(guest::DATA, guest::TABLE_FLAGS))
    }
}
