//! A compiled function with a loop, and copies of it elsewhere: so a loop can stand at any offset within a cache line
//! without being compiled once per offset.

use std::collections::BTreeSet;

use iced_x86::{ConstantOffsets, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};

use super::{CodeError, CodeMemory, DecodedFunction};

/// No function of this program is longer; decoding stops here when it runs astray.
const LONGEST: usize = 64 << 10;

/// What is wrong with a function's machine code.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// Bytes that are no instruction.
    #[error("the function at {entry:#x} does not decode at {at:#x}")]
    Undecodable {
        /// Where it starts.
        entry: u64,
        /// Where decoding failed.
        at: u64,
    },
    /// No unwind table speaks of it.
    #[error("no unwind table says how long the function at {entry:#x} is; build with unwind tables")]
    NoExtent {
        /// Where it starts.
        entry: u64,
    },
    /// A jump whose target only the running program knows.
    #[error("the function at {entry:#x} has an indirect jump at {at:#x}; where it ends cannot be told")]
    IndirectJump {
        /// Where it starts.
        entry: u64,
        /// Where the jump is.
        at: u64,
    },
    /// No backward branch.
    #[error("the function at {entry:#x} has no loop")]
    NoLoop {
        /// Where it starts.
        entry: u64,
    },
    /// Something outside is out of reach of a copy.
    #[error("a copy of the function at {entry:#x} cannot reach {target:#x}")]
    OutOfReach {
        /// Where the original starts.
        entry: u64,
        /// What it refers to.
        target: u64,
    },
    /// A branch is too short for a train of copies, and there is no room for a longer one.
    #[error(
        "the branch at {at:#x} of the function at {entry:#x} does not reach the next copy, and what follows it is run"
    )]
    Occupied {
        /// Where it starts.
        entry: u64,
        /// Where the branch is.
        at: u64,
    },
    /// What was written does not decode to the original.
    #[error("the copy of the function at {entry:#x} differs from it at {at:#x}")]
    CopyDiffers {
        /// Where the original starts.
        entry: u64,
        /// Where in the copy.
        at: u64,
    },
    /// No room for the copy.
    #[error(transparent)]
    Code(#[from] CodeError),
}

/// A decoded function with a loop.
pub struct Function {
    code: DecodedFunction,
    /// What its references lead to in a copy.
    leads: Vec<u64>,
    head: u64,
    tail: u64,
}

impl Function {
    /// Decodes the function at `entry`, which has a loop.
    ///
    /// A jump in place of the function, which is what merging of identical functions leaves, is followed.
    ///
    /// # Safety
    /// `entry` is the address of a compiled function of this program.
    ///
    /// # Errors
    /// Where its extent is unknown, the bytes do not decode, or there is no loop.
    pub unsafe fn with_loop(entry: usize) -> Result<Self, FunctionError> {
        // SAFETY: the caller's contract.
        Self::of(unsafe { DecodedFunction::at(entry) }?)
    }

    /// Decodes machine code that runs at `entry`.
    ///
    /// # Errors
    /// Where the bytes do not decode, or there is no loop.
    pub fn decode(entry: u64, bytes: Vec<u8>) -> Result<Self, FunctionError> {
        Self::of(DecodedFunction::decode(entry, bytes)?)
    }

    fn of(code: DecodedFunction) -> Result<Self, FunctionError> {
        let entry = code.entry();
        let (head, tail) = measured_loop(entry, code.instructions()).ok_or(FunctionError::NoLoop { entry })?;
        let leads = code.references().map(|(_, target)| target).collect();
        Ok(Function { code, leads, head, tail })
    }

