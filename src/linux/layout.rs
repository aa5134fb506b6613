//! Layouts of `struct paravirt_patch_template`: names for the slots of a stripped kernel.
//!
//! The structure is that of Linux 5.16 to 7.3 (`arch/x86/include/asm/paravirt_types.h`). It had eight generations, and
//! three options of the configuration decide which hooks a kernel has. The version of a kernel decides nothing: its
//! native bodies and the code that boot writes over its sites identify the generation. Since 7.0, the hooks of the
//! spinlock are a structure of their own, `pv_ops_lock`. In an unknown layout, slots have numbers instead of names,
//! except for hooks that their bodies identify.

use std::collections::BTreeMap;

use super::body::{Body, Slot};

/// The first and the last Linux with a known structure.
pub const KNOWN: &str = "5.16 to 7.3";

/// `struct pv_cpu_ops` after `io_delay`, up to the hooks of X86_IOPL_IOPERM.
const CPU: [&str; 18] = [
    "get_debugreg",
    "set_debugreg",
    "read_cr0",
    "write_cr0",
    "write_cr4",
    "load_tr_desc",
    "load_gdt",
    "load_idt",
    "set_ldt",
    "store_tr",
    "load_tls",
    "load_gs_index",
    "write_ldt_entry",
    "write_gdt_entry",
    "write_idt_entry",
    "alloc_ldt",
    "free_ldt",
    "load_sp0",
];
/// Hooks of X86_IOPL_IOPERM.
const IOPL: [&str; 2] = ["invalidate_io_bitmap", "update_io_bitmap"];
/// The rest of `struct pv_cpu_ops` after `wbinvd`, and the first hooks of `struct pv_irq_ops`.
const CPU_IRQ: [&str; 11] = [
    "cpuid",
    "read_msr",
    "write_msr",
    "read_msr_safe",
    "write_msr_safe",
    "read_pmc",
    "start_context_switch",
    "end_context_switch",
    "save_fl",
    "irq_disable",
    "irq_enable",
];
/// The rest of `struct pv_irq_ops`. Since 6.15, and in some earlier longterm kernels, these hooks are independent of
/// PARAVIRT_XXL.
const HALT: [&str; 2] = ["safe_halt", "halt"];
/// `struct pv_mmu_ops` before `tlb_remove_table`, with and without PARAVIRT_XXL.
const FLUSH: [&str; 4] = ["flush_tlb_user", "flush_tlb_kernel", "flush_tlb_one_user", "flush_tlb_multi"];
/// `struct pv_mmu_ops` after `tlb_remove_table`, with and without PARAVIRT_XXL.
const MMU: [&str; 2] = ["exit_mmap", "notify_page_enc_status_changed"];
/// Hooks of PARAVIRT_XXL.
const MMU_XXL: [&str; 4] = ["read_cr2", "write_cr2", "read_cr3", "write_cr3"];
/// Hooks for a new address space, up to 6.2.
const ENTER_HOOKS_TO_6_2: [&str; 2] = ["activate_mm", "dup_mmap"];
/// The one hook that replaces both, since 6.3.
const ENTER_HOOK_SINCE_6_3: [&str; 1] = ["enter_mmap"];
/// The other hooks of PARAVIRT_XXL.
const MMU_XXL_REST: [&str; 24] = [
    "pgd_alloc",
    "pgd_free",
    "alloc_pte",
    "alloc_pmd",
    "alloc_pud",
    "alloc_p4d",
    "release_pte",
    "release_pmd",
    "release_pud",
    "release_p4d",
    "set_pte",
    "set_pmd",
    "ptep_modify_prot_start",
    "ptep_modify_prot_commit",
    "pte_val",
    "make_pte",
    "pgd_val",
    "make_pgd",
    "set_pud",
    "pmd_val",
    "make_pmd",
    "pud_val",
    "make_pud",
    "set_p4d",
];
/// Hooks of five levels of page tables.
const FIVE_LEVELS: [&str; 3] = ["p4d_val", "make_p4d", "set_pgd"];
/// `struct pv_lazy_ops`, up to 7.1.
const LAZY: [&str; 3] = ["lazy_enter", "lazy_leave", "lazy_flush"];
/// Its only hook since 7.2.
const LAZY_FLUSH: [&str; 1] = ["lazy_flush"];
/// `struct pv_lock_ops`, up to 7.2.
const LOCK: [&str; 5] = ["queued_spin_lock_slowpath", "queued_spin_unlock", "wait", "kick", "vcpu_is_preempted"];
/// `struct pv_lock_ops` since 7.3, where the first two hooks are static calls.
const LOCK_WITHOUT_SPIN: [&str; 3] = ["wait", "kick", "vcpu_is_preempted"];

