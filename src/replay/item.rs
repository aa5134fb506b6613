//! The instructions of the replay, and their machine code.
//!
//! General registers hold zeros, so that any of them is a harmless operand: it carries a dependence and no value.
//!
//! ```text
//! eax ecx edx ebx edi r8 r9     zeros          rbp   origin of the data
//! rsi r10 r12 r13               addresses      r14   the next word of the stream
//! r11                           targets        r15   start of the code
//! ```

use super::address::BASES;
use crate::patch::nops;

/// Registers that hold zeros, by their numbers in machine code. The first [`LEGACY`] need no prefix.
pub(super) const ZEROS: [u8; 7] = [0, 1, 2, 3, 7, 8, 9];
pub(super) const LEGACY: usize = 5;
/// Registers that hold addresses.
const ADDRESSES: [u8; BASES] = [6, 10, 12, 13];
/// Longest usual instruction that does nothing, in bytes.
const LONGEST_NOP: usize = 9;
/// Longest instruction, in bytes.
pub(super) const MAX_BYTES: usize = 15;

/// The operand of a load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// A distance from the origin; the register, if any, holds zero and makes the access wait for it.
    Fixed { distance: i32, after: Option<u8> },
    /// A distance from a streamed address.
    Base { base: u8, distance: i32 },
}

/// An instruction, or a row of instructions that stays together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// An operation of two registers; `adds` makes it wait for both.
    Other {
        to: u8,
        from: u8,
        adds: bool,
    },
    /// Does nothing.
    Filler,
    Load {
        to: u8,
        operand: Operand,
    },
    Store {
        from: u8,
        operand: Operand,
    },
    /// Reads an address from the stream.
    Address {
        base: u8,
        at: i32,
        after: u8,
    },
    /// Writes lines of zeros, whose number the stream has.
    Repeat {
        operand: Operand,
        at: i32,
    },
    /// Moves to the next record of the stream.
    Advance {
        bytes: i32,
    },
    /// Sets the flags as of "not equal".
    Test,
    /// Compares a byte of the stream with a register of zeros.
    Compare {
        at: i32,
        with: u8,
    },
    /// Reads a target from the stream: two instructions.
    Target {
        at: i32,
    },
    /// Takes the address of a block as target.
    KnownTarget {
        block: u32,
    },
    /// Takes stack and target from the stream, and returns there: six instructions.
    Leave {
        stack: i32,
        target: i32,
    },
    /// Jumps if the flags are "not equal".
    Taken {
        block: u32,
    },
    /// Never jumps.
    Untaken,
    Jump {
        block: u32,
    },
    JumpTarget,
    Call {
        block: u32,
    },
    CallTarget,
    Return,
    /// A call site of a hook, by its number.
    Site {
        site: u32,
    },
    /// The end of a pass is here.
    Head,
}

/// Bytes under construction.
#[derive(Default)]
pub(super) struct Bytes {
    pub code: Vec<u8>,
}

impl Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    fn put32(&mut self, value: i32) {
        self.put(&value.to_le_bytes());
    }

    /// A prefix for registers beyond the eighth; none if it is not needed.
    fn rex(&mut self, wide: bool, reg: u8, index: u8, base: u8) {
        let rex = 0x40 | u8::from(wide) << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3;
        if rex != 0x40 {
            self.put(&[rex]);
        }
    }

    /// An opcode with a register and a memory operand.
    fn memory(&mut self, wide: bool, opcode: &[u8], reg: u8, base: u8, index: Option<u8>, distance: i32) {
        self.rex(wide, reg, index.unwrap_or(0), base);
        self.put(opcode);
        let short = i8::try_from(distance).ok();
        // Base rbp and r13 always have a distance; base r12 and rsp always have an index byte.
        let mode = if short.is_some() { 0x40 } else { 0x80 };
        let needs_index = index.is_some() || base & 7 == 4;
        if needs_index {
            self.put(&[mode | (reg & 7) << 3 | 4, (index.map_or(4, |index| index & 7)) << 3 | base & 7]);
        } else {
            self.put(&[mode | (reg & 7) << 3 | base & 7]);
        }
        match short {
            Some(short) => self.put(&[short as u8]),
            None => self.put32(distance),
        }
    }

    fn operand(&mut self, opcode: &[u8], reg: u8, operand: Operand) {
        match operand {
            Operand::Fixed { distance, after } => self.memory(false, opcode, reg, RBP, after, distance),
            Operand::Base { base, distance } => self.memory(false, opcode, reg, RBP, Some(address(base)), distance),
        }
    }
}

const RBP: u8 = 5;
const R11: u8 = 11;
const R14: u8 = 14;

fn address(base: u8) -> u8 {
    ADDRESSES.get(usize::from(base)).copied().unwrap_or(6)
}

