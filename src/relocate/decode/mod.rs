//! A function as decoded machine code.
//!
//! A copy at another address has the same bytes, except the distances to addresses outside the function: `rel32` of
//! calls and jumps, `disp32` of `[rip+disp32]`.

mod assembly;
pub(crate) mod elf_image;
pub(super) mod got_calls;
mod only_called;
mod unwind;

use iced_x86::{ConstantOffsets, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::FunctionError;

/// A decoded function.
pub struct DecodedFunction {
    entry: u64,
    /// The bytes before the entry that are copied with the function.
    preamble: Vec<u8>,
    bytes: Vec<u8>,
    instructions: Vec<(Instruction, ConstantOffsets)>,
    pub(super) references: Vec<Reference>,
}

/// A reference from an instruction to an address outside the function.
#[derive(Clone, Copy)]
pub(super) struct Reference {
    /// The instruction.
    pub instruction: Instruction,
    /// The address that it refers to.
    pub target: u64,
    /// Whether it loads the address and the next instruction compares it.
    pub is_compared: bool,
    /// Offset of the distance field in the function, in bytes.
    pub field: usize,
    /// Offset that the distance counts from: the end of the instruction.
    pub from: usize,
}

impl DecodedFunction {
    /// Decodes the compiled function at `entry`.
    ///
    /// A jump in place of the function, which merging of identical functions leaves, is followed.
    ///
    /// # Safety
    /// `entry` is the address of a compiled function of this program.
    ///
    /// # Errors
    /// If its extent is unknown, or the bytes do not decode.
    pub unsafe fn at(entry: usize) -> Result<Self, FunctionError> {
        // SAFETY: `find` needs a compiled function, which the caller guarantees, and no patching while the code is
        // borrowed; the bytes are copied at once.
        let (entry, code) = unsafe { Self::find(entry) }?;
        Self::decode(entry, code.to_vec())
    }

    /// Finds the compiled function at `entry` and its machine code as it is now. Follows a jump as
    /// [`DecodedFunction::at`] does.
    ///
    /// # Safety
    /// As for [`DecodedFunction::at`]. No site in the function is patched while the code is borrowed.
    ///
    /// # Errors
    /// If its extent is unknown.
    pub(super) unsafe fn find<'c>(entry: usize) -> Result<(u64, &'c [u8]), FunctionError> {
        let mut entry = entry as u64;
        let mut length = unwind::find_length(entry as usize).ok_or(FunctionError::NoExtent { entry })?;
        // SAFETY: `from_raw_parts` needs mapped bytes: the unwind tables give the length of this function.
        let mut code = unsafe { std::slice::from_raw_parts(entry as *const u8, length) };
        let first = Decoder::with_ip(64, code, entry, DecoderOptions::NONE).decode();
        if first.is_jmp_short_or_near() && first.len() == length {
            entry = first.near_branch_target();
            length = unwind::find_length(entry as usize).ok_or(FunctionError::NoExtent { entry })?;
            // SAFETY: `from_raw_parts` needs mapped bytes: the unwind tables give the length of the function that the
            // jump leads to.
            code = unsafe { std::slice::from_raw_parts(entry as *const u8, length) };
        }
        Ok((entry, code))
    }

    /// Decodes a callee: a compiled function, or assembly.
    ///
    /// # Safety
    /// As for [`DecodedFunction::assembly`].
    ///
    /// # Errors
    /// If the bytes do not decode.
    pub unsafe fn callee(entry: usize) -> Result<Self, FunctionError> {
        // SAFETY: `at` reads code only where an unwind table knows the function; the caller guarantees that `entry` is
        // a function of this program.
        match unsafe { Self::at(entry) } {
            // SAFETY: `assembly` needs a function with 16 mapped bytes before it; the caller guarantees both.
            Err(FunctionError::NoExtent { .. }) => unsafe { Self::assembly(entry) },
            decoded => decoded,
        }
    }

    /// Decodes machine code that runs at `entry`.
    ///
    /// # Errors
    /// If the bytes do not decode.
    pub fn decode(entry: u64, bytes: Vec<u8>) -> Result<Self, FunctionError> {
        let mut instructions = Vec::new();
        let mut decoder = Decoder::with_ip(64, &bytes, entry, DecoderOptions::NONE);
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                return Err(FunctionError::Undecodable { entry, at: instruction.ip() });
            }
            instructions.push((instruction, decoder.get_constant_offsets(&instruction)));
        }
        let mut function = DecodedFunction { entry, preamble: Vec::new(), bytes, instructions, references: Vec::new() };
        let next = function.instructions.iter().skip(1).map(|(next, _)| Some(next)).chain([None]);
        let all = function.instructions.iter().zip(next);
        function.references = all
            .filter_map(|((instruction, offsets), next)| {
                let (target, field) = function.outside(instruction, offsets)?;
                let within = |address: u64| (address - entry) as usize;
                Some(Reference {
                    instruction: *instruction,
                    target,
                    is_compared: next.is_some_and(|next| compares_address(instruction, next)),
                    field: within(instruction.ip()) + field,
                    from: within(instruction.next_ip()),
                })
            })
            .collect();
        Ok(function)
    }

    /// Its start address.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Its machine code.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes before its entry that are copied with it; empty for a compiled function.
    #[must_use]
    pub fn preamble(&self) -> &[u8] {
        &self.preamble
    }

    /// Forgets the instructions other than its references: a copy needs no others, and they take twelve times the room
    /// of the machine code.
    pub(super) fn forget_instructions(&mut self) {
        self.instructions = Vec::new();
    }

    /// Its instructions, each with the offsets of its displacement and immediates.
    #[must_use]
    pub fn instructions(&self) -> &[(Instruction, ConstantOffsets)] {
        &self.instructions
    }

    /// The instructions that refer to addresses outside the function, with these addresses.
    pub fn references(&self) -> impl Iterator<Item = (&Instruction, u64)> {
        self.references.iter().map(|Reference { instruction, target, .. }| (instruction, *target))
    }

    /// The address outside the function that an instruction refers to, and the offset of the distance in the
    /// instruction. `None` for references into the function: these move with it.
    #[must_use]
    pub fn outside(&self, instruction: &Instruction, offsets: &ConstantOffsets) -> Option<(u64, usize)> {
        let (target, field) = if instruction.is_ip_rel_memory_operand() {
            (instruction.ip_rel_memory_address(), offsets.displacement_offset())
        } else if instruction.op0_kind() == OpKind::NearBranch64 {
            (instruction.near_branch_target(), offsets.immediate_offset())
        } else {
            return None;
        };
        let inside = (self.entry..self.entry + self.bytes.len() as u64).contains(&target);
        (!inside).then_some((target, field))
    }
}

/// Whether `lea` loads an address into a register that `next` compares: `lea r11, [rip+disp32]`, `cmp rax, r11`.
fn compares_address(lea: &Instruction, next: &Instruction) -> bool {
    let loaded = lea.op0_register();
    let compares = next.mnemonic() == Mnemonic::Cmp && [next.op0_register(), next.op1_register()].contains(&loaded);
    lea.mnemonic() == Mnemonic::Lea && compares
}

/// The address `[rip+disp32]` that a call or jump goes through; `None` for any other instruction.
#[must_use]
pub fn through_memory(instruction: &Instruction) -> Option<u64> {
    let indirect = instruction.is_call_near_indirect() || instruction.is_jmp_near_indirect();
    (indirect && instruction.memory_base() == Register::RIP).then(|| instruction.ip_rel_memory_address())
}
