//! A compiled function with a loop. Copies let a loop start at any offset within a cache line without being compiled
//! once per offset.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use iced_x86::{ConstantOffsets, Instruction};

use super::cache::find_branch_targets;
use super::{CallGraphNode, CodeImage};
use crate::relocate::{DecodedFunction, FunctionError};

/// A decoded function with a loop: a code image of this function alone.
pub struct LoopFunction {
    image: CodeImage,
    function: Rc<CallGraphNode>,
    head: u64,
    tail: u64,
}

impl LoopFunction {
    /// Decodes the function at `entry`, which has a loop.
    ///
    /// A jump in place of the function, which merging of identical functions leaves, is followed.
    ///
    /// # Safety
    /// `entry` is the address of a compiled function of this program.
    ///
    /// # Errors
    /// If its extent is unknown, the bytes do not decode, or it has no loop.
    pub unsafe fn at(entry: usize) -> Result<Self, FunctionError> {
        // SAFETY: `at` needs the address of a compiled function of this program; the caller guarantees it.
        Self::new(unsafe { DecodedFunction::at(entry) }?)
    }

    /// Decodes machine code that runs at `entry`.
    ///
    /// # Errors
    /// If the bytes do not decode, or they have no loop.
    pub fn decode(entry: u64, bytes: Vec<u8>) -> Result<Self, FunctionError> {
        Self::new(DecodedFunction::decode(entry, bytes)?)
    }

    fn new(code: DecodedFunction) -> Result<Self, FunctionError> {
        let entry = code.entry();
        let (head, tail) = find_loop(entry, code.instructions()).ok_or(FunctionError::NoLoop { entry })?;
        let function = Rc::new(CallGraphNode::alone(code));
        Ok(LoopFunction { image: CodeImage::alone(Rc::clone(&function)), function, head, tail })
    }

    /// The function as a code image, for [`link`](crate::relocate::link()).
    #[must_use]
    pub fn image(&self) -> &CodeImage {
        &self.image
    }

    /// Its machine code.
    #[must_use]
    pub fn code(&self) -> &DecodedFunction {
        &self.function.code
    }

    /// Its start address.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.code().entry()
    }

    /// Its length in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a function has at least one instruction")]
    pub fn len(&self) -> usize {
        self.code().bytes().len()
    }

    /// Address of the loop's first instruction.
    #[must_use]
    pub fn loop_head(&self) -> u64 {
        self.head
    }

    /// Address behind the loop's last instruction.
    #[must_use]
    pub fn loop_tail(&self) -> u64 {
        self.tail
    }

    /// Bytes from the entry to the loop's first instruction.
    #[must_use]
    pub fn head_offset(&self) -> usize {
        (self.head - self.entry()) as usize
    }

    /// The instructions of the loop, from its head to the backward branch.
    pub fn loop_instructions(&self) -> impl Iterator<Item = &Instruction> {
        let span = self.head..self.tail;
        self.code().instructions().iter().map(|(instruction, _)| instruction).filter(move |i| span.contains(&i.ip()))
    }

    /// The machine code of the loop.
    #[must_use]
    pub fn loop_bytes(&self) -> &[u8] {
        &self.code().bytes()[self.head_offset()..(self.tail - self.entry()) as usize]
    }
}

/// What copies of a loop function are made from.
pub struct LoopSource {
    image: CodeImage,
    head: usize,
}

impl LoopSource {
    /// The function as a code image, for [`link`](crate::relocate::link()).
    #[must_use]
    pub fn image(&self) -> &CodeImage {
        &self.image
    }

    /// Bytes from the entry to the loop's first instruction.
    #[must_use]
    pub fn head_offset(&self) -> usize {
        self.head
    }

    /// The functions that it calls or jumps to, by their addresses; those behind pointers are left out.
    pub fn branch_targets(&self) -> impl Iterator<Item = u64> {
        find_branch_targets(self.image.function(0))
    }

    /// The addresses of the original.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        let code = self.image.function(0);
        code.entry() as usize..code.entry() as usize + code.bytes().len()
    }
}