/// The machine code of an item without a branch, at least `wanted` bytes long where its form allows that.
pub(super) fn encode(item: Item, wanted: usize) -> Vec<u8> {
    let mut out = Bytes::default();
    match item {
        Item::Other { to, from, adds } => return encode_other(to, from, adds, wanted),
        Item::Filler => return encode_nop(wanted.clamp(1, MAX_BYTES)),
        Item::Load { to, operand } => out.operand(&[0x8b], to, operand),
        Item::Store { from, operand } => out.operand(&[0x89], from, operand),
        Item::Address { base, at, after } => out.memory(false, &[0x8b], address(base), R14, Some(after), at),
        Item::Repeat { operand, at } => {
            // lea rdi, [operand]; mov ecx, [r14 + at]; rep stosq; xor edi, edi
            match operand {
                Operand::Fixed { distance, after } => out.memory(true, &[0x8d], 7, RBP, after, distance),
                Operand::Base { base, distance } => out.memory(true, &[0x8d], 7, RBP, Some(address(base)), distance),
            }
            out.memory(false, &[0x8b], 1, R14, None, at);
            out.put(&[0x31, 0xc0, 0xf3, 0x48, 0xab, 0x31, 0xff]);
        }
        Item::Advance { bytes } => out.memory(true, &[0x8d], R14, R14, None, bytes),
        Item::Test => out.put(&[0x85, 0xed]),
        Item::Compare { at, with } => out.memory(false, &[0x38], with_low_byte(with), R14, None, at),
        Item::Target { at } => {
            out.memory(false, &[0x8b], R11, R14, None, at);
            // add r11, r15
            out.put(&[0x4d, 0x01, 0xfb]);
        }
        Item::Leave { stack, target } => {
            out.memory(false, &[0x8b], R11, R14, None, stack);
            // lea rsp, [rbp + r11]
            out.memory(true, &[0x8d], 4, RBP, Some(R11), 0);
            out.memory(false, &[0x8b], R11, R14, None, target);
            // add r11, r15; push r11; ret
            out.put(&[0x4d, 0x01, 0xfb, 0x41, 0x53, 0xc3]);
        }
        Item::JumpTarget => out.put(&[0x41, 0xff, 0xe3]),
        Item::CallTarget => out.put(&[0x41, 0xff, 0xd3]),
        Item::Return => out.put(&[0xc3]),
        _ => {}
    }
    let needed = out.code.len();
    let is_access = matches!(item, Item::Load { .. } | Item::Store { .. } | Item::Address { .. });
    if is_access && needed < wanted {
        // Prefixes of a segment that change nothing.
        let mut code = vec![0x3e; (wanted.min(MAX_BYTES) - needed).min(4)];
        code.append(&mut out.code);
        return code;
    }
    out.code
}

/// Registers whose low byte needs no prefix: al, cl, dl, bl.
fn with_low_byte(register: u8) -> u8 {
    register & 3
}

fn encode_other(to: u8, from: u8, adds: bool, wanted: usize) -> Vec<u8> {
    let wide = |wide: bool, reg: u8, rm: u8| 0x40 | u8::from(wide) << 3 | (reg >> 3) << 2 | rm >> 3;
    let direct = 0xc0 | (from & 7) << 3 | to & 7;
    let has_high = to > 7 || from > 7;
    let opcode = if adds { 0x01 } else { 0x89 };
    match wanted {
        0..=2 if !has_high => vec![opcode, direct],
        0..=3 => vec![wide(wanted >= 3, from, to), opcode, direct],
        // lea to, [from + 0], or add to, 0
        4 if !adds && from & 7 != 4 => vec![wide(true, to, from), 0x8d, 0x40 | (to & 7) << 3 | from & 7, 0],
        4 => vec![wide(true, 0, to), 0x83, 0xc0 | to & 7, 0],
        5 if to <= 7 => vec![0xb8 | to & 7, 0, 0, 0, 0],
        6 if to <= 7 => vec![0x81, 0xc0 | to & 7, 0, 0, 0, 0],
        5..=7 if adds => vec![wide(true, 0, to), 0x81, 0xc0 | to & 7, 0, 0, 0, 0],
        5..=7 => vec![wide(true, 0, to), 0xc7, 0xc0 | to & 7, 0, 0, 0, 0],
        10 => {
            let mut code = vec![wide(true, 0, to), 0xb8 | to & 7];
            code.extend([0; 8]);
            code
        }
        more => encode_nop(more.min(MAX_BYTES)),
    }
}

/// An instruction of this length that does nothing.
pub(super) fn encode_nop(length: usize) -> Vec<u8> {
    // Longer ones have further prefixes.
    let mut code = vec![0x66; length.saturating_sub(LONGEST_NOP)];
    nops::pad(&mut code, length);
    code
}
