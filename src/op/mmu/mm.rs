//! First use, copy and teardown of an address space: a nop on bare metal; in Xen all its page tables are pinned or
//! unpinned.

use std::sync::atomic::{AtomicU32, Ordering};

use super::root::xen_write_cr3;
use super::{MMU_OP, reset_mmu};
use crate::native;
use crate::op::xen::memory::ENTRIES;
use crate::op::xen::p2m::{FRAME_MASK, PRESENT};
use crate::op::xen::{Call, LazyMode, MmuExtCmd, UVMF_TLB_FLUSH, XenVcpu, guest};
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, catalogue::Slot};

/// `struct mm_struct`, with the fields that the hooks use.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Mm {
    /// The address of the root.
    pub(crate) pgd: u64,
    /// `page_table_lock`: 1 while held.
    pub lock: AtomicU32,
}

/// All frames of the second address space, with user mode's root.
const NEW_FRAMES: [u64; 5] = [guest::NEW_ROOT, guest::NEW_USER_ROOT, guest::NEW_PUD, guest::NEW_PMD, guest::NEW_PTE];

/// `__xen_pgd_walk`: visits every table below a root, each before the tables below it, and the root last. It skips
/// entries of the kernel's half, which belong to all address spaces.
fn walk(xen: &mut XenVcpu, root: u64, visit: fn(&mut XenVcpu, u64, u32)) {
    walk_below(xen, root, 4, visit);
    visit(xen, root, 4);
}

fn walk_below(xen: &mut XenVcpu, table: u64, level: u32, visit: fn(&mut XenVcpu, u64, u32)) {
    let entries = if level == 4 { ENTRIES / 2 } else { ENTRIES };
    for index in 0..entries {
        let Some(entry) = xen.memory.read(table, index) else { return };
        if entry & PRESENT != 0 {
            let child = xen.p2m.mfn_to_pfn((entry & FRAME_MASK) >> 12);
            visit(xen, child, level - 1);
            if level > 2 {
                walk_below(xen, child, level - 1, visit);
            }
        }
    }
}

/// `xen_do_pin`
fn pin(xen: &mut XenVcpu, cmd: MmuExtCmd, pfn: u64) {
    xen.extend(Call::MmuExt { cmd, arg1: xen.p2m.pfn_to_mfn(pfn), arg2: 0 });
}

/// The TLB flush that a change of protection of a table of this level asks for. Only the root's change flushes: it
/// comes last and covers all others.
fn flush_flags(level: u32) -> u64 {
    if level == 4 { UVMF_TLB_FLUSH } else { 0 }
}

/// `xen_pin_page`: makes a table read-only in the direct map, and pins it if it is of the last level.
fn pin_page(xen: &mut XenVcpu, pfn: u64, level: u32) {
    let Some(page) = xen.memory.map.get_mut(pfn as usize) else { return };
    if !std::mem::replace(&mut page.pinned, true) {
        xen.append(xen.direct_mapping_flushing(pfn, false, flush_flags(level)));
        if level == 1 {
            pin(xen, MmuExtCmd::PinL1Table, pfn);
        }
    }
}

/// `xen_unpin_page`
fn unpin_page(xen: &mut XenVcpu, pfn: u64, level: u32) {
    let Some(page) = xen.memory.map.get_mut(pfn as usize) else { return };
    if std::mem::replace(&mut page.pinned, false) {
        if level == 1 {
            pin(xen, MmuExtCmd::UnpinTable, pfn);
        }
        xen.append(xen.direct_mapping_flushing(pfn, true, flush_flags(level)));
    }
}

/// The frame of user mode's root.
fn user_root(xen: &XenVcpu, root: u64) -> Option<u64> {
    let user = xen.memory.map.get(root as usize)?.private;
    (user != 0).then(|| xen.memory.virt_to_pfn(user))
}

/// `__xen_pgd_pin`: pins the tables below first and both roots last, in as few multicalls as the buffer allows.
fn pgd_pin(xen: &mut XenVcpu, root: u64) {
    let mask = xen.mask_events();
    walk(xen, root, pin_page);
    pin(xen, MmuExtCmd::PinL4Table, root);
    if let Some(user) = user_root(xen, root) {
        pin_page(xen, user, 4);
        pin(xen, MmuExtCmd::PinL4Table, user);
    }
    xen.issue(LazyMode::None);
    xen.restore_events(mask);
}

/// `__xen_pgd_unpin`: unpins both roots first, then the tables below.
fn pgd_unpin(xen: &mut XenVcpu, root: u64) {
    let mask = xen.mask_events();
    pin(xen, MmuExtCmd::UnpinTable, root);
    if let Some(user) = user_root(xen, root) {
        pin(xen, MmuExtCmd::UnpinTable, user);
        unpin_page(xen, user, 4);
    }
    walk(xen, root, unpin_page);
    xen.issue(LazyMode::None);
    xen.restore_events(mask);
}

/// Unpins the second address space again, as it is after boot.
pub(super) fn unpin_new(cpu: &mut CpuModel) {
    if cpu.xen.memory.pinned(cpu.xen.memory.pfn_to_virt(guest::NEW_ROOT)) {
        pgd_unpin(&mut cpu.xen, guest::NEW_ROOT);
    }
}

