//! Functions that were decoded before. Kernels have most of theirs in common, and decoding takes the longest of what it
//! takes to copy one.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use iced_x86::FlowControl;

use super::got_calls::called_words;
use super::{DecodedFunction, FunctionError, elf_image};

/// A function, and what a [`CodeImage`](super::CodeImage) asks of it.
pub(super) struct CallGraphNode {
    pub code: DecodedFunction,
    /// By the instruction that reads it, the constant word that it calls through.
    pub read_by: BTreeMap<u64, u64>,
    /// These words, and where they lead.
    pub words: Vec<(u64, u64)>,
    /// What it calls, or jumps to when it is done.
    pub calls: BTreeSet<u64>,
    /// Whether control comes back: by a return, or by a jump elsewhere.
    pub returns: bool,
}

impl CallGraphNode {
    fn new(code: DecodedFunction) -> Self {
        let read_by = called_words(&code);
        let words: Vec<(u64, u64)> =
            read_by.values().filter_map(|slot| Some((*slot, elf_image::function_at(*slot)?))).collect();
        let calls = called(&code).chain(words.iter().map(|(_, function)| *function)).collect();
        CallGraphNode { returns: returns(&code), code, read_by, words, calls }
    }
}

/// Functions by where they start. What is patched into one makes another of it.
#[derive(Default)]
pub struct DecodeCache {
    known: BTreeMap<u64, Vec<Rc<CallGraphNode>>>,
    staying: BTreeSet<u64>,
}

impl DecodeCache {
    /// With functions that are called where they are, and that no [`CodeImage`](super::CodeImage) has: addresses.
    #[must_use]
    pub fn leaving(staying: impl Iterator<Item = usize>) -> Self {
        DecodeCache { known: BTreeMap::new(), staying: staying.map(|entry| entry as u64).collect() }
    }

    /// Whether a function is to be called where it is.
    pub(super) fn stays(&self, entry: u64) -> bool {
        self.staying.contains(&entry)
    }

    /// The function at `entry`, as [`DecodedFunction::at`] gives it.
    ///
    /// # Safety
    /// As there.
    ///
    /// # Errors
    /// As there.
    pub(super) unsafe fn at(&mut self, entry: usize) -> Result<Rc<CallGraphNode>, FunctionError> {
        // SAFETY: the caller's contract; the code is held in here alone, where nothing is patched.
        let (entry, code) = unsafe { DecodedFunction::find(entry) }?;
        let known = self.known.entry(entry).or_default();
        if let Some(same) = known.iter().find(|callee| callee.code.bytes() == code) {
            return Ok(Rc::clone(same));
        }
        let callee = Rc::new(CallGraphNode::new(DecodedFunction::decode(entry, code.to_vec())?));
        known.push(Rc::clone(&callee));
        Ok(callee)
    }

    /// A callee, as [`DecodedFunction::callee`] gives it.
    ///
    /// # Safety
    /// As there.
    ///
    /// # Errors
    /// As there.
    pub(super) unsafe fn callee(&mut self, entry: usize) -> Result<Rc<CallGraphNode>, FunctionError> {
        // SAFETY: the caller's contract.
        match unsafe { self.at(entry) } {
            // SAFETY: as above.
            Err(FunctionError::NoExtent { .. }) => unsafe { self.assembly(entry) },
            decoded => decoded,
        }
    }

    /// Assembly, as [`DecodedFunction::assembly`] gives it.
    ///
    /// # Safety
    /// As there.
    unsafe fn assembly(&mut self, entry: usize) -> Result<Rc<CallGraphNode>, FunctionError> {
        let known = self.known.entry(entry as u64).or_default();
        let unchanged = |callee: &&Rc<CallGraphNode>| {
            let bytes = callee.code.bytes();
            // SAFETY: so many bytes of this function were read before, and text is not unmapped.
            unsafe { std::slice::from_raw_parts(entry as *const u8, bytes.len()) == bytes }
        };
        if let Some(same) = known.iter().find(unchanged) {
            return Ok(Rc::clone(same));
        }
        // SAFETY: the caller's contract.
        let callee = Rc::new(CallGraphNode::new(unsafe { DecodedFunction::assembly(entry) }?));
        known.push(Rc::clone(&callee));
        Ok(callee)
    }
}

/// What a function calls, or jumps to when it is done; but through words.
pub(super) fn called(function: &DecodedFunction) -> impl Iterator<Item = u64> {
    let branches = function.references().filter(|(instruction, _)| !instruction.is_ip_rel_memory_operand());
    branches.map(|(_, target)| target)
}

fn returns(function: &DecodedFunction) -> bool {
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
    use super::*;
    use crate::patch::CodeMemory;

    #[inline(never)]
    fn tripled(value: u64) -> u64 {
        std::hint::black_box(value) * 3
    }

    #[test]
    fn a_function_is_decoded_once_and_again_where_its_bytes_are_others() {
        let entry = tripled as *const () as usize;
        let mut decoded = DecodeCache::default();
        // SAFETY: a compiled function.
        let [first, second] = [(); 2].map(|()| unsafe { decoded.at(entry) }.unwrap());
        assert!(Rc::ptr_eq(&first, &second));
        assert!(first.returns);
        // As if it had been patched since.
        let start = first.code.entry();
        let patched = CallGraphNode::new(DecodedFunction::decode(start, vec![0x90; first.code.bytes().len()]).unwrap());
        decoded.known.insert(start, vec![Rc::new(patched)]);
        // SAFETY: as above.
        let third = unsafe { decoded.at(entry) }.unwrap();
        assert_eq!(third.code.bytes(), first.code.bytes());
        assert_eq!(decoded.known[&start].len(), 2);
    }

    #[test]
    fn a_copy_that_differs_in_one_byte_anywhere_is_found() {
        let entry = CodeMemory::new as *const () as usize;
        // SAFETY: a compiled function.
        let code = unsafe { DecodedFunction::at(entry) }.unwrap();
        let targets = || code.references().map(|(_, target)| target);
        assert!(targets().count() > 3);
        let start = code.entry() + 4096;
        let copy = code.relocated(start as usize, targets()).unwrap();
        code.check(&copy, start, targets()).unwrap();
        for at in 0..copy.len() {
            let mut other = copy.clone();
            other[at] ^= 1;
            assert!(code.check(&other, start, targets()).is_err(), "byte {at}");
        }
        assert!(code.check(&copy, start, targets().skip(1)).is_err());
        assert!(code.check(&copy[..copy.len() - 1], start, targets()).is_err());
    }
}
