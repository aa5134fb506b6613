//! The control transfers of one function, and the call sites among them.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};
use rustc_hash::FxHashMap;

use super::classify::{Origin, classify_call, classify_jump, kind_of_word};
use super::functions::{FunctionRange, Functions};
use super::image::Image;
use super::kernel::Marks;
use super::kind::Kind;
use super::thunks::{Thunks, holds_fentry, is_return, is_trampoline, kind_of_code, kind_of_name};
use super::values::Values;

/// What a site calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Code at an address.
    Code(u64),
    /// The word at an address, which holds the target.
    Word(u64),
    /// The word at this offset, in bytes, of a table or structure.
    Offset(i64),
    /// Nothing is known.
    Nothing,
}

/// A call site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSite {
    /// Address of the instruction.
    pub address: u64,
    /// Its length in bytes.
    pub length: u8,
    /// Its mechanism.
    pub kind: Kind,
    /// Whether it is a jump.
    pub is_tail: bool,
    /// What it calls.
    pub target: Target,
}

/// What the instructions of a function are.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Call sites in the order of addresses.
    pub sites: Vec<RawSite>,
    /// Decoded instructions.
    pub instructions: u64,
    /// Call instructions.
    pub calls: u64,
    /// Jump instructions without condition.
    pub jumps: u64,
    /// Return instructions.
    pub returns: u64,
    /// Bytes that are no instructions.
    pub undecoded: u64,
}

/// The program that functions are read in.
#[derive(Clone, Copy)]
pub struct Program<'p, 'a> {
    /// Bytes and names.
    pub image: &'p Image<'a>,
    /// Functions.
    pub functions: &'p Functions<'a>,
    /// Stubs.
    pub thunks: &'p Thunks,
    /// The kernel's own tables.
    pub marks: &'p Marks,
}

/// Reads functions. It keeps what it learnt of the targets of calls.
pub struct Reader<'p, 'a> {
    program: Program<'p, 'a>,
    /// The kind of a call of an address.
    targets: FxHashMap<u64, Kind>,
    /// The kind of a call through a word at a fixed address.
    words: FxHashMap<u64, Kind>,
    /// Memory that is used for one function after the other.
    values: Values,
    /// The instructions of the function, up to `MAX_FOLLOWED`.
    instructions: Vec<Instruction>,
}

/// Bound on the instructions of a function whose values are followed: 40 MB of them. No compiler writes a larger one;
/// sites behind it stay unknown.
const MAX_FOLLOWED: usize = 1_000_000;
/// Instructions whose memory is kept for the next function: 2.6 MB. Few functions have more.
const MAX_KEPT: usize = 1 << 16;

/// An indirect call or jump that needs the values of registers.
fn needs_values(instruction: &Instruction) -> bool {
    match instruction.op0_kind() {
        OpKind::Register => true,
        OpKind::Memory => !has_fixed_address(instruction),
        _ => false,
    }
}

/// Whether a memory operand has an address that is known without any register.
fn has_fixed_address(instruction: &Instruction) -> bool {
    let no_segment = !matches!(instruction.segment_prefix(), Register::FS | Register::GS);
    let no_register = instruction.memory_base() == Register::None && instruction.memory_index() == Register::None;
    no_segment && (instruction.is_ip_rel_memory_operand() || no_register)
}

fn fixed_address(instruction: &Instruction) -> u64 {
    if instruction.is_ip_rel_memory_operand() {
        instruction.ip_rel_memory_address()
    } else {
        instruction.memory_displacement64()
    }
}

impl<'p, 'a> Reader<'p, 'a> {
    /// Prepares to read functions of a program.
    #[must_use]
    pub fn new(program: Program<'p, 'a>) -> Reader<'p, 'a> {
        Reader {
            program,
            targets: FxHashMap::default(),
            words: FxHashMap::default(),
            values: Values::default(),
            instructions: Vec::new(),
        }
    }

    /// Reads a function.
    pub fn read(&mut self, function: &FunctionRange<'a>) -> Control {
        let mut control = Control::default();
        let mut unresolved = Vec::new();
        let bytes = self.program.image.bytes(&function.range);
        let mut decoder = Decoder::with_ip(64, bytes, function.range.start, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        while decoder.can_decode() {
            decode(&mut decoder, bytes.len(), &mut instruction, &mut control);
            if instruction.is_invalid() {
                continue;
            }
            if self.instructions.len() < MAX_FOLLOWED {
                self.instructions.push(instruction);
            }
            let flow = instruction.flow_control();
            if flow == FlowControl::Call && !is_call(&instruction) {
                continue;
            }
            match flow {
                FlowControl::Next => continue,
                FlowControl::Call | FlowControl::IndirectCall => control.calls += 1,
                FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => control.jumps += 1,
                FlowControl::Return => control.returns += 1,
                _ => {}
            }
            let site = match flow {
                FlowControl::Call => self.direct_call(&instruction, function),
                FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                    self.direct_jump(&instruction, function)
                }
                FlowControl::IndirectCall | FlowControl::IndirectBranch => {
                    if needs_values(&instruction) {
                        unresolved.push(control.sites.len());
                    }
                    Some(self.fixed_word(&instruction))
                }
                _ => None,
            };
            let Some(mut site) = site else { continue };
            if let Some(kind) = self.program.marks.kind(site.address) {
                site.kind = kind;
            }
            control.sites.push(site);
        }
        if !unresolved.is_empty() {
            self.resolve(function, &mut control, &unresolved);
        }
        self.instructions.clear();
        self.instructions.shrink_to(MAX_KEPT);
        self.mark_thunks(function, &mut control);
        control
    }

