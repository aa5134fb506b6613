//! From the trace of a window to a recording.

use std::collections::{BTreeMap, HashMap};

use iced_x86::{
    Code as IcedCode, Decoder, DecoderOptions, FlowControl, Instruction as Decoded, InstructionInfoFactory, Mnemonic,
    OpAccess,
};

use super::RecordError;
use super::recording::{About, Class, Instruction, LINE_BITS, Recording, Run, Touch};
use super::trace::{Code, Event, Window, malformed};

/// Bound on the instructions of a run; a longer row becomes several.
const MAX_RUN: u32 = 4096;

/// Finds the bytes at an address.
type CodeAt<'a> = &'a dyn Fn(u64) -> Option<&'a [u8]>;

/// Converts the trace of a window. `sites` are the addresses of the kernel's hooks with the names of their ops; `file`
/// has the bytes of instructions that cross a page. `about` gets the names of ops and of privileged instructions.
///
/// # Errors
/// If the trace executes instructions that it does not list.
pub fn convert(
    window: &Window,
    sites: &BTreeMap<u64, String>,
    file: CodeAt,
    about: About,
) -> Result<Recording, RecordError> {
    let mut names = Names { ops: Vec::new(), privileged: Vec::new() };
    let mut factory = InstructionInfoFactory::new();
    let mut code = Vec::new();
    for (address, raw) in &window.code {
        code.push(classify(*address, *raw, sites, file, &mut names, &mut factory));
    }
    let index: HashMap<u64, u32> = code.iter().zip(0u32..).map(|(it, index)| (it.address, index)).collect();
    let mut writer = Writer::default();
    let mut accesses: Vec<(u32, Touch)> = Vec::new();
    for event in &window.events {
        match *event {
            Event::Access { at, index, is_store } => {
                // An access of a fault that the run does not include any more is left out below.
                accesses.push((index, Touch { line: (at & ((1 << 48) - 1)) >> LINE_BITS, is_store }));
            }
            Event::Run { at, length } => {
                let (mut address, mut touches) = (at, accesses.iter().peekable());
                for place in 0..length {
                    let known = index.get(&address).and_then(|index| Some((*index, code.get(*index as usize)?)));
                    let (number, instruction) =
                        known.ok_or_else(|| malformed(format!("the instruction at {address:#x} is not listed")))?;
                    writer.execute(number, instruction);
                    while let Some((_, touch)) = touches.next_if(|(index, _)| *index == place) {
                        writer.touch(*touch);
                    }
                    let raw = window.code.get(&address).map_or(1, |raw| raw.length);
                    address = address.wrapping_add(u64::from(raw));
                }
                accesses.clear();
            }
        }
    }
    writer.end_run();
    let about = About { ops: names.ops, privileged: names.privileged, ..about };
    let Writer { runs, sequence, rounds, touch_counts, touches, .. } = writer;
    Ok(Recording { about, code, runs, sequence, rounds, touch_counts, touches })
}

/// Names that classes refer to, in the order of their first use.
struct Names {
    ops: Vec<String>,
    privileged: Vec<String>,
}

/// The index of a name in a list, which gets it if it is new.
fn intern(names: &mut Vec<String>, name: &str) -> u16 {
    let known = names.iter().position(|known| known == name);
    let index = known.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    u16::try_from(index).unwrap_or(u16::MAX)
}

fn classify(
    address: u64,
    raw: Code,
    sites: &BTreeMap<u64, String>,
    file: CodeAt,
    names: &mut Names,
    factory: &mut InstructionInfoFactory,
) -> Instruction {
    let own = raw.bytes.get(..usize::from(raw.length)).unwrap_or_default();
    let mut decoded = decode(address, own);
    if decoded.is_invalid() {
        // The emulator cuts an instruction that crosses a page.
        let whole = file(address).filter(|bytes| bytes.starts_with(own)).map(|bytes| decode(address, bytes));
        decoded = whole.unwrap_or(decoded);
    }
    let length = if decoded.is_invalid() { raw.length } else { decoded.len() as u8 };
    let class = match sites.get(&address) {
        Some(op) => Class::Hook(intern(&mut names.ops, op)),
        None => find_class(&decoded, names, factory),
    };
    Instruction { address, length, class, is_rep: is_repeated(&decoded) }
}

fn decode(address: u64, bytes: &[u8]) -> Decoded {
    Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode()
}

/// Whether an instruction repeats itself: string instructions alone do.
fn is_repeated(decoded: &Decoded) -> bool {
    (decoded.has_rep_prefix() || decoded.has_repne_prefix()) && decoded.is_string_instruction()
}

