//! A compiled function with a loop, and copies of it. Copies let a loop start at any offset within a cache line without
//! being compiled once per offset.

use std::collections::BTreeSet;

use iced_x86::{ConstantOffsets, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};

use super::{CodeError, CodeMemory, DecodedFunction};

/// Bytes of machine code that are decoded at most; more than the longest function of this program has. The bound stops
/// a decoder that has lost its way.
const MAX_FUNCTION_BYTES: usize = 64 << 10;

/// Why a function could not be decoded or copied.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// Bytes that do not decode.
    #[error("the function at {entry:#x} does not decode at {at:#x}")]
    Undecodable {
        /// Its start address.
        entry: u64,
        /// Address of the first byte that does not decode.
        at: u64,
    },
    /// No unwind table covers the function.
    #[error("no unwind table gives the length of the function at {entry:#x}; build with -C force-unwind-tables")]
    NoExtent {
        /// Its start address.
        entry: u64,
    },
    /// A jump whose target is known at run time only.
    #[error("the function at {entry:#x} has an indirect jump at {at:#x}, so its end cannot be found")]
    IndirectJump {
        /// Its start address.
        entry: u64,
        /// Address of the jump.
        at: u64,
    },
    /// The function has no backward branch.
    #[error("the function at {entry:#x} has no loop")]
    NoLoop {
        /// Its start address.
        entry: u64,
    },
    /// An address outside the function is out of reach of a copy.
    #[error("a copy of the function at {entry:#x} cannot reach {target:#x}")]
    OutOfReach {
        /// Start address of the original.
        entry: u64,
        /// The address that is out of reach.
        target: u64,
    },
    /// A branch of an unrolled chain is too short for the next copy, and no room is left for a longer one.
    #[error(
        "the branch at {at:#x} of the function at {entry:#x} does not reach the next copy of an unrolled chain, and \
         the code after it is executed"
    )]
    Occupied {
        /// Its start address.
        entry: u64,
        /// Address of the branch.
        at: u64,
    },
    /// The copy does not decode to the original.
    #[error("the copy of the function at {entry:#x} differs from it at {at:#x}")]
    CopyDiffers {
        /// Start address of the original.
        entry: u64,
        /// Address in the copy of the first difference.
        at: u64,
    },
    /// The code memory failed.
    #[error(transparent)]
    Code(#[from] CodeError),
}

/// A decoded function with a loop.
pub struct Function {
    code: DecodedFunction,
    /// Targets of its references in a copy.
    targets: Vec<u64>,
    head: u64,
    tail: u64,
}

impl Function {
    /// Decodes the function at `entry`, which has a loop.
    ///
    /// A jump in place of the function, which merging of identical functions leaves, is followed.
    ///
    /// # Safety
    /// `entry` is the address of a compiled function of this program.
    ///
    /// # Errors
    /// If its extent is unknown, the bytes do not decode, or it has no loop.
    pub unsafe fn with_loop(entry: usize) -> Result<Self, FunctionError> {
        // SAFETY: `at` needs the address of a compiled function of this program; the caller guarantees it.
        Self::from_decoded(unsafe { DecodedFunction::at(entry) }?)
    }

    /// Decodes machine code that runs at `entry`.
    ///
    /// # Errors
    /// If the bytes do not decode, or they have no loop.
    pub fn decode(entry: u64, bytes: Vec<u8>) -> Result<Self, FunctionError> {
        Self::from_decoded(DecodedFunction::decode(entry, bytes)?)
    }

    fn from_decoded(code: DecodedFunction) -> Result<Self, FunctionError> {
        let entry = code.entry();
        let (head, tail) = find_loop(entry, code.instructions()).ok_or(FunctionError::NoLoop { entry })?;
        let targets = code.references().map(|(_, target)| target).collect();
        Ok(Function { code, targets, head, tail })
    }

    /// Its start address.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.code.entry()
    }

    /// Its length in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a function has at least one instruction")]
    pub fn len(&self) -> usize {
        self.code.bytes().len()
    }

    /// Address of the loop's first instruction.
    #[must_use]
    pub fn loop_head(&self) -> u64 {
        self.head
    }

    /// The instructions of the loop, from its head to the backward branch.
    pub fn loop_instructions(&self) -> impl Iterator<Item = &Instruction> {
        let span = self.head..self.tail;
        self.instructions().iter().map(|(instruction, _)| instruction).filter(move |i| span.contains(&i.ip()))
    }

    /// The machine code of the loop.
    #[must_use]
    pub fn loop_bytes(&self) -> &[u8] {
        &self.code.bytes()[(self.head - self.entry()) as usize..(self.tail - self.entry()) as usize]
    }

    /// Writes a copy whose loop head lies at `offset` within 128 bytes, checks it by decoding it again, and returns its
    /// start address. The caller calls [`serialise`](super::text::serialise) before the copy runs.
    ///
    /// # Errors
    /// If memory is full, a target is out of reach, or the copy does not decode to the original.
    pub fn copy_to(&self, memory: &mut CodeMemory, offset: usize) -> Result<usize, FunctionError> {
        let head = (self.head - self.entry()) as usize;
        let start = memory.reserve(self.len(), head, offset)?;
        self.code.write(memory, start, || self.targets.iter().copied())?;
        Ok(start)
    }

    /// Makes copies call, or jump to, the new address that `relocated` gives for a function. References to data, and to
    /// functions for which it gives `None`, keep their addresses.
    #[must_use]
    pub fn calling(mut self, relocated: impl Fn(u64) -> Option<u64>) -> Self {
        for ((instruction, target), new_target) in self.code.references().zip(&mut self.targets) {
            if !instruction.is_ip_rel_memory_operand() {
                *new_target = relocated(target).unwrap_or(target);
            }
        }
        self
    }

    /// Its instructions, each with the offsets of its displacement and immediates.
    pub(super) fn instructions(&self) -> &[(Instruction, ConstantOffsets)] {
        self.code.instructions()
    }

    /// The machine code of a copy that runs at `start`.
    pub(super) fn relocated(&self, start: usize) -> Result<Vec<u8>, FunctionError> {
        self.code.relocated(start, self.targets.iter().copied())
    }
}

