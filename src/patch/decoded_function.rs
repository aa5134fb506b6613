//! A function as decoded machine code.
//!
//! A copy at another address has the same bytes, except the distances to addresses outside the function: `rel32` of
//! calls and jumps, `disp32` of `[rip+disp32]`.

use iced_x86::{ConstantOffsets, Decoder, DecoderOptions, FlowControl, Instruction, OpKind};

use super::function::count_mapped_bytes;
use super::{CodeError, CodeMemory, FunctionError, unwind};

/// Bytes of a distance.
const DISTANCE_BYTES: usize = 4;

/// Bytes before the entry of assembly that a caller may read or call.
const PREAMBLE_BYTES: usize = 16;

/// Bytes after a loop within which a call's target must lie to count as the second half of a retpoline.
const MAX_RETPOLINE_BYTES: u64 = 64;

/// A decoded function.
pub struct DecodedFunction {
    entry: u64,
    /// The bytes before the entry that are copied with the function.
    preamble: Vec<u8>,
    bytes: Vec<u8>,
    instructions: Vec<(Instruction, ConstantOffsets)>,
    references: Vec<Reference>,
}

/// A reference from an instruction to an address outside the function.
#[derive(Clone, Copy)]
struct Reference {
    /// Index of the instruction.
    index: usize,
    target: u64,
    /// Offset of the distance field in the function, in bytes.
    field: usize,
    /// Offset that the distance counts from: the end of the instruction.
    from: usize,
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
        let all = function.instructions.iter().enumerate();
        function.references = all
            .filter_map(|(index, (instruction, offsets))| {
                let (target, field) = function.outside(instruction, offsets)?;
                let within = |address: u64| (address - entry) as usize;
                let field = within(instruction.ip()) + field;
                Some(Reference { index, target, field, from: within(instruction.next_ip()) })
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

    /// Its instructions, each with the offsets of its displacement and immediates.
    #[must_use]
    pub fn instructions(&self) -> &[(Instruction, ConstantOffsets)] {
        &self.instructions
    }

    /// The machine code of a copy that runs at `start`. `targets` has the new target of each of the
    /// [`references`](Self::references), in the same order.
    ///
    /// # Errors
    /// If a target is out of reach.
    pub fn relocated(&self, start: usize, targets: impl Iterator<Item = u64>) -> Result<Vec<u8>, FunctionError> {
        let mut bytes = self.bytes.clone();
        self.relocate(&mut bytes, start, targets)?;
        Ok(bytes)
    }

    /// Writes the distances into a copy of its machine code; `targets` as in [`DecodedFunction::relocated`].
    fn relocate(
        &self,
        bytes: &mut [u8],
        start: usize,
        targets: impl Iterator<Item = u64>,
    ) -> Result<(), FunctionError> {
        for (Reference { field, from, .. }, target) in self.references.iter().zip(targets) {
            let distance = i32::try_from(target.wrapping_sub((start + from) as u64) as i64).ok();
            // A one-byte distance cannot reach the targets of a copy.
            let whole = field + DISTANCE_BYTES <= *from;
            let distance = distance.filter(|_| whole).ok_or(FunctionError::OutOfReach { entry: self.entry, target })?;
            bytes[*field..field + DISTANCE_BYTES].copy_from_slice(&distance.to_le_bytes());
        }
        Ok(())
    }

    /// Reserves memory for a copy whose entry lies at `offset` within 128 bytes, and returns the entry's address.
    ///
    /// # Errors
    /// If the memory is full.
    pub fn reserve(&self, memory: &mut CodeMemory, offset: usize) -> Result<usize, CodeError> {
        let preamble = self.preamble.len();
        Ok(memory.reserve(preamble + self.bytes.len(), preamble, offset)? + preamble)
    }

    /// Writes a copy to reserved memory and checks it by decoding it again; `targets` as in
    /// [`DecodedFunction::relocated`].
    ///
    /// # Errors
    /// If a target is out of reach, or the copy does not decode to the original.
    pub fn write<T: Iterator<Item = u64>>(
        &self,
        memory: &mut CodeMemory,
        start: usize,
        targets: impl Fn() -> T,
    ) -> Result<(), FunctionError> {
        let mut code = Vec::with_capacity(self.preamble.len() + self.bytes.len());
        self.append(&mut code, start, targets())?;
        memory.write(start - self.preamble.len(), &code)?;
        self.check(memory.read(start, self.bytes.len()), start as u64, targets())
    }

    /// Appends a copy that runs at `start` to `code`, with the bytes before its entry.
    ///
    /// # Errors
    /// If a target is out of reach.
    pub(super) fn append(
        &self,
        code: &mut Vec<u8>,
        start: usize,
        targets: impl Iterator<Item = u64>,
    ) -> Result<(), FunctionError> {
        code.extend_from_slice(&self.preamble);
        let entry = code.len();
        code.extend_from_slice(&self.bytes);
        self.relocate(&mut code[entry..], start, targets)
    }

    /// The instructions that refer to addresses outside the function, with these addresses.
    pub fn references(&self) -> impl Iterator<Item = (&Instruction, u64)> {
        self.references.iter().map(|Reference { index, target, .. }| (&self.instructions[*index].0, *target))
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

    /// Checks a copy at `start` that was made with `targets`. References are decoded and compared; all other bytes are
    /// compared with the original. So each instruction starts at the same offset as in the original and is the same.
    ///
    /// # Errors
    /// If the copy does not decode to the original.
    pub fn check(&self, copy: &[u8], start: u64, mut targets: impl Iterator<Item = u64>) -> Result<(), FunctionError> {
        let differs = |at: usize| FunctionError::CopyDiffers { entry: self.entry, at: start + at as u64 };
        let same_bytes = |from: usize, to: usize| {
            if self.bytes[from..to] == copy[from..to] {
                return Ok(());
            }
            let mut pairs = self.bytes[from..to].iter().zip(&copy[from..to]);
            Err(differs(from + pairs.position(|(original, copied)| original != copied).unwrap_or(0)))
        };
        if copy.len() != self.bytes.len() {
            return Err(differs(copy.len().min(self.bytes.len())));
        }
        let mut checked = 0;
        for Reference { index, field, from, .. } in &self.references {
            let original = &self.instructions[*index].0;
            let at = from - original.len();
            same_bytes(checked, *field)?;
            let copied = Decoder::with_ip(64, &copy[at..], start + at as u64, DecoderOptions::NONE).decode();
            let in_memory = copied.is_ip_rel_memory_operand();
            let target = if in_memory { copied.ip_rel_memory_address() } else { copied.near_branch_target() };
            let same = copied.code() == original.code() && copied.len() == original.len();
            if !same || targets.next() != Some(target) {
                return Err(differs(at));
            }
            checked = (field + DISTANCE_BYTES).min(*from);
        }
        same_bytes(checked, copy.len())
    }
}