/// Instructions that leave or enter the kernel, or are legal in ring 3 by a flag only: they count as privileged.
const BOUNDARY: [Mnemonic; 7] = [
    Mnemonic::Syscall,
    Mnemonic::Sysretq,
    Mnemonic::Sysret,
    Mnemonic::Iretq,
    Mnemonic::Cli,
    Mnemonic::Sti,
    Mnemonic::Hlt,
];

fn find_class(decoded: &Decoded, names: &mut Names, factory: &mut InstructionInfoFactory) -> Class {
    if decoded.is_invalid() {
        return Class::Other;
    }
    if BOUNDARY.contains(&decoded.mnemonic()) || decoded.is_privileged() {
        return Class::Privileged(intern(&mut names.privileged, &name_privileged(decoded)));
    }
    match decoded.flow_control() {
        FlowControl::Return => return Class::Return,
        FlowControl::Call => return Class::Call,
        FlowControl::IndirectCall | FlowControl::IndirectBranch => return Class::Indirect,
        FlowControl::ConditionalBranch => return Class::Branch,
        FlowControl::UnconditionalBranch => return Class::Jump,
        _ => {}
    }
    let info = factory.info(decoded);
    let has = |kinds: &[OpAccess]| info.used_memory().iter().any(|memory| kinds.contains(&memory.access()));
    if has(&[OpAccess::Write, OpAccess::CondWrite, OpAccess::ReadWrite, OpAccess::ReadCondWrite]) {
        Class::Store
    } else if has(&[OpAccess::Read, OpAccess::CondRead]) {
        Class::Load
    } else {
        Class::Other
    }
}

/// The mnemonic, and the control register of a move.
fn name_privileged(decoded: &Decoded) -> String {
    let register = [decoded.op0_register(), decoded.op1_register()].into_iter().find(|it| it.is_cr() || it.is_dr());
    let name = format!("{:?}", decoded.mnemonic()).to_lowercase();
    match (register, decoded.code()) {
        (Some(register), IcedCode::Mov_cr_r64 | IcedCode::Mov_dr_r64) => {
            format!("{name} to {register:?}").to_lowercase()
        }
        (Some(register), _) => format!("{name} from {register:?}").to_lowercase(),
        (None, _) => name,
    }
}

/// Makes runs of instructions.
#[derive(Default)]
struct Writer {
    known: HashMap<Run, u32>,
    runs: Vec<Run>,
    sequence: Vec<u32>,
    rounds: Vec<u64>,
    touch_counts: Vec<u32>,
    touches: Vec<Touch>,
    /// The run that is being executed, and the address after it.
    run: Option<(Run, u64)>,
    /// Index of the `rep` that was executed last, if nothing came after it.
    rep: Option<u32>,
    /// The number of touches before this run.
    before_run: usize,
}

impl Writer {
    fn execute(&mut self, index: u32, instruction: &Instruction) {
        if self.rep == Some(index) {
            // One more iteration.
            if let Some(rounds) = self.rounds.last_mut() {
                *rounds += 1;
            }
            return;
        }
        let next = instruction.address.wrapping_add(u64::from(instruction.length));
        match &mut self.run {
            Some((run, end))
                if run.first + run.length == index && *end == instruction.address && run.length < MAX_RUN =>
            {
                run.length += 1;
                *end = next;
            }
            _ => {
                self.end_run();
                self.run = Some((Run { first: index, length: 1 }, next));
            }
        }
        self.rep = instruction.is_rep.then_some(index);
        if instruction.is_rep {
            self.rounds.push(0);
        }
    }

    /// Notes an access of the last instruction. Accesses to one line in a row are one.
    fn touch(&mut self, touch: Touch) {
        match self.touches.get_mut(self.before_run..).and_then(<[Touch]>::last_mut) {
            Some(last) if last.line == touch.line => last.is_store |= touch.is_store,
            _ => self.touches.push(touch),
        }
    }

    fn touches_in_run(&self) -> usize {
        self.touches.len() - self.before_run
    }

    fn end_run(&mut self) {
        let Some((run, _)) = self.run.take() else { return };
        let next = self.runs.len() as u32;
        let index = *self.known.entry(run).or_insert(next);
        if index == next {
            self.runs.push(run);
        }
        self.sequence.push(index);
        self.touch_counts.push(self.touches_in_run() as u32);
        self.before_run = self.touches.len();
        self.rep = None;
    }
}
