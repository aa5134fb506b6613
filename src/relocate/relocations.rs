//! Relocations: where the references of copied functions lead. They are resolved once per code image, because one image
//! has many copies.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use iced_x86::Instruction;

use super::decode::Reference;
use super::graph::CallGraphNode;

/// Bytes of a word.
pub(super) const WORD: usize = 8;

/// A target: `offset` bytes after one of the bases of a copy; see [`Relocations::bases`].
#[derive(Clone, Copy)]
struct Relocation {
    base: usize,
    offset: u64,
}

/// Base of targets that do not move, which is 0: the offset is the address.
const FIXED_BASE: usize = 0;
/// Base of called and compared functions that the image lacks, which is 0: an earlier copy may have them.
const CALLED_BASE: usize = 1;
/// Base of the GOT words beside the copy.
const GOT_BASE: usize = 2;
/// First base of the data; one base per piece follows, then one per function.
const FIRST_DATA_BASE: usize = 3;

/// The relocations of each function of a code image, of each GOT word and of each pointer slot.
pub(super) struct Relocations {
    functions: Vec<Vec<Relocation>>,
    words: Vec<Relocation>,
    pointer_slots: Vec<(usize, usize, Relocation)>,
}

/// A word of data that points to a function or to a constant word: index of the data, offset in it, and the address
/// that it holds.
pub(super) type PointerSlot = (usize, usize, u64);

impl Relocations {
    /// Resolves all references of `functions`, of the constant `words` that they call through, and of the
    /// `pointer_slots` in `data`. `index_of` gives the index of the function that starts at an address.
    pub fn new(
        functions: &[Rc<CallGraphNode>],
        words: &BTreeMap<u64, u64>,
        data: &[(usize, usize)],
        pointer_slots: &[PointerSlot],
        index_of: impl Fn(u64) -> Option<usize>,
    ) -> Self {
        let datum = |address: u64| {
            let within = |(start, length): &(usize, usize)| (*start as u64..(start + length) as u64).contains(&address);
            let index = data.iter().position(within)?;
            Some(Relocation { base: FIRST_DATA_BASE + index, offset: address - data[index].0 as u64 })
        };
        let function =
            |target: u64| Some(Relocation { base: FIRST_DATA_BASE + data.len() + index_of(target)?, offset: 0 });
        let callees: BTreeSet<u64> = pointer_slots.iter().map(|(.., target)| *target).collect();
        let stay = |target: u64| Relocation { base: FIXED_BASE, offset: target };
        let words: Vec<(u64, u64)> = words.iter().map(|(slot, target)| (*slot, *target)).collect();
        let word = |callee: &CallGraphNode, instruction: &Instruction, slot: u64| {
            let index = words.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
            // A word is copied for the instructions that only call through it. A word that holds the address of data is
            // copied for all instructions.
            let through = callee.read_by.contains_key(&instruction.ip()) || datum(words[index].1).is_some();
            through.then_some(Relocation { base: GOT_BASE, offset: (index * WORD) as u64 })
        };
        let called = |target: u64| Relocation { base: CALLED_BASE, offset: target };
        let relocate = |callee: &CallGraphNode, reference: &Reference| {
            // Calls and jumps lead to the copy, also those of a loaded address that is only called. Any other loaded
            // address stays, because code may keep it longer than the copy exists. Two exceptions are compared with
            // pointers, which lead to copies: a function that a pointer slot holds, and an address that the next
            // instruction compares.
            let Reference { instruction, target, is_compared, .. } = *reference;
            let is_called = callee.loaded_calls.contains_key(&instruction.ip());
            if instruction.is_ip_rel_memory_operand() && !is_called {
                let in_slot = || if callees.contains(&target) { function(target) } else { None };
                let relocated = word(callee, &instruction, target).or_else(|| datum(target)).or_else(in_slot);
                relocated.unwrap_or_else(|| if is_compared { called(target) } else { stay(target) })
            } else {
                function(target).unwrap_or_else(|| called(target))
            }
        };
        let relocate_all = |callee: &Rc<CallGraphNode>| -> Vec<Relocation> {
            callee.code.references.iter().map(|reference| relocate(callee, reference)).collect()
        };
        let relocate_word = |target: u64| function(target).or_else(|| datum(target)).unwrap_or_else(|| stay(target));
        let relocate_slot = |(datum, at, target): &PointerSlot| {
            let word = |index| Relocation { base: GOT_BASE, offset: (index * WORD) as u64 };
            let constant = words.binary_search_by_key(target, |(slot, _)| *slot).ok().map(word);
            (*datum, *at, constant.unwrap_or_else(|| relocate_word(*target)))
        };
        Relocations {
            functions: functions.iter().map(relocate_all).collect(),
            words: words.iter().map(|(_, target)| relocate_word(*target)).collect(),
            pointer_slots: pointer_slots.iter().map(relocate_slot).collect(),
        }
    }

    /// The bases of a copy whose GOT words start at `got`, whose data lies at `data` and whose functions lie at
    /// `functions`.
    pub fn bases(&self, got: u64, data: &[u64], functions: &[u64]) -> Vec<u64> {
        [&[0, 0, got], data, functions].concat()
    }

    /// Number of GOT words of a copy.
    pub fn count_got_words(&self) -> usize {
        self.words.len()
    }

    /// Targets of the references of a function in a copy with these bases. `called` gives the address that calls of a
    /// function lead to which the image lacks.
    pub fn targets(&self, function: usize, bases: &[u64], called: impl Fn(u64) -> u64) -> impl Iterator<Item = u64> {
        self.functions[function].iter().map(move |Relocation { base, offset }| match *base {
            CALLED_BASE => called(*offset),
            base => bases[base] + offset,
        })
    }

    /// Contents of the GOT words in a copy with these bases.
    pub fn got_words(&self, bases: &[u64]) -> impl Iterator<Item = u64> {
        self.words.iter().map(|Relocation { base, offset }| bases[*base] + offset)
    }

    /// Pointer slots in a copy with these bases: address and content.
    pub fn pointer_slots(&self, bases: &[u64]) -> impl Iterator<Item = (u64, u64)> {
        self.pointer_slots.iter().map(|(datum, at, Relocation { base, offset })| {
            (bases[FIRST_DATA_BASE + datum] + *at as u64, bases[*base] + offset)
        })
    }
}
