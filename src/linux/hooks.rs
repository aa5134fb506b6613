//! The call sites of pv_ops in a kernel, and what it writes over each when it boots on bare metal.
//!
//! Up to 6.7, `.parainstructions` has an entry for each site: address, slot, length. Since 6.8 a site is an entry of
//! `.altinstructions` with a flag. Either way further entries of `.altinstructions` for the same address hold the
//! native instructions, if there are any. Since 7.0 a few sites call slots of `pv_ops_lock`; they are numbered behind
//! those of pv_ops.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::body::{self, Body, Slot};
use super::elf::{Elf, ElfError};
use super::layout::{KNOWN, Layout};

/// `X86_FEATURE_XENPV` (`arch/x86/include/asm/cpufeatures.h`): runs as a Xen PV guest.
pub(super) const XENPV: u16 = 8 * 32 + 16;
/// `X86_FEATURE_PVUNLOCK` and `X86_FEATURE_VCPUPREEMPT`: the lock's hooks are not the native ones.
const PVUNLOCK: u16 = 8 * 32 + 20;
const VCPUPREEMPT: u16 = 8 * 32 + 21;

/// Why the sites of a kernel are not known.
#[derive(Debug, thiserror::Error)]
pub enum HooksError {
    /// Of the ELF file.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// It has none.
    #[error(
        "{}: no call sites of pv_ops: neither .parainstructions nor flagged alternatives, so CONFIG_PARAVIRT is off; \
         `pvbench linux run` takes such a kernel, for comparison",
        path.display()
    )]
    NoPvOps {
        /// Which file.
        path: PathBuf,
    },
    /// The tables are of a form that is not known here.
    #[error(
        "{}: {what}; the forms of Linux {KNOWN} are known, this is {}; `pvbench linux run` takes such a kernel, for \
         comparison",
        path.display(), release.as_deref().unwrap_or("a kernel that names no version")
    )]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// What was seen.
        what: String,
        /// `Linux version ..`
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
    /// Where the entry itself stands.
    pub entry: u64,
    /// What it replaces.
    pub at: u64,
    /// By what.
    pub by: u64,
    /// The CPU feature it depends on.
    pub feature: u16,
    /// Whether it is written where the feature is missing.
    pub negated: bool,
    /// Whether the replacement is a call of what the original's pointer points to.
    pub direct_call: bool,
    /// How long the original is.
    pub length: u8,
    /// How long the replacement is.
    pub by_length: u8,
}

/// What bare metal makes of a site.
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
    /// As shown.
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
    /// Its address.
    pub address: u64,
    /// The slot of pv_ops that it calls.
    pub slot: usize,
    /// Its bytes: the call and, where the native instructions are longer, NOPs.
    pub length: usize,
    /// What bare metal makes of it.
    pub rule: Rule,
}

/// All of a kernel.
#[derive(Clone, Debug)]
pub struct Hooks {
    /// Where pv_ops is.
    pub base: u64,
    /// The names of its slots, where they are known.
    pub layout: Option<Layout>,
    /// Names that slots have without a layout, by address.
    named: BTreeMap<u64, &'static str>,
    /// Where the called slots are that are none of pv_ops: those numbered behind them.
    apart: Vec<u64>,
    /// In the order of the kernel's table.
    pub sites: Vec<Site>,
    /// All alternatives, also those that have to do with other things.
    pub alternatives: Vec<Alternative>,
    /// Their form.
    pub form: Form,
}

impl Hooks {
    /// Finds them.
    ///
    /// # Errors
    /// Where there are none, or in a form that is not known.
    pub fn of(elf: &Elf) -> Result<Hooks, HooksError> {
        let (form, alternatives) = alternatives(elf)?;
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
        let table = Table::of(elf, &calls, native)?;
        let site = |(&(address, _, length), &pointer): (&(u64, Option<usize>, usize), &u64)| {
            let rule = match native(address) {
                Some(instructions) => Rule::Instructions(instructions),
                None => function_rule(elf, pointer),
            };
            let slot = table.slot(pointer).ok_or_else(|| table.no_slot(elf, address, pointer))?;
            Ok(Site { address, slot, length, rule })
        };
        let sites = calls.iter().zip(&table.pointers).map(site).collect::<Result<_, HooksError>>()?;
        let Table { base, layout, named, apart, .. } = table;
        Ok(Hooks { base, layout, named, apart, sites, alternatives, form })
    }