/// Takes the lock of an address space, runs `action` with its root, and releases the lock.
///
/// # Safety
/// `mm` points to an [`Mm`], a model is installed, and no reference to it is in use.
unsafe fn with_lock(mm: u64, action: impl FnOnce(&mut CpuModel, u64)) {
    let mm = mm as *const Mm;
    // SAFETY: the caller's mm, read field by field so that no reference to the whole structure stays.
    let (pgd, lock) = unsafe { ((&raw const (*mm).pgd).read(), &raw const (*mm).lock) };
    // SAFETY: the reference needs a live lock: it is that of the caller's mm; the reference ends with the statement.
    while unsafe { &*lock }.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
        std::hint::spin_loop();
    }
    // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only one.
    action(&mut *unsafe { CpuModel::current() }, pgd);
    // SAFETY: the reference needs a live lock: it is that of the caller's mm; the reference ends with the statement.
    unsafe { &*lock }.store(0, Ordering::Release);
}

/// `xen_activate_mm` and `xen_dup_mmap` of 6.1, since 6.4 `xen_enter_mmap`: pins an address space that is not pinned.
///
/// # Safety
/// As for [`with_lock`].
unsafe fn enter_mmap(mm: u64) {
    let pin = |cpu: &mut CpuModel, pgd: u64| {
        let root = cpu.xen.memory.virt_to_pfn(pgd);
        if !cpu.xen.memory.pinned(pgd) {
            pgd_pin(&mut cpu.xen, root);
        }
        cpu.xen.recycle();
    };
    // SAFETY: `with_lock` has the contract of this function, which the caller meets.
    unsafe { with_lock(mm, pin) };
}

/// Defaults of these ops: a nop on bare metal.
const MM_OP: OpMeta =
    OpMeta { native_kind: Kind::Real, bytes: Bytes::Nop, source: "arch/x86/kernel/paravirt.c, paravirt_nop", ..MMU_OP };

/// Notifies the hypervisor that an address space comes into use, as by exec.
pub struct ActivateMm;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; in
// Xen a walk within the modelled memory and checked hypercalls.
unsafe impl Op for ActivateMm {
    const META: OpMeta = OpMeta {
        name: "activate_mm",
        prototype: "void (*activate_mm)(struct mm_struct *prev, struct mm_struct *next)",
        purpose: "notify that an address space comes into use",
        ..MM_OP
    };
    const SLOT: usize = Slot::ActivateMm as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! { (prev: "rdi", next: "rsi"); }

    /// `arch/x86/xen/mmu_pv.c`, `xen_activate_mm` (since 6.4 `xen_enter_mmap`): pins the whole new address space. Linux
    /// takes a lock for each table that it pins; the model has no other CPU and leaves these locks out.
    unsafe fn xen((_, next): (u64, u64)) {
        // SAFETY: the caller's mm.
        unsafe { enter_mmap(next) };
    }

    /// A small address space (one table of each level), unpinned again before every call.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        reset_mmu(cpu);
        cpu.xen.recycle_frames(&NEW_FRAMES);
        (&raw const cpu.mmu.mm as u64, &raw const cpu.mmu.new_mm as u64)
    }
}

/// Notifies the hypervisor that an address space was copied, as by fork.
pub struct DupMmap;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; in
// Xen a walk within the modelled memory and checked hypercalls.
unsafe impl Op for DupMmap {
    const META: OpMeta = OpMeta {
        name: "dup_mmap",
        prototype: "void (*dup_mmap)(struct mm_struct *oldmm, struct mm_struct *mm)",
        purpose: "notify that an address space was copied, as by fork",
        ..MM_OP
    };
    const SLOT: usize = Slot::DupMmap as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! { (oldmm: "rdi", mm: "rsi"); }

    /// `arch/x86/xen/mmu_pv.c`, `xen_dup_mmap`: as for [`ActivateMm`].
    unsafe fn xen((_, mm): (u64, u64)) {
        // SAFETY: the caller's mm.
        unsafe { enter_mmap(mm) };
    }

    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        ActivateMm::arguments(cpu)
    }
}

/// Notifies the hypervisor that an address space is about to be torn down.
pub struct ExitMmap;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; in
// Xen a walk within the modelled memory and checked hypercalls.
unsafe impl Op for ExitMmap {
    const META: OpMeta = OpMeta {
        name: "exit_mmap",
        prototype: "void (*exit_mmap)(struct mm_struct *mm)",
        purpose: "notify that an address space is about to be torn down",
        ..MM_OP
    };
    const SLOT: usize = Slot::ExitMmap as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (mm: "rdi"); }

    /// `arch/x86/xen/mmu_pv.c`, `xen_exit_mmap`: unpins the whole address space, so that teardown writes plain memory.
    /// A CPU that has it as its root first switches to the kernel's root (`xen_drop_mm_ref`); the model has one CPU.
    unsafe fn xen((mm,): (u64,)) {
        let unpin = |cpu: &mut CpuModel, pgd: u64| {
            let root = cpu.xen.memory.virt_to_pfn(pgd);
            if cpu.mmu.xen_cr3 == root << 12 {
                xen_write_cr3(cpu, guest::ROOT << 12);
            }
            if cpu.xen.memory.pinned(pgd) {
                pgd_unpin(&mut cpu.xen, root);
            }
            cpu.xen.recycle();
        };
        // SAFETY: the caller's mm.
        unsafe { with_lock(mm, unpin) };
    }

    /// A small address space, pinned again before every call.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        reset_mmu(cpu);
        pgd_pin(&mut cpu.xen, guest::NEW_ROOT);
        cpu.xen.recycle_frames(&NEW_FRAMES);
        (&raw const cpu.mmu.new_mm as u64,)
    }
}
