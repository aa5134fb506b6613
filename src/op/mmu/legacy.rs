//! Hooks on entries and tables that only 2.6.30 has, not 6.1.
//!
//! Several of them exist only in 32-bit kernels, with PAE (entries of two halves) or page tables in high memory. They
//! are modelled with 64-bit entries and addresses; their purpose says so.

use std::mem::offset_of;

use super::entry::xen_set_pte;
use super::{MMU_OP, reset_mmu};
use crate::native;
use crate::op::xen::{Call, LazyMode, guest};
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, Since, catalogue::Slot};

const KMAP_PTE: usize = offset_of!(CpuModel, mmu.kmap_pte);

/// The index of the entry that is measured.
const INDEX: usize = 11;

/// Defaults of hooks that do nothing on bare metal.
const NOP_OP: OpMeta = OpMeta {
    since: Since::Linux2630Only,
    native_kind: Kind::Real,
    xen_kind: Kind::Real,
    bytes: Bytes::Nop,
    source: "arch/x86/kernel/paravirt.c of 2.6.30, paravirt_nop",
    ..MMU_OP
};

/// Defaults of hooks that store to an entry, natively and in Xen.
const STORE_OP: OpMeta =
    OpMeta { since: Since::Linux2630Only, native_kind: Kind::Real, xen_kind: Kind::Real, ..MMU_OP };

/// Notifies that boot begins to set up page tables.
pub struct PagetableSetupStart;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: both bodies are empty.
unsafe impl Op for PagetableSetupStart {
    const META: OpMeta = OpMeta {
        name: "pagetable_setup_start",
        prototype: "void (*pagetable_setup_start)(pgd_t *pgd_base)",
        purpose: "notify that boot begins to set up page tables",
        ..NOP_OP
    };
    const SLOT: usize = Slot::PagetableSetupStart as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (base: "rdi"); }

    /// `arch/x86/xen/mmu.c`, `xen_pagetable_setup_start`: also empty.
    unsafe fn xen(_: (u64,)) {}

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        reset_mmu(cpu);
        (cpu.mmu.init_mm.pgd,)
    }
}

/// Notifies that boot has set up page tables.
pub struct PagetableSetupDone;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; in
// Xen a checked hypercall.
unsafe impl Op for PagetableSetupDone {
    const META: OpMeta = OpMeta {
        name: "pagetable_setup_done",
        xen_kind: Kind::Modelled,
        prototype: "void (*pagetable_setup_done)(pgd_t *pgd_base)",
        purpose: "notify that boot has set up page tables",
        ..NOP_OP
    };
    const SLOT: usize = Slot::PagetableSetupDone as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (base: "rdi"); }

    /// `arch/x86/xen/mmu.c`, `xen_pagetable_setup_done`: maps the shared page at its fixed address
    /// (`xen_setup_shared_info`).
    unsafe fn xen(_: (u64,)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        let val = xen.machine_entry(guest::SHARED_INFO, guest::TABLE_FLAGS);
        xen.hypercall(Call::UpdateVaMapping { va: guest::FIXADDR_TOP - (5 << 12), val, flags: 0 });
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        PagetableSetupStart::arguments(cpu)
    }
}

/// Notifies the hypervisor that part of a second-level table was copied to another one.
pub struct AllocPmdClone;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: both bodies are empty.
unsafe impl Op for AllocPmdClone {
    const META: OpMeta = OpMeta {
        name: "alloc_pmd_clone",
        prototype: "void (*alloc_pmd_clone)(unsigned long pfn, unsigned long clonepfn, unsigned long start, \
                    unsigned long count)",
        purpose: "notify that part of a second-level table was copied to another (only VMI had a hook here)",
        ..NOP_OP
    };
    const SLOT: usize = Slot::AllocPmdClone as usize;
    type Args = (u64, u64, u64, u64);
    type Ret = ();

    native! { (pfn: "rdi", clonepfn: "rsi", start: "rdx", count: "rcx"); }

    /// `arch/x86/xen/mmu.c`: `paravirt_nop`.
    unsafe fn xen(_: (u64, u64, u64, u64)) {}

    /// The kernel's half of a table.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64, u64) {
        reset_mmu(cpu);
        (guest::NEW_PMD, guest::PMD, 256, 256)
    }
}

/// Notifies a hypervisor with shadow page tables of a changed entry.
pub struct PteUpdate;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: both bodies are empty.
unsafe impl Op for PteUpdate {
    const META: OpMeta = OpMeta {
        name: "pte_update",
        prototype: "void (*pte_update)(struct mm_struct *mm, unsigned long addr, pte_t *ptep)",
        purpose: "notify that an entry was changed in place (only lguest and VMI had a hook here)",
        ..NOP_OP
    };
    const SLOT: usize = Slot::PteUpdate as usize;
    type Args = (u64, u64, u64);
    type Ret = ();

