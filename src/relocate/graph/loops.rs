//! A compiled function with a loop. Copies let a loop start at any offset within a cache line without being compiled
//! once per offset.

use std::rc::Rc;

use iced_x86::{ConstantOffsets, Instruction};

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
