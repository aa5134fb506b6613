//! A function with all that it calls, copied to random places.
//!
//! Where functions stand in memory moves a program by a percent and more, either way and for no reason that is its own
//! (Mytkowicz et al., "Producing Wrong Data Without Doing Anything Obviously Wrong!", ASPLOS 2009). Placing them anew for
//! every process makes that a part of what differs between processes, of which intervals are made (Curtsinger and Berger,
//! "Stabilizer: Statistically Sound Performance Evaluation", ASPLOS 2013).
//!
//! What is called through memory that can change stays where it is, and so does what never returns: ways out of a panic. A
//! call through the GOT, which is how Rust calls a function of another codegen unit, stays one, and goes through a word
//! beside the copy; so it does where the word is loaded once and the register called, if it is kept for nothing else. No
//! unwind table knows a copy: a panic in one ends the process.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{FlowControl, Instruction};
use rand::{Rng, RngExt};

use super::called_words::called_words;
use super::{CodeMemory, Compiled, FunctionError, program};

/// Functions are aligned to this, as compilers do it.
const ALIGNMENT: usize = 16;
/// [`CodeMemory::reserve`] takes offsets below this.
const OFFSETS: usize = 128;

/// A function and those that it calls, decoded as they are now: with what is patched into them.
#[derive(Default)]
pub struct CallTree {
    root: u64,
    /// In the order of their addresses.
    functions: Vec<Compiled>,
    /// Of each function, what its references lead to in a copy.
    leads: Vec<Vec<To>>,
    /// Functions that are merged with another: a jump, and where it leads.
    merged: BTreeMap<u64, u64>,
    /// Constant words that they call through, and where those lead.
    words: BTreeMap<u64, u64>,
    /// By the instruction that reads it, the word.
    read_by: BTreeMap<u64, u64>,
    /// Whether a copy has been decoded again.
    checked: bool,
}

/// Bytes of a word.
const WORD: usize = 8;

impl CallTree {
    /// Decodes the function at `root` and all that it calls directly.
    ///
    /// # Safety
    /// `root` is the address of a compiled function of this program.
    ///
    /// # Errors
    /// Where the root's extent is unknown, or one of the functions does not decode.
    pub unsafe fn of(root: usize) -> Result<Self, FunctionError> {
        // SAFETY: the caller's contract.
        let first = unsafe { Compiled::at(root) }?;
        let root = first.entry();
        let mut tree = CallTree { root, ..CallTree::default() };
        let (mut found, mut left) = (BTreeMap::new(), BTreeSet::new());
        let mut open = tree.take(first, &mut found);
        while let Some(entry) = open.pop() {
            if found.contains_key(&entry) || tree.merged.contains_key(&entry) || left.contains(&entry) {
                continue;
            }
            // SAFETY: a function of this program calls it; where no unwind table knows it, nothing is read.
            match unsafe { Compiled::at(entry as usize) } {
                Ok(function) if function.entry() != entry => {
                    tree.merged.insert(entry, function.entry());
                    open.push(function.entry());
                }
                Ok(function) if returns(&function) => open.extend(tree.take(function, &mut found)),
                Ok(_) | Err(FunctionError::NoExtent { .. }) => {
                    left.insert(entry);
                }
                Err(error) => return Err(error),
            }
        }
        tree.functions = found.into_values().collect();
        tree.leads = tree.functions.iter().map(|function| tree.leads_of(function)).collect();
        Ok(tree)
    }

    /// Takes a function in, and gives what it calls.
    fn take(&mut self, function: Compiled, found: &mut BTreeMap<u64, Compiled>) -> Vec<u64> {
        let read_by = called_words(&function);
        let words = read_by.values().filter_map(|slot| Some((*slot, program::function_at(*slot)?)));
        let words: BTreeMap<u64, u64> = words.collect();
        let called = called(&function).chain(words.values().copied()).collect();
        self.words.extend(words);
        self.read_by.extend(read_by);
        found.insert(function.entry(), function);
        called
    }

    /// How many functions are copied.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is at least the root")]
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Room that a copy may take, in bytes.
    #[must_use]
    pub fn room(&self) -> usize {
        let functions: usize = self.functions.iter().map(|function| function.bytes().len() + OFFSETS).sum();
        // Words are aligned to a block of offsets and fill whole ones.
        functions + (self.words.len() * WORD).next_multiple_of(OFFSETS) + OFFSETS
    }