    native! { (mm: "rdi", addr: "rsi", ptep: "rdx"); }

    /// `arch/x86/xen/mmu.c`: `paravirt_nop`.
    unsafe fn xen(_: (u64, u64, u64)) {}

    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64) {
        reset_mmu(cpu);
        (&raw const cpu.mmu.mm as u64, guest::USER_VA + (INDEX << 12) as u64, cpu.xen.memory.entry(guest::PTE, INDEX))
    }
}

/// The same as [`PteUpdate`], for a change that may wait for the next flush.
pub struct PteUpdateDefer;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: both bodies are empty.
unsafe impl Op for PteUpdateDefer {
    const META: OpMeta = OpMeta {
        name: "pte_update_defer",
        prototype: "void (*pte_update_defer)(struct mm_struct *mm, unsigned long addr, pte_t *ptep)",
        purpose: "notify that an entry was changed in place and a flush follows (only lguest and VMI had a hook here)",
        ..NOP_OP
    };
    const SLOT: usize = Slot::PteUpdateDefer as usize;
    type Args = (u64, u64, u64);
    type Ret = ();

    native! { (mm: "rdi", addr: "rsi", ptep: "rdx"); }

    /// `arch/x86/xen/mmu.c`: `paravirt_nop`.
    unsafe fn xen(_: (u64, u64, u64)) {}

    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64) {
        PteUpdate::arguments(cpu)
    }
}

/// Writes an entry, given the virtual address that it maps.
pub struct SetPteAt;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a store to the entry the
// caller names; in Xen checked hypercalls.
unsafe impl Op for SetPteAt {
    const META: OpMeta = OpMeta {
        name: "set_pte_at",
        xen_kind: Kind::Modelled,
        prototype: "void (*set_pte_at)(struct mm_struct *mm, unsigned long addr, pte_t *ptep, pte_t pteval)",
        purpose: "write the entry that maps an address",
        source: "arch/x86/include/asm/pgtable.h of 2.6.30, native_set_pte_at",
        ..STORE_OP
    };
    const SLOT: usize = Slot::SetPteAt as usize;
    type Args = (u64, u64, u64, u64);
    type Ret = ();

    native! { (mm: "rdi", addr: "rsi", ptep: "rdx", pte: "rcx"); "mov [rdx], rcx" }

    /// `arch/x86/xen/mmu.c`, `xen_set_pte_at`: in the address space in use, an update by virtual address, batched or at
    /// once. In another address space, or if Xen refuses that update, it does what `set_pte` does.
    unsafe fn xen((mm, addr, ptep, pte): (u64, u64, u64, u64)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        let in_use = mm == &raw const cpu.mmu.mm as u64 || mm == &raw const cpu.mmu.init_mm as u64;
        let xen = &mut cpu.xen;
        let call = Call::UpdateVaMapping { va: addr, val: pte, flags: 0 };
        if in_use && xen.lazy == LazyMode::Mmu {
            return xen.batched(call, LazyMode::Mmu);
        }
        if !in_use || xen.hypercall(call) != 0 {
            xen_set_pte(xen, ptep, pte);
        }
    }

    /// A page of the address space in use, to be mapped writable.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64, u64) {
        let (mm, addr, ptep) = PteUpdate::arguments(cpu);
        (mm, addr, ptep, cpu.xen.machine_entry(guest::DATA, guest::TABLE_FLAGS))
    }
}

/// Writes both halves of an entry at once, so that another CPU never sees a mix: PAE, modelled with a 64-bit entry.
pub struct SetPteAtomic;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a store to the entry the
// caller names.
unsafe impl Op for SetPteAtomic {
    const META: OpMeta = OpMeta {
        name: "set_pte_atomic",
        prototype: "void (*set_pte_atomic)(pte_t *ptep, pte_t pteval)",
        purpose: "write both halves of an entry at once (PAE kernels; here a 64-bit store)",
        source: "arch/x86/include/asm/pgtable_64.h of 2.6.30, native_set_pte_atomic",
        ..STORE_OP
    };
    const SLOT: usize = Slot::SetPteAtomic as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! { (ptep: "rdi", pte: "rsi"); "mov [rdi], rsi" }

    /// `arch/x86/xen/mmu.c`, `xen_set_pte_atomic`: the same store. In a pinned table Xen would trap and emulate it.
    unsafe fn xen(args: (u64, u64)) {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(args) };
    }

    /// An entry of a table that is not pinned.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        reset_mmu(cpu);
        (cpu.xen.memory.entry(guest::LOOSE_PTE, INDEX), cpu.xen.machine_entry(guest::DATA, guest::TABLE_FLAGS))
    }
}