    /// Where it starts.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.code.entry()
    }

    /// How many bytes it has.
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

    /// Writes a copy whose loop head lies at `offset` within 128 bytes, checks it by decoding it again, and returns
    /// where it starts. [`serialise`](super::text::serialise) is still to be called.
    ///
    /// # Errors
    /// Where there is no room, something is out of reach, or the copy does not decode to the original.
    pub fn copy_to(&self, memory: &mut CodeMemory, offset: usize) -> Result<usize, FunctionError> {
        let head = (self.head - self.entry()) as usize;
        let start = memory.reserve(self.len(), head, offset)?;
        self.code.write(memory, start, || self.leads.iter().copied())?;
        Ok(start)
    }

    /// Has copies call, or jump to, what `relocated` knows of a function at its new place; all else that they refer to
    /// is where it was.
    #[must_use]
    pub fn calling(mut self, relocated: impl Fn(u64) -> Option<u64>) -> Self {
        for ((instruction, target), lead) in self.code.references().zip(&mut self.leads) {
            if !instruction.is_ip_rel_memory_operand() {
                *lead = relocated(target).unwrap_or(target);
            }
        }
        self
    }

    /// Its instructions, with the places of what they refer to.
    pub(super) fn instructions(&self) -> &[(Instruction, ConstantOffsets)] {
        self.code.instructions()
    }

    /// The machine code of a copy that runs at `start`.
    pub(super) fn relocated(&self, start: usize) -> Result<Vec<u8>, FunctionError> {
        self.code.relocated(start, self.leads.iter().copied())
    }
}

/// From the first to the last instruction of the measured loop: the longest one, with every other that overlaps it. (A
/// spin loop inside a body is shorter, and a compiler that splits the paths through the loop closes it at several
/// places.)
fn measured_loop(entry: u64, instructions: &[(Instruction, ConstantOffsets)]) -> Option<(u64, u64)> {
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

/// How many bytes after `entry` are mapped, at most [`LONGEST`], by the linker's own end of the text.
pub(super) fn mapped_after(entry: usize) -> usize {
    unsafe extern "C" {
        /// End of the text segment (ld(1), PROVIDE'd by every ELF linker).
        static etext: u8;
    }
    let end = &raw const etext as usize;
    end.saturating_sub(entry).min(LONGEST)
}

/// The end of the last instruction that can be reached from the first.
fn reach(entry: u64, code: &[u8]) -> Result<u64, FunctionError> {
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
                // An interrupt return inside a loop is an op's body, and goes on at the instruction after it.
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

/// Whether an instruction is a call or jump through memory at `[rip+disp32]`, and of which address.
#[must_use]
pub fn through_memory(instruction: &Instruction) -> Option<u64> {
    let indirect = instruction.is_call_near_indirect() || instruction.is_jmp_near_indirect();
    (indirect && instruction.memory_base() == Register::RIP).then(|| instruction.ip_rel_memory_address())
}

/// Copies a callee with what stands in front of its entry, and returns the entry of the copy.
/// [`serialise`](super::text::serialise) is still to be called.
///
/// # Safety
/// `entry` is the address of a function of this program, with 16 bytes mapped before it: a compiled one, or assembly.
///
/// # Errors
/// Where there is no room, or the copy cannot reach what the callee refers to.
pub unsafe fn copy_callee(entry: usize, memory: &mut CodeMemory) -> Result<usize, FunctionError> {
    // SAFETY: the caller's contract.
    let code = unsafe { DecodedFunction::callee(entry) }?;
    let start = code.reserve(memory, 0)?;
    code.write(memory, start, || code.references().map(|(_, target)| target))?;
    Ok(start)
}

/// The machine code of a body without its last return: what patching puts in place of a call. Empty where the body is
/// a return alone, or does not decode.
///
/// # Safety
/// `entry` is the address of a function of this program.
#[must_use]
pub unsafe fn code_before_return(entry: usize) -> Vec<u8> {
    // SAFETY: as in `with_loop`.
    let code = unsafe { std::slice::from_raw_parts(entry as *const u8, mapped_after(entry)) };
    match reach(entry as u64, code) {
        // A body ends with its only `ret` (c3).
        Ok(end) if code[(end - entry as u64) as usize - 1] == 0xc3 => {
            code[..(end - entry as u64) as usize - 1].to_vec()
        }
        _ => Vec::new(),
    }
}
