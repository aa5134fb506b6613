//! Steps: executed instructions, decoded from their addresses.

use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction};

use super::TraceError;

/// Bytes of an x86 instruction at most (Intel SDM volume 2, 2.3.11).
const MAX_INSTRUCTION_BYTES: usize = 15;
/// Bytes of the smallest page that memory is mapped in.
const PAGE_BYTES: usize = 4096;

/// An executed instruction with its machine code at that time; patching may change the code later.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The decoded instruction; its `ip` is the address that it was executed at.
    pub instruction: Instruction,
    bytes: [u8; MAX_INSTRUCTION_BYTES],
}

impl Step {
    /// Address that it was executed at.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.instruction.ip()
    }

    /// Its machine code.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.instruction.len()]
    }

    /// Reads and decodes the instruction at an address.
    ///
    /// # Safety
    /// The instruction there was executed, and its memory has not been unmapped since. It need not have been executed
    /// if it starts in the page of an executed instruction.
    ///
    /// # Errors
    /// [`TraceError::Undecodable`] if the bytes there are no instruction.
    pub unsafe fn read(address: u64) -> Result<Self, TraceError> {
        let mut bytes = [0; MAX_INSTRUCTION_BYTES];
        let in_page = MAX_INSTRUCTION_BYTES.min(PAGE_BYTES - address as usize % PAGE_BYTES);
        // The next page is only mapped for certain if the instruction continues in it.
        for length in [in_page, MAX_INSTRUCTION_BYTES] {
            // SAFETY: the first read stays in the page of the first byte, which is mapped (caller's contract). The
            // second reads the next page only after the decoder asked for more bytes, which an executed instruction has
            // there.
            unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), length) };
            let mut decoder = Decoder::with_ip(64, &bytes[..length], address, DecoderOptions::NONE);
            let instruction = decoder.decode();
            match decoder.last_error() {
                DecoderError::None => return Ok(Step { instruction, bytes }),
                DecoderError::NoMoreBytes if length < MAX_INSTRUCTION_BYTES => {}
                _ => break,
            }
        }
        Err(TraceError::Undecodable { at: address })
    }

    /// The address that a `[rip+disp32]` operand refers to, and the offset of the distance in the instruction.
    pub(super) fn refers_to(&self) -> Option<(u64, usize)> {
        if !self.instruction.is_ip_rel_memory_operand() {
            return None;
        }
        let mut decoder = Decoder::with_ip(64, self.bytes(), self.address(), DecoderOptions::NONE);
        let instruction = decoder.decode();
        let field = decoder.get_constant_offsets(&instruction).displacement_offset();
        Some((instruction.ip_rel_memory_address(), field))
    }
}
