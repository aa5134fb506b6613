//! The levels of a page table; each has the same ops.

use crate::op::catalogue::Slot;
use crate::op::xen::guest;

/// The fields of an op's catalogue entry that differ between levels.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Linux's name.
    pub(crate) name: &'static str,
    /// Linux's prototype.
    pub(crate) prototype: &'static str,
    /// Where Linux defines the native body.
    pub(crate) source: &'static str,
    /// The slot in the table of function pointers.
    pub(crate) slot: Slot,
}

/// A level: its entries can be converted to a value and back.
pub trait Level: 'static {
    /// `pte_val` and its siblings.
    const VAL: Hook;
    /// `make_pte` and its siblings.
    const MAKE: Hook;
}

/// A level above the last: its entries point to tables, and setting one is the same everywhere.
pub trait Upper: Level {
    /// `set_pmd` and its siblings.
    const SET: Hook;
    /// The frame of the table whose entry is set, and the frame that the entry maps.
    const EXAMPLE: (u64, u64);
    /// Whether the table is the root. In Xen, user mode has a second root.
    const ROOT: bool;
}

/// A level whose tables have allocation hooks for each table (the root has `pgd_alloc`).
pub trait Table: Level {
    /// `alloc_pte` and its siblings.
    const ALLOC: Hook;
    /// `release_pte` and its siblings.
    const RELEASE: Hook;
    /// Whether Xen sets these hooks. It does not for the fourth level, which is the root in a guest of four levels
    /// (`arch/x86/xen/mmu_pv.c`, `xen_post_allocator_init`).
    const IN_XEN: bool;
    /// Whether each table is pinned, not only the root: true for the last level, whose locks are split
    /// (`USE_SPLIT_PTE_PTLOCKS`).
    const PINNED_ITSELF: bool;
    /// The frame of a newly allocated table.
    const FRESH: u64;
}

/// The last level: entries map pages.
pub struct Pte;
/// The second level.
pub struct Pmd;
/// The third level.
pub struct Pud;
/// The fourth level. On a machine with four levels this is the root, seen as one level below a root of one entry.
pub struct P4d;
/// The root.
pub struct Pgd;

/// Builds the four strings of a hook that contain the level's name, since constants cannot be joined generically:
/// `hook!("pte_val", PteVal, "pteval_t (*", ")(pte_t)", "pgtable_types.h, native_pte_val")`.
macro_rules! hook {
    ($name:literal, $slot:ident, $before:literal, $after:literal, $source:literal) => {
        Hook {
            name: $name,
            prototype: concat!($before, $name, $after),
            source: concat!("arch/x86/", $source),
            slot: Slot::$slot,
        }
    };
}

impl Level for Pte {
    const VAL: Hook =
        hook!("pte_val", PteVal, "pteval_t (*", ")(pte_t)", "include/asm/pgtable_types.h, native_pte_val");
    const MAKE: Hook =
        hook!("make_pte", MakePte, "pte_t (*", ")(pteval_t)", "include/asm/pgtable_types.h, native_make_pte");
}

impl Level for Pmd {
    const VAL: Hook =
        hook!("pmd_val", PmdVal, "pmdval_t (*", ")(pmd_t)", "include/asm/pgtable_types.h, native_pmd_val");
    const MAKE: Hook =
        hook!("make_pmd", MakePmd, "pmd_t (*", ")(pmdval_t)", "include/asm/pgtable_types.h, native_make_pmd");
}

impl Level for Pud {
    const VAL: Hook =
        hook!("pud_val", PudVal, "pudval_t (*", ")(pud_t)", "include/asm/pgtable_types.h, native_pud_val");
    const MAKE: Hook =
        hook!("make_pud", MakePud, "pud_t (*", ")(pudval_t)", "include/asm/pgtable_types.h, native_make_pud");
}

impl Level for P4d {
    const VAL: Hook =
        hook!("p4d_val", P4dVal, "p4dval_t (*", ")(p4d_t)", "include/asm/pgtable_types.h, native_p4d_val");
    const MAKE: Hook =
        hook!("make_p4d", MakeP4d, "p4d_t (*", ")(p4dval_t)", "include/asm/pgtable_types.h, native_make_p4d");
}

