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

use super::{Layout, Placement, Start};
use crate::relocate::{FunctionError, LinkedCopy, LoopFunction, LoopSource};

/// Bytes of `jmp rel32`.
const LINK_BYTES: usize = 5;
/// Bytes before each copy: room for the link of a function whose loop starts early.
const GAP_BYTES: usize = 8;
/// `int3`: bytes between the copies, which never run.
const TRAP: u8 = 0xcc;

/// A jump of a chain, which replaces code of the copies. All offsets count from the entry of the first copy.
pub(in crate::relocate) struct Joint {
    /// Offset of the first byte that is replaced.
    pub at: usize,
    /// The new bytes.
    pub bytes: Vec<u8>,
    /// Offset of the whole jump.
    pub jump: usize,
    /// Offset that the jump leads to.
    pub target: usize,
}

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
    /// The chain that was linked with [`Layout::unrolled`].
    #[must_use]
    pub fn new(source: &LoopSource, copy: &LinkedCopy) -> Self {
        let (stride, copies) = (source.span().len() + GAP_BYTES, copy.functions().saturating_sub(1));
        UnrolledChain { start: copy.start(), length: stride * (copies + 1), copies, stride }
    }

    /// Addresses of the copies that run.
    pub fn starts(&self) -> impl Iterator<Item = usize> {
        (1..=self.copies).map(|copy| self.start + copy * self.stride)
    }
}

impl Layout<'_> {
    /// An unrolled chain: `copies` copies of a loop that run one after another, behind one that only enters the chain.
    ///
    /// # Errors
    /// If a short branch does not reach its link, or a branch leads into the link of the first copy.
    pub fn unrolled(function: &LoopFunction, copies: usize) -> Result<Self, FunctionError> {
        if let Some(at) = find_entry_of_link(function) {
            return Err(FunctionError::LinkEntered { entry: function.entry(), at });
        }
        let (head, stride) = (function.head_offset(), function.len() + GAP_BYTES);
        let first = Start::At { gap: None, anchor: head, offset: 0 };
        let start = |copy| if copy == 0 { first } else { Start::After { gap: GAP_BYTES } };
        let placements = (0..=copies).map(|copy| Placement { function: 0, start: start(copy) }).collect();
        let mut joints = Vec::new();
        for copy in 1..copies {
            for (instruction, offsets) in back_branches(function) {
                joints.push(lead_to_link(function, instruction, offsets, copy * stride)?);
            }
        }
        for copy in 0..copies {
            // In the first copy the jump replaces the body.
            let jump = copy * stride + head - if copy == 0 { 0 } else { LINK_BYTES };
            let target = (copy + 1) * stride + head;
            let bytes = encode_jump(function, target as i64 - (jump + LINK_BYTES) as i64)?;
            joints.push(Joint { at: jump, bytes, jump, target });
        }
        Ok(Layout { placements, fill: TRAP, trailing: GAP_BYTES, joints, ..Layout::default() })
    }
}

/// A branch that leads between the head and the end of the link which the first copy has there, if that copy runs code
/// of the loop. It does where a branch in front of the loop leads past the head: such a loop begins in its middle.
fn find_entry_of_link(function: &LoopFunction) -> Option<u64> {
    let (head, tail) = (function.loop_head(), function.loop_tail());
    let leads_to = |range: std::ops::Range<u64>| {
        move |(instruction, _): &&(Instruction, ConstantOffsets)| {
            instruction.op0_kind() == OpKind::NearBranch64
                && !instruction.is_call_near()
                && range.contains(&instruction.near_branch_target())
        }
    };
    let branches = || function.code().instructions().iter();
    let begins_inside = branches().take_while(|(it, _)| it.ip() < head).any(|it| leads_to(head + 1..tail)(&it));
    let of_link = branches().find(leads_to(head + 1..head + LINK_BYTES as u64));
    of_link.filter(|_| begins_inside).map(|(instruction, _)| instruction.ip())
}

