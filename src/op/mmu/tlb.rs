//! Dropping translations of this CPU, and freeing page tables that a page walk may still use.

use std::mem::offset_of;

use super::{CR4_PGE, MMU_OP, reset_mmu};
use crate::native;
use crate::op::xen::{Call, LazyMode, MmuExtCmd, guest};
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, Since, catalogue::Slot};

const CR3: usize = offset_of!(CpuModel, mmu.cr3);
const CR4: usize = offset_of!(CpuModel, mmu.cr4);
const CR4_SHADOW: usize = offset_of!(CpuModel, mmu.cr4_shadow);
const INVLPG: usize = offset_of!(CpuModel, mmu.invlpg);
const IF: usize = offset_of!(CpuModel, irq.enabled);

/// Batches an `mmuext_op`, as all flushes in `arch/x86/xen/mmu_pv.c` do.
fn xen_flush(cpu: &mut CpuModel, cmd: MmuExtCmd, address: u64) {
    cpu.xen.batched(Call::MmuExt { cmd, arg1: address, arg2: 0 }, LazyMode::Mmu);
}

/// Drops this CPU's translations except the global ones.
pub struct FlushTlbUser;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a load and a store on the
// installed model; a hypercall in Xen.
unsafe impl Op for FlushTlbUser {
    const META: OpMeta = OpMeta {
        name: "flush_tlb_user",
        prototype: "void (*flush_tlb_user)(void)",
        purpose: "drop this CPU's translations of user space",
        source: "arch/x86/mm/tlb.c, native_flush_tlb_local",
        ..MMU_OP
    };
    const SLOT: usize = Slot::FlushTlbUser as usize;
    type Args = ();
    type Ret = ();

    // Reads and rewrites the root. With page-table isolation Linux also marks the user half's context; the model leaves
    // this out (a patched-out branch).
    native! { (); scratch("rax"); "mov rax, gs:[{cr3}]", "mov gs:[{cr3}], rax"; cr3 = const CR3 }

    /// `arch/x86/xen/mmu_pv.c`, `xen_flush_tlb`
    unsafe fn xen((): ()) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        xen_flush(&mut *unsafe { CpuModel::current() }, MmuExtCmd::TlbFlushLocal, 0);
    }

    fn arguments(cpu: &mut CpuModel) {
        reset_mmu(cpu);
    }
}

/// Drops all of this CPU's translations.
pub struct FlushTlbKernel;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: loads and stores on the
// installed model; a hypercall in Xen.
unsafe impl Op for FlushTlbKernel {
    const META: OpMeta = OpMeta {
        name: "flush_tlb_kernel",
        prototype: "void (*flush_tlb_kernel)(void)",
        purpose: "drop all of this CPU's translations, the global ones too",
        source: "arch/x86/mm/tlb.c, native_flush_tlb_global",
        ..MMU_OP
    };
    const SLOT: usize = Slot::FlushTlbKernel as usize;
    type Args = ();
    type Ret = ();

    // As on a CPU without `invpcid`: with interrupts off, it clears and sets the global-page bit.
    native! {
        (); scratch("rax", "rcx", "rdx");
        "movzx edx, byte ptr gs:[{flag}]",
        "mov byte ptr gs:[{flag}], 0",
        "mov rax, gs:[{shadow}]",
        "mov rcx, rax",
        "xor rcx, {pge}",
        "mov gs:[{cr4}], rcx",
        "mov gs:[{cr4}], rax",
        "mov byte ptr gs:[{flag}], dl";
        flag = const IF, shadow = const CR4_SHADOW, cr4 = const CR4, pge = const CR4_PGE
    }

    /// `arch/x86/xen/mmu_pv.c`, `xen_flush_tlb`: Xen's guests have no global pages.
    unsafe fn xen((): ()) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        xen_flush(&mut *unsafe { CpuModel::current() }, MmuExtCmd::TlbFlushLocal, 0);
    }

    fn arguments(cpu: &mut CpuModel) {
        reset_mmu(cpu);
    }
}

/// Drops one translation.
pub struct FlushTlbOneUser;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a store to the installed
// model; a hypercall in Xen.
unsafe impl Op for FlushTlbOneUser {
    const META: OpMeta = OpMeta {
        name: "flush_tlb_one_user",
        prototype: "void (*flush_tlb_one_user)(unsigned long addr)",
        purpose: "drop this CPU's translation of one address",
        source: "arch/x86/mm/tlb.c, native_flush_tlb_one_user",
        ..MMU_OP
    };
    const SLOT: usize = Slot::FlushTlbOneUser as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (address: "rdi"); "mov gs:[{invlpg}], rdi"; invlpg = const INVLPG }

    /// `arch/x86/xen/mmu_pv.c`, `xen_flush_tlb_one_user`
    unsafe fn xen((address,): (u64,)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        xen_flush(&mut *unsafe { CpuModel::current() }, MmuExtCmd::InvlpgLocal, address);
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        reset_mmu(cpu);
        (guest::USER_VA,)
    }
}