/// Finds the start and the end of the measured loop: the longest loop, joined with every other loop that overlaps it. A
/// spin loop inside a body is shorter. A compiler that splits the paths through the loop closes it with several
/// branches.
fn find_loop(entry: u64, instructions: &[(Instruction, ConstantOffsets)]) -> Option<(u64, u64)> {
    let loops: Vec<(u64, u64)> = instructions
        .iter()
        .filter(|(i, _)| i.is_jcc_short_or_near() || i.is_jmp_short_or_near())
        .map(|(i, _)| (i.near_branch_target(), i.next_ip()))
        .filter(|(target, after)| (entry..*after).contains(target))
        .collect();
    let mut whole = loops.iter().copied().max_by_key(|(target, after)| after - target)?;
    loop {
        let overlaps = |(from, to): &&(u64, u64)| *from < whole.1 && whole.0 < *to;
        let joined = loops.iter().filter(overlaps).fold(whole, |all, one| (all.0.min(one.0), all.1.max(one.1)));
        if joined == whole {
            return Some(whole);
        }
        whole = joined;
    }
}

/// Number of mapped bytes from `entry` on, at most [`MAX_FUNCTION_BYTES`], up to the end of the text segment.
pub(super) fn count_mapped_bytes(entry: usize) -> usize {
    unsafe extern "C" {
        /// End of the text segment (ld(1); every ELF linker provides the symbol).
        static etext: u8;
    }
    let end = &raw const etext as usize;
    end.saturating_sub(entry).min(MAX_FUNCTION_BYTES)
}

/// Finds the end of the last instruction that can be reached from the first.
fn find_end(entry: u64, code: &[u8]) -> Result<u64, FunctionError> {
    let mut seen = BTreeSet::new();
    let mut open = vec![entry];
    let mut end = entry;
    while let Some(mut ip) = open.pop() {
        while seen.insert(ip) {
            let start = ip.wrapping_sub(entry) as usize;
            let rest = code.get(start..).ok_or(FunctionError::Undecodable { entry, at: ip })?;
            let instruction = Decoder::with_ip(64, rest, ip, DecoderOptions::NONE).decode();
            if instruction.is_invalid() {
                return Err(FunctionError::Undecodable { entry, at: ip });
            }
            end = end.max(instruction.next_ip());
            ip = instruction.next_ip();
            match instruction.flow_control() {
                FlowControl::ConditionalBranch => open.push(instruction.near_branch_target()),
                FlowControl::UnconditionalBranch => ip = instruction.near_branch_target(),
                // An interrupt return inside a loop is an op's body and continues at the next instruction.
                FlowControl::Return if instruction.mnemonic() == Mnemonic::Iretq => {}
                FlowControl::Return | FlowControl::Interrupt | FlowControl::Exception => break,
                FlowControl::IndirectBranch => {
                    return Err(FunctionError::IndirectJump { entry, at: instruction.ip() });
                }
                FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall | FlowControl::XbeginXabortXend => {}
            }
        }
    }
    Ok(end)
}

/// The address `[rip+disp32]` that a call or jump goes through; `None` for any other instruction.
#[must_use]
pub fn through_memory(instruction: &Instruction) -> Option<u64> {
    let indirect = instruction.is_call_near_indirect() || instruction.is_jmp_near_indirect();
    (indirect && instruction.memory_base() == Register::RIP).then(|| instruction.ip_rel_memory_address())
}

/// Copies a callee with the bytes before its entry, and returns the entry of the copy. The caller calls
/// [`serialise`](super::text::serialise) before the copy runs.
///
/// # Safety
/// `entry` is the address of a function of this program, compiled or assembly, with 16 bytes mapped before it.
///
/// # Errors
/// If memory is full, or a target of the callee is out of the copy's reach.
pub unsafe fn copy_callee(entry: usize, memory: &mut CodeMemory) -> Result<usize, FunctionError> {
    // SAFETY: `callee` needs a function with 16 mapped bytes before it; the caller guarantees both.
    let code = unsafe { DecodedFunction::callee(entry) }?;
    let start = code.reserve(memory, 0)?;
    code.write(memory, start, || code.references().map(|(_, target)| target))?;
    Ok(start)
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
        Ok(end) if code[(end - entry as u64) as usize - 1] == 0xc3 => {
            code[..(end - entry as u64) as usize - 1].to_vec()
        }
        _ => Vec::new(),
    }
}
