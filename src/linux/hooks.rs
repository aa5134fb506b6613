//! The call sites of pv_ops in a kernel, and the code that boot writes over each on bare metal.
//!
//! Up to 6.7, `.parainstructions` has an entry for each site: address, slot, length. Since 6.8, a site is an entry of
//! `.altinstructions` with a flag. In both forms, native instructions are further entries of `.altinstructions` for the
//! same address. Since 7.0, a few sites call slots of `pv_ops_lock`; their numbers follow those of pv_ops.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::body::{self, Body, Slot};
use super::elf::{Elf, ElfError};
use super::layout::{KNOWN, Layout};

/// `X86_FEATURE_XENPV` (`arch/x86/include/asm/cpufeatures.h`): the kernel runs as a Xen PV guest.
pub(super) const XENPV: u16 = 8 * 32 + 16;
/// `X86_FEATURE_PVUNLOCK`: the hook of the unlock is not native.
const PVUNLOCK: u16 = 8 * 32 + 20;
/// `X86_FEATURE_VCPUPREEMPT`: the hook `vcpu_is_preempted` is not native.
const VCPUPREEMPT: u16 = 8 * 32 + 21;

/// Why the sites of a kernel cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HooksError {
    /// The ELF file is damaged or incomplete.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The kernel has no sites.
    #[error(
        "{}: no call sites of pv_ops: the file has neither .parainstructions nor flagged alternatives, so \
         CONFIG_PARAVIRT is off; compare such a kernel with `pvbench linux run`",
        path.display()
    )]
    NoPvOps {
        /// The file.
        path: PathBuf,
    },
    /// The tables have an unknown form.
    #[error(
        "{}: {what}; the forms of Linux {KNOWN} are known, and this is {}; compare such a kernel with `pvbench linux \
         run`",
        path.display(), release.as_deref().unwrap_or("a kernel without a version")
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The finding.
        what: String,
        /// Version of the kernel: `Linux version ..`.
        release: Option<String>,
    },
}

/// The form of an entry in `.altinstructions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// To 6.2: two offsets, a feature whose bit 15 negates it, two lengths.
    Twelve,
    /// Since 6.3: two offsets, a feature, flags, two lengths.
    Fourteen,
}

impl Form {
    fn size(self) -> usize {
        match self {
            Form::Twelve => 12,
            Form::Fourteen => 14,
        }
    }
}

/// An entry of `.altinstructions`.
#[derive(Clone, Copy, Debug)]
pub struct Alternative {
    /// Address of the entry itself.
    pub entry: u64,
    /// Address of the original code.
    pub at: u64,
    /// Address of the replacement.
    pub by: u64,
    /// The CPU feature it depends on.
    pub feature: u16,
    /// Whether boot writes the replacement if the feature is missing.
    pub negated: bool,
    /// Whether the replacement is a direct call of the function that the pointer of the original holds.
    pub direct_call: bool,
    /// Length of the original, in bytes.
    pub length: u8,
    /// Length of the replacement, in bytes.
    pub by_length: u8,
}

/// The code that boot writes over a site on bare metal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The native instructions.
    Instructions(Vec<u8>),
    /// NOPs: the hook does nothing.
    Nop,
    /// A direct call.
    Call,
    /// A trap: the slot is empty.
    Empty,
}

impl Rule {
    /// Name in output.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Rule::Instructions(_) => "instructions",
            Rule::Nop => "nop",
            Rule::Call => "call",
            Rule::Empty => "empty",
        }
    }
}

/// A call site.
#[derive(Clone, Debug)]
pub struct Site {
    /// Address.
    pub address: u64,
    /// The slot of pv_ops that it calls.
    pub slot: usize,
    /// Length in bytes: the call, and NOPs if the native instructions are longer.
    pub length: usize,
    /// The code that boot writes over it.
    pub rule: Rule,
}

/// All sites and alternatives of a kernel.
#[derive(Clone, Debug)]
pub struct Hooks {
    /// Address of pv_ops.
    pub base: u64,
    /// The names of its slots, if a layout fits.
    pub layout: Option<Layout>,
    /// Names of slots without a layout, by address.
    named: BTreeMap<u64, &'static str>,
    /// Addresses of called slots outside pv_ops, whose numbers follow those of pv_ops.
    extra: Vec<u64>,
    /// The sites, in the order of the kernel's table.
    pub sites: Vec<Site>,
    /// All alternatives, including those without a hook.
    pub alternatives: Vec<Alternative>,
    /// The form of the alternatives.
    pub form: Form,
}