/// Clears an entry half by half, the half with the present bit first: PAE.
pub struct PteClear;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: two stores to the entry the
// caller names.
unsafe impl Op for PteClear {
    const META: OpMeta = OpMeta {
        name: "pte_clear",
        prototype: "void (*pte_clear)(struct mm_struct *mm, unsigned long addr, pte_t *ptep)",
        purpose: "clear an entry (PAE kernels; a 64-bit entry in two halves)",
        source: "arch/x86/include/asm/pgtable-3level.h of 2.6.30, native_pte_clear",
        ..STORE_OP
    };
    const SLOT: usize = Slot::PteClear as usize;
    type Args = (u64, u64, u64);
    type Ret = ();

    native! {
        (mm: "rdi", addr: "rsi", ptep: "rdx"); "mov dword ptr [rdx], 0", "mov dword ptr [rdx + 4], 0"
    }

    /// `arch/x86/xen/mmu.c`, `xen_pte_clear`: the same stores.
    unsafe fn xen(args: (u64, u64, u64)) {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(args) };
    }

    /// An entry of a table that is not pinned.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64) {
        reset_mmu(cpu);
        (&raw const cpu.mmu.new_mm as u64, guest::USER_VA, cpu.xen.memory.entry(guest::LOOSE_PTE, INDEX))
    }
}

/// Clears an entry of the second level, half by half: PAE.
pub struct PmdClear;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: two stores to the entry the
// caller names; the Xen body is that of `set_pmd`.
unsafe impl Op for PmdClear {
    const META: OpMeta = OpMeta {
        name: "pmd_clear",
        xen_kind: Kind::Modelled,
        prototype: "void (*pmd_clear)(pmd_t *pmdp)",
        purpose: "clear an entry of the second level (PAE kernels; a 64-bit entry in two halves)",
        source: "arch/x86/include/asm/pgtable-3level.h of 2.6.30, native_pmd_clear",
        ..STORE_OP
    };
    const SLOT: usize = Slot::PmdClear as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (pmdp: "rdi"); "mov dword ptr [rdi], 0", "mov dword ptr [rdi + 4], 0" }

    /// `arch/x86/xen/mmu.c`, `xen_pmd_clear`: sets it to 0 by `set_pmd`.
    unsafe fn xen((pmdp,): (u64,)) {
        // SAFETY: `super::SetPmd::xen` has the contract of this function, which the caller meets.
        unsafe { super::SetPmd::xen((pmdp, 0)) };
    }

    /// An entry of a pinned table.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        reset_mmu(cpu);
        (cpu.xen.memory.entry(guest::PMD, INDEX),)
    }
}

/// Maps a page table in high memory for a short time: 32-bit kernels, modelled with 64-bit addresses.
pub struct KmapAtomicPte;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: stores to an entry of the
// table of fixed mappings that the installed model points to; in Xen checked hypercalls.
unsafe impl Op for KmapAtomicPte {
    const META: OpMeta = OpMeta {
        name: "kmap_atomic_pte",
        xen_kind: Kind::Modelled,
        prototype: "void *(*kmap_atomic_pte)(struct page *page, enum km_type type)",
        purpose: "map a page table for a short time (kernels with page tables in high memory; here 64-bit addresses)",
        source: "arch/x86/mm/highmem_32.c of 2.6.30, kmap_atomic",
        ..STORE_OP
    };
    const SLOT: usize = Slot::KmapAtomicPte as usize;
    type Args = (u64, u64);
    type Ret = u64;

    // The number of a frame stands for `struct page` here. The fixed mappings of the types count down from `kmap_pte`;
    // a type is below 512.
    native! {
        (page: "rdi", kind: "rsi") -> "rax"; scratch("rcx", "r8");
        "mov rcx, rsi",
        "shl rcx, 3",
        "mov r8, gs:[{kmap}]",
        "sub r8, rcx",
        "mov rcx, rdi",
        "shl rcx, 12",
        "or rcx, {flags}",
        "mov [r8], rcx",
        "mov rcx, rsi",
        "shl rcx, 12",
        "mov rax, {top}",
        "sub rax, rcx";
        kmap = const KMAP_PTE, flags = const 0x63, top = const guest::FIXADDR_TOP as i64
    }

    /// `arch/x86/xen/mmu.c`, `xen_kmap_atomic_pte`: maps a pinned table read-only, by the body of `set_pte`.
    unsafe fn xen((page, kind): (u64, u64)) -> u64 {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        let pinned = cpu.xen.memory.map.get(page as usize).is_some_and(|page| page.pinned);
        let flags = if pinned { 0x61 } else { 0x63 };
        let pte = cpu.xen.p2m.make(page << 12 | flags);
        xen_set_pte(&mut cpu.xen, cpu.mmu.kmap_pte.wrapping_sub(kind.wrapping_mul(8)), pte);
        guest::FIXADDR_TOP.wrapping_sub(kind << 12)
    }

    /// A pinned table, as a fault handler maps it.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        reset_mmu(cpu);
        (guest::PTE, 20)
    }
}