    /// Where a slot is.
    #[must_use]
    pub fn address(&self, slot: usize) -> u64 {
        let own = self.base.wrapping_add(8 * slot as u64);
        let apart = slot.checked_sub(main(self.layout.as_ref())).and_then(|index| self.apart.get(index));
        apart.copied().unwrap_or(own)
    }

    /// The name of a slot; its number where it has none.
    #[must_use]
    pub fn name(&self, slot: usize) -> String {
        let address = self.address(slot);
        let name = self.layout.as_ref().and_then(|layout| layout.name(address));
        let name = name.or_else(|| self.named.get(&address).copied());
        name.map_or_else(|| format!("pv_ops[{slot}]"), str::to_owned)
    }

    /// Which layout was recognised, in words.
    #[must_use]
    pub fn recognised(&self) -> String {
        match &self.layout {
            Some(layout) => layout.description.clone(),
            None => {
                let (named, all) = (self.named.len(), self.slots().len());
                format!("no known layout; {named} of {all} hooks are named by what they do")
            }
        }
    }

    /// Slots that have sites, in order.
    #[must_use]
    pub fn slots(&self) -> Vec<usize> {
        let mut slots: Vec<usize> = self.sites.iter().map(|site| site.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

impl Alternative {
    /// Whether it is what bare metal writes in place of a hook.
    fn is_native(&self) -> bool {
        self.negated && matches!(self.feature, XENPV | PVUNLOCK | VCPUPREEMPT)
    }
}

/// What `paravirt_patch()` makes of the function in a slot.
fn function_rule(elf: &Elf, slot: u64) -> Rule {
    match elf.quad(slot) {
        None | Some(0) => Rule::Empty,
        Some(function) if body::returns_at_once(elf, function) => Rule::Nop,
        Some(_) => Rule::Call,
    }
}

fn unknown(elf: &Elf, what: String) -> HooksError {
    let release = elf.banner().map(|banner| banner.split(' ').take(3).collect::<Vec<_>>().join(" "));
    HooksError::Unknown { path: elf.path.clone(), what, release }
}

/// The pointer that a site calls: `call *disp(%rip)` or `call *disp`.
fn pointer(elf: &Elf, address: u64) -> Option<u64> {
    let long = |at| Some(i64::from(i32::from_le_bytes(elf.at(at, 4)?.try_into().ok()?)));
    match elf.at(address, 3)? {
        [0xff, 0x15, _] => Some((address + 6).wrapping_add_signed(long(address + 2)?)),
        [0xff, 0x14, 0x25] => Some(long(address + 3)? as u64),
        _ => None,
    }
}

/// Slots that pv_ops has at most, where its layout is not known: three times as many as any had.
const MAX_SLOTS: usize = 256;
/// Slots that are looked at before and behind each that is called.
const MAX_BEFORE: u64 = 64;
/// In bytes: called slots that are farther apart begin another table. In pv_ops, one or two are not called in a row.
const MAX_GAP: u64 = 8 * 16;

/// How many slots are those of pv_ops itself.
fn main(layout: Option<&Layout>) -> usize {
    layout.map_or(MAX_SLOTS, Layout::len)
}

/// The tables that sites call through.
struct Table {
    /// The slot of each site, by address.
    pointers: Vec<u64>,
    base: u64,
    layout: Option<Layout>,
    named: BTreeMap<u64, &'static str>,
    apart: Vec<u64>,
}

impl Table {
    /// pv_ops is where all sites agree that it is; where they have no numbers, where a layout fits.
    fn of(
        elf: &Elf,
        calls: &[(u64, Option<usize>, usize)],
        native: impl Fn(u64) -> Option<Vec<u8>>,
    ) -> Result<Table, HooksError> {
        let mut pointers = Vec::new();
        for (address, ..) in calls {
            match pointer(elf, *address) {
                Some(pointer) => pointers.push(pointer),
                None => return Err(unknown(elf, format!("the site at {address:#x} is no indirect call"))),
            }
        }
        let mut slots = BTreeMap::new();
        for ((address, ..), pointer) in calls.iter().zip(&pointers) {
            let slot = slots.entry(*pointer).or_insert_with(|| known(elf, *pointer, true));
            slot.native = slot.native.take().or_else(|| native(*address));
        }
        let called: BTreeSet<u64> = slots.keys().copied().collect();
        if called.len() > MAX_SLOTS {
            return Err(unknown(elf, format!("its sites call {} slots, more than any pv_ops has", called.len())));
        }
        // Those around them, which a layout has, too.
        for pointer in &called {
            for near in (pointer.saturating_sub(8 * MAX_BEFORE)..pointer.saturating_add(8 * MAX_BEFORE)).step_by(8) {
                slots.entry(near).or_insert_with(|| known(elf, near, false));
            }
        }
        let numbered = calls
            .first()
            .zip(pointers.first())
            .and_then(|((_, slot, _), pointer)| Some(pointer.wrapping_sub(8 * (*slot)? as u64)));
        let (base, layout) = match numbered {
            Some(base) => (base, Layout::of(&slots, base)),
            None => found(&slots, &called),
        };
        let end = base.saturating_add(8 * main(layout.as_ref()) as u64);
        let apart: Vec<u64> =
            called.iter().copied().filter(|at| layout.is_some() && !(base..end).contains(at)).collect();
        let named = if layout.is_some() { BTreeMap::new() } else { body::names(&slots) };
        let table = Table { pointers, base, layout, named, apart };
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
        let main = main(self.layout.as_ref());
        if let Some(index) = self.apart.iter().position(|at| *at == pointer) {
            return Some(main + index);
        }
        let offset = pointer.checked_sub(self.base).filter(|offset| offset.is_multiple_of(8))?;
        usize::try_from(offset / 8).ok().filter(|slot| *slot < main)
    }

    fn no_slot(&self, elf: &Elf, site: u64, pointer: u64) -> HooksError {
        let base = self.base;
        unknown(elf, format!("the site at {site:#x} calls {pointer:#x}, which is no slot of pv_ops at {base:#x}"))
    }
}

fn known(elf: &Elf, slot: u64, is_called: bool) -> Slot {
    let body = elf.quad(slot).map_or(Body::NoCode, |function| body::of(elf, function));
    Slot { is_called, native: None, body }
}

/// Where a layout fits, and which. The first slot that is called need not be the first there is.
fn found(slots: &BTreeMap<u64, Slot>, called: &BTreeSet<u64>) -> (u64, Option<Layout>) {
    let mut firsts = Vec::new();
    let mut last: Option<u64> = None;
    for at in called {
        if last.is_none_or(|last| at - last > MAX_GAP) {
            firsts.push(*at);
        }
        last = Some(*at);
    }
    let bases = firsts.iter().flat_map(|first| (0..MAX_BEFORE).map(move |before| first.saturating_sub(8 * before)));
    let fits = bases.into_iter().find_map(|base| Some((base, Some(Layout::of(slots, base)?))));
    fits.unwrap_or((firsts.first().copied().unwrap_or_default(), None))
}

/// All alternatives, in the one form in which every entry makes sense.
fn alternatives(elf: &Elf) -> Result<(Form, Vec<Alternative>), HooksError> {
    let section = elf.need(".altinstructions", "no x86 kernel is without; this is not Linux, or a part of it")?;
    let data = elf.data(section);
    for form in [Form::Twelve, Form::Fourteen] {
        if !data.len().is_multiple_of(form.size()) {
            continue;
        }
        let entries = data.chunks_exact(form.size()).enumerate();
        let found: Option<Vec<Alternative>> = entries
            .map(|(index, bytes)| {
                let entry = section.address + (index * form.size()) as u64;
                alternative(form, entry, bytes).filter(|it| it.makes_sense(elf))
            })
            .collect();
        if let Some(found) = found {
            return Ok((form, found));
        }
    }
    Err(unknown(elf, format!("the {} bytes of .altinstructions are in no known form", data.len())))
}

fn alternative(form: Form, entry: u64, bytes: &[u8]) -> Option<Alternative> {
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
    fn makes_sense(&self, elf: &Elf) -> bool {
        let replacement = || elf.section(".altinstr_replacement").is_some_and(|it| it.addresses().contains(&self.by));
        elf.at(self.at, usize::from(self.length)).is_some()
            && self.by_length <= self.length
            && (self.by_length == 0 || replacement())
    }
}