impl Hooks {
    /// Reads the tables of a kernel.
    ///
    /// # Errors
    /// If they are missing or in an unknown form.
    pub fn of(elf: &Elf) -> Result<Hooks, HooksError> {
        let (form, alternatives) = read_alternatives(elf)?;
        let calls: Vec<(u64, Option<usize>, usize)> = match elf.section(".parainstructions") {
            Some(section) => {
                let entry = |entry: &[u8]| {
                    let address = u64::from_le_bytes(entry.get(..8)?.try_into().ok()?);
                    Some((address, Some(usize::from(entry[8])), usize::from(entry[9])))
                };
                elf.data(section).chunks_exact(16).filter_map(entry).collect()
            }
            None => {
                let calls = alternatives.iter().filter(|it| it.direct_call);
                calls.map(|it| (it.at, None, usize::from(it.length))).collect()
            }
        };
        if calls.is_empty() {
            return Err(HooksError::NoPvOps { path: elf.path.clone() });
        }
        let mut by_address: BTreeMap<u64, Vec<&Alternative>> = BTreeMap::new();
        for alternative in alternatives.iter().filter(|it| !it.direct_call) {
            by_address.entry(alternative.at).or_default().push(alternative);
        }
        let native = |address: u64| -> Option<Vec<u8>> {
            let it = by_address.get(&address).into_iter().flatten().find(|it| it.is_native())?;
            Some(elf.at(it.by, usize::from(it.by_length)).unwrap_or_default().to_vec())
        };
        let table = Table::find(elf, &calls, native)?;
        let site = |(&(address, _, length), &pointer): (&(u64, Option<usize>, usize), &u64)| {
            let rule = match native(address) {
                Some(instructions) => Rule::Instructions(instructions),
                None => decide_rule(elf, pointer),
            };
            let slot = table.slot(pointer).ok_or_else(|| table.no_slot(elf, address, pointer))?;
            Ok(Site { address, slot, length, rule })
        };
        let sites = calls.iter().zip(&table.pointers).map(site).collect::<Result<_, HooksError>>()?;
        let Table { base, layout, named, extra, .. } = table;
        Ok(Hooks { base, layout, named, extra, sites, alternatives, form })
    }

    /// The address of a slot.
    #[must_use]
    pub fn address(&self, slot: usize) -> u64 {
        let own = self.base.wrapping_add(8 * slot as u64);
        let extra = slot.checked_sub(count_main_slots(self.layout.as_ref())).and_then(|index| self.extra.get(index));
        extra.copied().unwrap_or(own)
    }

    /// The name of a slot, or its number if it has no name.
    #[must_use]
    pub fn name(&self, slot: usize) -> String {
        let address = self.address(slot);
        let name = self.layout.as_ref().and_then(|layout| layout.name(address));
        let name = name.or_else(|| self.named.get(&address).copied());
        name.map_or_else(|| format!("pv_ops[{slot}]"), str::to_owned)
    }

    /// A description of the recognised layout.
    #[must_use]
    pub fn recognised(&self) -> String {
        match &self.layout {
            Some(layout) => layout.description.clone(),
            None => {
                let (named, all) = (self.named.len(), self.slots().len());
                format!("no known layout; {named} of {all} hooks are named by their bodies")
            }
        }
    }

