//! The decode cache: functions that were decoded before, by address. Kernels share most of their functions, and
//! decoding takes the largest part of the time that a copy takes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use iced_x86::FlowControl;

use crate::relocate::decode::elf_image;
use crate::relocate::decode::got_calls::{find_got_calls, find_loaded_calls};
use crate::relocate::{DecodedFunction, FunctionError};

/// A decoded function with its place in the call graph, for a [`CodeImage`](super::CodeImage).
pub(in crate::relocate) struct CallGraphNode {
    pub code: DecodedFunction,
    /// The GOT words that it calls through, by the address of the instruction that reads each.
    pub read_by: BTreeMap<u64, u64>,
    /// The same words, each with the function whose address it holds.
    pub words: Vec<(u64, u64)>,
    /// The functions whose addresses it loads and only calls, by the address of the instruction that loads each.
    pub loaded_calls: BTreeMap<u64, u64>,
    /// The functions that it calls, or that it jumps to at its end.
    pub calls: BTreeSet<u64>,
    /// Whether it can return to its caller: by a return, or by a jump out of the function.
    pub returns: bool,
}

impl CallGraphNode {
    fn new(mut code: DecodedFunction) -> Self {
        let read_by = find_got_calls(&code);
        let words: Vec<(u64, u64)> =
            read_by.values().filter_map(|slot| Some((*slot, elf_image::function_at(*slot)?))).collect();
        let loaded_calls = find_loaded_calls(&code);
        let through_words = words.iter().map(|(_, function)| *function);
        let calls = find_branch_targets(&code).chain(through_words).chain(loaded_calls.values().copied()).collect();
        let returns = returns(&code);
        code.forget_instructions();
        CallGraphNode { code, read_by, words, loaded_calls, calls, returns }
    }

    /// A function whose callees are not copied with it.
    pub fn alone(code: DecodedFunction) -> Self {
        CallGraphNode {
            code,
            read_by: BTreeMap::new(),
            words: Vec::new(),
            loaded_calls: BTreeMap::new(),
            calls: BTreeSet::new(),
            returns: true,
        }
    }
}

/// Decoded functions by start address. A function whose sites are patched is a further entry at the same address.
#[derive(Default)]
pub struct DecodeCache {
    functions: BTreeMap<u64, Vec<Rc<CallGraphNode>>>,
    staying: BTreeSet<u64>,
}

impl DecodeCache {
    /// Creates an empty cache. Functions at the addresses in `staying` are called in place, and no
    /// [`CodeImage`](super::CodeImage) copies them.
    #[must_use]
    pub fn leaving(staying: impl Iterator<Item = usize>) -> Self {
        DecodeCache { functions: BTreeMap::new(), staying: staying.map(|entry| entry as u64).collect() }
    }

    /// Whether copies call the function at `entry` in place.
    pub(super) fn leaves_in_place(&self, entry: u64) -> bool {
        self.staying.contains(&entry)
    }

    /// The function at `entry`, as [`DecodedFunction::at`] decodes it.
    ///
    /// # Safety
    /// As for [`DecodedFunction::at`].
    ///
    /// # Errors
    /// As for [`DecodedFunction::at`].
    pub(super) unsafe fn at(&mut self, entry: usize) -> Result<Rc<CallGraphNode>, FunctionError> {
        // SAFETY: `find` needs a compiled function, which the caller guarantees, and that nothing is patched while
        // `code` is borrowed; nothing in this function patches.
        let (entry, code) = unsafe { DecodedFunction::find(entry) }?;
        let versions = self.functions.entry(entry).or_default();
        if let Some(same) = versions.iter().find(|callee| callee.code.bytes() == code) {
            return Ok(Rc::clone(same));
        }
        let callee = Rc::new(CallGraphNode::new(DecodedFunction::decode(entry, code.to_vec())?));
        versions.push(Rc::clone(&callee));
        Ok(callee)
    }

    /// The callee at `entry`, as [`DecodedFunction::callee`] decodes it.
    ///
    /// # Safety
    /// As for [`DecodedFunction::callee`].
    ///
    /// # Errors
    /// As for [`DecodedFunction::callee`].
    pub(super) unsafe fn callee(&mut self, entry: usize) -> Result<Rc<CallGraphNode>, FunctionError> {
        // SAFETY: `at` and `assembly` need a function of this program, with 16 mapped bytes before assembly; the caller
        // guarantees both.
        match unsafe { self.at(entry) } {
            // SAFETY: `assembly` needs 16 mapped bytes before the function; the caller guarantees them.
            Err(FunctionError::NoExtent { .. }) => unsafe { self.assembly(entry) },
            decoded => decoded,
        }
    }

    /// The assembly at `entry`, as [`DecodedFunction::assembly`] decodes it.
    ///
    /// # Safety
    /// As for [`DecodedFunction::assembly`].
    unsafe fn assembly(&mut self, entry: usize) -> Result<Rc<CallGraphNode>, FunctionError> {
        let versions = self.functions.entry(entry as u64).or_default();
        let unchanged = |callee: &&Rc<CallGraphNode>| {
            let bytes = callee.code.bytes();
            // SAFETY: `from_raw_parts` needs readable bytes: this many were read from this function before, and text is
            // never unmapped.
            unsafe { std::slice::from_raw_parts(entry as *const u8, bytes.len()) == bytes }
        };
        if let Some(same) = versions.iter().find(unchanged) {
            return Ok(Rc::clone(same));
        }
        // SAFETY: `assembly` needs 16 mapped bytes before the function; the caller guarantees them.
        let callee = Rc::new(CallGraphNode::new(unsafe { DecodedFunction::assembly(entry) }?));
        versions.push(Rc::clone(&callee));
        Ok(callee)
    }
}

/// Targets of the branches that leave a function; branches through memory are left out.
pub(super) fn find_branch_targets(function: &DecodedFunction) -> impl Iterator<Item = u64> {
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

    #[inline(never)]
    fn tripled(value: u64) -> u64 {
        std::hint::black_box(value) * 3
    }

    #[test]
    fn a_function_is_decoded_again_only_when_its_bytes_have_changed() {
        let entry = tripled as *const () as usize;
        let mut decoded = DecodeCache::default();
        // SAFETY: `at` needs the address of a compiled function, and `entry` is that of `tripled`.
        let [first, second] = [(); 2].map(|()| unsafe { decoded.at(entry) }.unwrap());
        assert!(Rc::ptr_eq(&first, &second));
        assert!(first.returns);
        // The same function with its bytes changed, as if it had been patched.
        let start = first.code.entry();
        let patched = CallGraphNode::new(DecodedFunction::decode(start, vec![0x90; first.code.bytes().len()]).unwrap());
        decoded.functions.insert(start, vec![Rc::new(patched)]);
        // SAFETY: `at` needs the address of a compiled function, and `entry` is that of `tripled`.
        let third = unsafe { decoded.at(entry) }.unwrap();
        assert_eq!(third.code.bytes(), first.code.bytes());
        assert_eq!(decoded.functions[&start].len(), 2);
    }
}