/// Loop functions that were decoded before, by address. A loop has many copies, at other offsets and with other
/// callees.
#[derive(Default)]
pub struct LoopCache {
    sources: BTreeMap<u64, Rc<LoopSource>>,
}

impl LoopCache {
    /// The loop function at `entry`, as [`LoopFunction::at`] decodes it. It is decoded again if its bytes have changed.
    ///
    /// # Safety
    /// As for [`LoopFunction::at`].
    ///
    /// # Errors
    /// As for [`LoopFunction::at`].
    pub unsafe fn at(&mut self, entry: usize) -> Result<Rc<LoopSource>, FunctionError> {
        // SAFETY: `find` needs a compiled function, which the caller guarantees, and that nothing is patched while
        // `bytes` is borrowed; nothing in this function patches.
        let (entry, bytes) = unsafe { DecodedFunction::find(entry) }?;
        if let Some(known) = self.sources.get(&entry).filter(|known| known.image.function(0).bytes() == bytes) {
            return Ok(Rc::clone(known));
        }
        let mut code = DecodedFunction::decode(entry, bytes.to_vec())?;
        let (head, _) = find_loop(entry, code.instructions()).ok_or(FunctionError::NoLoop { entry })?;
        code.forget_instructions();
        let image = CodeImage::alone(Rc::new(CallGraphNode::alone(code)));
        let source = Rc::new(LoopSource { image, head: (head - entry) as usize });
        self.sources.insert(entry, Rc::clone(&source));
        Ok(source)
    }
}

/// Finds the start and the end of the measured loop: the longest loop, joined with every other loop that overlaps it. A
/// spin loop inside a body is shorter. A compiler that splits the paths through the loop closes it with several
/// branches.
fn find_loop(entry: u64, instructions: &[(Instruction, ConstantOffsets)]) -> Option<(u64, u64)> {
    let loops: Vec<(u64, u64)> = instructions
        .iter()
        .filter(|(i, _)| i.is_jcc_short_or_near() || i.is_jmp_short_or_near())
        .map(|(i, _)| (i.near_branch_target(), i.next_ip()))
        .filter(|(target, after)| (entry..*after).contains(target))
        .collect();
    let mut whole = loops.iter().copied().max_by_key(|(target, after)| after - target)?;
    loop {
        let overlaps = |(from, to): &&(u64, u64)| *from < whole.1 && whole.0 < *to;
        let joined = loops.iter().filter(overlaps).fold(whole, |all, one| (all.0.min(one.0), all.1.max(one.1)));
        if joined == whole {
            return Some(whole);
        }
        whole = joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn sum(numbers: &[u64]) -> u64 {
        numbers.iter().fold(0, |sum, number| std::hint::black_box(sum + number))
    }

    #[test]
    fn a_loop_is_decoded_again_only_when_its_bytes_have_changed() {
        let entry = sum as *const () as usize;
        let mut cache = LoopCache::default();
        // SAFETY: `at` needs the address of a compiled function, and `entry` is that of `sum`.
        let [first, second] = [(); 2].map(|()| unsafe { cache.at(entry) }.unwrap());
        assert!(Rc::ptr_eq(&first, &second));
        // SAFETY: `at` needs the address of a compiled function, and `entry` is that of `sum`.
        let function = unsafe { LoopFunction::at(entry) }.unwrap();
        assert_eq!((first.head_offset(), first.span().len()), (function.head_offset(), function.len()));
        // The same function with its bytes changed, as if it had been patched.
        let code = DecodedFunction::decode(function.entry(), vec![0x90; function.len()]).unwrap();
        let image = CodeImage::alone(Rc::new(CallGraphNode::alone(code)));
        cache.sources.insert(function.entry(), Rc::new(LoopSource { image, head: 0 }));
        // SAFETY: `at` needs the address of a compiled function, and `entry` is that of `sum`, whose text is unchanged.
        let third = unsafe { cache.at(entry) }.unwrap();
        assert_eq!(third.image.function(0).bytes(), function.code().bytes());
    }
}
