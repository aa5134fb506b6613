//! Allocation of a page-table root: a nop on bare metal. In Xen a root needs a second root for user mode, since kernel
//! and user mode both run in ring 3 there.

use super::mm::Mm;
use super::{MMU_OP, reset_mmu};
use crate::native;
use crate::op::xen::guest;
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, catalogue::Slot};

/// `-ENOMEM`, as an `int` in a register.
const ENOMEM: u64 = (-12i64) as u64;
/// `pgd_index(VSYSCALL_ADDR)`
const VSYSCALL_INDEX: usize = 511;
/// `_PAGE_TABLE`
const PAGE_TABLE: u64 = 0x67;

/// Notifies the hypervisor that a root was allocated.
pub struct PgdAlloc;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a constant in rax; the Xen
// body writes within the modelled memory, after a read of the caller's mm.
unsafe impl Op for PgdAlloc {
    const META: OpMeta = OpMeta {
        name: "pgd_alloc",
        native_kind: Kind::Real,
        xen_kind: Kind::Real,
        prototype: "int (*pgd_alloc)(struct mm_struct *mm)",
        purpose: "notify that a page-table root was allocated",
        source: "arch/x86/include/asm/pgalloc.h, __paravirt_pgd_alloc",
        ..MMU_OP
    };
    const SLOT: usize = Slot::PgdAlloc as usize;
    type Args = (u64,);
    type Ret = u64;

    native! { (mm: "rdi") -> "rax"; "xor eax, eax" }

    /// `arch/x86/xen/mmu_pv.c`, `xen_pgd_alloc`: a zeroed page becomes user mode's root and maps the vsyscall page. It
    /// comes from a list of free pages. In measurements the page's successor on the list is the page itself, so that
    /// every call gets it.
    unsafe fn xen((mm,): (u64,)) -> u64 {
        // SAFETY: the caller's mm; no reference to the model is alive yet.
        let pgd = unsafe { (&raw const (*(mm as *const Mm)).pgd).read() };
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        let user = cpu.mmu.free_page;
        let memory = &mut cpu.xen.memory;
        let pfn = memory.virt_to_pfn(user);
        if user == 0 || memory.clear(pfn).is_none() {
            return ENOMEM;
        }
        let next = memory.page_of(user).map_or(0, |page| page.private);
        let Some(page) = memory.page_of_mut(pgd) else { return ENOMEM };
        page.private = user;
        cpu.mmu.free_page = next;
        memory.write(pfn, VSYSCALL_INDEX, cpu.xen.p2m.make(guest::FIX_PUD << 12 | PAGE_TABLE));
        cpu.xen.recycle();
        0
    }

    /// A root that has no user root yet, put back after every call.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        reset_mmu(cpu);
        cpu.mmu.new_mm.pgd = cpu.xen.memory.pfn_to_virt(guest::BARE_ROOT);
        cpu.xen.recycle_frames(&[guest::BARE_ROOT]);
        (&raw const cpu.mmu.new_mm as u64,)
    }
}

/// Notifies the hypervisor that a root is about to be freed.
pub struct PgdFree;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; the
// Xen body writes within the model.
unsafe impl Op for PgdFree {
    const META: OpMeta = OpMeta {
        name: "pgd_free",
        native_kind: Kind::Real,
        xen_kind: Kind::Real,
        bytes: Bytes::Nop,
        prototype: "void (*pgd_free)(struct mm_struct *mm, pgd_t *pgd)",
        purpose: "notify that a page-table root is about to be freed",
        source: "arch/x86/kernel/paravirt.c, paravirt_nop",
        ..MMU_OP
    };
    const SLOT: usize = Slot::PgdFree as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! { (mm: "rdi", pgd: "rsi"); }

    /// `arch/x86/xen/mmu_pv.c`, `xen_pgd_free`: returns user mode's root to the page allocator.
    unsafe fn xen((_, pgd): (u64, u64)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        if let Some(page) = cpu.xen.memory.page_of_mut(pgd)
            && page.private != 0
        {
            let user = std::mem::take(&mut page.private);
            let next = std::mem::replace(&mut cpu.mmu.free_page, user);
            if let Some(page) = cpu.xen.memory.page_of_mut(user) {
                page.private = next;
            }
        }
        cpu.xen.recycle();
    }

    /// A root with its user root, put back after every call.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        let (mm,) = PgdAlloc::arguments(cpu);
        cpu.xen.recycle_frames(&[]);
        let pgd = cpu.mmu.new_mm.pgd;
        let user = cpu.mmu.free_page;
        if let Some(page) = cpu.xen.memory.page_of_mut(pgd) {
            page.private = user;
        }
        cpu.xen.recycle_frames(&[guest::BARE_ROOT]);
        (mm, pgd)
    }
}

/// Removes the user root that a measurement gave to a root.
pub(super) fn reclaim(cpu: &mut CpuModel) {
    if let Some(page) = cpu.xen.memory.map.get_mut(guest::BARE_ROOT as usize) {
        page.private = 0;
    }
}