impl Level for Pgd {
    const VAL: Hook =
        hook!("pgd_val", PgdVal, "pgdval_t (*", ")(pgd_t)", "include/asm/pgtable_types.h, native_pgd_val");
    const MAKE: Hook =
        hook!("make_pgd", MakePgd, "pgd_t (*", ")(pgdval_t)", "include/asm/pgtable_types.h, native_make_pgd");
}

impl Upper for Pmd {
    const SET: Hook =
        hook!("set_pmd", SetPmd, "void (*", ")(pmd_t *pmdp, pmd_t pmdval)", "include/asm/pgtable_64.h, native_set_pmd");
    const EXAMPLE: (u64, u64) = (guest::PMD, guest::PTE);
    const ROOT: bool = false;
}

impl Upper for Pud {
    const SET: Hook =
        hook!("set_pud", SetPud, "void (*", ")(pud_t *pudp, pud_t pudval)", "include/asm/pgtable_64.h, native_set_pud");
    const EXAMPLE: (u64, u64) = (guest::PUD, guest::PMD);
    const ROOT: bool = false;
}

impl Upper for P4d {
    const SET: Hook =
        hook!("set_p4d", SetP4d, "void (*", ")(p4d_t *p4dp, p4d_t p4dval)", "include/asm/pgtable_64.h, native_set_p4d");
    const EXAMPLE: (u64, u64) = (guest::ROOT, guest::PUD);
    const ROOT: bool = true;
}

impl Upper for Pgd {
    const SET: Hook =
        hook!("set_pgd", SetPgd, "void (*", ")(pgd_t *pgdp, pgd_t pgdval)", "include/asm/pgtable_64.h, native_set_pgd");
    const EXAMPLE: (u64, u64) = (guest::ROOT, guest::PUD);
    const ROOT: bool = true;
}

impl Table for Pte {
    const ALLOC: Hook =
        hook!("alloc_pte", AllocPte, "void (*", ")(struct mm_struct *mm, unsigned long pfn)", "kernel/paravirt.c");
    const RELEASE: Hook = hook!("release_pte", ReleasePte, "void (*", ")(unsigned long pfn)", "kernel/paravirt.c");
    const IN_XEN: bool = true;
    const PINNED_ITSELF: bool = true;
    const FRESH: u64 = guest::FRESH;
}

impl Table for Pmd {
    const ALLOC: Hook =
        hook!("alloc_pmd", AllocPmd, "void (*", ")(struct mm_struct *mm, unsigned long pfn)", "kernel/paravirt.c");
    const RELEASE: Hook = hook!("release_pmd", ReleasePmd, "void (*", ")(unsigned long pfn)", "kernel/paravirt.c");
    const IN_XEN: bool = true;
    const PINNED_ITSELF: bool = false;
    const FRESH: u64 = guest::FRESH + 1;
}

impl Table for Pud {
    const ALLOC: Hook =
        hook!("alloc_pud", AllocPud, "void (*", ")(struct mm_struct *mm, unsigned long pfn)", "kernel/paravirt.c");
    const RELEASE: Hook = hook!("release_pud", ReleasePud, "void (*", ")(unsigned long pfn)", "kernel/paravirt.c");
    const IN_XEN: bool = true;
    const PINNED_ITSELF: bool = false;
    const FRESH: u64 = guest::FRESH + 2;
}

impl Table for P4d {
    const ALLOC: Hook =
        hook!("alloc_p4d", AllocP4d, "void (*", ")(struct mm_struct *mm, unsigned long pfn)", "kernel/paravirt.c");
    const RELEASE: Hook = hook!("release_p4d", ReleaseP4d, "void (*", ")(unsigned long pfn)", "kernel/paravirt.c");
    const IN_XEN: bool = false;
    const PINNED_ITSELF: bool = false;
    const FRESH: u64 = guest::FRESH + 3;
}
