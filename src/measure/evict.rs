//! Eviction: many other branches fill the branch predictors, and flushes empty the caches.

use std::arch::x86_64::{_mm_clflush, _mm_mfence};

use crate::patch::text::serialise;
use crate::relocate::{CodeError, CodeMemory};

/// Number of blocks with branches. Zen 4 remembers 8,192 targets, Golden Cove 12,288 (their optimisation guides).
const BLOCKS: usize = 16_384;
/// Bytes from block to block.
const STRIDE_BYTES: usize = 32;

/// Code with many branches, which evicts predictors.
pub(crate) struct Evictor {
    _memory: CodeMemory,
    start: usize,
}

impl Evictor {
    /// Writes the code within reach of `near`.
    ///
    /// # Errors
    /// [`CodeError`] where the system refuses executable memory.
    pub(crate) fn new(near: usize) -> Result<Self, CodeError> {
        let code = assemble();
        let mut memory = CodeMemory::new(near, code.len() + 4096)?;
        let start = memory.reserve(code.len(), 0, 0)?;
        memory.write(start, &code)?;
        serialise();
        Ok(Evictor { _memory: memory, start })
    }

    /// Runs the code once. Each block has a conditional branch on a bit of a rotating word, and ends with a direct or
    /// indirect jump.
    pub(crate) fn run(&self, word: u64) {
        // SAFETY: the code takes a word in `rdi`, clobbers `rax` and `rdx`, and returns.
        let code: extern "C" fn(u64) = unsafe { std::mem::transmute(self.start) };
        code(word);
    }
}

/// Reads every line of a stretch of code, so that a cache for data and code holds all of it.
pub fn touch(start: usize, length: usize) {
    for line in (start..start + length).step_by(64) {
        // SAFETY: mapped memory.
        std::hint::black_box(unsafe { (line as *const u8).read_volatile() });
    }
}

/// Flushes the lines of a stretch of code from all caches.
pub fn flush(start: usize, length: usize) {
    for line in (start..start + length).step_by(64) {
        // SAFETY: flushing a line of mapped memory changes no content.
        unsafe { _mm_clflush(line as *const u8) };
    }
    // SAFETY: a fence.
    unsafe { _mm_mfence() };
}

fn assemble() -> Vec<u8> {
    let mut code = Vec::with_capacity((BLOCKS + 1) * STRIDE_BYTES);
    // mov rax, rdi
    code.extend_from_slice(&[0x48, 0x89, 0xf8]);
    for block in 0..BLOCKS {
        let end = (block + 1) * STRIDE_BYTES;
        // rol rax, 7; test al, 1; jz over the next
        code.extend_from_slice(&[0x48, 0xc1, 0xc0, 0x07, 0xa8, 0x01, 0x74, 0x02]);
        // jmp to the next instruction, the target of the branch
        code.extend_from_slice(&[0xeb, 0x00]);
        if block % 8 == 0 {
            // lea rdx, [rip + next]; jmp rdx
            let distance = (end - (code.len() + 7)) as u32;
            code.extend_from_slice(&[0x48, 0x8d, 0x15]);
            code.extend_from_slice(&distance.to_le_bytes());
            code.extend_from_slice(&[0xff, 0xe2]);
        } else {
            // jmp next
            let distance = (end - (code.len() + 2)) as u8;
            code.extend_from_slice(&[0xeb, distance]);
        }
        code.resize(end, 0xcc);
    }
    // ret
    code.push(0xc3);
    code
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions, FlowControl};

    #[test]
    fn every_block_jumps_to_the_next_and_the_last_returns() {
        let code = super::assemble();
        let mut at = 0u64;
        let mut branches = 0;
        loop {
            let rest = &code[at as usize..];
            let instruction = Decoder::with_ip(64, rest, at, DecoderOptions::NONE).decode();
            assert!(!instruction.is_invalid());
            at = match instruction.flow_control() {
                FlowControl::Return => break,
                FlowControl::UnconditionalBranch => instruction.near_branch_target(),
                // lea rdx, [rip + next] precedes it.
                FlowControl::IndirectBranch => at.next_multiple_of(super::STRIDE_BYTES as u64),
                FlowControl::ConditionalBranch => {
                    branches += 1;
                    instruction.near_branch_target()
                }
                _ => instruction.next_ip(),
            };
        }
        assert_eq!(branches, super::BLOCKS);
        super::Evictor::new(super::assemble as *const () as usize).unwrap().run(0x1234_5678_9abc_def0);
    }
}
