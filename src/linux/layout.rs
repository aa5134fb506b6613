//! What is where in `struct paravirt_patch_template`: names for the numbers that a stripped kernel has.
//!
//! The structure is that of Linux 5.16 to 7.3 (`arch/x86/include/asm/paravirt_types.h`). Hooks came and went in eight
//! generations, and three options of the configuration decide which a kernel has. The version that a kernel names
//! decides nothing: what the native bodies do and what boot writes over the sites tells the generation. Since 7.0 the
//! hooks of the spinlock are a structure of their own, `pv_ops_lock`. A kernel that no layout fits keeps numbers
//! instead of names, but for hooks that their bodies name.

use std::collections::BTreeMap;

use super::body::{Body, Slot};

/// The first and the last Linux whose structure is known.
pub const KNOWN: &str = "5.16 to 7.3";

/// `struct pv_cpu_ops` behind `io_delay`, up to what X86_IOPL_IOPERM adds.
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
/// With X86_IOPL_IOPERM.
const IOPL: [&str; 2] = ["invalidate_io_bitmap", "update_io_bitmap"];
/// The rest of `struct pv_cpu_ops` behind `wbinvd`, and the first of `struct pv_irq_ops`.
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
/// The rest of `struct pv_irq_ops`. Since 6.15, and in some longterm kernels before, they do not depend on
/// PARAVIRT_XXL.
const HALT: [&str; 2] = ["safe_halt", "halt"];
/// `struct pv_mmu_ops` with and without PARAVIRT_XXL, before and behind `tlb_remove_table`.
const FLUSH: [&str; 4] = ["flush_tlb_user", "flush_tlb_kernel", "flush_tlb_one_user", "flush_tlb_multi"];
const MMU: [&str; 2] = ["exit_mmap", "notify_page_enc_status_changed"];
/// With PARAVIRT_XXL.
const MMU_XXL: [&str; 4] = ["read_cr2", "write_cr2", "read_cr3", "write_cr3"];
/// To 6.2; since then one hook stands for both.
const TWO_HOOKS: [&str; 2] = ["activate_mm", "dup_mmap"];
const ONE_HOOK: [&str; 1] = ["enter_mmap"];
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
/// What five levels of page tables add.
const FIVE_LEVELS: [&str; 3] = ["p4d_val", "make_p4d", "set_pgd"];
/// `struct pv_lazy_ops`; of it one is left since 7.2.
const LAZY: [&str; 3] = ["lazy_enter", "lazy_leave", "lazy_flush"];
const LAZY_FLUSH: [&str; 1] = ["lazy_flush"];
/// `struct pv_lock_ops`; since 7.3 the first two are static calls.
const LOCK: [&str; 5] = ["queued_spin_lock_slowpath", "queued_spin_unlock", "wait", "kick", "vcpu_is_preempted"];
const LOCK_WITHOUT_SPIN: [&str; 3] = ["wait", "kick", "vcpu_is_preempted"];

/// The structure as it was for some versions.
struct Generation {
    first: &'static str,
    last: &'static str,
    io_delay: bool,
    wbinvd: bool,
    tlb_remove_table: bool,
    enter: &'static [&'static str],
    lazy: &'static [&'static str],
    lock: &'static [&'static str],
    /// Whether the lock's hooks are `pv_ops_lock`.
    lock_apart: bool,
}

const LINUX_5_16: Generation = Generation {
    first: "5.16",
    last: "6.2",
    io_delay: true,
    wbinvd: true,
    tlb_remove_table: true,
    enter: &TWO_HOOKS,
    lazy: &LAZY,
    lock: &LOCK,
    lock_apart: false,
};
const LINUX_6_3: Generation = Generation { first: "6.3", last: "6.14", enter: &ONE_HOOK, ..LINUX_5_16 };
const LINUX_6_15: Generation = Generation { first: "6.15", last: "6.15", tlb_remove_table: false, ..LINUX_6_3 };
const LINUX_6_16: Generation = Generation { first: "6.16", last: "6.19", wbinvd: false, ..LINUX_6_15 };
const LINUX_7_0: Generation = Generation { first: "7.0", last: "7.0", lock_apart: true, ..LINUX_6_16 };
const LINUX_7_1: Generation = Generation { first: "7.1", last: "7.1", io_delay: false, ..LINUX_7_0 };
const LINUX_7_2: Generation = Generation { first: "7.2", last: "7.2", lazy: &LAZY_FLUSH, ..LINUX_7_1 };
const LINUX_7_3: Generation = Generation { first: "7.3", last: "7.3", lock: &LOCK_WITHOUT_SPIN, ..LINUX_7_2 };
/// In order: those that fit are named from the first to the last of them.
const GENERATIONS: [Generation; 8] =
    [LINUX_5_16, LINUX_6_3, LINUX_6_15, LINUX_6_16, LINUX_7_0, LINUX_7_1, LINUX_7_2, LINUX_7_3];

