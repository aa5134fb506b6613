//! What is where in `struct paravirt_patch_template`: names for the numbers that a stripped kernel has.
//!
//! The structure is that of Linux 5.16 to 6.13 (`arch/x86/include/asm/paravirt_types.h`); what of it a kernel has depends on
//! its version and on three options of its configuration. Which of them it was built with, the bodies tell: `save_fl` is `pushf; pop %rax`, and
//! so on. A kernel that no layout fits keeps numbers instead of names.

use super::elf::Elf;

/// `struct pv_cpu_ops`, up to what X86_IOPL_IOPERM adds.
const CPU: [&str; 19] = [
    "io_delay",
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
/// The rest of `struct pv_cpu_ops`, and `struct pv_irq_ops`.
const CPU_IRQ: [&str; 15] = [
    "wbinvd",
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
    "safe_halt",
    "halt",
    // `struct pv_mmu_ops`
    "flush_tlb_user",
];
/// `struct pv_mmu_ops` with and without PARAVIRT_XXL.
const MMU: [&str; 6] = [
    "flush_tlb_kernel",
    "flush_tlb_one_user",
    "flush_tlb_multi",
    "tlb_remove_table",
    "exit_mmap",
    "notify_page_enc_status_changed",
];
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
const LAZY: [&str; 4] = ["lazy_enter", "lazy_leave", "lazy_flush", "set_fixmap"];
/// `struct pv_lock_ops`
const LOCK: [&str; 5] = ["queued_spin_lock_slowpath", "queued_spin_unlock", "wait", "kick", "vcpu_is_preempted"];

/// Bodies that tell a slot: what they do, without the `endbr64` before and the return after it.
const BODIES: [(&str, &[u8]); 6] = [
    ("save_fl", b"\x9c\x58"),
    ("irq_disable", b"\xfa"),
    ("irq_enable", b"\xfb"),
    ("read_cr2", b"\x0f\x20\xd0"),
    ("read_cr3", b"\x0f\x20\xd8"),
    ("pte_val", b"\x48\x89\xf8"),
];
const ENDBR64: &[u8] = b"\xf3\x0f\x1e\xfa";

/// The names of a kernel's slots, in order.
#[derive(Clone, Debug)]
pub struct Layout {
    names: Vec<&'static str>,
}

/// `full` is PARAVIRT_XXL, `merged` Linux 6.3 and later.
fn layout(full: bool, iopl: bool, merged: bool, five_levels: bool) -> Layout {
    let mut names = Vec::new();
    if full {
        names.extend(CPU);
        names.extend(iopl.then_some(IOPL).into_iter().flatten());
        names.extend(CPU_IRQ);
    } else {
        names.extend(["io_delay", "flush_tlb_user"]);
    }
    names.extend(MMU);
    if full {
        names.extend(MMU_XXL);
        names.extend(if merged { &ONE_HOOK[..] } else { &TWO_HOOKS[..] });
        names.extend(MMU_XXL_REST);
        names.extend(five_levels.then_some(FIVE_LEVELS).into_iter().flatten());
        names.extend(LAZY);
    }
    names.extend(LOCK);
    Layout { names }
}

impl Layout {
    /// That of a kernel whose `pv_ops` stands at `base` and has slots up to `last`; `None` where the bodies fit none.
    #[must_use]
    pub fn of(elf: &Elf, base: u64, last: usize) -> Option<Layout> {
        let options = (0..8).map(|bits| layout(true, bits & 1 != 0, bits & 2 != 0, bits & 4 != 0));
        let full = options.into_iter().find(|it| it.fits_full(elf, base));
        full.or_else(|| Some(layout(false, false, false, false)).filter(|it| it.fits_small(elf, base)))
            .filter(|layout| last < layout.names.len())
    }

    /// The name of a slot; its number where there is none.
    #[must_use]
    pub fn name(layout: Option<&Layout>, slot: usize) -> String {
        let name = layout.and_then(|layout| layout.names.get(slot));
        name.map_or_else(|| format!("pv_ops[{slot}]"), |name| (*name).to_owned())
    }

    fn slot(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| *known == name)
    }

    /// How many slots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none, which no layout has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn fits_full(&self, elf: &Elf, base: u64) -> bool {
        let pointer = |name: &str| elf.quad(base + 8 * self.slot(name)? as u64);
        let is = |(name, body): &(&str, &[u8])| pointer(name).is_some_and(|at| starts_with(elf, at, body));
        // All conversions of entries are the one identity function; with a wrong number of levels the slots after them
        // would be it, too, or would not.
        let identity = pointer("pte_val");
        let levels = ["p4d_val", "make_p4d"].iter().all(|name| self.slot(name).is_none() || pointer(name) == identity);
        BODIES.iter().all(is) && identity.is_some() && levels && pointer("lazy_enter") != identity
    }

    /// Without PARAVIRT_XXL no body is a single instruction; what is known is that `flush_tlb_multi` and so on are there
    /// and the slots before and after are pointers into the text.
    fn fits_small(&self, elf: &Elf, base: u64) -> bool {
        let text = |at: u64| elf.section(".text").is_some_and(|text| text.addresses().contains(&at));
        // A hook that nobody needs without a hypervisor may be null.
        (0..self.names.len()).all(|slot| elf.quad(base + 8 * slot as u64).is_some_and(|at| at == 0 || text(at)))
            && elf.quad(base).is_some_and(text)
    }
}

/// Whether the function at an address begins so.
pub(super) fn starts_with(elf: &Elf, address: u64, body: &[u8]) -> bool {
    let after = |skip: u64| elf.at(address + skip, body.len()) == Some(body);
    after(0) || (elf.at(address, ENDBR64.len()) == Some(ENDBR64) && after(ENDBR64.len() as u64))
}
