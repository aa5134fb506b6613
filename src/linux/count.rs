//! A variant with counters: it counts the calls of each hook and the rounds of `rep` instructions.
//!
//! Every slot of pv_ops points to a stub of two instructions, `incq counter(%rip); jmp body`, in the padding between
//! functions. The kernel never patches its sites, so every call of a hook goes through its slot. The counters lie in
//! the unused half of the page that the kernel shares with every process for its clock (`.vvar`). The guest's init
//! reads them as plain memory before and after each workload, and the counts are exact.
//!
//! The emulator's own tools are unsuitable. Its log of executed blocks has gigabytes, and breakpoints of a debugger
//! stop it millions of times. Its plugins count a faulting instruction twice, and need headers that distributions do
//! not ship.
//!
//! TCG counts every round of a `rep` as an instruction. The stub of a `rep` adds its rounds (`rcx`) to a counter, so
//! that they can be subtracted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};

use super::elf::{Elf, ElfError};
use super::hooks::Hooks;

/// The mark before the counters, by which the guest finds them; `src/linux/guest/linux.rs` has the same.
const MAGIC: &[u8; 8] = b"pvbench1";
/// Offset of the mark in the page, in bytes.
const MAGIC_OFFSET: u64 = 0x800;
/// Bound on the number of counters; the same as in `src/linux/guest/records.rs`.
const MAX_COUNTERS: usize = 160;
/// Size of a page, in bytes.
const PAGE: u64 = 4096;
/// Alignment of functions, in bytes.
const ALIGNMENT: u64 = 16;

/// Why a kernel cannot get counters.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// The ELF file is damaged or incomplete.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// The kernel has no room, or has it in an unknown form.
    #[error("this kernel cannot count its hooks: {what}")]
    NoRoom {
        /// The missing room.
        what: String,
    },
}

/// The counters of a kernel, in order: rounds of `rep`, then hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The slots of the counters from 1 on.
    pub slots: Vec<usize>,
    /// Number of `rep` instructions with counted rounds.
    pub reps: usize,
    /// Number of `rep` instructions without: there is no padding nearby, or later code needs the flags.
    pub reps_left: usize,
}

impl Counters {
    /// Number of counters.
    #[must_use]
    pub fn len(&self) -> usize {
        1 + self.slots.len()
    }