    fn direct_call(&mut self, instruction: &Instruction, function: &FunctionRange<'a>) -> Option<RawSite> {
        let target = instruction.near_branch_target();
        let kind = if target == instruction.next_ip() {
            // `call 1f; 1: pop` reads the instruction pointer.
            Kind::Thunk
        } else if function.range.contains(&target) && target != function.range.start {
            kind_of_code(self.program.image, target).unwrap_or_else(|| {
                let is_inside = kind_of_code(self.program.image, instruction.ip()).is_some();
                if is_inside { Kind::Thunk } else { Kind::Direct }
            })
        } else {
            self.kind_of_target(target)
        };
        Some(site(instruction, kind, false, self.target_of(kind, target)))
    }

    /// A direct jump is a site if it leads to another function.
    fn direct_jump(&mut self, instruction: &Instruction, function: &FunctionRange<'a>) -> Option<RawSite> {
        if !matches!(instruction.op0_kind(), OpKind::NearBranch64 | OpKind::NearBranch32 | OpKind::NearBranch16) {
            return None;
        }
        let target = instruction.near_branch_target();
        let is_own = |range: &Range<u64>| range.contains(&target);
        if is_own(&function.range) || function.parent.as_ref().is_some_and(is_own) {
            return None;
        }
        let kind = match self.program.marks.kind(instruction.ip()) {
            Some(kind) => kind,
            None if is_return(self.program.image, target) => Kind::ReturnThunk,
            None => self.kind_of_target(target),
        };
        if kind == Kind::Direct {
            let other = self.program.functions.containing(target);
            let is_start = match other {
                Some(other) => other.range.start == target && other.parent.as_ref() != Some(&function.range),
                // A symbol that another file defines.
                None => !self.program.image.is_code(target) && self.program.image.symbol(target).is_some(),
            };
            if !is_start {
                return None;
            }
        }
        Some(site(instruction, kind, true, self.target_of(kind, target)))
    }

    fn target_of(&self, kind: Kind, target: u64) -> Target {
        match (kind, self.program.thunks.stub(target)) {
            (Kind::Plt, Some(word)) => Target::Word(word),
            _ => Target::Code(target),
        }
    }

    /// The kind of a direct call of an address.
    fn kind_of_target(&mut self, target: u64) -> Kind {
        if let Some(kind) = self.targets.get(&target) {
            return *kind;
        }
        let image = self.program.image;
        let by_name = image.symbol(target).filter(|(_, offset)| *offset == 0);
        let kind = if let Some(word) = self.program.thunks.stub(target) {
            if holds_fentry(image, word) { Kind::Fentry } else { Kind::Plt }
        } else if let Some(kind) = by_name.and_then(|(symbol, _)| kind_of_name(symbol.name)) {
            kind
        } else if self.program.marks.is_fentry(target) {
            Kind::Fentry
        } else if is_trampoline(image, target) {
            Kind::StaticCall
        } else {
            kind_of_code(image, target).unwrap_or(Kind::Direct)
        };
        self.targets.insert(target, kind);
        kind
    }

    /// An indirect site through a word at a fixed address; others are resolved later.
    fn fixed_word(&mut self, instruction: &Instruction) -> RawSite {
        let is_tail = instruction.flow_control() == FlowControl::IndirectBranch;
        if instruction.op0_kind() != OpKind::Memory || !has_fixed_address(instruction) || is_far(instruction) {
            return site(instruction, Kind::Unknown, is_tail, Target::Nothing);
        }
        let word = fixed_address(instruction);
        let Program { image, marks, .. } = self.program;
        let kind = *self.words.entry(word).or_insert_with(|| match marks.only_marked(kind_of_word(image, word)) {
            Kind::Got if holds_fentry(image, word) => Kind::Fentry,
            kind => kind,
        });
        site(instruction, kind, is_tail, Target::Word(word))
    }

