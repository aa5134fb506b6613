//! Trains: copies of a loop one behind the other, each of which goes on in the next, so that no instruction is executed
//! twice.
//!
//! ```text
//! copy 0      the function's prologue, then   jmp head of copy 1
//! copy k      hop: jmp head of copy k+1;   head: the loop's body, whose branch back to the head goes to the hop
//! copy n      the same body; its branch back is not taken, the function's end follows
//! ```
//!
//! The hop stands over the last bytes of a prologue that is never run: a short branch that reaches the head reaches it,
//! too, where it would not reach the next copy. Every loop has it, so that none gains by being short.

use iced_x86::{ConstantOffsets, Instruction, OpKind};

use super::function::FunctionError;
use super::{CodeMemory, Function};

/// Bytes of `jmp rel32`.
const HOP: usize = 5;
/// Room before each copy, for a hop of a function whose loop starts early.
const GAP: usize = 8;

/// Where a train stands.
#[derive(Clone, Debug)]
pub struct UnrolledChain {
    /// Its entry: a [`Loop`](crate::regime::Loop) that is to be called with [`UnrolledChain::copies`] passes.
    pub start: usize,
    /// How many bytes.
    pub length: usize,
    /// How many copies are run, a pass each.
    pub copies: usize,
    /// From one copy to the next.
    stride: usize,
}

impl UnrolledChain {
    /// Where the copies that are run stand.
    pub fn starts(&self) -> impl Iterator<Item = usize> {
        (1..=self.copies).map(|copy| self.start + copy * self.stride)
    }
}

impl Function {
    /// Writes a train of `copies` copies. [`serialise`](super::text::serialise) is still to be called.
    ///
    /// # Errors
    /// Where there is no room, or a short branch does not reach its hop.
    pub fn unrolled(&self, memory: &mut CodeMemory, copies: usize) -> Result<UnrolledChain, FunctionError> {
        let head = (self.loop_head() - self.entry()) as usize;
        let stride = self.len() + GAP;
        let length = stride * (copies + 1);
        let start = memory.reserve(length, head, 0)?;
        let mut bytes = vec![0xcc; length];
        for copy in 0..=copies {
            let at = copy * stride;
            let mut code = self.relocated(start + at)?;
            code.resize(stride, 0xcc);
            if (1..copies).contains(&copy) {
                for (instruction, offsets) in self.backward() {
                    self.shorten(instruction, offsets, &mut code)?;
                }
            }
            bytes[at..at + code.len()].copy_from_slice(&code);
        }
        for copy in 0..copies {
            // Of the first copy, the jump stands in place of the body.
            let at = copy * stride + head - if copy == 0 { 0 } else { HOP };
            let distance = ((copy + 1) * stride + head) as i64 - (at + HOP) as i64;
            // Less than two functions.
            let distance = i32::try_from(distance)
                .map_err(|_| FunctionError::OutOfReach { entry: self.entry(), target: self.loop_head() })?;
            bytes[at] = 0xe9;
            bytes[at + 1..at + HOP].copy_from_slice(&distance.to_le_bytes());
        }
        memory.write(start, &bytes)?;
        Ok(UnrolledChain { start, length, copies, stride })
    }

    /// The branches back to the head of the loop.
    fn backward(&self) -> impl Iterator<Item = &(Instruction, ConstantOffsets)> {
        let head = self.loop_head();
        self.instructions().iter().filter(move |(instruction, _)| {
            instruction.op0_kind() == OpKind::NearBranch64
                && instruction.near_branch_target() == head
                && instruction.ip() >= head
                && !instruction.is_call_near()
        })
    }

    /// Has a branch to the head go to the hop in front of it.
    fn shorten(
        &self,
        instruction: &Instruction,
        offsets: &ConstantOffsets,
        code: &mut [u8],
    ) -> Result<(), FunctionError> {
        let at = (instruction.ip() - self.entry()) as usize + offsets.immediate_offset();
        let distance = self.loop_head().wrapping_sub(instruction.next_ip()) as i64 - HOP as i64;
        let unreachable = |_| FunctionError::OutOfReach { entry: self.entry(), target: self.loop_head() };
        if offsets.immediate_size() > 1 {
            let distance = i32::try_from(distance).map_err(unreachable)?;
            code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        } else if let Ok(distance) = i8::try_from(distance) {
            code[at] = distance.cast_unsigned();
        } else {
            // Just too far for a short branch. It is taken in every copy but the last, so what follows it is not run,
            // and a long jump may stand over that; unless something else goes there, as a jump label's way to its call
            // does.
            let over = instruction.next_ip()..instruction.ip() + HOP as u64;
            let entered = |(other, _): &(Instruction, ConstantOffsets)| {
                other.op0_kind() == OpKind::NearBranch64 && over.contains(&other.near_branch_target())
            };
            if self.instructions().iter().any(entered) {
                return Err(FunctionError::Occupied { entry: self.entry(), at: instruction.ip() });
            }
            let at = (instruction.ip() - self.entry()) as usize;
            let distance = i32::try_from(distance + instruction.len() as i64 - HOP as i64).map_err(unreachable)?;
            code[at] = 0xe9;
            code[at + 1..at + HOP].copy_from_slice(&distance.to_le_bytes());
        }
        Ok(())
    }
}
