//! Unrolled chains: consecutive copies of a loop, each of which continues in the next copy, so that no instruction is
//! executed twice.
//!
//! ```text
//! copy 0      the function's prologue, then   jmp head of copy 1
//! copy k      link: jmp head of copy k+1;  head: the loop's body, whose branch back to the head goes to the link
//! copy n      the same body; its branch back is not taken, the function's end follows
//! ```
//!
//! The link overwrites the last bytes of a prologue that never runs. A short branch that reaches the head also reaches
//! the link, though it might not reach the next copy. Every loop has the link, so that no short loop has an advantage.

use iced_x86::{ConstantOffsets, Instruction, OpKind};

use super::function::FunctionError;
use super::{CodeMemory, Function};

/// Bytes of `jmp rel32`.
const LINK_BYTES: usize = 5;
/// Bytes before each copy: room for the link of a function whose loop starts early.
const GAP_BYTES: usize = 8;

/// An unrolled chain in memory.
#[derive(Clone, Debug)]
pub struct UnrolledChain {
    /// Its entry: a [`Loop`](crate::regime::Loop) to be called with [`UnrolledChain::copies`] passes.
    pub start: usize,
    /// Its length in bytes.
    pub length: usize,
    /// Number of copies that run, one pass each.
    pub copies: usize,
    /// Bytes from one copy to the next.
    stride: usize,
}

impl UnrolledChain {
    /// Addresses of the copies that run.
    pub fn starts(&self) -> impl Iterator<Item = usize> {
        (1..=self.copies).map(|copy| self.start + copy * self.stride)
    }
}

impl Function {
    /// Writes an unrolled chain of `copies` copies. The caller calls [`serialise`](super::text::serialise) before it
    /// runs.
    ///
    /// # Errors
    /// If memory is full, or a short branch does not reach its link.
    pub fn unrolled(&self, memory: &mut CodeMemory, copies: usize) -> Result<UnrolledChain, FunctionError> {
        let head = (self.loop_head() - self.entry()) as usize;
        let stride = self.len() + GAP_BYTES;
        let length = stride * (copies + 1);
        let start = memory.reserve(length, head, 0)?;
        let mut bytes = vec![0xcc; length];
        for copy in 0..=copies {
            let at = copy * stride;
            let mut code = self.relocated(start + at)?;
            code.resize(stride, 0xcc);
            if (1..copies).contains(&copy) {
                for (instruction, offsets) in self.back_branches() {
                    self.redirect_to_link(instruction, offsets, &mut code)?;
                }
            }
            bytes[at..at + code.len()].copy_from_slice(&code);
        }
        for copy in 0..copies {
            // In the first copy the jump replaces the body.
            let at = copy * stride + head - if copy == 0 { 0 } else { LINK_BYTES };
            let distance = ((copy + 1) * stride + head) as i64 - (at + LINK_BYTES) as i64;
            // The distance is less than the length of two functions.
            let distance = i32::try_from(distance)
                .map_err(|_| FunctionError::OutOfReach { entry: self.entry(), target: self.loop_head() })?;
            bytes[at] = 0xe9;
            bytes[at + 1..at + LINK_BYTES].copy_from_slice(&distance.to_le_bytes());
        }
        memory.write(start, &bytes)?;
        Ok(UnrolledChain { start, length, copies, stride })
    }

    /// The branches back to the head of the loop.
    fn back_branches(&self) -> impl Iterator<Item = &(Instruction, ConstantOffsets)> {
        let head = self.loop_head();
        self.instructions().iter().filter(move |(instruction, _)| {
            instruction.op0_kind() == OpKind::NearBranch64
                && instruction.near_branch_target() == head
                && instruction.ip() >= head
                && !instruction.is_call_near()
        })
    }

    /// Makes a branch that goes to the loop's head go to the link before the head.
    fn redirect_to_link(
        &self,
        instruction: &Instruction,
        offsets: &ConstantOffsets,
        code: &mut [u8],
    ) -> Result<(), FunctionError> {
        let at = (instruction.ip() - self.entry()) as usize + offsets.immediate_offset();
        let distance = self.loop_head().wrapping_sub(instruction.next_ip()) as i64 - LINK_BYTES as i64;
        let unreachable = |_| FunctionError::OutOfReach { entry: self.entry(), target: self.loop_head() };
        if offsets.immediate_size() > 1 {
            let distance = i32::try_from(distance).map_err(unreachable)?;
            code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        } else if let Ok(distance) = i8::try_from(distance) {
            code[at] = distance.cast_unsigned();
        } else {
            // The link is just out of reach of a short branch. Every copy but the last takes the branch, so the code
            // after it never runs there, and a long jump may overwrite it. That fails if another branch leads into
            // these bytes, as a jump label's path to its call does.
            let over = instruction.next_ip()..instruction.ip() + LINK_BYTES as u64;
            let is_entered = |(other, _): &(Instruction, ConstantOffsets)| {
                other.op0_kind() == OpKind::NearBranch64 && over.contains(&other.near_branch_target())
            };
            if self.instructions().iter().any(is_entered) {
                return Err(FunctionError::Occupied { entry: self.entry(), at: instruction.ip() });
            }
            let at = (instruction.ip() - self.entry()) as usize;
            let distance =
                i32::try_from(distance + instruction.len() as i64 - LINK_BYTES as i64).map_err(unreachable)?;
            code[at] = 0xe9;
            code[at + 1..at + LINK_BYTES].copy_from_slice(&distance.to_le_bytes());
        }
        Ok(())
    }
}
