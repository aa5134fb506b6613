//! The machine code of a body, as it lies in the program's text.

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic};

/// Bytes of machine code that are decoded at most; more than the longest function of this program has. The bound stops
/// a decoder that has lost its way.
const MAX_FUNCTION_BYTES: usize = 64 << 10;

/// Number of mapped bytes from `entry` on, at most [`MAX_FUNCTION_BYTES`], up to the end of the text segment.
pub(crate) fn count_mapped_bytes(entry: usize) -> usize {
    unsafe extern "C" {
        /// End of the text segment (ld(1); every ELF linker provides the symbol).
        static etext: u8;
    }
    let end = &raw const etext as usize;
    end.saturating_sub(entry).min(MAX_FUNCTION_BYTES)
}

/// Finds the end of the last instruction that can be reached from the first. `None` if an instruction does not decode,
/// or if an indirect jump hides where the code goes on.
fn find_end(entry: u64, code: &[u8]) -> Option<u64> {
    let mut seen = BTreeSet::new();
    let mut open = vec![entry];
    let mut end = entry;
    while let Some(mut ip) = open.pop() {
        while seen.insert(ip) {
            let start = ip.wrapping_sub(entry) as usize;
            let instruction = Decoder::with_ip(64, code.get(start..)?, ip, DecoderOptions::NONE).decode();
            if instruction.is_invalid() {
                return None;
            }
            end = end.max(instruction.next_ip());
            ip = instruction.next_ip();
            match instruction.flow_control() {
                FlowControl::ConditionalBranch => open.push(instruction.near_branch_target()),
                FlowControl::UnconditionalBranch => ip = instruction.near_branch_target(),
                // An interrupt return inside a loop is an op's body and continues at the next instruction.
                FlowControl::Return if instruction.mnemonic() == Mnemonic::Iretq => {}
                FlowControl::Return | FlowControl::Interrupt | FlowControl::Exception => break,
                FlowControl::IndirectBranch => return None,
                FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall | FlowControl::XbeginXabortXend => {}
            }
        }
    }
    Some(end)
}

/// The machine code of a body without its final return: the bytes that patching writes over a call. Empty if the body
/// is a return alone, or does not decode.
///
/// # Safety
/// `entry` is the address of a function of this program.
#[must_use]
pub unsafe fn code_before_return(entry: usize) -> Vec<u8> {
    // SAFETY: `from_raw_parts` needs mapped bytes: `entry` lies in the text, and `count_mapped_bytes` stops at its end.
    let code = unsafe { std::slice::from_raw_parts(entry as *const u8, count_mapped_bytes(entry)) };
    match find_end(entry as u64, code) {
        // A body ends with its only `ret` (c3).
        Some(end) if code[(end - entry as u64) as usize - 1] == 0xc3 => {
            code[..(end - entry as u64) as usize - 1].to_vec()
        }
        _ => Vec::new(),
    }
}
