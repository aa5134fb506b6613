//! From recorded addresses to executed instructions.

use iced_x86::{Code, Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, Register};

use super::TraceError;

/// No x86 instruction is longer (Intel SDM volume 2, 2.3.11).
const LONGEST: usize = 15;
/// Memory is mapped in pages of at least this size.
const PAGE: usize = 4096;

/// An executed instruction, with its machine code as it was then: patched code changes later.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The instruction, decoded; its `ip` is the address it was executed at.
    pub instruction: Instruction,
    bytes: [u8; LONGEST],
}

impl Step {
    /// Where it was executed.
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
    /// An instruction was executed there, and its memory has not been unmapped since. Where `address` lies in the page
    /// of an instruction of which that is known, it need not have been executed itself.
    pub(super) unsafe fn read(address: u64) -> Result<Self, TraceError> {
        let mut bytes = [0; LONGEST];
        let in_page = LONGEST.min(PAGE - address as usize % PAGE);
        // Bytes past the end of the page are only there if the instruction itself goes on into the next one.
        for length in [in_page, LONGEST] {
            // SAFETY: up to the end of the page that holds the first byte; beyond it only after the decoder has asked
            // for more, which an executed instruction has.
            unsafe { std::ptr::copy_nonoverlapping(address as *const u8, bytes.as_mut_ptr(), length) };
            let mut decoder = Decoder::with_ip(64, &bytes[..length], address, DecoderOptions::NONE);
            let instruction = decoder.decode();
            match decoder.last_error() {
                DecoderError::None => return Ok(Step { instruction, bytes }),
                DecoderError::NoMoreBytes if length < LONGEST => {}
                _ => break,
            }
        }
        Err(TraceError::Undecodable { at: address })
    }

    /// What a `[rip+disp32]` operand refers to, and where in the instruction the distance stands.
    pub(super) fn refers_to(&self) -> Option<(u64, usize)> {
        if !self.instruction.is_ip_rel_memory_operand() {
            return None;
        }
        let mut decoder = Decoder::with_ip(64, self.bytes(), self.address(), DecoderOptions::NONE);
        let instruction = decoder.decode();
        let field = decoder.get_constant_offsets(&instruction).displacement_offset();
        Some((instruction.ip_rel_memory_address(), field))
    }

    /// Where it goes, as far as that can be told from it; `None` where only the running program knows.
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

    /// Whether a step comes after each of its iterations: `rep movsb` and its like, which are one instruction (Intel
    /// SDM volume 3, 19.3.1.4).
    fn iterates(&self) -> bool {
        let prefixed = self.instruction.has_rep_prefix() || self.instruction.has_repne_prefix();
        prefixed && self.instruction.is_string_instruction()
    }

    /// Whether the CPU or the kernel is known to give no step after it: it comes an instruction later.
    ///
    /// Loading `ss` holds traps off for an instruction (Intel SDM volume 3, 6.8.3); Linux returns from a system call by
    /// `iretq` where TF is set, which traps after the instruction it returns to; hypervisors that emulate an
    /// instruction may forget the trap.
    fn swallows_step(&self) -> bool {
        let i = &self.instruction;
        i.op0_register() == Register::SS || matches!(i.code(), Code::Syscall | Code::Cpuid | Code::Rdtsc | Code::Rdtscp)
    }
}

/// The executed instructions from the addresses that were recorded: iterations of one instruction are one step, and an
/// instruction that got no step of its own, between two that did, is put in.
///
/// # Safety
/// The addresses are those of executed instructions, in order, and still mapped.
///
/// # Errors
/// [`TraceError::Gap`] where an address does not follow from the one before it.
pub unsafe fn executed(addresses: &[u64]) -> Result<Vec<Step>, TraceError> {
    let mut steps: Vec<Step> = Vec::with_capacity(addresses.len());
    for &address in addresses {
        if let Some(last) = steps.last() {
            if last.address() == address && last.iterates() {
                continue;
            }
            if last.successors().is_some_and(|to| !to.contains(&address)) {
                let (after, missed) = (last.address(), last.instruction.next_ip());
                let same_page = (missed - 1) as usize / PAGE == missed as usize / PAGE;
                let gap = TraceError::Gap { after, next: address };
                if !last.swallows_step() || !same_page {
                    return Err(gap);
                }
                // SAFETY: in the page of the last byte of an executed instruction.
                let missed = unsafe { Step::read(missed) }?;
                if missed.successors().is_some_and(|to| !to.contains(&address)) {
                    return Err(gap);
                }
                steps.push(missed);
            }
        }
        // SAFETY: the caller's addresses.
        steps.push(unsafe { Step::read(address) }?);
    }
    Ok(steps)
}