    /// Slots with sites, in order.
    #[must_use]
    pub fn slots(&self) -> Vec<usize> {
        let mut slots: Vec<usize> = self.sites.iter().map(|site| site.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

impl Alternative {
    /// Whether the replacement is the native instructions of a hook.
    fn is_native(&self) -> bool {
        self.negated && matches!(self.feature, XENPV | PVUNLOCK | VCPUPREEMPT)
    }
}

/// The rule of `paravirt_patch()` for the function in a slot.
fn decide_rule(elf: &Elf, slot: u64) -> Rule {
    match elf.quad(slot) {
        None | Some(0) => Rule::Empty,
        Some(function) if body::returns_at_once(elf, function) => Rule::Nop,
        Some(_) => Rule::Call,
    }
}

fn unknown_form(elf: &Elf, what: String) -> HooksError {
    let release = elf.banner().map(|banner| banner.split(' ').take(3).collect::<Vec<_>>().join(" "));
    HooksError::Unknown { path: elf.path.clone(), what, release }
}

/// The address of the pointer that a site calls through: `call *disp(%rip)` or `call *disp`.
fn read_pointer(elf: &Elf, address: u64) -> Option<u64> {
    let long = |at| Some(i64::from(i32::from_le_bytes(elf.at(at, 4)?.try_into().ok()?)));
    match elf.at(address, 3)? {
        [0xff, 0x15, _] => Some((address + 6).wrapping_add_signed(long(address + 2)?)),
        [0xff, 0x14, 0x25] => Some(long(address + 3)? as u64),
        _ => None,
    }
}

/// Bound on the number of slots in an unknown layout: three times that of any known one.
const MAX_SLOTS: usize = 256;
/// Number of slots read before and after each called slot.
const MAX_NEIGHBOURS: u64 = 64;
/// In bytes: a larger gap between called slots separates two tables. In pv_ops, at most two slots in a row are not
/// called.
const MAX_GAP_BYTES: u64 = 8 * 16;

/// Number of slots of pv_ops itself.
fn count_main_slots(layout: Option<&Layout>) -> usize {
    layout.map_or(MAX_SLOTS, Layout::len)
}

/// The tables of slots that sites call through.
struct Table {
    /// The address of the slot of each site.
    pointers: Vec<u64>,
    base: u64,
    layout: Option<Layout>,
    named: BTreeMap<u64, &'static str>,
    extra: Vec<u64>,
}

impl Table {
    /// Finds pv_ops: at the address on which all numbered sites agree, or without numbers, where a layout fits.
    fn find(
        elf: &Elf,
        calls: &[(u64, Option<usize>, usize)],
        native: impl Fn(u64) -> Option<Vec<u8>>,
    ) -> Result<Table, HooksError> {
        let mut pointers = Vec::new();
        for (address, ..) in calls {
            match read_pointer(elf, *address) {
                Some(pointer) => pointers.push(pointer),
                None => return Err(unknown_form(elf, format!("the site at {address:#x} is not an indirect call"))),
            }
        }
        let mut slots = BTreeMap::new();
        for ((address, ..), pointer) in calls.iter().zip(&pointers) {
            let slot = slots.entry(*pointer).or_insert_with(|| describe_slot(elf, *pointer, true));
            slot.native = slot.native.take().or_else(|| native(*address));
        }
        let called: BTreeSet<u64> = slots.keys().copied().collect();
        if called.len() > MAX_SLOTS {
            let what = format!("its sites call {} slots, more than any known pv_ops has", called.len());
            return Err(unknown_form(elf, what));
        }
        // Neighbours of called slots: they are part of a layout, too.
        for pointer in &called {
            let reach = 8 * MAX_NEIGHBOURS;
            for near in (pointer.saturating_sub(reach)..pointer.saturating_add(reach)).step_by(8) {
                slots.entry(near).or_insert_with(|| describe_slot(elf, near, false));
            }
        }
        let numbered = calls
            .first()
            .zip(pointers.first())
            .and_then(|((_, slot, _), pointer)| Some(pointer.wrapping_sub(8 * (*slot)? as u64)));
        let (base, layout) = match numbered {
            Some(base) => (base, Layout::of(&slots, base)),
            None => find_layout(&slots, &called),
        };
        let end = base.saturating_add(8 * count_main_slots(layout.as_ref()) as u64);
        let extra: Vec<u64> =
            called.iter().copied().filter(|at| layout.is_some() && !(base..end).contains(at)).collect();
        let named = if layout.is_some() { BTreeMap::new() } else { body::names(&slots) };
        let table = Table { pointers, base, layout, named, extra };
        for ((address, slot, _), pointer) in calls.iter().zip(&table.pointers) {
            let found = table.slot(*pointer);
            if found.is_none() || slot.is_some_and(|slot| Some(slot) != found) {
                return Err(table.no_slot(elf, *address, *pointer));
            }
        }
        Ok(table)
    }

    /// The number of the slot at an address.
    fn slot(&self, pointer: u64) -> Option<usize> {
        let main = count_main_slots(self.layout.as_ref());
        if let Some(index) = self.extra.iter().position(|at| *at == pointer) {
            return Some(main + index);
        }
        let offset = pointer.checked_sub(self.base).filter(|offset| offset.is_multiple_of(8))?;
        usize::try_from(offset / 8).ok().filter(|slot| *slot < main)
    }

    fn no_slot(&self, elf: &Elf, site: u64, pointer: u64) -> HooksError {
        let base = self.base;
        let what = format!("the site at {site:#x} calls {pointer:#x}, which is not a slot of pv_ops at {base:#x}");
        unknown_form(elf, what)
    }
}

fn describe_slot(elf: &Elf, slot: u64, is_called: bool) -> Slot {
    let body = elf.quad(slot).map_or(Body::NoCode, |function| body::decode_body(elf, function));
    Slot { is_called, native: None, body }
}

/// The address at which a layout fits, and the layout. The first called slot may not be the first slot.
fn find_layout(slots: &BTreeMap<u64, Slot>, called: &BTreeSet<u64>) -> (u64, Option<Layout>) {
    let mut firsts = Vec::new();
    let mut last: Option<u64> = None;
    for at in called {
        if last.is_none_or(|last| at - last > MAX_GAP_BYTES) {
            firsts.push(*at);
        }
        last = Some(*at);
    }
    let bases = firsts.iter().flat_map(|first| (0..MAX_NEIGHBOURS).map(move |before| first.saturating_sub(8 * before)));
    let fits = bases.into_iter().find_map(|base| Some((base, Some(Layout::of(slots, base)?))));
    fits.unwrap_or((firsts.first().copied().unwrap_or_default(), None))
}

/// Reads all alternatives in the form in which every entry is plausible.
fn read_alternatives(elf: &Elf) -> Result<(Form, Vec<Alternative>), HooksError> {
    let section = elf.need(".altinstructions", "every x86 kernel has it; name the vmlinuz or vmlinux of Linux")?;
    let data = elf.data(section);
    for form in [Form::Twelve, Form::Fourteen] {
        if !data.len().is_multiple_of(form.size()) {
            continue;
        }
        let entries = data.chunks_exact(form.size()).enumerate();
        let found: Option<Vec<Alternative>> = entries
            .map(|(index, bytes)| {
                let entry = section.address + (index * form.size()) as u64;
                read_alternative(form, entry, bytes).filter(|it| it.is_plausible(elf))
            })
            .collect();
        if let Some(found) = found {
            return Ok((form, found));
        }
    }
    Err(unknown_form(elf, format!("the {} bytes of .altinstructions have an unknown form", data.len())))
}

fn read_alternative(form: Form, entry: u64, bytes: &[u8]) -> Option<Alternative> {
    const NEGATED_12: u16 = 1 << 15;
    const NEGATED_14: u16 = 1;
    const DIRECT_CALL: u16 = 2;
    let offset = |at: usize| Some(i64::from(i32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)));
    let word = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let flags = word(10)?;
    let (feature, negated, direct_call, lengths) = match form {
        Form::Twelve => (word(8)? & !NEGATED_12, word(8)? & NEGATED_12 != 0, false, 10),
        Form::Fourteen => (word(8)?, flags & NEGATED_14 != 0, flags & DIRECT_CALL != 0, 12),
    };
    Some(Alternative {
        entry,
        at: entry.wrapping_add_signed(offset(0)?),
        by: (entry + 4).wrapping_add_signed(offset(4)?),
        feature,
        negated,
        direct_call,
        length: *bytes.get(lengths)?,
        by_length: *bytes.get(lengths + 1)?,
    })
}

impl Alternative {
    fn is_plausible(&self, elf: &Elf) -> bool {
        let replacement = || elf.section(".altinstr_replacement").is_some_and(|it| it.addresses().contains(&self.by));
        elf.at(self.at, usize::from(self.length)).is_some()
            && self.by_length <= self.length
            && (self.by_length == 0 || replacement())
    }
}