/// The branches back to the head of the loop.
fn back_branches(function: &LoopFunction) -> impl Iterator<Item = &(Instruction, ConstantOffsets)> {
    let head = function.loop_head();
    function.code().instructions().iter().filter(move |(instruction, _)| {
        instruction.op0_kind() == OpKind::NearBranch64
            && instruction.near_branch_target() == head
            && instruction.ip() >= head
            && !instruction.is_call_near()
    })
}

/// Makes a branch that goes to the loop's head go to the link before the head, in the copy that starts at `copy`.
fn lead_to_link(
    function: &LoopFunction,
    instruction: &Instruction,
    offsets: &ConstantOffsets,
    copy: usize,
) -> Result<Joint, FunctionError> {
    let jump = copy + (instruction.ip() - function.entry()) as usize;
    let target = copy + function.head_offset() - LINK_BYTES;
    let at = jump + offsets.immediate_offset();
    let distance = function.loop_head().wrapping_sub(instruction.next_ip()) as i64 - LINK_BYTES as i64;
    if offsets.immediate_size() > 1 {
        let bytes = encode_distance(function, distance)?.to_vec();
        return Ok(Joint { at, bytes, jump, target });
    }
    if let Ok(distance) = i8::try_from(distance) {
        return Ok(Joint { at, bytes: vec![distance.cast_unsigned()], jump, target });
    }
    // The link is just out of reach of a short branch. Every copy but the last takes the branch, so the code after it
    // never runs there, and a long jump may overwrite it. That fails if another branch leads into these bytes, as a
    // jump label's path to its call does.
    let over = instruction.next_ip()..instruction.ip() + LINK_BYTES as u64;
    let is_entered = |(other, _): &(Instruction, ConstantOffsets)| {
        other.op0_kind() == OpKind::NearBranch64 && over.contains(&other.near_branch_target())
    };
    if function.code().instructions().iter().any(is_entered) {
        return Err(FunctionError::Occupied { entry: function.entry(), at: instruction.ip() });
    }
    let bytes = encode_jump(function, distance + instruction.len() as i64 - LINK_BYTES as i64)?;
    Ok(Joint { at: jump, bytes, jump, target })
}

/// `jmp rel32`
fn encode_jump(function: &LoopFunction, distance: i64) -> Result<Vec<u8>, FunctionError> {
    let mut bytes = vec![0xe9];
    bytes.extend_from_slice(&encode_distance(function, distance)?);
    Ok(bytes)
}

/// A distance of four bytes. The longest is less than the length of two functions.
fn encode_distance(function: &LoopFunction, distance: i64) -> Result<[u8; 4], FunctionError> {
    let unreachable = |_| FunctionError::OutOfReach { entry: function.entry(), target: function.loop_head() };
    Ok(i32::try_from(distance).map_err(unreachable)?.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_begins_in_its_middle_has_no_chain_if_a_branch_leads_into_the_first_link() {
        // mov rbx, rdi; jmp 2f; 0: nop; 1: sub rbx, 1; 2: nop; test rbx, rbx; jne 1b; je 3f; jmp 0b; 3: ret
        let rotated = [
            0x48, 0x89, 0xfb, 0xeb, 0x05, 0x90, 0x48, 0x83, 0xeb, 0x01, 0x90, 0x48, 0x85, 0xdb, 0x75, 0xf6, 0x74, 0x02,
            0xeb, 0xf1, 0xc3,
        ];
        let chain = |bytes: &[u8]| {
            let function = LoopFunction::decode(0x1000, bytes.to_vec()).unwrap();
            Layout::unrolled(&function, 4).map(|_| ())
        };
        let error = chain(&rotated).unwrap_err();
        assert!(matches!(error, FunctionError::LinkEntered { entry: 0x1000, at: 0x100e }), "{error}");
        // The same loop, entered at its head: the first copy runs nothing of it.
        let mut at_head = rotated;
        at_head[3..5].copy_from_slice(&[0x66, 0x90]);
        assert!(chain(&at_head).is_ok());
        // No branch leads into the link: the first pass runs in the first copy.
        let mut beside = rotated;
        beside[14..16].copy_from_slice(&[0x66, 0x90]);
        assert!(chain(&beside).is_ok());
    }
}