    /// Always false: the first counter counts rounds.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// Adds counters to an unpatched kernel (`noalt`). A kernel without pv_ops counts only rounds.
///
/// # Errors
/// If the kernel has no room for them.
pub fn count(elf: &mut Elf, hooks: Option<&Hooks>) -> Result<Counters, CountError> {
    let meaning = "the counters need its page, which kernels since 6.15 keep in another section; name an older kernel";
    let vvar = elf.need(".vvar", meaning)?.address;
    let mut counters = Counters { slots: hooks.map(Hooks::slots).unwrap_or_default(), ..Counters::default() };
    counters.slots.truncate(MAX_COUNTERS - 1);
    let first = vvar + MAGIC_OFFSET + MAGIC.len() as u64;
    let taken = MAGIC.len() + 8 * counters.len();
    match elf.at(vvar + MAGIC_OFFSET, taken) {
        Some(bytes) if bytes.iter().all(|byte| *byte == 0) && MAGIC_OFFSET + taken as u64 <= PAGE => {}
        _ => return Err(CountError::NoRoom { what: "the second half of .vvar is in use".to_owned() }),
    }
    let mut text = Text::decode(elf, hooks)?;
    let mut written = vec![(vvar + MAGIC_OFFSET, MAGIC.to_vec())];
    for (index, slot) in counters.slots.iter().enumerate() {
        let Some(hooks) = hooks else { break };
        let at = hooks.address(*slot);
        let body = elf.quad(at).filter(|body| *body != 0);
        let Some(body) = body else { continue };
        let no_room = || CountError::NoRoom { what: "it has no padding for the stub of a hook".to_owned() };
        let stub = text.take(STUB_BYTES, None).ok_or_else(no_room)?;
        written.push((stub, assemble_stub(stub, first + 8 * (1 + index as u64), body)));
        written.push((at, stub.to_le_bytes().to_vec()));
    }
    let mut moved = BTreeMap::new();
    for rep in std::mem::take(&mut text.reps) {
        match rep.is_free.then(|| text.detour(&rep, first)).flatten() {
            Some(detour) => {
                moved.insert(rep.at, detour.rep);
                written.extend(detour.patches);
                counters.reps += 1;
            }
            None => counters.reps_left += 1,
        }
    }
    written.extend(relocate_exceptions(elf, &moved)?);
    for (at, bytes) in written {
        if !elf.write(at, &bytes) {
            return Err(CountError::NoRoom { what: format!("address {at:#x} is outside the file") });
        }
    }
    Ok(counters)
}

/// Length of the stub of a hook, in bytes.
const STUB_BYTES: u64 = 12;

/// Assembles the stub of a hook, `incq counter(%rip); jmp body`, to run at `at`.
fn assemble_stub(at: u64, counter: u64, body: u64) -> Vec<u8> {
    let mut code = vec![0x48, 0xff, 0x05];
    code.extend(distance(at + 7, counter));
    code.push(0xe9);
    code.extend(distance(at + STUB_BYTES, body));
    code
}

/// The 32-bit distance between two addresses; all kernel addresses lie within 2 GiB.
fn distance(from: u64, to: u64) -> [u8; 4] {
    (to.wrapping_sub(from) as i32).to_le_bytes()
}

/// A `rep movs` or `rep stos`.
struct Rep {
    at: u64,
    bytes: Vec<u8>,
    /// Whether it may be overwritten: nothing else rewrites it, and no later instruction reads flags set before it.
    is_free: bool,
}

/// A `rep` with its new address.
struct Detour {
    /// The new address.
    rep: u64,
    /// Addresses and the bytes to write there.
    patches: Vec<(u64, Vec<u8>)>,
}

/// Rewrites `__ex_table`, the table of instructions that may fault and of the addresses at which each continues then.
/// `moved` has old and new addresses of instructions. An entry has three 32-bit words, the first two relative to
/// themselves, and entries are sorted by the first.
fn relocate_exceptions(elf: &Elf, moved: &BTreeMap<u64, u64>) -> Result<Option<(u64, Vec<u8>)>, CountError> {
    const ENTRY: usize = 12;
    let Some(section) = elf.section("__ex_table") else { return Ok(None) };
    let text = elf.need(".text", "a kernel has code")?.addresses();
    let word = |bytes: &[u8]| i64::from(i32::from_le_bytes(bytes.try_into().unwrap_or_default()));
    let addresses = (section.address..).step_by(ENTRY);
    let mut entries = Vec::new();
    for (at, bytes) in addresses.clone().zip(elf.data(section).chunks(ENTRY)) {
        let (Some(instruction), Some(fixup), Some(how)) = (bytes.get(..4), bytes.get(4..8), bytes.get(8..)) else {
            return Err(CountError::NoRoom { what: "__ex_table has an unknown form".to_owned() });
        };
        let instruction = at.wrapping_add_signed(word(instruction));
        let fixup = (at + 4).wrapping_add_signed(word(fixup));
        let known = elf.at(instruction, 1).is_some() && elf.at(fixup, 1).is_some();
        if bytes.len() != ENTRY || !known {
            return Err(CountError::NoRoom { what: "__ex_table has an unknown form".to_owned() });
        }
        let is_moved = text.contains(&instruction).then(|| moved.get(&instruction)).flatten();
        entries.push((is_moved.copied().unwrap_or(instruction), fixup, how.to_vec()));
    }
    entries.sort();
    let mut table = Vec::new();
    for (at, (instruction, fixup, how)) in addresses.zip(entries) {
        table.extend(distance(at, instruction));
        table.extend(distance(at + 4, fixup));
        table.extend(how);
    }
    Ok(Some((section.address, table)))
}

/// The padding and the `rep` instructions of `.text`.
struct Text {
    /// Length and address of padding that never executes, from short to long.
    pads: BTreeSet<(u64, u64)>,
    reps: Vec<Rep>,
}

impl Text {
    /// Decodes `.text` and collects its padding and its `rep` instructions.
    fn decode(elf: &Elf, hooks: Option<&Hooks>) -> Result<Text, CountError> {
        let text = elf.need(".text", "a kernel has code")?;
        let code = elf.data(text);
        // Boot rewrites alternatives, including their own padding, so that padding is not free.
        let mut rewritten: Vec<Range<u64>> = Vec::new();
        if let Some(hooks) = hooks {
            rewritten.extend(hooks.alternatives.iter().map(|it| it.at..it.at + u64::from(it.length)));
        }
        rewritten.sort_by_key(|range| range.start);
        let is_rewritten = |range: &Range<u64>| {
            let before = rewritten.partition_point(|it| it.start < range.end);
            // Alternatives are short: only the last 8 that start before the end can overlap the range.
            rewritten[before.saturating_sub(8)..before].iter().any(|it| it.end > range.start)
        };
        let mut decoder = Decoder::with_ip(64, code, text.address, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        let (mut targets, mut pads, mut reps) = (Vec::new(), Vec::new(), Vec::new());
        // The address after an instruction that never continues to the next: padding may begin there.
        let mut padding: Option<u64> = None;
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            let at = instruction.ip();
            if is_padding(&instruction) {
                continue;
            }
            if let Some(start) = padding.take() {
                let end = start.next_multiple_of(ALIGNMENT).min(at);
                pads.push(start..end);
            }
            if instruction.is_invalid() {
                continue;
            }
            if instruction.near_branch_target() != 0 {
                targets.push(instruction.near_branch_target());
            }
            if is_rep(&instruction) {
                let range = at..instruction.next_ip();
                let start = (at - text.address) as usize;
                let bytes = code.get(start..start + instruction.len()).unwrap_or_default().to_vec();
                let is_free = !is_rewritten(&range) && flags_are_dead(&code[start..], at);
                reps.push(Rep { at, bytes, is_free });
            }
            let ends = matches!(
                instruction.flow_control(),
                FlowControl::UnconditionalBranch | FlowControl::Return | FlowControl::IndirectBranch
            );
            if ends {
                padding = Some(instruction.next_ip());
            }
        }
        targets.sort_unstable();
        let is_target = |range: &Range<u64>| {
            let first = targets.partition_point(|target| *target < range.start);
            targets.get(first).is_some_and(|target| *target < range.end)
        };
        let free = pads.into_iter().filter(|pad| pad.start < pad.end && !is_target(pad) && !is_rewritten(pad));
        Ok(Text { pads: free.map(|pad| (pad.end - pad.start, pad.start)).collect(), reps })
    }

