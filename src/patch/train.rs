//! Trains: copies of a loop one behind the other, each of which goes on in the next, so that no instruction is executed
//! twice.

use iced_x86::{ConstantOffsets, Instruction, OpKind};

use super::function::FunctionError;
use super::{CodeMemory, Function};

/// Where a train stands.
#[derive(Clone, Debug)]
pub struct Train {
    /// Its entry: a [`Loop`](crate::regime::Loop) that is to be called with [`Train::copies`] passes.
    pub start: usize,
    /// How many bytes.
    pub length: usize,
    /// How many copies, a pass each.
    pub copies: usize,
}

impl Function {
    /// Writes `copies` copies of the function one behind the other. The branch that would go back to the head of the loop
    /// goes to the head of the next copy's; called with as many passes as copies, it runs through each once and returns
    /// from the last.
    ///
    /// # Errors
    /// Where there is no room, or a short branch does not reach the next copy.
    pub fn train(&self, memory: &mut CodeMemory, copies: usize) -> Result<Train, FunctionError> {
        let length = self.len() * copies;
        let head = (self.loop_head() - self.entry()) as usize;
        let start = memory.reserve(length, head, 0)?;
        let mut bytes = Vec::with_capacity(length);
        for copy in 0..copies {
            let here = start + copy * self.len();
            let mut code = self.relocated(here)?;
            // The last pass of a train leaves its loop.
            if copy + 1 < copies {
                for (instruction, offsets) in self.backward() {
                    self.lengthen(instruction, offsets, &mut code)?;
                }
            }
            bytes.extend_from_slice(&code);
        }
        memory.write(start, &bytes)?;
        Ok(Train { start, length, copies })
    }

    /// The branches to the head of the loop.
    fn backward(&self) -> impl Iterator<Item = &(Instruction, ConstantOffsets)> {
        let head = self.loop_head();
        self.instructions().iter().filter(move |(instruction, _)| {
            instruction.op0_kind() == OpKind::NearBranch64
                && instruction.near_branch_target() == head
                && instruction.ip() >= head
                && !instruction.is_call_near()
        })
    }

    /// Has a branch to the head go to the head of the next copy, a function's length further on.
    fn lengthen(
        &self,
        instruction: &Instruction,
        offsets: &ConstantOffsets,
        code: &mut [u8],
    ) -> Result<(), FunctionError> {
        let at = (instruction.ip() - self.entry()) as usize + offsets.immediate_offset();
        let distance = self.loop_head().wrapping_sub(instruction.next_ip()) as i64 + self.len() as i64;
        let unreachable = || FunctionError::OutOfReach { entry: self.entry(), target: self.loop_head() };
        match offsets.immediate_size() {
            1 => code[at] = i8::try_from(distance).map_err(|_| unreachable())?.cast_unsigned(),
            _ => {
                let distance = i32::try_from(distance).map_err(|_| unreachable())?;
                code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
            }
        }
        Ok(())
    }
}
