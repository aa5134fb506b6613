//! Kernels with flagged alternatives as sites, as since Linux 6.8, and with a table of hooks in any order.

use super::{DATA, Section, TEXT, distance, elf, section};

/// Hooks of Linux 7.2 with PARAVIRT_XXL and X86_IOPL_IOPERM, in the order of `struct paravirt_patch_template`.
pub const LINUX_7_2: &str = "get_debugreg set_debugreg read_cr0 write_cr0 write_cr4 load_tr_desc load_gdt load_idt \
     set_ldt \
     store_tr load_tls load_gs_index write_ldt_entry write_gdt_entry write_idt_entry alloc_ldt free_ldt load_sp0 \
     invalidate_io_bitmap update_io_bitmap cpuid read_msr write_msr read_msr_safe write_msr_safe read_pmc \
     start_context_switch end_context_switch save_fl irq_disable irq_enable safe_halt halt flush_tlb_user \
     flush_tlb_kernel flush_tlb_one_user flush_tlb_multi exit_mmap notify_page_enc_status_changed read_cr2 write_cr2 \
     read_cr3 write_cr3 enter_mmap pgd_alloc pgd_free alloc_pte alloc_pmd alloc_pud alloc_p4d release_pte release_pmd \
     release_pud release_p4d set_pte set_pmd ptep_modify_prot_start ptep_modify_prot_commit pte_val make_pte pgd_val \
     make_pgd set_pud pmd_val make_pmd pud_val make_pud set_p4d p4d_val make_p4d set_pgd lazy_flush set_fixmap";
/// `struct pv_lock_ops` of Linux 7.2.
pub const LOCK: &str = "queued_spin_lock_slowpath queued_spin_unlock wait kick vcpu_is_preempted";

const ALTERNATIVES: u64 = 0xffff_ffff_8302_0000;
const REPLACEMENT: u64 = 0xffff_ffff_8303_0000;
const NOT: u16 = 1;
const DIRECT_CALL: u16 = 2;
const ALWAYS: u16 = 3 * 32 + 21;
const XENPV: u16 = 8 * 32 + 16;
const PVUNLOCK: u16 = 8 * 32 + 20;
const VCPUPREEMPT: u16 = 8 * 32 + 21;

fn body(hook: &str) -> &'static [u8] {
    match hook {
        "io_delay" => b"\xe6\x80\xc3",
        "get_debugreg" => b"\x0f\x21\xc0\xc3",
        "set_debugreg" => b"\x0f\x23\xc6\xc3",
        "read_cr0" => b"\x0f\x20\xc0\xc3",
        "write_cr0" => b"\x0f\x22\xc7\xc3",
        "write_cr4" => b"\x0f\x22\xe7\xc3",
        "load_tr_desc" => b"\x0f\x00\xd8\xc3",
        "load_gdt" => b"\x0f\x01\x17\xc3",
        "load_idt" => b"\x0f\x01\x1f\xc3",
        "store_tr" => b"\x0f\x00\xc8\xc3",
        "wbinvd" => b"\x0f\x09\xc3",
        "cpuid" => b"\x0f\xa2\xc3",
        "read_msr" | "read_msr_safe" => b"\x0f\x32\xc3",
        "write_msr" | "write_msr_safe" => b"\x0f\x30\xc3",
        "read_pmc" => b"\x0f\x33\xc3",
        "save_fl" => b"\x9c\x58\xc3",
        "irq_disable" => b"\xfa\xc3",
        "irq_enable" => b"\xfb\xc3",
        // With a static branch around `verw`, for mitigations.
        "safe_halt" => b"\xeb\x03\x0f\x00\xed\xfb\xf4\xc3",
        "halt" => b"\xf4\xc3",
        "read_cr2" => b"\x0f\x20\xd0\xc3",
        "write_cr2" => b"\x0f\x22\xd7\xc3",
        "read_cr3" => b"\x0f\x20\xd8\xc3",
        "write_cr3" => b"\x0f\x22\xdf\xc3",
        hook if hook.ends_with("_val") || hook.starts_with("make_") => b"\x48\x89\xf8\xc3",
        "alloc_ldt" | "free_ldt" | "pgd_free" | "wait" | "kick" | "exit_mmap" | "activate_mm" | "dup_mmap" => b"\xc3",
        "enter_mmap" | "notify_page_enc_status_changed" | "start_context_switch" | "end_context_switch" => b"\xc3",
        hook if hook.starts_with("lazy_") || hook.starts_with("release_") => b"\xc3",
        "alloc_pte" | "alloc_pmd" | "alloc_pud" | "alloc_p4d" => b"\xc3",
        _ => b"\x48\x89\x37\xc3",
    }
}

