//! `struct pv_mmu_ops`: page tables, TLB, page-table roots.
//!
//! Page tables are real memory for both bodies ([`Memory`](super::xen::Memory)), so a native store to an entry is the
//! real store. Control registers, `invlpg` and interrupts to other CPUs are fields of [`MmuState`].

mod entry;
mod fixmap;
mod lazy;
mod legacy;
mod level;
mod lifecycle;
mod mm;
mod modify;
mod pgd;
mod root;
mod tlb;
mod tlb_others;
mod value;

pub use entry::{SetEntry, SetP4d, SetPte};
pub use entry::{SetPgd, SetPmd, SetPud};
pub use fixmap::{NotifyPageEncStatusChanged, SetFixmap};
pub use lazy::{LazyEnter, LazyFlush, LazyLeave};
pub use legacy::{
    AllocPmdClone, KmapAtomicPte, PagetableSetupDone, PagetableSetupStart, PmdClear, PteClear, PteUpdate,
    PteUpdateDefer, SetPteAt, SetPteAtomic,
};
pub use level::Hook;
pub use level::{Level, P4d, Pgd, Pmd, Pte, Pud, Table, Upper};
pub use lifecycle::{AllocP4d, AllocPud, ReleaseP4d, ReleasePmd};
pub use lifecycle::{AllocPmd, AllocPte, AllocTable, ReleasePte, ReleasePud, ReleaseTable};
pub use mm::{ActivateMm, DupMmap, ExitMmap, Mm};
pub use modify::{PtepModifyProtCommit, PtepModifyProtStart};
pub use pgd::{PgdAlloc, PgdFree};
pub use root::{ReadCr2, ReadCr3, WriteCr2, WriteCr3};
pub use tlb::{FlushTlbKernel, FlushTlbOneUser, FlushTlbSingle, FlushTlbUser, Gather, TlbRemoveTable};
pub use tlb_others::{FlushInfo, FlushSender, FlushTlbMulti, FlushTlbOthers};
pub use value::{Make, MakePte, PteVal, Val};
pub use value::{MakeP4d, MakePgd, MakePmd, MakePud, P4dVal, PgdVal, PmdVal, PudVal};

use super::xen::{LazyMode, guest};
use super::{CpuModel, Group, OpMeta};

/// CPUs of the modelled machine: the bits of one word of a CPU mask.
pub const CPUS: usize = 64;

/// Defaults of the group's catalogue entries.
const MMU_OP: OpMeta = OpMeta { group: Group::Mmu, ..OpMeta::BASE };

/// `X86_CR4_PGE`: translations of entries marked global survive a new root.
pub const CR4_PGE: u64 = 1 << 7;

/// Registers of the memory-management unit, and the state that Linux's native functions keep with them.
#[repr(C)]
pub struct MmuState {
    /// The address of the last page fault.
    pub cr2: u64,
    /// The page-table root: a physical address.
    pub cr3: u64,
    /// Control register 4.
    pub cr4: u64,
    /// `cpu_tlbstate.cr4`: a copy of the register, which saves reading it.
    pub cr4_shadow: u64,
    /// The last operand of `invlpg`.
    pub invlpg: u64,
    /// `xen_cr3`: the root this CPU has or is about to have, as a pseudo-physical address.
    pub xen_cr3: u64,
    /// `cpu_online_mask`
    pub(crate) online: u64,
    /// `cpu_tlbstate_shared.is_lazy` of each CPU.
    pub lazy_tlb: [u8; CPUS],
    /// `call_single_queue` of each CPU: the request that the interrupt announces.
    pub call_queue: [u64; CPUS],
    /// The CPUs that received the last inter-processor interrupt, a bit each.
    pub ipi: u64,
    /// 2.6.30's mailbox of a remote flush.
    pub sender: FlushSender,
    /// A CPU mask to flush.
    pub cpus: u64,
    /// A flush request for other CPUs.
    pub flush_info: FlushInfo,
    /// Page tables to be freed.
    pub gather: Gather,
    /// `init_mm`
    pub(crate) init_mm: Mm,
    /// The address space in use (`current->mm`).
    pub(crate) mm: Mm,
    /// An address space that is being created or destroyed.
    pub new_mm: Mm,
    /// The page walk to the table of fixed mappings: one pointer for each of the three levels above it. Each word holds
    /// the address of the next; the last one holds the address of the table.
    pub(crate) fix_walk: [u64; 3],
    /// `__default_kernel_pte_mask`
    pub(crate) pte_mask: u64,
    /// `kmap_pte`: the entry of the first fixed mapping.
    pub(crate) kmap_pte: u64,
    /// The page that the page allocator hands out next; 0 if there is none.
    pub free_page: u64,
}

impl MmuState {
    /// The state after boot: the root of [`guest`], global pages on, two CPUs.
    #[must_use]
    pub(crate) fn new() -> Self {
        let root = guest::ROOT << 12;
        MmuState {
            cr2: 0,
            cr3: root,
            cr4: CR4_PGE,
            cr4_shadow: CR4_PGE,
            invlpg: 0,
            xen_cr3: root,
            online: 0b11,
            lazy_tlb: [0; CPUS],
            call_queue: [0; CPUS],
            ipi: 0,
            sender: FlushSender::default(),
            cpus: 0,
            flush_info: FlushInfo::default(),
            gather: Gather::new(),
            init_mm: Mm::default(),
            mm: Mm::default(),
            new_mm: Mm::default(),
            fix_walk: [0; 3],
            pte_mask: !0,
            kmap_pte: 0,
            free_page: 0,
        }
    }
}

impl Default for MmuState {
    fn default() -> Self {
        Self::new()
    }
}

/// Resets the MMU state before an op's arguments are set up: the batch is sent out, no frame is recycled, and the
/// pointers of the state point into this model's memory.
fn reset_mmu(cpu: &mut CpuModel) {
    let xen = &mut cpu.xen;
    xen.lazy = LazyMode::None;
    xen.flush();
    xen.recycle_frames(&[]);
    lifecycle::reclaim_fresh(cpu);
    mm::unpin_new(cpu);
    pgd::reclaim(cpu);
    let xen = &mut cpu.xen;
    let mmu = &mut cpu.mmu;
    mmu.init_mm.pgd = xen.memory.pfn_to_virt(guest::ROOT);
    mmu.mm.pgd = xen.memory.pfn_to_virt(guest::ROOT);
    mmu.new_mm.pgd = xen.memory.pfn_to_virt(guest::NEW_ROOT);
    mmu.free_page = xen.memory.pfn_to_virt(guest::FREE);
    xen.memory.map[guest::FREE as usize].private = mmu.free_page;
    mmu.kmap_pte = xen.memory.entry(guest::FIX_PTE, 511);
    mmu.fix_walk =
        [&raw const mmu.fix_walk[1] as u64, &raw const mmu.fix_walk[2] as u64, xen.memory.pfn_to_virt(guest::FIX_PTE)];
}
