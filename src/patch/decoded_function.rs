//! A compiled function as decoded machine code.
//!
//! A copy of it elsewhere is byte for byte the original but for the fields that say how far away something outside the
//! function is: `rel32` of calls and jumps, `disp32` of `[rip+disp32]`.

use iced_x86::{ConstantOffsets, Decoder, DecoderOptions, FlowControl, Instruction, OpKind};

use super::function::mapped_after;
use super::{CodeError, CodeMemory, FunctionError, unwind};

/// Bytes of a distance.
const DISTANCE: usize = 4;

/// Bytes in front of the entry of assembly that a caller may look at or call: a preamble.
const PREAMBLE: usize = 16;

/// A call leads over so many bytes behind a loop at most.
const OVER: u64 = 64;

/// A decoded function.
pub struct DecodedFunction {
    entry: u64,
    /// What stands in front of the entry and goes along with it.
    preamble: Vec<u8>,
    bytes: Vec<u8>,
    instructions: Vec<(Instruction, ConstantOffsets)>,
    references: Vec<Reference>,
}

/// What one of its instructions refers to outside the function.
#[derive(Clone, Copy)]
struct Reference {
    /// Place of the instruction among all.
    index: usize,
    target: u64,
    /// Where in the function the distance stands.
    field: usize,
    /// Where in the function it counts from: the end of the instruction.
    from: usize,
}

impl DecodedFunction {
    /// Decodes the function at `entry`.
    ///
    /// A jump in place of the function, which is what merging of identical functions leaves, is followed.
    ///
    /// # Safety
    /// `entry` is the address of a compiled function of this program.
    ///
    /// # Errors
    /// Where its extent is unknown, or the bytes do not decode.
    pub unsafe fn at(entry: usize) -> Result<Self, FunctionError> {
        // SAFETY: the caller's contract.
        let (entry, code) = unsafe { Self::find(entry) }?;
        Self::decode(entry, code.to_vec())
    }