/// The native instructions of a hook. Boot writes them over its sites if this CPU feature is missing.
fn native(hook: &str) -> Option<(&'static [u8], u16)> {
    match hook {
        "wbinvd" => Some((b"\x0f\x09", XENPV)),
        "save_fl" => Some((b"\x9c\x58", XENPV)),
        "irq_disable" => Some((b"\xfa", XENPV)),
        "irq_enable" => Some((b"\xfb", XENPV)),
        "read_cr2" => Some((b"\x0f\x20\xd0", XENPV)),
        "read_cr3" => Some((b"\x0f\x20\xd8", XENPV)),
        "write_cr3" => Some((b"\x0f\x22\xdf", XENPV)),
        "queued_spin_unlock" => Some((b"\xc6\x07\x00", PVUNLOCK)),
        "vcpu_is_preempted" => Some((b"\x31\xc0", VCPUPREEMPT)),
        hook if hook.ends_with("_val") || hook.starts_with("make_") => Some((b"\x48\x89\xf8", XENPV)),
        _ => None,
    }
}

/// A vmlinux with these hooks, separated by blanks, and a site for each. `extra` has the hooks of a second table, and
/// its distance in bytes from the end of pv_ops.
pub fn kernel(version: &str, hooks: &str, extra: (&str, u64)) -> Vec<u8> {
    let hooks: Vec<&str> = hooks.split_whitespace().collect();
    let extra_hooks: Vec<&str> = extra.0.split_whitespace().collect();
    let base = DATA + 0x100;
    let extra_base = base + 8 * hooks.len() as u64 + extra.1;
    let addresses = (base..).step_by(8).zip(&hooks).chain((extra_base..).step_by(8).zip(&extra_hooks));
    let mut data = vec![0; (extra_base - DATA) as usize + 8 * extra_hooks.len() + 0x800];
    let mut text = vec![0xcc; 0x8000];
    let (mut entries, mut replacements) = (Vec::new(), Vec::new());
    for (index, (slot, hook)) in addresses.enumerate() {
        let (function, site) = (32 * index, 0x4000 + 16 * index);
        text[function..][..body(hook).len()].copy_from_slice(body(hook));
        data[(slot - DATA) as usize..][..8].copy_from_slice(&(TEXT + function as u64).to_le_bytes());
        let address = TEXT + site as u64;
        text[site..site + 2].copy_from_slice(b"\xff\x15");
        text[site + 2..site + 6].copy_from_slice(&distance(address + 6, slot));
        let mut entry = |by: &[u8], feature: u16, flags: u16| {
            let at = ALTERNATIVES + entries.len() as u64;
            entries.extend(distance(at, address));
            entries.extend(distance(at + 4, REPLACEMENT + replacements.len() as u64));
            entries.extend([feature, flags].map(u16::to_le_bytes).concat());
            entries.extend([6, by.len() as u8]);
            replacements.extend(by);
        };
        entry(b"\xe8\0\0\0\0", ALWAYS, DIRECT_CALL);
        if let Some((instructions, feature)) = native(hook) {
            entry(instructions, feature, NOT);
        }
    }
    let banner = format!("\0Linux version {version} (nobody@nowhere) #1\n\0");
    let sections: Vec<Section> = vec![
        section(".text", TEXT, text),
        section(".rodata", 0xffff_ffff_8200_0000, banner.into_bytes()),
        section(".data", DATA, data),
        section(".altinstructions", ALTERNATIVES, entries),
        section(".altinstr_replacement", REPLACEMENT, replacements),
    ];
    elf(sections)
}
