//! Recognises slots of pv_ops by the native body of a hook and by the code that boot writes over its sites.

use std::collections::BTreeMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};

use super::elf::Elf;

/// A requirement on the body of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The body has this instruction.
    Does(Act),
    /// The body returns at once.
    Nothing,
    /// The body does more than return.
    Something,
    /// The body returns its argument.
    Identity,
    /// No requirement.
    Any,
}

/// An instruction that few bodies have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `out`
    Out,
    /// `mov %dr,%reg`
    FromDebug,
    /// `mov %reg,%dr`
    ToDebug,
    /// `mov %crN,%reg`
    FromCr(u8),
    /// `mov %reg,%crN`
    ToCr(u8),
    /// Another instruction, by its mnemonic.
    Is(Mnemonic),
}

/// Hooks, each with an instruction of its body.
const ACTS: &[(&str, Act)] = &[
    ("io_delay", Act::Out),
    ("get_debugreg", Act::FromDebug),
    ("set_debugreg", Act::ToDebug),
    ("read_cr0", Act::FromCr(0)),
    ("write_cr0", Act::ToCr(0)),
    ("write_cr4", Act::ToCr(4)),
    ("load_tr_desc", Act::Is(Mnemonic::Ltr)),
    ("load_gdt", Act::Is(Mnemonic::Lgdt)),
    ("load_idt", Act::Is(Mnemonic::Lidt)),
    ("store_tr", Act::Is(Mnemonic::Str)),
    ("wbinvd", Act::Is(Mnemonic::Wbinvd)),
    ("cpuid", Act::Is(Mnemonic::Cpuid)),
    ("read_msr", Act::Is(Mnemonic::Rdmsr)),
    ("write_msr", Act::Is(Mnemonic::Wrmsr)),
    ("read_msr_safe", Act::Is(Mnemonic::Rdmsr)),
    ("write_msr_safe", Act::Is(Mnemonic::Wrmsr)),
    ("read_pmc", Act::Is(Mnemonic::Rdpmc)),
    ("save_fl", Act::Is(Mnemonic::Pushfq)),
    ("irq_disable", Act::Is(Mnemonic::Cli)),
    ("irq_enable", Act::Is(Mnemonic::Sti)),
    ("safe_halt", Act::Is(Mnemonic::Hlt)),
    ("halt", Act::Is(Mnemonic::Hlt)),
    ("read_cr2", Act::FromCr(2)),
    ("write_cr2", Act::ToCr(2)),
    ("read_cr3", Act::FromCr(3)),
    ("write_cr3", Act::ToCr(3)),
];

/// Hooks that do nothing on bare metal.
const NOTHING: &[&str] = &[
    "alloc_ldt",
    "free_ldt",
    "start_context_switch",
    "end_context_switch",
    "exit_mmap",
    "notify_page_enc_status_changed",
    "activate_mm",
    "dup_mmap",
    "enter_mmap",
    "pgd_free",
    "alloc_pte",
    "alloc_pmd",
    "alloc_pud",
    "alloc_p4d",
    "release_pte",
    "release_pmd",
    "release_pud",
    "release_p4d",
    "lazy_enter",
    "lazy_leave",
    "lazy_flush",
    "wait",
    "kick",
];

/// Hooks whose bodies do more than return.
const SOMETHING: &[&str] = &[
    "load_tls",
    "load_sp0",
    "flush_tlb_user",
    "flush_tlb_kernel",
    "flush_tlb_one_user",
    "flush_tlb_multi",
    "tlb_remove_table",
    "pgd_alloc",
    "set_pte",
    "set_pmd",
    "set_pud",
    "set_p4d",
    "set_pgd",
    "set_fixmap",
    "queued_spin_lock_slowpath",
];

/// `_paravirt_ident_64`: `mov %rdi,%rax`.
const IDENTITY: &[u8] = b"\x48\x89\xf8";
/// Hooks that return their argument.
const IDENTITIES: &[&str] = &[
    "pte_val", "make_pte", "pgd_val", "make_pgd", "pmd_val", "make_pmd", "pud_val", "make_pud", "p4d_val", "make_p4d",
];