/// The structure in a range of versions.
struct Generation {
    first: &'static str,
    last: &'static str,
    io_delay: bool,
    wbinvd: bool,
    tlb_remove_table: bool,
    enter: &'static [&'static str],
    lazy: &'static [&'static str],
    lock: &'static [&'static str],
    /// Whether the hooks of the lock are in `pv_ops_lock`.
    has_lock_table: bool,
}

const LINUX_5_16: Generation = Generation {
    first: "5.16",
    last: "6.2",
    io_delay: true,
    wbinvd: true,
    tlb_remove_table: true,
    enter: &ENTER_HOOKS_TO_6_2,
    lazy: &LAZY,
    lock: &LOCK,
    has_lock_table: false,
};
const LINUX_6_3: Generation = Generation { first: "6.3", last: "6.14", enter: &ENTER_HOOK_SINCE_6_3, ..LINUX_5_16 };
const LINUX_6_15: Generation = Generation { first: "6.15", last: "6.15", tlb_remove_table: false, ..LINUX_6_3 };
const LINUX_6_16: Generation = Generation { first: "6.16", last: "6.19", wbinvd: false, ..LINUX_6_15 };
const LINUX_7_0: Generation = Generation { first: "7.0", last: "7.0", has_lock_table: true, ..LINUX_6_16 };
const LINUX_7_1: Generation = Generation { first: "7.1", last: "7.1", io_delay: false, ..LINUX_7_0 };
const LINUX_7_2: Generation = Generation { first: "7.2", last: "7.2", lazy: &LAZY_FLUSH, ..LINUX_7_1 };
const LINUX_7_3: Generation = Generation { first: "7.3", last: "7.3", lock: &LOCK_WITHOUT_SPIN, ..LINUX_7_2 };
/// All generations, in order: a description names the first and the last that fit.
const GENERATIONS: [Generation; 8] =
    [LINUX_5_16, LINUX_6_3, LINUX_6_15, LINUX_6_16, LINUX_7_0, LINUX_7_1, LINUX_7_2, LINUX_7_3];

/// Options of the configuration. Without PARAVIRT_XXL, `halts` says whether the kernel has the hooks [`HALT`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Options {
    Full { iopl: bool, five_levels: bool },
    Small { halts: bool },
}

impl Options {
    const ALL: [Options; 6] = [
        Options::Full { iopl: true, five_levels: true },
        Options::Full { iopl: true, five_levels: false },
        Options::Full { iopl: false, five_levels: true },
        Options::Full { iopl: false, five_levels: false },
        Options::Small { halts: true },
        Options::Small { halts: false },
    ];

    fn describe(self) -> &'static str {
        match self {
            Options::Full { iopl: true, five_levels: true } => {
                "PARAVIRT_XXL, X86_IOPL_IOPERM, five levels of page tables"
            }
            Options::Full { iopl: true, five_levels: false } => {
                "PARAVIRT_XXL, X86_IOPL_IOPERM, four levels of page tables"
            }
            Options::Full { iopl: false, five_levels: true } => "PARAVIRT_XXL, five levels of page tables",
            Options::Full { iopl: false, five_levels: false } => "PARAVIRT_XXL, four levels of page tables",
            Options::Small { .. } => "without PARAVIRT_XXL",
        }
    }
}

/// The hooks of `pv_ops`, in order. Hooks of `pv_ops_lock` are not among them.
fn list_hooks(linux: &Generation, options: Options) -> Vec<&'static str> {
    let mut names = Vec::new();
    let mut add = |wanted: bool, hooks: &[&'static str]| names.extend(hooks.iter().filter(|_| wanted));
    let full = matches!(options, Options::Full { .. });
    add(linux.io_delay, &["io_delay"]);
    add(full, &CPU);
    add(matches!(options, Options::Full { iopl: true, .. }), &IOPL);
    add(full && linux.wbinvd, &["wbinvd"]);
    add(full, &CPU_IRQ);
    add(options != Options::Small { halts: false }, &HALT);
    add(true, &FLUSH);
    add(linux.tlb_remove_table, &["tlb_remove_table"]);
    add(true, &MMU);
    add(full, &MMU_XXL);
    add(full, linux.enter);
    add(full, &MMU_XXL_REST);
    add(matches!(options, Options::Full { five_levels: true, .. }), &FIVE_LEVELS);
    add(full, linux.lazy);
    add(full, &["set_fixmap"]);
    add(!linux.has_lock_table, linux.lock);
    names
}

/// The names of the slots of a kernel.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Range of versions, and options.
    pub description: String,
    base: u64,
    names: Vec<&'static str>,
    /// The hooks of `pv_ops_lock`, by address.
    lock: BTreeMap<u64, &'static str>,
}

