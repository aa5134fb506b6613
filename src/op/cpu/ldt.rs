//! Local descriptor tables.

use std::mem::offset_of;

use super::table::{GDT, GDT_ENTRY_LDT, PAGE_KERNEL, PAGE_KERNEL_RO};
use super::{CPU_OP, unbatched};
use crate::native;
use crate::op::xen::{Call, LazyMode, MmuExtCmd};
use crate::op::{Bytes, CpuModel, Kind, Meta, Op, catalogue::Slot};

const LDTR: usize = offset_of!(CpuModel, cpu.tables.ldtr);

/// Entries of a local table per page.
const ENTRIES_PER_PAGE: usize = 4096 / 8;
/// Present, `DESC_LDT`: the fixed part of the descriptor's first word.
const KIND: u64 = 0x82 << 40;

/// Loads a process's local descriptor table, or none.
pub struct SetLdt;

// SAFETY: stores to the installed model; the table is only named.
unsafe impl Op for SetLdt {
    const META: Meta = Meta {
        name: "set_ldt",
        prototype: "void (*set_ldt)(const void *desc, unsigned entries)",
        purpose: "load a local descriptor table (lldt)",
        source: "arch/x86/include/asm/desc.h, native_set_ldt",
        ..CPU_OP
    };
    const SLOT: usize = Slot::SetLdt as usize;
    type Args = (u64, u64);
    type Ret = ();

    // The descriptor as of `set_tssldt_descriptor`: limit and base in pieces.
    native! {
        (desc: "rdi", entries: "rsi"); scratch("rax", "rcx", "rdx");
        "test esi, esi",
        "jnz 22f",
        "mov word ptr gs:[{ldtr}], 0",
        "jmp 23f",
        "22: lea ecx, [rsi*8 - 1]",
        "movzx eax, cx",
        "and ecx, 0xf0000",
        "shl rcx, 32",
        "or rax, rcx",
        "mov ecx, edi",
        "and ecx, 0xffffff",
        "shl rcx, 16",
        "or rax, rcx",
        "mov ecx, edi",
        "shr ecx, 24",
        "shl rcx, 56",
        "or rax, rcx",
        "mov rcx, {kind}",
        "or rax, rcx",
        "mov rdx, rdi",
        "shr rdx, 32",
        "mov gs:[{entry}], rax",
        "mov gs:[{entry} + 8], rdx",
        "mov word ptr gs:[{ldtr}], {selector}",
        "23:";
        ldtr = const LDTR, kind = const KIND, entry = const GDT + 8 * GDT_ENTRY_LDT,
        selector = const GDT_ENTRY_LDT * 8
    }

    /// `xen_set_ldt`
    unsafe fn xen((desc, entries): (u64, u64)) {
        // SAFETY: the only reference to the model in use.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        xen.batched(Call::MmuExt { cmd: MmuExtCmd::SetLdt, arg1: desc, arg2: entries & 0xffff_ffff }, LazyMode::Cpu);
    }

    /// None: what nearly every process has.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        unbatched(cpu);
        (0, 0)
    }
}

/// `set_aliased_prot` for every page of a table. The model's tables are in the linear mapping, which has no alias.
///
/// # Safety
/// As for [`CpuModel::current`].
unsafe fn protect(ldt: u64, entries: u64, protection: u64) {
    // SAFETY: the only reference to the model in use.
    let cpu = unsafe { CpuModel::current() };
    for first in (0..entries & 0xffff_ffff).step_by(ENTRIES_PER_PAGE) {
        let va = ldt.wrapping_add(first * 8);
        let val = cpu.cpu.machine_frame(va) << 12 | protection;
        cpu.xen.hypercall(Call::UpdateVaMapping { va, val, flags: 0 });
    }
}

/// Told of a local table before it is loaded for the first time.
pub struct AllocLdt;

// SAFETY: does nothing; in Xen hypercalls, one per page of the table.
unsafe impl Op for AllocLdt {
    const META: Meta = Meta {
        name: "alloc_ldt",
        native_kind: Kind::Real,
        bytes: Bytes::Nop,
        prototype: "void (*alloc_ldt)(struct desc_struct *ldt, unsigned entries)",
        purpose: "tell the hypervisor of a new local descriptor table",
        source: "arch/x86/kernel/paravirt.c, paravirt_nop",
        ..CPU_OP
    };
    const SLOT: usize = Slot::AllocLdt as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! { (ldt: "rdi", entries: "rsi"); }

    /// `xen_alloc_ldt`: Xen takes no table that the guest can write to.
    unsafe fn xen((ldt, entries): (u64, u64)) {
        // SAFETY: this function's contract.
        unsafe { protect(ldt, entries, PAGE_KERNEL_RO) };
    }

    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        (&raw const cpu.cpu.tables.ldt as u64, cpu.cpu.tables.ldt.len() as u64)
    }
}

/// Told of a local table that is about to be freed.
pub struct FreeLdt;

// SAFETY: as for `AllocLdt`.
unsafe impl Op for FreeLdt {
    const META: Meta = Meta {
        name: "free_ldt",
        native_kind: Kind::Real,
        bytes: Bytes::Nop,
        prototype: "void (*free_ldt)(struct desc_struct *ldt, unsigned entries)",
        purpose: "tell the hypervisor that a local descriptor table is no more",
        source: "arch/x86/kernel/paravirt.c, paravirt_nop",
        ..CPU_OP
    };
    const SLOT: usize = Slot::FreeLdt as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! { (ldt: "rdi", entries: "rsi"); }

    /// `xen_free_ldt`: writable again.
    unsafe fn xen((ldt, entries): (u64, u64)) {
        // SAFETY: this function's contract.
        unsafe { protect(ldt, entries, PAGE_KERNEL) };
    }

    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        AllocLdt::arguments(cpu)
    }
}