/// The same op under its name in 2.6.30, where patching writes it as an instruction.
pub struct FlushTlbSingle;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a store to the installed
// model; a hypercall in Xen.
unsafe impl Op for FlushTlbSingle {
    const META: OpMeta = OpMeta {
        name: "flush_tlb_single",
        site: 9,
        since: Since::Linux2630Only,
        bytes: Bytes::Instruction,
        prototype: "void (*flush_tlb_single)(unsigned long addr)",
        purpose: "drop this CPU's translation of one address (invlpg)",
        source: "arch/x86/include/asm/tlbflush.h, __native_flush_tlb_single",
        ..MMU_OP
    };
    const SLOT: usize = Slot::FlushTlbSingle as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (address: "rdi"); "mov gs:[{invlpg}], rdi"; invlpg = const INVLPG }

    /// `arch/x86/xen/mmu.c` of 2.6.30, `xen_flush_tlb_single`
    unsafe fn xen((address,): (u64,)) {
        // SAFETY: `FlushTlbOneUser::xen` has the contract of this function, which the caller meets.
        unsafe { FlushTlbOneUser::xen((address,)) };
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        FlushTlbOneUser::arguments(cpu)
    }
}

/// Pages per batch: `MAX_GATHER_BATCH`, smaller than Linux's.
const MAX_GATHERED: usize = 64;

/// `struct mmu_gather` with one batch: pages to be freed once no CPU can reach them any more.
#[repr(C)]
#[derive(Debug)]
pub struct Gather {
    /// The number of pages gathered.
    pub len: u64,
    /// The number of pages that fit.
    pub(crate) max: u64,
    /// How often the batch was full, flushed and emptied.
    pub flushes: u64,
    /// Their addresses.
    pub pages: [u64; MAX_GATHERED],
}

impl Gather {
    /// An empty batch.
    #[must_use]
    pub(crate) fn new() -> Self {
        Gather { len: 0, max: MAX_GATHERED as u64, flushes: 0, pages: [0; MAX_GATHERED] }
    }
}

impl Default for Gather {
    fn default() -> Self {
        Self::new()
    }
}

/// Frees a page table that another CPU may still be walking.
pub struct TlbRemoveTable;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: stores within the gather
// structure the caller names, which is emptied when full.
unsafe impl Op for TlbRemoveTable {
    const META: OpMeta = OpMeta {
        name: "tlb_remove_table",
        native_kind: Kind::Real,
        xen_kind: Kind::Real,
        prototype: "void (*tlb_remove_table)(struct mmu_gather *tlb, void *table)",
        purpose: "free a page table once no CPU can be walking it",
        source: "arch/x86/kernel/paravirt.c, tlb_remove_page; mm/mmu_gather.c, __tlb_remove_page_size",
        ..MMU_OP
    };
    const SLOT: usize = Slot::TlbRemoveTable as usize;
    type Args = (u64, u64);
    type Ret = ();

    // Linux flushes a full batch; the model counts and empties it.
    native! {
        (tlb: "rdi", table: "rsi"); scratch("rax");
        "mov rax, [rdi + {len}]",
        "mov [rdi + rax*8 + {pages}], rsi",
        "inc rax",
        "cmp rax, [rdi + {max}]",
        "jne 22f",
        "xor eax, eax",
        "inc qword ptr [rdi + {flushes}]",
        "22: mov [rdi + {len}], rax";
        len = const offset_of!(Gather, len), max = const offset_of!(Gather, max),
        flushes = const offset_of!(Gather, flushes), pages = const offset_of!(Gather, pages)
    }

    /// `arch/x86/xen/mmu_pv.c` points to `tlb_remove_table` (`mm/mmu_gather.c`). That function gathers in a separate
    /// batch, which is freed after a grace period, since Xen's remote flushes interrupt no CPU. The stores are the
    /// same.
    unsafe fn xen(args: (u64, u64)) {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(args) };
    }

    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        reset_mmu(cpu);
        cpu.mmu.gather = Gather::new();
        (&raw mut cpu.mmu.gather as u64, cpu.xen.memory.pfn_to_virt(guest::NEW_PTE))
    }
}
