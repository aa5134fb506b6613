//! Local descriptor tables.

use std::mem::offset_of;

use super::table::{GDT, GDT_ENTRY_LDT};
use super::{CPU_OP, end_batching};
use crate::native;
use crate::op::xen::{Call, LazyMode, MmuExtCmd, XenVcpu, guest};
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, catalogue::Slot};

const LDTR: usize = offset_of!(CpuModel, cpu.tables.ldtr);

/// Entries of a local table per page.
const ENTRIES_PER_PAGE: usize = 4096 / 8;
/// Entries of the table that is measured.
const ENTRIES: u64 = 32;
/// The constant bits of the descriptor's first word: present, `DESC_LDT`.
const KIND: u64 = 0x82 << 40;

/// Loads a process's local descriptor table, or none.
pub struct SetLdt;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: stores to the installed model;
// the body does not access the table.
unsafe impl Op for SetLdt {
    const META: OpMeta = OpMeta {
        name: "set_ldt",
        prototype: "void (*set_ldt)(const void *desc, unsigned entries)",
        purpose: "load a local descriptor table (lldt)",
        source: "arch/x86/include/asm/desc.h, native_set_ldt",
        ..CPU_OP
    };
    const SLOT: usize = Slot::SetLdt as usize;
    type Args = (u64, u64);
    type Ret = ();

    // The descriptor of `set_tssldt_descriptor`: limit and base in parts.
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
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        xen.batched(Call::MmuExt { cmd: MmuExtCmd::SetLdt, arg1: desc, arg2: entries & 0xffff_ffff }, LazyMode::Cpu);
    }

    /// No table, as in nearly every process.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        end_batching(cpu);
        (0, 0)
    }
}

/// `set_aliased_prot` for every page of a table: one hypercall each, because the direct map has no alias.
fn set_aliased_prot(xen: &mut XenVcpu, ldt: u64, entries: u64, writable: bool) {
    for first in (0..entries & 0xffff_ffff).step_by(ENTRIES_PER_PAGE) {
        let pfn = xen.memory.virt_to_pfn(ldt.wrapping_add(first * 8));
        xen.hypercall(xen.direct_mapping(pfn, writable));
    }
}

/// Makes the measured table writable, or read-only, which the hypervisor requires.
pub(super) fn protect(xen: &mut XenVcpu, writable: bool) {
    xen.hypercall(xen.direct_mapping(guest::LDT, writable));
}

/// Notifies the hypervisor of a local table before it is loaded for the first time.
pub struct AllocLdt;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; in
// Xen hypercalls, one per page of the table.
unsafe impl Op for AllocLdt {
    const META: OpMeta = OpMeta {
        name: "alloc_ldt",
        native_kind: Kind::Real,
        bytes: Bytes::Nop,
        prototype: "void (*alloc_ldt)(struct desc_struct *ldt, unsigned entries)",
        purpose: "notify the hypervisor of a new local descriptor table",
        source: "arch/x86/kernel/paravirt.c, paravirt_nop",
        ..CPU_OP
    };
    const SLOT: usize = Slot::AllocLdt as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! { (ldt: "rdi", entries: "rsi"); }

    /// `xen_alloc_ldt`: makes the table read-only, because Xen refuses a table that the guest can write to.
    unsafe fn xen((ldt, entries): (u64, u64)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        set_aliased_prot(xen, ldt, entries, false);
        xen.recycle();
    }

    /// A newly filled table, writable in every call.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        end_batching(cpu);
        protect(&mut cpu.xen, true);
        cpu.xen.recycle_frames(&[guest::LDT]);
        (cpu.xen.memory.pfn_to_virt(guest::LDT), ENTRIES)
    }
}

/// Notifies the hypervisor of a local table that is about to be freed.
pub struct FreeLdt;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; in
// Xen hypercalls, one per page of the table.
unsafe impl Op for FreeLdt {
    const META: OpMeta = OpMeta {
        name: "free_ldt",
        native_kind: Kind::Real,
        bytes: Bytes::Nop,
        prototype: "void (*free_ldt)(struct desc_struct *ldt, unsigned entries)",
        purpose: "notify the hypervisor that a local descriptor table is about to be freed",
        source: "arch/x86/kernel/paravirt.c, paravirt_nop",
        ..CPU_OP
    };
    const SLOT: usize = Slot::FreeLdt as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! { (ldt: "rdi", entries: "rsi"); }

    /// `xen_free_ldt`: makes the table writable again.
    unsafe fn xen((ldt, entries): (u64, u64)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        set_aliased_prot(xen, ldt, entries, true);
        xen.recycle();
    }

    /// A table after `alloc_ldt`, read-only in every call.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        end_batching(cpu);
        protect(&mut cpu.xen, false);
        cpu.xen.recycle_frames(&[guest::LDT]);
        (cpu.xen.memory.pfn_to_virt(guest::LDT), ENTRIES)
    }
}
