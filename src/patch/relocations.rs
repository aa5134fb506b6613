//! What the references of functions lead to in a copy of them: resolved once, for there are many copies.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use iced_x86::Instruction;

use super::decode_cache::CallGraphNode;

/// Bytes of a word.
pub(super) const WORD: usize = 8;

/// So many bytes on from one of the bases that a copy has; see [`Relocations::bases`].
#[derive(Clone, Copy)]
struct Lead {
    base: usize,
    offset: u64,
}

/// What stays where it is: its offset is its address.
const OUTSIDE: usize = 0;
/// The words beside the copy.
const WORDS: usize = 1;
/// The first of the data. Behind them are the functions.
const DATA: usize = 2;

/// Of each function of a tree and of each of its words, what they lead to.
pub(super) struct Relocations {
    functions: Vec<Vec<Lead>>,
    words: Vec<Lead>,
    held: Vec<(usize, usize, Lead)>,
}

/// A word of data that leads to a function, or to a constant word: which of the data it is in, and where in it; and
/// where it leads.
pub(super) type PointerSlots = (usize, usize, u64);

impl Relocations {
    /// Of functions with constant words that they call through and where those lead, and with data and the words that
    /// this holds; `index_of` says which function an address is the start of.
    pub fn of(
        functions: &[Rc<CallGraphNode>],
        words: &BTreeMap<u64, u64>,
        data: &[(usize, usize)],
        held: &[PointerSlots],
        index_of: impl Fn(u64) -> Option<usize>,
    ) -> Self {
        let datum = |address: u64| {
            let within = |(start, length): &(usize, usize)| (*start as u64..(start + length) as u64).contains(&address);
            let index = data.iter().position(within)?;
            Some(Lead { base: DATA + index, offset: address - data[index].0 as u64 })
        };
        let function = |target: u64| Some(Lead { base: DATA + data.len() + index_of(target)?, offset: 0 });
        let callees: BTreeSet<u64> = held.iter().map(|(.., target)| *target).collect();
        let outside = |target: u64| Lead { base: OUTSIDE, offset: target };
        let words: Vec<(u64, u64)> = words.iter().map(|(slot, target)| (*slot, *target)).collect();
        let word = |callee: &CallGraphNode, instruction: &Instruction, slot: u64| {
            let index = words.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
            // Data is read through its word by whoever reads that.
            let through = callee.read_by.contains_key(&instruction.ip()) || datum(words[index].1).is_some();
            through.then_some(Lead { base: WORDS, offset: (index * WORD) as u64 })
        };
        let lead = |callee: &CallGraphNode, instruction: &Instruction, target: u64| {
            // Only calls and jumps: an address that is loaded may be kept for longer than the copy is there. But for
            // those of callees, which a table's word may be compared with.
            let relocated = if instruction.is_ip_rel_memory_operand() {
                let compared = || if callees.contains(&target) { function(target) } else { None };
                word(callee, instruction, target).or_else(|| datum(target)).or_else(compared)
            } else {
                function(target)
            };
            relocated.unwrap_or_else(|| outside(target))
        };
        let leads = |callee: &Rc<CallGraphNode>| -> Vec<Lead> {
            callee.code.references().map(|(instruction, target)| lead(callee, instruction, target)).collect()
        };
        let of_word = |target: u64| function(target).or_else(|| datum(target)).unwrap_or_else(|| outside(target));
        let of_held = |(datum, at, target): &PointerSlots| {
            let word = |index| Lead { base: WORDS, offset: (index * WORD) as u64 };
            let constant = words.binary_search_by_key(target, |(slot, _)| *slot).ok().map(word);
            (*datum, *at, constant.unwrap_or_else(|| of_word(*target)))
        };
        Relocations {
            functions: functions.iter().map(leads).collect(),
            words: words.iter().map(|(_, target)| of_word(*target)).collect(),
            held: held.iter().map(of_held).collect(),
        }
    }

    /// What leads start from in a copy with its words from `words` on, its data at `data` and its functions at
    /// `places`.
    pub fn bases(&self, words: u64, data: &[u64], places: &[u64]) -> Vec<u64> {
        [&[0, words], data, places].concat()
    }

    /// What the references of a function lead to in a copy with these bases.
    pub fn targets(&self, function: usize, bases: &[u64]) -> impl Iterator<Item = u64> {
        self.functions[function].iter().map(|Lead { base, offset }| bases[*base] + offset)
    }

    /// What the words hold in a copy with these bases.
    pub fn words(&self, bases: &[u64]) -> impl Iterator<Item = u64> {
        self.words.iter().map(|Lead { base, offset }| bases[*base] + offset)
    }

    /// What the words of data hold in a copy with these bases, by where they are then.
    pub fn held(&self, bases: &[u64]) -> impl Iterator<Item = (u64, u64)> {
        self.held
            .iter()
            .map(|(datum, at, Lead { base, offset })| (bases[DATA + datum] + *at as u64, bases[*base] + offset))
    }
}