/// Hooks with native instructions, as Linux's header defines them. Boot writes them over the sites; other hooks have
/// none.
const NATIVE: &[(&str, &[&[u8]])] = &[
    ("wbinvd", &[b"\x0f\x09"]),
    ("save_fl", &[b"\x9c\x58"]),
    ("irq_disable", &[b"\xfa"]),
    ("irq_enable", &[b"\xfb"]),
    ("read_cr2", &[b"\x0f\x20\xd0"]),
    ("read_cr3", &[b"\x0f\x20\xd8"]),
    ("write_cr3", &[b"\x0f\x22\xdf"]),
    ("queued_spin_unlock", &[b"\xc6\x07\x00"]),
    ("vcpu_is_preempted", &[b"\x31\xc0", b"\x48\x31\xc0"]),
];

/// The requirement on the body of a hook.
#[must_use]
pub fn need(hook: &str) -> Need {
    if let Some((_, act)) = ACTS.iter().find(|(name, _)| *name == hook) {
        Need::Does(*act)
    } else if NOTHING.contains(&hook) {
        Need::Nothing
    } else if SOMETHING.contains(&hook) {
        Need::Something
    } else if IDENTITIES.contains(&hook) {
        Need::Identity
    } else {
        Need::Any
    }
}

/// The native instructions of a hook, in all their forms.
fn native_forms(hook: &str) -> Option<&'static [&'static [u8]]> {
    let own = NATIVE.iter().find(|(name, _)| *name == hook).map(|(_, bytes)| *bytes);
    own.or_else(|| IDENTITIES.contains(&hook).then_some(&[IDENTITY]))
}

/// The behaviour of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The slot is empty.
    Null,
    /// The slot does not hold the address of a function.
    NoCode,
    /// The body returns at once.
    Nothing,
    /// The body returns its argument.
    Identity,
    /// The function has these instructions, among others.
    Other(Vec<Act>),
}

/// The facts about a slot.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Whether a site calls it.
    pub is_called: bool,
    /// The native instructions that boot writes over its sites, if any.
    pub native: Option<Vec<u8>>,
    /// The body that it points to.
    pub body: Body,
}

impl Slot {
    /// Whether the slot behaves like the hook of this name; `None` if that is undecided.
    #[must_use]
    pub fn is(&self, hook: &str) -> Option<bool> {
        if let Some(own) = &self.native {
            // Other hooks have no native instructions. A hook that has some may have got a new form.
            let Some(known) = native_forms(hook) else { return Some(false) };
            return known.contains(&own.as_slice()).then_some(true);
        }
        match (need(hook), &self.body) {
            (_, Body::Null) => None,
            (_, Body::NoCode) => Some(false),
            (Need::Any, _) => None,
            (Need::Nothing, body) => Some(*body == Body::Nothing),
            (Need::Something, body) => (*body == Body::Nothing).then_some(false),
            (Need::Identity, body) => Some(*body == Body::Identity),
            (Need::Does(act), Body::Other(acts)) => Some(acts.contains(&act)),
            (Need::Does(_), Body::Nothing | Body::Identity) => Some(false),
        }
    }
}

/// Names of called slots that are unique by behaviour. They are the only names if no layout fits.
#[must_use]
pub fn names(slots: &BTreeMap<u64, Slot>) -> BTreeMap<u64, &'static str> {
    let called = || slots.iter().filter(|(_, slot)| slot.is_called);
    let only = |is: &dyn Fn(&Slot) -> bool| {
        let mut those = called().filter(|(_, slot)| is(slot)).map(|(address, _)| *address);
        those.next().filter(|_| those.next().is_none())
    };
    let by_sites = NATIVE.iter().filter_map(|(name, bytes)| {
        Some((only(&|slot| slot.native.as_deref().is_some_and(|own| bytes.contains(&own)))?, *name))
    });
    let is_alone = |act: &Act| ACTS.iter().filter(|(_, other)| other == act).count() == 1;
    let by_bodies = ACTS.iter().filter(|(_, act)| is_alone(act)).filter_map(|(name, act)| {
        let does = |slot: &Slot| matches!(&slot.body, Body::Other(acts) if acts.contains(act));
        Some((only(&does)?, *name))
    });
    // Evidence from sites outweighs single instructions of a body, so it comes last and replaces them.
    by_bodies.chain(by_sites).collect()
}