    /// Writes a copy, functions in random order and at random offsets, and returns where the root starts.
    /// [`serialise`](super::text::serialise) is still to be called.
    ///
    /// The first copy of a tree is checked by decoding it again. Further ones differ from it in distances alone.
    ///
    /// # Errors
    /// Where there is no room, something is out of reach, or the copy does not decode to the original.
    pub fn place(&mut self, memory: &mut CodeMemory, rng: &mut impl Rng) -> Result<usize, FunctionError> {
        let mut order: Vec<usize> = (0..self.functions.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.random_range(0..=i));
        }
        // Not on a cache line with code.
        let words = memory.reserve((self.words.len() * WORD).next_multiple_of(OFFSETS), 0, 0)? as u64;
        let mut places = vec![0; self.functions.len()];
        for i in order {
            let offset = rng.random_range(0..OFFSETS / ALIGNMENT) * ALIGNMENT;
            places[i] = memory.reserve(self.functions[i].bytes().len(), 0, offset)? as u64;
        }
        let values: Vec<u8> =
            self.words.values().flat_map(|target| self.moved(*target, &places).to_le_bytes()).collect();
        memory.write(words as usize, &values)?;
        for ((function, leads), start) in self.functions.iter().zip(&self.leads).zip(&places) {
            let targets = || leads.iter().map(|to| to.address(words, &places));
            let bytes = function.relocated(*start as usize, targets())?;
            memory.write(*start as usize, &bytes)?;
            if !self.checked {
                function.check(memory.read(*start as usize, bytes.len()), *start, targets())?;
            }
        }
        self.checked = true;
        Ok(self.moved(self.root, &places) as usize)
    }

    /// Where what stood at an address is, with functions at `places`.
    fn moved(&self, target: u64, places: &[u64]) -> u64 {
        self.index_of(target).map_or(target, |index| places[index])
    }

    /// Which of the functions starts at an address, or is merged with what does.
    fn index_of(&self, target: u64) -> Option<usize> {
        let entry = *self.merged.get(&target).unwrap_or(&target);
        self.functions.binary_search_by_key(&entry, Compiled::entry).ok()
    }

    /// What the references of a function lead to in a copy.
    fn leads_of(&self, function: &Compiled) -> Vec<To> {
        let slots: Vec<u64> = self.words.keys().copied().collect();
        let lead = |(instruction, target): (&Instruction, u64)| {
            let word = self.read_by.get(&instruction.ip()).and_then(|slot| slots.binary_search(slot).ok());
            // Only calls and jumps: an address that is loaded may be kept for longer than the copy is there.
            let called = || if instruction.is_ip_rel_memory_operand() { None } else { self.index_of(target) };
            word.map(To::Word).or_else(|| called().map(To::Function)).unwrap_or(To::Outside(target))
        };
        function.references().map(lead).collect()
    }
}

/// What a reference leads to in a copy.
enum To {
    /// A word beside the copy.
    Word(usize),
    /// A function of the tree.
    Function(usize),
    /// What stays where it is.
    Outside(u64),
}

impl To {
    /// Where that is, with words from `words` on and functions at `places`.
    fn address(&self, words: u64, places: &[u64]) -> u64 {
        match self {
            To::Word(word) => words + (word * WORD) as u64,
            To::Function(index) => places[*index],
            To::Outside(target) => *target,
        }
    }
}

/// What a function calls, or jumps to when it is done; but through words.
fn called(function: &Compiled) -> impl Iterator<Item = u64> {
    let branches = function.references().filter(|(instruction, _)| !instruction.is_ip_rel_memory_operand());
    branches.map(|(_, target)| target)
}

/// Whether control comes back: by a return, or by a jump elsewhere.
fn returns(function: &Compiled) -> bool {
    function.instructions().iter().any(|(instruction, offsets)| match instruction.flow_control() {
        FlowControl::Return | FlowControl::IndirectBranch => true,
        FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
            function.outside(instruction, offsets).is_some()
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;
    use crate::patch::text::serialise;

    #[inline(never)]
    fn leaf(value: u64) -> u64 {
        black_box(value) + 1
    }

    #[inline(never)]
    fn branch(value: u64) -> u64 {
        leaf(value) * leaf(value + 1)
    }

    /// May panic, calls the same function by two ways and one through memory.
    #[inline(never)]
    fn root(values: &[u64; 4], at: usize) -> u64 {
        let far: fn(u64) -> u64 = black_box(branch);
        branch(values[at]) + leaf(3) + far(values[0])
    }

    type Root = fn(&[u64; 4], usize) -> u64;

    fn memory(tree: &CallTree) -> CodeMemory {
        CodeMemory::new(root as *const () as usize, 2 * tree.room()).unwrap()
    }

    fn tree() -> CallTree {
        // SAFETY: a compiled function.
        unsafe { CallTree::of(root as *const () as usize) }.unwrap()
    }

    #[test]
    fn copies_give_what_the_original_gives_from_places_of_their_own() {
        let mut tree = tree();
        let mut memory = memory(&tree);
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let places = [tree.place(&mut memory, &mut rng).unwrap(), tree.place(&mut memory, &mut rng).unwrap()];
        serialise();
        assert_ne!(places[0], places[1]);
        for place in places {
            // SAFETY: a copy of the function, in memory that is still there.
            let copy = unsafe { std::mem::transmute::<usize, Root>(place) };
            for at in 0..4 {
                assert_eq!(copy(&[5, 6, 7, 8], at), root(&[5, 6, 7, 8], at));
            }
        }
    }

    #[test]
    fn functions_call_copies_of_each_other_and_the_way_into_a_panic_stays() {
        let mut tree = tree();
        // The root, and both that it calls.
        assert_eq!(tree.len(), 3, "{:#x?}", tree.functions.iter().map(Compiled::entry).collect::<Vec<_>>());
        let mut memory = memory(&tree);
        let place = tree.place(&mut memory, &mut Pcg64Mcg::seed_from_u64(2)).unwrap();
        let original = tree.functions.iter().find(|function| function.entry() == tree.root).unwrap();
        let copy = Compiled::decode(place as u64, memory.read(place, original.bytes().len()).to_vec()).unwrap();
        let [before, after] = [original, &copy].map(|function| called(function).collect::<Vec<_>>());
        let originals: Vec<u64> = tree.functions.iter().map(Compiled::entry).collect();
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(originals.contains(before), before != after, "{before:#x} became {after:#x}");
        }
        assert!(before.iter().any(|target| originals.contains(target)));
        // Another unit's function is called through a word.
        let mut targets = before.iter().chain(tree.words.values());
        assert!(targets.any(|target| !originals.contains(target)), "a bounds check calls what never returns");
    }

    #[test]
    fn what_is_no_function_is_refused() {
        // SAFETY: nothing is read where no unwind table knows a function.
        let refused = unsafe { CallTree::of(root as *const () as usize + 1) };
        assert!(matches!(refused, Err(FunctionError::NoExtent { .. })));
    }
}