/// What the configuration adds. Without PARAVIRT_XXL, `halts` is what it depends on otherwise.
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

    fn shown(self) -> &'static str {
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

/// The hooks of `pv_ops`, in order; those of the lock only where they belong to it.
fn names(linux: &Generation, options: Options) -> Vec<&'static str> {
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
    add(!linux.lock_apart, linux.lock);
    names
}

/// The names of a kernel's slots.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Of which Linux, and with which options.
    pub description: String,
    base: u64,
    names: Vec<&'static str>,
    /// The hooks of `pv_ops_lock`, by address.
    lock: BTreeMap<u64, &'static str>,
}

/// So many hooks have to do what their names say, at least; a layout in which one does something else is none.
const MIN_TELLING_FULL: usize = 8;
const MIN_TELLING_SMALL: usize = 3;

impl Layout {
    /// That of a kernel whose `pv_ops` stands at `base`, by what is known of slots, called ones and those around them,
    /// by address. `None` where none fits, or some that name hooks differently.
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
        layout.description = format!("Linux {versions}, {}", options.shown());
        Some(layout)
    }

    /// The name of what stands at an address.
    #[must_use]
    pub fn name(&self, address: u64) -> Option<&'static str> {
        let slot = address.checked_sub(self.base).filter(|offset| offset.is_multiple_of(8)).map(|offset| offset / 8);
        let own = slot.and_then(|slot| self.names.get(usize::try_from(slot).ok()?));
        own.or_else(|| self.lock.get(&address)).copied()
    }

    /// How many slots `pv_ops` has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none, which no layout has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether two layouts name what is called alike.
    fn agrees(&self, other: &Layout, slots: &BTreeMap<u64, Slot>) -> bool {
        slots.iter().filter(|(_, slot)| slot.is_called).all(|(address, _)| self.name(*address) == other.name(*address))
    }
}

/// One layout, if all that is called is in it and does what it says.
fn fit(slots: &BTreeMap<u64, Slot>, base: u64, linux: &Generation, options: Options) -> Option<Layout> {
    let names = names(linux, options);
    let end = base.checked_add(8 * names.len() as u64)?;
    let telling = telling((base..end).step_by(8).zip(names.iter().copied()), slots)?;
    let least = if matches!(options, Options::Full { .. }) { MIN_TELLING_FULL } else { MIN_TELLING_SMALL };
    let rest: Vec<u64> = slots
        .iter()
        .filter(|(address, slot)| slot.is_called && !(base..end).contains(*address))
        .map(|(address, _)| *address)
        .collect();
    let lock = match (rest.first(), linux.lock_apart) {
        (None, _) => BTreeMap::new(),
        (Some(first), true) => lock(slots, *first, &rest, linux.lock)?,
        (Some(_), false) => return None,
    };
    (telling >= least).then(|| Layout { description: String::new(), base, names, lock })
}

/// Where `pv_ops_lock` is: where the hooks that are called do what they should.
fn lock(
    slots: &BTreeMap<u64, Slot>,
    first: u64,
    called: &[u64],
    names: &[&'static str],
) -> Option<BTreeMap<u64, &'static str>> {
    let at = |before: u64| -> Option<BTreeMap<u64, &'static str>> {
        let base = first.checked_sub(8 * before)?;
        let end = base.checked_add(8 * names.len() as u64)?;
        let table: BTreeMap<u64, &'static str> = (base..end).step_by(8).zip(names.iter().copied()).collect();
        // None of them is ever empty, unlike hooks that a hypervisor alone needs, and the space before the structure.
        let is_set = |address: &u64| slots.get(address).is_some_and(|slot| slot.body != Body::Null);
        let all = called.iter().all(|address| table.contains_key(address)) && table.keys().all(is_set);
        let telling = telling(table.iter().map(|(address, name)| (*address, *name)), slots)?;
        (all && telling > 0).then_some(table)
    };
    (0..names.len() as u64).find_map(at)
}

/// How many of these hooks do what their names say; `None` where one does something else.
fn telling(hooks: impl Iterator<Item = (u64, &'static str)>, slots: &BTreeMap<u64, Slot>) -> Option<usize> {
    let mut telling = 0;
    for (address, name) in hooks {
        let Some(slot) = slots.get(&address) else { continue };
        match slot.is(name) {
            Some(false) => return None,
            Some(true) => telling += 1,
            None => {}
        }
    }
    Some(telling)
}