/// Bound on the decoded part of a function, in instructions and in bytes; native bodies are shorter.
const MAX_INSTRUCTIONS: usize = 64;
const MAX_BYTES: usize = 512;

/// Decodes the function that a slot points to.
#[must_use]
pub fn decode_body(elf: &Elf, function: u64) -> Body {
    let is_code = |at: u64| elf.section(".text").is_some_and(|text| text.addresses().contains(&at));
    if function == 0 {
        return Body::Null;
    }
    if !is_code(function) {
        return Body::NoCode;
    }
    if returns_at_once(elf, function) {
        return Body::Nothing;
    }
    if starts_with(elf, function, IDENTITY) {
        return Body::Identity;
    }
    let (mut acts, mut furthest) = (Vec::new(), 0);
    let decoder = Decoder::with_ip(64, elf.up_to(function, MAX_BYTES), function, DecoderOptions::NONE);
    for instruction in decoder.into_iter().take(MAX_INSTRUCTIONS) {
        if instruction.is_invalid() || instruction.mnemonic() == Mnemonic::Int3 {
            break;
        }
        acts.extend(find_act(&instruction));
        let flow = instruction.flow_control();
        // A short jump stays in the function: for example, a static branch that is not taken.
        let is_short = flow == FlowControl::UnconditionalBranch && instruction.len() == 2;
        if flow == FlowControl::ConditionalBranch || is_short {
            furthest = furthest.max(instruction.near_branch_target());
        }
        let ends = matches!(flow, FlowControl::Return | FlowControl::UnconditionalBranch | FlowControl::IndirectBranch);
        if ends && furthest < instruction.next_ip() {
            break;
        }
    }
    Body::Other(acts)
}

/// The instruction as one of [`Act`], if it is one.
fn find_act(instruction: &Instruction) -> Option<Act> {
    let number = |register: Register| u8::try_from(register as usize - Register::CR0 as usize).ok();
    match instruction.mnemonic() {
        Mnemonic::Out => Some(Act::Out),
        Mnemonic::Mov => match (instruction.op0_register(), instruction.op1_register()) {
            (to, _) if to.is_dr() => Some(Act::ToDebug),
            (_, from) if from.is_dr() => Some(Act::FromDebug),
            (to, _) if to.is_cr() => number(to).map(Act::ToCr),
            (_, from) if from.is_cr() => number(from).map(Act::FromCr),
            _ => None,
        },
        other => ACTS.iter().map(|(_, act)| *act).find(|act| *act == Act::Is(other)),
    }
}

const ENDBR64: &[u8] = b"\xf3\x0f\x1e\xfa";

/// Whether the function at an address starts with these bytes.
pub(super) fn starts_with(elf: &Elf, address: u64, body: &[u8]) -> bool {
    elf.at(skip_endbr(elf, address), body.len()) == Some(body)
}

fn skip_endbr(elf: &Elf, address: u64) -> u64 {
    let is_endbr = elf.at(address, ENDBR64.len()) == Some(ENDBR64);
    if is_endbr { address + ENDBR64.len() as u64 } else { address }
}

/// Whether a function is `_paravirt_nop`: a return, `c3`, or with return thunks a jump to one. `.return_sites` tells
/// such a jump from others.
pub(super) fn returns_at_once(elf: &Elf, function: u64) -> bool {
    let at = skip_endbr(elf, function);
    if elf.at(at, 1) == Some(&[0xc3]) {
        return true;
    }
    let Some(sites) = elf.section(".return_sites") else { return false };
    elf.at(at, 1) == Some(&[0xe9])
        && elf.data(sites).chunks_exact(4).enumerate().any(|(index, offset)| {
            let offset = i32::from_le_bytes(offset.try_into().unwrap_or_default());
            (sites.address + 4 * index as u64).wrapping_add_signed(i64::from(offset)) == at
        })
}
