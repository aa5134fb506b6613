//! The fault address and the page-table root: CR2 and CR3.

use std::arch::asm;
use std::mem::offset_of;

use super::{MMU_OP, reset_mmu};
use crate::native;
use crate::op::xen::{Call, LazyMode, MmuExtCmd, guest};
use crate::op::{Bytes, Conventions, CpuModel, Kind, Op, OpMeta, catalogue::Slot};

const CR2: usize = offset_of!(CpuModel, mmu.cr2);
const CR3: usize = offset_of!(CpuModel, mmu.cr3);
const XEN_CR2: usize = offset_of!(CpuModel, xen.info.cr2);
const XEN_CR3: usize = offset_of!(CpuModel, mmu.xen_cr3);

/// Reads the address of a page fault.
pub struct ReadCr2;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a load from the installed
// model into rax.
unsafe impl Op for ReadCr2 {
    const META: OpMeta = OpMeta {
        name: "read_cr2",
        site: 9,
        xen_kind: Kind::Real,
        bytes: Bytes::Instruction,
        conventions: Conventions::CalleeSave,
        prototype: "unsigned long (*read_cr2)(void)",
        purpose: "read the address of the last page fault",
        source: "arch/x86/include/asm/special_insns.h, native_read_cr2",
        ..MMU_OP
    };
    const SLOT: usize = Slot::ReadCr2 as usize;
    type Args = ();
    type Ret = u64;

    native! { () -> "rax"; "mov rax, gs:[{cr2}]"; cr2 = const CR2 }

    /// `arch/x86/xen/xen-asm.S`, `xen_read_cr2_direct`: a load from the shared page.
    #[inline(always)]
    unsafe fn xen((): ()) -> u64 {
        let address: u64;
        // SAFETY: reads the installed model.
        unsafe {
            asm!("mov {}, gs:[{cr2}]", out(reg) address, cr2 = const XEN_CR2,
                options(nostack, preserves_flags, readonly));
        }
        address
    }

    fn arguments(cpu: &mut CpuModel) {
        reset_mmu(cpu);
    }
}

/// Writes the fault address.
pub struct WriteCr2;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a store to the installed
// model.
unsafe impl Op for WriteCr2 {
    const META: OpMeta = OpMeta {
        name: "write_cr2",
        xen_kind: Kind::Real,
        prototype: "void (*write_cr2)(unsigned long)",
        purpose: "set the fault address, as before an NMI returns",
        source: "arch/x86/include/asm/special_insns.h, native_write_cr2",
        ..MMU_OP
    };
    const SLOT: usize = Slot::WriteCr2 as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (address: "rdi"); "mov gs:[{cr2}], rdi"; cr2 = const CR2 }

    /// `arch/x86/xen/mmu_pv.c`, `xen_write_cr2`
    unsafe fn xen((address,): (u64,)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        unsafe { CpuModel::current() }.xen.info.cr2 = address;
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        reset_mmu(cpu);
        (guest::USER_VA,)
    }
}

/// Reads the page-table root.
pub struct ReadCr3;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a load from the installed
// model into rax.
unsafe impl Op for ReadCr3 {
    const META: OpMeta = OpMeta {
        name: "read_cr3",
        site: 9,
        xen_kind: Kind::Real,
        bytes: Bytes::Instruction,
        prototype: "unsigned long (*read_cr3)(void)",
        purpose: "read the physical address of the page-table root",
        source: "arch/x86/include/asm/special_insns.h, __native_read_cr3",
        ..MMU_OP
    };
    const SLOT: usize = Slot::ReadCr3 as usize;
    type Args = ();
    type Ret = u64;

    native! { () -> "rax"; "mov rax, gs:[{cr3}]"; cr3 = const CR3 }

    /// `arch/x86/xen/mmu_pv.c`, `xen_read_cr3`: reads the root that this CPU last set from a per-CPU variable.
    #[inline(always)]
    unsafe fn xen((): ()) -> u64 {
        let root: u64;
        // SAFETY: reads the installed model.
        unsafe {
            asm!("mov {}, gs:[{cr3}]", out(reg) root, cr3 = const XEN_CR3, options(nostack, preserves_flags, readonly));
        }
        root
    }

    fn arguments(cpu: &mut CpuModel) {
        reset_mmu(cpu);
    }
}

/// `xen_write_cr3`
#[inline]
pub(super) fn xen_write_cr3(cpu: &mut CpuModel, cr3: u64) {
    let xen = &mut cpu.xen;
    let root = cr3 >> 12;
    let user = match xen.memory.page_of(xen.memory.pfn_to_virt(root)) {
        Some(page) if page.private != 0 => xen.virt_to_machine(page.private) >> 12,
        _ => 0,
    };
    let mask = xen.mask_events();
    cpu.mmu.xen_cr3 = cr3;
    let kernel = xen.p2m.pfn_to_mfn(root);
    xen.extend(Call::MmuExt { cmd: MmuExtCmd::NewBaseptr, arg1: kernel, arg2: 0 });
    xen.extend(Call::MmuExt { cmd: MmuExtCmd::NewUserBaseptr, arg1: user, arg2: 0 });
    xen.issue(LazyMode::Cpu);
    xen.restore_events(mask);
}

/// Switches to another page-table root.
pub struct WriteCr3;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a store to the installed
// model; in Xen a batch that checks the frames.
unsafe impl Op for WriteCr3 {
    const META: OpMeta = OpMeta {
        name: "write_cr3",
        site: 9,
        bytes: Bytes::Instruction,
        prototype: "void (*write_cr3)(unsigned long)",
        purpose: "switch to another page-table root",
        source: "arch/x86/include/asm/special_insns.h, native_write_cr3",
        ..MMU_OP
    };
    const SLOT: usize = Slot::WriteCr3 as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (cr3: "rdi"); "mov gs:[{cr3_}], rdi"; cr3_ = const CR3 }

    /// `arch/x86/xen/mmu_pv.c`, `xen_write_cr3`: sets the kernel's and user mode's root in one hypercall, which is
    /// batched until the end of a context switch.
    unsafe fn xen((cr3,): (u64,)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        xen_write_cr3(&mut *unsafe { CpuModel::current() }, cr3);
    }

    /// The root in use, as in a switch between threads of a process: every call does the same work.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        reset_mmu(cpu);
        (guest::ROOT << 12,)
    }
}