    /// Finds the function at `entry` and its machine code as it is now; follows a jump as [`DecodedFunction::at`] does.
    ///
    /// # Safety
    /// As there, and no site in it is patched while the code is held.
    ///
    /// # Errors
    /// Where its extent is unknown.
    pub(super) unsafe fn find<'c>(entry: usize) -> Result<(u64, &'c [u8]), FunctionError> {
        let mut entry = entry as u64;
        let mut length = unwind::of(entry as usize).ok_or(FunctionError::NoExtent { entry })?;
        // SAFETY: the unwind tables say that the function is that long.
        let mut code = unsafe { std::slice::from_raw_parts(entry as *const u8, length) };
        let first = Decoder::with_ip(64, code, entry, DecoderOptions::NONE).decode();
        if first.is_jmp_short_or_near() && first.len() == length {
            entry = first.near_branch_target();
            length = unwind::of(entry as usize).ok_or(FunctionError::NoExtent { entry })?;
            // SAFETY: as above.
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
    /// Where the bytes do not decode.
    pub unsafe fn callee(entry: usize) -> Result<Self, FunctionError> {
        // SAFETY: the caller's contract.
        match unsafe { Self::at(entry) } {
            // SAFETY: as above.
            Err(FunctionError::NoExtent { .. }) => unsafe { Self::assembly(entry) },
            decoded => decoded,
        }
    }

    /// Decodes assembly at `entry`, which no unwind table knows: as far as the first return or jump that nothing before
    /// it jumps over, nor calls over where the jump closes a loop: that is a retpoline, which catches speculation
    /// there. What is left of it then, is referred to where it is.
    ///
    /// # Safety
    /// `entry` is the address of a function of this program, with 16 bytes mapped before it.
    ///
    /// # Errors
    /// Where the bytes do not decode.
    pub unsafe fn assembly(entry: usize) -> Result<Self, FunctionError> {
        // SAFETY: mapped, by the linker's own end of the text.
        let code = unsafe { std::slice::from_raw_parts(entry as *const u8, mapped_after(entry)) };
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
                        && (end..end + OVER).contains(&called) =>
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
        let mut compiled = Self::decode(entry as u64, code[..(end - entry as u64) as usize].to_vec())?;
        // SAFETY: the caller's contract.
        let preamble = unsafe { std::slice::from_raw_parts((entry - PREAMBLE) as *const u8, PREAMBLE) };
        compiled.preamble = preamble.to_vec();
        Ok(compiled)
    }

    /// Decodes machine code that runs at `entry`.
    ///
    /// # Errors
    /// Where the bytes do not decode.
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
        let mut compiled = DecodedFunction { entry, preamble: Vec::new(), bytes, instructions, references: Vec::new() };
        let all = compiled.instructions.iter().enumerate();
        compiled.references = all
            .filter_map(|(index, (instruction, offsets))| {
                let (target, field) = compiled.outside(instruction, offsets)?;
                let within = |address: u64| (address - entry) as usize;
                let field = within(instruction.ip()) + field;
                Some(Reference { index, target, field, from: within(instruction.next_ip()) })
            })
            .collect();
        Ok(compiled)
    }

    /// Where it starts.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Its machine code.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What stands in front of its entry and goes along with it: nothing where it is compiled.
    #[must_use]
    pub fn preamble(&self) -> &[u8] {
        &self.preamble
    }

    /// Its instructions, with the places of what they refer to.
    #[must_use]
    pub fn instructions(&self) -> &[(Instruction, ConstantOffsets)] {
        &self.instructions
    }

    /// The machine code of a copy that runs at `start`, where what its [`references`](Self::references) lead to is at
    /// `targets`, in the same order.
    ///
    /// # Errors
    /// Where something outside is out of reach.
    pub fn relocated(&self, start: usize, targets: impl Iterator<Item = u64>) -> Result<Vec<u8>, FunctionError> {
        let mut bytes = self.bytes.clone();
        self.relocate(&mut bytes, start, targets)?;
        Ok(bytes)
    }

    /// Sets the distances in a copy of its machine code, as in [`DecodedFunction::relocated`].
    fn relocate(
        &self,
        bytes: &mut [u8],
        start: usize,
        targets: impl Iterator<Item = u64>,
    ) -> Result<(), FunctionError> {
        for (Reference { field, from, .. }, target) in self.references.iter().zip(targets) {
            let distance = i32::try_from(target.wrapping_sub((start + from) as u64) as i64).ok();
            // A distance of one byte cannot say where a copy's target is.
            let whole = field + DISTANCE <= *from;
            let distance = distance.filter(|_| whole).ok_or(FunctionError::OutOfReach { entry: self.entry, target })?;
            bytes[*field..field + DISTANCE].copy_from_slice(&distance.to_le_bytes());
        }
        Ok(())
    }

    /// Makes room for a copy whose entry lies at `offset` within 128 bytes, and returns where that is.
    ///
    /// # Errors
    /// Where there is none.
    pub fn reserve(&self, memory: &mut CodeMemory, offset: usize) -> Result<usize, CodeError> {
        let preamble = self.preamble.len();
        Ok(memory.reserve(preamble + self.bytes.len(), preamble, offset)? + preamble)
    }

    /// Writes a copy to where there is room for it, and checks it by decoding it again; `targets` as in
    /// [`DecodedFunction::relocated`].
    ///
    /// # Errors
    /// Where something is out of reach, or the copy does not decode to the original.
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

    /// Puts a copy that runs at `start` behind other `code`, with what stands in front of its entry.
    ///
    /// # Errors
    /// Where something is out of reach.
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

    /// The instructions that refer to something outside the function, and where that is.
    pub fn references(&self) -> impl Iterator<Item = (&Instruction, u64)> {
        self.references.iter().map(|Reference { index, target, .. }| (&self.instructions[*index].0, *target))
    }

    /// What an instruction refers to outside the function, and where in it the distance stands. What it refers to
    /// inside moves along.
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

    /// Checks a copy at `start` that was made with `targets`: what refers to something outside the function by decoding
    /// it, and all but the distances byte for byte. So instructions begin where those of the original do, and are the
    /// same.
    ///
    /// # Errors
    /// Where it does not decode to the original.
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
            checked = (field + DISTANCE).min(*from);
        }
        same_bytes(checked, copy.len())
    }
}
