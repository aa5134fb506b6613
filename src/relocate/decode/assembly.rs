//! Assembly, which no unwind table covers.

use iced_x86::{Decoder, DecoderOptions, FlowControl};

use super::DecodedFunction;
use crate::patch::body::count_mapped_bytes;
use crate::relocate::FunctionError;

/// Bytes before the entry of assembly that a caller may read or call.
const PREAMBLE_BYTES: usize = 16;

/// Bytes after a loop within which a call's target must lie to count as the second half of a retpoline.
const MAX_RETPOLINE_BYTES: u64 = 64;

impl DecodedFunction {
    /// Decodes assembly at `entry`, which no unwind table covers.
    ///
    /// The function ends at the first return or unconditional jump that no earlier branch jumps past. A jump that
    /// closes a loop just before the target of a call belongs to a retpoline, whose loop catches speculation: then the
    /// function goes on to that target. References to code after the end keep their addresses.
    ///
    /// # Safety
    /// `entry` is the address of a function of this program, with 16 bytes mapped before it.
    ///
    /// # Errors
    /// If the bytes do not decode.
    pub unsafe fn assembly(entry: usize) -> Result<Self, FunctionError> {
        // SAFETY: `from_raw_parts` needs mapped bytes: `count_mapped_bytes` stops at the end of the text segment.
        let code = unsafe { std::slice::from_raw_parts(entry as *const u8, count_mapped_bytes(entry)) };
        let mut decoder = Decoder::with_ip(64, code, entry as u64, DecoderOptions::NONE);
        let [mut end, mut jumped_to, mut called] = [entry as u64; 3];
        while decoder.can_decode() {
            let instruction = decoder.decode();
            end = instruction.next_ip();
            match instruction.flow_control() {
                FlowControl::ConditionalBranch => jumped_to = jumped_to.max(instruction.near_branch_target()),
                FlowControl::Call => called = instruction.near_branch_target(),
                FlowControl::UnconditionalBranch
                    if (entry as u64..end).contains(&instruction.near_branch_target())
                        && (end..end + MAX_RETPOLINE_BYTES).contains(&called) =>
                {
                    jumped_to = jumped_to.max(called);
                }
                FlowControl::Return | FlowControl::UnconditionalBranch | FlowControl::IndirectBranch
                    if end > jumped_to =>
                {
                    break;
                }
                _ => {}
            }
        }
        let mut function = Self::decode(entry as u64, code[..(end - entry as u64) as usize].to_vec())?;
        // SAFETY: `from_raw_parts` needs mapped bytes; the caller guarantees 16 before `entry`.
        let preamble = unsafe { std::slice::from_raw_parts((entry - PREAMBLE_BYTES) as *const u8, PREAMBLE_BYTES) };
        function.preamble = preamble.to_vec();
        Ok(function)
    }
}