    /// Follows the values of the function up to the sites in `unresolved`.
    fn resolve(&mut self, function: &FunctionRange<'a>, control: &mut Control, unresolved: &[usize]) {
        let last = unresolved.last().and_then(|index| control.sites.get(*index)).map_or(0, |site| site.address);
        let instructions = std::mem::take(&mut self.instructions);
        let mut back_targets = Vec::new();
        let mut last_back = None;
        for (index, instruction) in instructions.iter().enumerate() {
            let is_jump =
                matches!(instruction.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch);
            let target = if is_jump { instruction.near_branch_target() } else { u64::MAX };
            if target <= instruction.ip() && target <= last && function.range.contains(&target) {
                back_targets.push(target);
                last_back = Some(index);
            }
        }
        let mut values = std::mem::take(&mut self.values);
        values.begin(back_targets);
        if let Some(last_back) = last_back {
            for instruction in instructions.iter().take(last_back + 1) {
                values.arrive(instruction);
                values.follow(instruction);
            }
            values.restart();
        }
        let mut next = unresolved.iter().copied().peekable();
        for instruction in &instructions {
            values.arrive(instruction);
            let awaited = next.peek().and_then(|index| control.sites.get_mut(*index));
            if let Some(site) = awaited.filter(|site| site.address == instruction.ip()) {
                next.next();
                if self.program.marks.kind(site.address).is_none() && !is_far(instruction) {
                    self.settle(site, instruction, function, &mut values);
                }
                if next.peek().is_none() {
                    break;
                }
            }
            values.follow(instruction);
        }
        (self.instructions, self.values) = (instructions, values);
    }

    fn settle(&self, site: &mut RawSite, instruction: &Instruction, function: &FunctionRange<'a>, values: &mut Values) {
        let target = values.target(instruction);
        let image = self.program.image;
        let origin = match instruction.flow_control() {
            FlowControl::IndirectCall => classify_call(image, values, target),
            // Compilers mark jumps of a switch with `notrack`, which is the prefix of the segment ds.
            _ if instruction.segment_prefix() == Register::DS => {
                Origin { kind: Kind::JumpTable, word: None, offset: None, code: None }
            }
            _ => classify_jump(image, values, target, function),
        };
        site.kind = self.program.marks.only_marked(origin.kind);
        site.target = match (origin.word, origin.offset, origin.code) {
            (Some(word), _, _) => Target::Word(word),
            (_, Some(offset), _) => Target::Offset(offset),
            (_, _, Some(code)) => Target::Code(code),
            _ => Target::Nothing,
        };
        if origin.kind == Kind::JumpTable {
            site.is_tail = false;
        }
    }

    /// Tells the parts of thunks from sites that use them.
    fn mark_thunks(&self, function: &FunctionRange<'a>, control: &mut Control) {
        let own = function.symbol.and_then(kind_of_name);
        if matches!(own, Some(Kind::Retpoline | Kind::ReturnThunk)) {
            for site in &mut control.sites {
                site.kind = Kind::Thunk;
            }
            return;
        }
        if !control.sites.iter().any(|site| site.kind == Kind::Thunk) {
            return;
        }
        // A retpoline that nothing calls is a jump: control falls into it.
        let called: Vec<u64> = (control.sites.iter())
            .filter(|site| site.kind == Kind::Retpoline)
            .filter_map(|site| if let Target::Code(target) = site.target { Some(target) } else { None })
            .collect();
        for site in &mut control.sites {
            let is_jump = site.kind == Kind::Thunk
                && site.address != function.range.start
                && !called.contains(&site.address)
                && kind_of_code(self.program.image, site.address) == Some(Kind::Retpoline);
            if is_jump {
                (site.kind, site.is_tail, site.target) = (Kind::Retpoline, true, Target::Nothing);
            }
        }
    }
}

/// Whether an instruction calls code of the same program. System calls and calls of a hypervisor do not.
#[must_use]
pub fn is_call(instruction: &Instruction) -> bool {
    instruction.is_call_near() || instruction.is_call_far()
}

fn is_far(instruction: &Instruction) -> bool {
    instruction.is_call_far_indirect() || instruction.is_jmp_far_indirect()
}

fn site(instruction: &Instruction, kind: Kind, is_tail: bool, target: Target) -> RawSite {
    RawSite { address: instruction.ip(), length: instruction.len() as u8, kind, is_tail, target }
}

/// Decodes an instruction. Bytes that are none are passed one by one, as disassemblers do.
fn decode(decoder: &mut Decoder, length: usize, instruction: &mut Instruction, control: &mut Control) {
    let start = decoder.position();
    let ip = decoder.ip();
    decoder.decode_out(instruction);
    if !instruction.is_invalid() {
        control.instructions += 1;
        return;
    }
    control.undecoded += 1;
    let next = (start + 1).min(length);
    // A position within the bytes is always accepted.
    if decoder.set_position(next).is_ok() {
        decoder.set_ip(ip.wrapping_add((next - start) as u64));
    }
}