/// With PARAVIRT_XXL, the number of hooks that must behave as named for a layout to fit. A single hook that behaves
/// differently rejects the layout.
const MIN_CONFIRMED_FULL: usize = 8;
/// The same, without PARAVIRT_XXL.
const MIN_CONFIRMED_SMALL: usize = 3;

impl Layout {
    /// The layout of a kernel with `pv_ops` at `base`. `slots` are the called slots and their neighbours, by address.
    /// `None` if no layout fits, or if several fit and name called hooks differently.
    #[must_use]
    pub fn of(slots: &BTreeMap<u64, Slot>, base: u64) -> Option<Layout> {
        let mut found: Option<(Layout, Options, usize, usize)> = None;
        for (index, linux) in GENERATIONS.iter().enumerate() {
            for options in Options::ALL {
                let Some(layout) = fit(slots, base, linux, options) else { continue };
                match &mut found {
                    None => found = Some((layout, options, index, index)),
                    Some((first, ..)) if !first.agrees(&layout, slots) => return None,
                    Some((.., last)) => *last = index,
                }
            }
        }
        let (mut layout, options, first, last) = found?;
        let (first, last) = (GENERATIONS.get(first)?.first, GENERATIONS.get(last)?.last);
        let versions = if first == last { first.to_owned() } else { format!("{first} to {last}") };
        layout.description = format!("Linux {versions}, {}", options.describe());
        Some(layout)
    }

    /// The name of the hook at an address.
    #[must_use]
    pub fn name(&self, address: u64) -> Option<&'static str> {
        let slot = address.checked_sub(self.base).filter(|offset| offset.is_multiple_of(8)).map(|offset| offset / 8);
        let own = slot.and_then(|slot| self.names.get(usize::try_from(slot).ok()?));
        own.or_else(|| self.lock.get(&address)).copied()
    }

    /// Number of slots of `pv_ops`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Always false: every layout has slots.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether two layouts give all called slots the same names.
    fn agrees(&self, other: &Layout, slots: &BTreeMap<u64, Slot>) -> bool {
        slots.iter().filter(|(_, slot)| slot.is_called).all(|(address, _)| self.name(*address) == other.name(*address))
    }
}

/// A layout, if it has all called slots and their hooks behave as named.
fn fit(slots: &BTreeMap<u64, Slot>, base: u64, linux: &Generation, options: Options) -> Option<Layout> {
    let names = list_hooks(linux, options);
    let end = base.checked_add(8 * names.len() as u64)?;
    let confirmed = count_confirmed((base..end).step_by(8).zip(names.iter().copied()), slots)?;
    let min = if matches!(options, Options::Full { .. }) { MIN_CONFIRMED_FULL } else { MIN_CONFIRMED_SMALL };
    let rest: Vec<u64> = slots
        .iter()
        .filter(|(address, slot)| slot.is_called && !(base..end).contains(*address))
        .map(|(address, _)| *address)
        .collect();
    let lock = match (rest.first(), linux.has_lock_table) {
        (None, _) => BTreeMap::new(),
        (Some(first), true) => find_lock_table(slots, *first, &rest, linux.lock)?,
        (Some(_), false) => return None,
    };
    (confirmed >= min).then(|| Layout { description: String::new(), base, names, lock })
}

/// Finds `pv_ops_lock`: the address at which all called hooks behave as named.
fn find_lock_table(
    slots: &BTreeMap<u64, Slot>,
    first: u64,
    called: &[u64],
    names: &[&'static str],
) -> Option<BTreeMap<u64, &'static str>> {
    let table_at = |before: u64| -> Option<BTreeMap<u64, &'static str>> {
        let base = first.checked_sub(8 * before)?;
        let end = base.checked_add(8 * names.len() as u64)?;
        let table: BTreeMap<u64, &'static str> = (base..end).step_by(8).zip(names.iter().copied()).collect();
        // Its slots are never empty, unlike the bytes before it and hooks that only a hypervisor needs.
        let is_set = |address: &u64| slots.get(address).is_some_and(|slot| slot.body != Body::Null);
        let all = called.iter().all(|address| table.contains_key(address)) && table.keys().all(is_set);
        let confirmed = count_confirmed(table.iter().map(|(address, name)| (*address, *name)), slots)?;
        (all && confirmed > 0).then_some(table)
    };
    (0..names.len() as u64).find_map(table_at)
}

/// Number of hooks that behave as named; `None` if one behaves differently.
fn count_confirmed(hooks: impl Iterator<Item = (u64, &'static str)>, slots: &BTreeMap<u64, Slot>) -> Option<usize> {
    let mut confirmed = 0;
    for (address, name) in hooks {
        let Some(slot) = slots.get(&address) else { continue };
        match slot.is(name) {
            Some(false) => return None,
            Some(true) => confirmed += 1,
            None => {}
        }
    }
    Some(confirmed)
}