    /// Takes padding of at least `length` bytes, within reach of a short jump at `near`, if given.
    fn take(&mut self, length: u64, near: Option<u64>) -> Option<u64> {
        /// Reach of a jump of two bytes, in bytes, with a margin: it is 127 forwards and 128 backwards.
        const REACH: i64 = 120;
        let is_near = |at: u64| near.is_none_or(|near| (at.wrapping_sub(near) as i64).abs() < REACH);
        let found = *self.pads.range((length, 0)..).find(|(_, at)| is_near(*at))?;
        self.pads.remove(&found);
        let (has, at) = found;
        if has > length {
            self.pads.insert((has - length, at + length));
        }
        Some(at)
    }

    /// Moves a `rep` into a stub, `add %rcx, counter(%rip); rep ..; jmp back`. A short jump replaces the `rep`; if the
    /// stub is far, it leads to a long jump to the stub.
    fn detour(&mut self, rep: &Rep, counter: u64) -> Option<Detour> {
        const JMP: u64 = 5;
        let length = 7 + rep.bytes.len() as u64 + JMP;
        let end = rep.at + rep.bytes.len() as u64;
        let (near, stub) = match self.take(length, Some(rep.at)) {
            Some(stub) => (stub, stub),
            None => (self.take(JMP, Some(rep.at))?, self.take(length, None)?),
        };
        let mut code = vec![0x48, 0x01, 0x0d];
        code.extend(distance(stub + 7, counter));
        code.extend(&rep.bytes);
        code.push(0xe9);
        code.extend(distance(stub + length, end));
        let mut site = vec![0xeb, (near.wrapping_sub(rep.at + 2)) as u8];
        site.resize(rep.bytes.len(), 0x90);
        let mut patches = vec![(stub, code), (rep.at, site)];
        if near != stub {
            let mut jump = vec![0xe9];
            jump.extend(distance(near + JMP, stub));
            patches.push((near, jump));
        }
        Some(Detour { rep: stub + 7, patches })
    }
}

fn is_padding(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)
}

fn is_rep(instruction: &Instruction) -> bool {
    let string = [
        Mnemonic::Movsb,
        Mnemonic::Movsw,
        Mnemonic::Movsd,
        Mnemonic::Movsq,
        Mnemonic::Stosb,
        Mnemonic::Stosw,
        Mnemonic::Stosd,
        Mnemonic::Stosq,
    ];
    instruction.has_rep_prefix() && string.contains(&instruction.mnemonic())
}

/// Whether the code after the first instruction reads no arithmetic flag before it sets all of them, returns or calls.
fn flags_are_dead(code: &[u8], at: u64) -> bool {
    use iced_x86::RflagsBits;
    const ARITHMETIC: u32 =
        RflagsBits::OF | RflagsBits::SF | RflagsBits::ZF | RflagsBits::AF | RflagsBits::CF | RflagsBits::PF;
    /// Bound on the number of decoded instructions.
    const MAX_INSTRUCTIONS: usize = 24;
    let mut live = ARITHMETIC;
    for instruction in Decoder::with_ip(64, code, at, DecoderOptions::NONE).iter().skip(1).take(MAX_INSTRUCTIONS) {
        if instruction.is_invalid() || instruction.rflags_read() & live != 0 {
            return false;
        }
        live &= !instruction.rflags_modified();
        let over = matches!(instruction.flow_control(), FlowControl::Return | FlowControl::Call);
        if over || live == 0 {
            return true;
        }
        // `jmp __x86_return_thunk` stands for a return until boot rewrites it. Other jumps are not followed.
        if instruction.flow_control() != FlowControl::Next {
            let far = instruction.near_branch_target().abs_diff(at) > 1 << 14;
            return far && instruction.flow_control() == FlowControl::UnconditionalBranch;
        }
    }
    false
}
