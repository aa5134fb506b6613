//! Mappings at fixed addresses, and a hook that only hypervisors with encrypted guests use.

use std::mem::offset_of;

use super::{MMU_OP, reset_mmu};
use crate::native;
use crate::op::xen::p2m::FRAME_MASK;
use crate::op::xen::{Call, UVMF_INVLPG, guest};
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, catalogue::Slot};

const WALK: usize = offset_of!(CpuModel, mmu.fix_walk);
const MASK: usize = offset_of!(CpuModel, mmu.pte_mask);
const INVLPG: usize = offset_of!(CpuModel, mmu.invlpg);
/// `__end_of_fixed_addresses` of the model: the entries of one table.
const END: usize = 512;
/// `VSYSCALL_PAGE` (`arch/x86/include/asm/fixmap.h`): a page of the guest. The other fixed mappings here are for
/// hardware.
const VSYSCALL_PAGE: u64 = 511;

/// Maps a page at a fixed address.
pub struct SetFixmap;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: follows the pointers in the
// installed model to a table of 512 entries and stores to one; a checked hypercall in Xen.
unsafe impl Op for SetFixmap {
    const META: OpMeta = OpMeta {
        name: "set_fixmap",
        prototype: "void (*set_fixmap)(unsigned idx, phys_addr_t phys, pgprot_t flags)",
        purpose: "map a page at a fixed address",
        source: "arch/x86/mm/pgtable.c, native_set_fixmap; arch/x86/mm/init_64.c, set_pte_vaddr",
        ..MMU_OP
    };
    const SLOT: usize = Slot::SetFixmap as usize;
    type Args = (u64, u64, u64);
    type Ret = ();

    // The body combines the address and the allowed flags, walks three levels (each a pointer here), writes the entry,
    // and drops the translation. For an index beyond the last it does nothing; Linux stops there (`BUG`).
    native! {
        (idx: "rdi", phys: "rsi", flags: "rdx"); scratch("rax", "rcx", "r8", "r9");
        "cmp rdi, {end}",
        "jae 22f",
        "mov rax, gs:[{walk}]",
        "test rax, rax",
        "je 22f",
        "mov rax, [rax]",
        "test rax, rax",
        "je 22f",
        "mov rax, [rax]",
        "test rax, rax",
        "je 22f",
        "mov rcx, rsi",
        "and rcx, -4096",
        "mov r8, gs:[{mask}]",
        "and r8, rdx",
        "or rcx, r8",
        "mov r8d, {end} - 1",
        "sub r8, rdi",
        "mov [rax + r8*8], rcx",
        "mov r8, rdi",
        "shl r8, 12",
        "mov r9, {top}",
        "sub r9, r8",
        "mov gs:[{invlpg}], r9",
        "22:";
        end = const END, walk = const WALK, mask = const MASK, invlpg = const INVLPG,
        top = const guest::FIXADDR_TOP as i64
    }

    /// `arch/x86/xen/mmu_pv.c`, `xen_set_fixmap`: one hypercall that names the virtual address. An address of the
    /// guest's memory is translated first; an address of hardware is a machine address already.
    unsafe fn xen((idx, phys, flags): (u64, u64, u64)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        if idx >= END as u64 {
            return;
        }
        let entry = phys & FRAME_MASK | flags;
        let val = if idx == VSYSCALL_PAGE { xen.p2m.make(entry) } else { entry };
        xen.hypercall(Call::UpdateVaMapping { va: guest::FIXADDR_TOP - (idx << 12), val, flags: UVMF_INVLPG });
    }

    /// A page by its machine address, uncached, as hardware is mapped.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64) {
        reset_mmu(cpu);
        let flags = 0x7b;
        (VSYSCALL_PAGE - 1, cpu.xen.machine_entry(guest::DATA, 0), flags)
    }
}

/// Notifies the hypervisor that pages become encrypted or plain.
pub struct NotifyPageEncStatusChanged;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: both bodies are empty.
unsafe impl Op for NotifyPageEncStatusChanged {
    const META: OpMeta = OpMeta {
        name: "notify_page_enc_status_changed",
        native_kind: Kind::Real,
        xen_kind: Kind::Real,
        bytes: Bytes::Nop,
        prototype: "void (*notify_page_enc_status_changed)(unsigned long pfn, int npages, bool enc)",
        purpose: "notify the hypervisor that pages become encrypted or plain (only KVM has a hook here)",
        source: "arch/x86/kernel/paravirt.c, paravirt_nop",
        ..MMU_OP
    };
    const SLOT: usize = Slot::NotifyPageEncStatusChanged as usize;
    type Args = (u64, u64, u64);
    type Ret = ();

    native! { (pfn: "rdi", npages: "rsi", enc: "rdx"); }

    /// Xen keeps the native hook.
    unsafe fn xen(_: (u64, u64, u64)) {}

    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64) {
        reset_mmu(cpu);
        (guest::DATA, 1, 1)
    }
}
