//! The functions that were inlined in a unit.

use std::ops::Range;
use std::rc::Rc;

use gimli::constants as dw;

use super::units::{Name, Named, Pcs, Place, UnitEntry, Units};
use super::work::Work;

/// The inlined functions of a unit by address.
pub(super) struct Inlined {
    /// In the order of depth, then of addresses.
    calls: Vec<InlinedCall>,
}

/// A range of code of an inlined function.
struct InlinedCall {
    /// How many inlined functions are around it.
    depth: u32,
    begin: u64,
    end: u64,
    function: Place,
}

/// An entry that [`walk`] finds.
pub(super) enum Found<'a, 'd> {
    /// An inlined function, with the number of inlined functions around it.
    Inlined(u32, Place, &'a Pcs<'d>),
    /// A function, also one that is only declared.
    Function(Place),
}

/// Calls `see` with the functions of a unit and those that were inlined, until it returns `None` or the work is used
/// up. What follows a damaged entry is left out.
pub(super) fn walk<'d>(
    entry: &UnitEntry<'d>,
    work: &Work,
    see: &mut dyn FnMut(Found<'_, 'd>) -> Option<()>,
) -> Option<()> {
    let Ok(mut entries) = entry.unit.entries_raw(None) else { return Some(()) };
    // The number of inlined functions around the children of each open entry.
    let mut open: Vec<u32> = Vec::new();
    while !entries.is_empty() {
        let depth = usize::try_from(entries.next_depth()).unwrap_or(0);
        let offset = entry.start().checked_add(entries.next_offset().0)?;
        let abbreviation = match entries.read_abbreviation() {
            Ok(Some(abbreviation)) => abbreviation,
            Ok(None) => {
                work.step(1)?;
                continue;
            }
            Err(_) => return Some(()),
        };
        work.step(1 + abbreviation.attributes().len())?;
        open.truncate(depth);
        let around = open.last().copied().unwrap_or(0);
        let tag = abbreviation.tag();
        let mut inside = around;
        if tag == dw::DW_TAG_inlined_subroutine {
            inside = around.saturating_add(1);
            let (mut named, mut pcs) = (Named::default(), Pcs::default());
            for specification in abbreviation.attributes() {
                let Ok(attribute) = entries.read_attribute_inline(*specification) else { return Some(()) };
                named.note(entry, &attribute);
                pcs.note(&attribute);
            }
            if let Some(function) = named.origin {
                see(Found::Inlined(around, function, &pcs))?;
            }
        } else {
            if tag == dw::DW_TAG_subprogram {
                inside = 0;
                see(Found::Function(Place { is_common: false, offset }))?;
            }
            if entries.skip_attributes(abbreviation.attributes()).is_err() {
                return Some(());
            }
        }
        if abbreviation.has_children() {
            open.push(inside);
        }
    }
    Some(())
}

impl Inlined {
    /// Reads the inlined functions of a unit.
    pub(super) fn read<'d>(units: &Units<'d>, entry: &UnitEntry<'d>, work: &Work) -> Self {
        let mut calls = Vec::new();
        // An end of the work leaves what was found so far.
        let _ = walk(entry, work, &mut |found| {
            let Found::Inlined(depth, function, pcs) = found else { return Some(()) };
            let before = calls.len();
            let add = &mut |begin, end| calls.push(InlinedCall { depth, begin, end, function });
            // Damaged ranges are those of one function.
            let _ = pcs.each(&units.dwarf, &entry.unit, work, add);
            work.keep((calls.len() - before) * size_of::<InlinedCall>())
        });
        calls.sort_unstable_by_key(|call| (call.depth, call.begin));
        calls.shrink_to_fit();
        Inlined { calls }
    }

    /// The inlined functions around an address, outermost first.
    pub(super) fn around(&self, address: u64) -> Vec<Place> {
        let mut found = Vec::new();
        for depth in 0.. {
            let after = self.calls.partition_point(|call| (call.depth, call.begin) <= (depth, address));
            let call = after.checked_sub(1).and_then(|index| self.calls.get(index));
            match call.filter(|call| call.depth == depth && address < call.end) {
                Some(call) => found.push(call.function),
                None => break,
            }
        }
        found
    }
}

/// A place where a function was inlined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlinedInstance {
    /// Demangled name of the function.
    pub name: Rc<str>,
    /// Where its code is.
    pub ranges: Vec<Range<u64>>,
}

impl Name {
    /// Whether a search matches the demangled name or the symbol.
    pub(super) fn matches(&self, matches: &mut dyn FnMut(&str) -> bool) -> bool {
        matches(&self.shown) || *self.symbol != *self.shown && matches(&self.symbol)
    }
}
