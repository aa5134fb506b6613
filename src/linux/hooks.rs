//! The call sites of pv_ops in a kernel, and what it writes over each when it boots on bare metal.
//!
//! Up to 6.7, `.parainstructions` has an entry for each site: address, slot, length. Since 6.8 a site is an entry of
//! `.altinstructions` with a flag. Either way further entries of `.altinstructions` for the same address hold the native
//! instructions, if there are any.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::elf::{Elf, ElfError};
use super::layout::{Layout, starts_with};

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
        "{}: {what}; the forms of Linux 5.16 to 6.13 are known, this is {}",
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
        let (base, layout, slots) = table(elf, &calls)?;
        let mut by_address: BTreeMap<u64, Vec<&Alternative>> = BTreeMap::new();
        for alternative in alternatives.iter().filter(|it| !it.direct_call) {
            by_address.entry(alternative.at).or_default().push(alternative);
        }
        let site = |(&(address, _, length), slot): (&(u64, Option<usize>, usize), &usize)| {
            let own = by_address.get(&address).into_iter().flatten().find(|it| it.is_native());
            let rule = match own {
                Some(it) => Rule::Instructions(elf.at(it.by, usize::from(it.by_length)).unwrap_or_default().to_vec()),
                None => function_rule(elf, base + 8 * *slot as u64),
            };
            Site { address, slot: *slot, length, rule }
        };
        let sites = calls.iter().zip(&slots).map(site).collect();
        Ok(Hooks { base, layout, sites, alternatives, form })
    }

    /// The name of a slot.
    #[must_use]
    pub fn name(&self, slot: usize) -> String {
        Layout::name(self.layout.as_ref(), slot)
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
        // `_paravirt_nop`: a return at once, `c3`, or with return thunks a jump to one.
        Some(function) if starts_with(elf, function, &[0xc3]) || is_thunk_alone(elf, function) => Rule::Nop,
        Some(_) => Rule::Call,
    }
}

/// `jmp __x86_return_thunk` and nothing before it. That it is the thunk, `.return_sites` says.
fn is_thunk_alone(elf: &Elf, function: u64) -> bool {
    let skip = if elf.at(function, 4) == Some(b"\xf3\x0f\x1e\xfa") { 4 } else { 0 };
    let at = function + skip;
    let Some(sites) = elf.section(".return_sites") else { return false };
    elf.at(at, 1) == Some(&[0xe9])
        && elf.data(sites).chunks_exact(4).enumerate().any(|(index, offset)| {
            let offset = i32::from_le_bytes(offset.try_into().unwrap_or_default());
            (sites.address + 4 * index as u64).wrapping_add_signed(i64::from(offset)) == at
        })
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

type Table = (u64, Option<Layout>, Vec<usize>);

/// Where pv_ops is: where all sites agree that it is.
fn table(elf: &Elf, calls: &[(u64, Option<usize>, usize)]) -> Result<Table, HooksError> {
    let mut pointers = Vec::new();
    for (address, ..) in calls {
        match pointer(elf, *address) {
            Some(pointer) => pointers.push(pointer),
            None => return Err(unknown(elf, format!("the site at {address:#x} is no indirect call"))),
        }
    }
    let last = pointers.iter().copied().max().unwrap_or(0);
    let first = pointers.iter().copied().min().unwrap_or(0);
    let base = match calls.first().and_then(|(_, slot, _)| *slot) {
        Some(slot) => pointers[0].wrapping_sub(8 * slot as u64),
        // Without numbers: where the bodies fit. The first slot that is called need not be the first there is.
        None => {
            let before = (0..64).map(|slots| first.wrapping_sub(8 * slots));
            let fits = |base: &u64| Layout::of(elf, *base, ((last - base) / 8) as usize).is_some();
            before.into_iter().find(fits).unwrap_or(first)
        }
    };
    let mut slots = Vec::new();
    for ((address, slot, _), pointer) in calls.iter().zip(&pointers) {
        let found = pointer.wrapping_sub(base);
        if !found.is_multiple_of(8) || found >= 8 * 256 || slot.is_some_and(|slot| 8 * slot as u64 != found) {
            let what = format!("the site at {address:#x} calls {pointer:#x}, which is no slot of pv_ops at {base:#x}");
            return Err(unknown(elf, what));
        }
        slots.push((found / 8) as usize);
    }
    let layout = Layout::of(elf, base, slots.iter().copied().max().unwrap_or(0));
    Ok((base, layout, slots))
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
