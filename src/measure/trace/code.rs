//! Steps: executed instructions, decoded from the addresses that were recorded.

use iced_x86::{Code, Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, Register};

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
    pub(super) unsafe fn read(address: u64) -> Result<Self, TraceError> {
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

    /// Addresses that may be executed next; `None` if only the running program knows.
    fn successors(&self) -> Option<[u64; 2]> {
        let (next, target) = (self.instruction.next_ip(), self.instruction.near_branch_target());
        match self.instruction.flow_control() {
            FlowControl::Next => Some([next; 2]),
            FlowControl::ConditionalBranch => Some([next, target]),
            FlowControl::UnconditionalBranch => Some([target; 2]),
            FlowControl::Call if self.instruction.is_call_near() => Some([target; 2]),
            FlowControl::Call if self.instruction.code() == Code::Syscall => Some([next; 2]),
            _ => None,
        }
    }

    /// Whether the CPU steps after each of its iterations: `rep movsb` and the like, which are one instruction (Intel
    /// SDM volume 3, 19.3.1.4).
    fn steps_per_iteration(&self) -> bool {
        let prefixed = self.instruction.has_rep_prefix() || self.instruction.has_repne_prefix();
        prefixed && self.instruction.is_string_instruction()
    }

    /// Whether the step after it is known to come one instruction late.
    ///
    /// A load of `ss` holds traps off for an instruction (Intel SDM volume 3, 6.8.3). Linux returns from a system call
    /// by `iretq` if TF is set, which traps after the instruction that it returns to. A hypervisor that emulates an
    /// instruction may forget the trap.
    fn delays_step(&self) -> bool {
        let i = &self.instruction;
        i.op0_register() == Register::SS || matches!(i.code(), Code::Syscall | Code::Cpuid | Code::Rdtsc | Code::Rdtscp)
    }
}

/// Decodes the executed instructions at the recorded addresses. Iterations of one instruction become one step. An
/// instruction that got no step, between two that did, is added.
///
/// # Safety
/// The addresses are those of executed instructions, in order, and still mapped.
///
/// # Errors
/// [`TraceError::Gap`] if an address does not follow from the one before it.
pub unsafe fn decode_executed(addresses: &[u64]) -> Result<Vec<Step>, TraceError> {
    let mut steps: Vec<Step> = Vec::with_capacity(addresses.len());
    for &address in addresses {
        if let Some(last) = steps.last() {
            if last.address() == address && last.steps_per_iteration() {
                continue;
            }
            if last.successors().is_some_and(|to| !to.contains(&address)) {
                let (after, missed) = (last.address(), last.instruction.next_ip());
                let same_page = (missed - 1) as usize / PAGE_BYTES == missed as usize / PAGE_BYTES;
                let gap = TraceError::Gap { after, next: address };
                if !last.delays_step() || !same_page {
                    return Err(gap);
                }
                // SAFETY: `read` allows instructions that start in the page of an executed one, and `same_page` checked
                // that.
                let missed = unsafe { Step::read(missed) }?;
                if missed.successors().is_some_and(|to| !to.contains(&address)) {
                    return Err(gap);
                }
                steps.push(missed);
            }
        }
        // SAFETY: `read` needs the address of an executed, mapped instruction; the caller guarantees that of all
        // addresses.
        steps.push(unsafe { Step::read(address) }?);
    }
    Ok(steps)
}
