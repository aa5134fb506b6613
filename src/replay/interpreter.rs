//! An interpreter of generated code, for tests: a second opinion on what a replay executes.

use std::collections::HashMap;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

/// What a pass of a replay executed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Executed {
    /// Offsets of the executed call sites, in order.
    pub sites: Vec<usize>,
    /// Loads of data, not of the stream, the header, the table or the stack.
    pub loads: u64,
    /// Stores of data.
    pub stores: u64,
    /// Conditional branches that were taken, and all of them; those of the pass's end apart.
    pub taken: u64,
    pub branches: u64,
    /// Lines of data, in order.
    pub lines: Vec<u64>,
    pub instructions: u64,
}

/// The state of a replay.
pub(super) struct Interpreter<'a> {
    pub image: &'a [u8],
    pub base: u64,
    pub origin: u64,
    pub stream: (u64, Vec<u8>),
    pub stack: u64,
    pub exit: u64,
    pub sites: &'a [usize],
    pub header: HashMap<u64, u64>,
    registers: [u64; 16],
    words: HashMap<u64, u64>,
    is_equal: bool,
    is_below: bool,
    decoded: HashMap<u64, Instruction>,
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(image: &'a [u8], base: u64, sites: &'a [usize], stream: (u64, Vec<u8>)) -> Self {
        Interpreter {
            image,
            base,
            origin: 0,
            stream,
            stack: 0,
            exit: 0,
            sites,
            header: HashMap::new(),
            registers: [0; 16],
            words: HashMap::new(),
            is_equal: false,
            is_below: false,
            decoded: HashMap::new(),
        }
    }

    fn decode(&mut self, at: u64) -> Instruction {
        let (image, base) = (self.image, self.base);
        *self.decoded.entry(at).or_insert_with(|| {
            let from = (at - base) as usize;
            Decoder::with_ip(64, &image[from..(from + 15).min(image.len())], at, DecoderOptions::NONE).decode()
        })
    }

    fn read(&self, at: u64, bytes: usize) -> u64 {
        let within = |start: u64, length: usize| at >= start && at + bytes as u64 <= start + length as u64;
        let word = |from: &[u8]| from.iter().take(bytes).rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        if within(self.stream.0, self.stream.1.len()) {
            return word(&self.stream.1[(at - self.stream.0) as usize..]);
        }
        if within(self.base, self.image.len()) {
            return word(&self.image[(at - self.base) as usize..]);
        }
        let value = self.header.get(&at).or_else(|| self.words.get(&at)).copied().unwrap_or(0);
        if bytes == 8 { value } else { value & ((1 << (8 * bytes)) - 1) }
    }

    fn value(&self, register: Register) -> u64 {
        let value = self.registers[register.full_register().number()];
        match register.size() {
            8 => value,
            4 => value & 0xffff_ffff,
            _ => value & 0xff,
        }
    }

    fn set(&mut self, register: Register, value: u64) {
        self.registers[register.full_register().number()] =
            if register.size() == 4 { value & 0xffff_ffff } else { value };
    }

    fn address(&self, it: &Instruction) -> u64 {
        it.virtual_address(if it.op0_kind() == OpKind::Memory { 0 } else { 1 }, 0, |register, _, _| {
            Some(if register.is_segment_register() { 0 } else { self.value(register) })
        })
        .unwrap()
    }

    fn operand(&self, it: &Instruction, index: u32) -> u64 {
        match it.op_kind(index) {
            OpKind::Register => self.value(it.op_register(index)),
            OpKind::Memory => self.read(self.address(it), it.memory_size().size()),
            _ => it.immediate(index),
        }
    }

    fn push(&mut self, value: u64) {
        self.registers[4] -= 8;
        self.words.insert(self.registers[4], value);
    }

    fn pop(&mut self) -> u64 {
        let value = self.words.remove(&self.registers[4]).expect("something was pushed");
        self.registers[4] += 8;
        value
    }

    /// Runs from `first` to the exit.
    pub(super) fn run(&mut self, first: u64, limit: u64) -> Executed {
        let mut executed = Executed::default();
        self.registers[4] = self.stack;
        self.registers[5] = self.origin;
        self.registers[14] = self.stream.0;
        self.registers[15] = self.base;
        let mut at = first;
        while at != self.exit {
            let offset = (at - self.base) as usize;
            if self.sites.binary_search(&offset).is_ok() {
                executed.sites.push(offset);
            }
            let it = self.decode(at);
            assert!(!it.is_invalid(), "invalid code at {offset:#x}");
            executed.instructions += 1;
            assert!(executed.instructions <= limit, "the replay does not end");
            at = self.step(&it, &mut executed);
        }
        executed
    }

    fn note_access(&self, it: &Instruction, executed: &mut Executed) {
        let is_own = it.memory_base() == Register::RBP;
        let address = self.address(it);
        let is_header = address.wrapping_sub(self.origin + 1024) < 64;
        if is_own && !is_header && !matches!(it.mnemonic(), Mnemonic::Lea) {
            *if it.op0_kind() == OpKind::Memory { &mut executed.stores } else { &mut executed.loads } += 1;
            executed.lines.push(address >> 6);
        }
    }

    fn step(&mut self, it: &Instruction, executed: &mut Executed) -> u64 {
        let next = it.next_ip();
        if it.op_count() > 0 && (0..it.op_count()).any(|index| it.op_kind(index) == OpKind::Memory) {
            self.note_access(it, executed);
        }
        match it.mnemonic() {
            Mnemonic::Nop | Mnemonic::Pause | Mnemonic::Lfence => {}
            Mnemonic::Mov if it.op0_kind() == OpKind::Memory => {
                let (at, value) = (self.address(it), self.operand(it, 1));
                if it.memory_base() == Register::RSP {
                    self.words.insert(at, value);
                } else {
                    assert_eq!(value, 0, "data is always zero: {it}");
                }
            }
            Mnemonic::Mov => self.set(it.op0_register(), self.operand(it, 1)),
            Mnemonic::Lea => self.set(it.op0_register(), self.address(it)),
            Mnemonic::Add => {
                let sum = self.operand(it, 0).wrapping_add(self.operand(it, 1));
                self.set(it.op0_register(), sum);
            }
            Mnemonic::Xor => self.set(it.op0_register(), self.operand(it, 0) ^ self.operand(it, 1)),
            Mnemonic::Test => self.is_equal = self.operand(it, 0) & self.operand(it, 1) == 0,
            Mnemonic::Cmp => {
                let (a, b) = (self.operand(it, 0), self.operand(it, 1));
                (self.is_equal, self.is_below) = (a == b, a < b);
            }
            Mnemonic::Dec => {
                let at = self.address(it);
                let left = self.header[&at] - 1;
                self.header.insert(at, left);
                self.is_equal = left == 0;
            }
            Mnemonic::Stosq => self.registers[1] = 0,
            Mnemonic::Jae => return if self.is_below { next } else { it.near_branch_target() },
            Mnemonic::Je if self.exit_test(it) => {
                return if self.is_equal { it.near_branch_target() } else { next };
            }
            Mnemonic::Je | Mnemonic::Jne => {
                let taken = self.is_equal == (it.mnemonic() == Mnemonic::Je);
                executed.branches += 1;
                executed.taken += u64::from(taken);
                return if taken { it.near_branch_target() } else { next };
            }
            Mnemonic::Jmp if it.code() == Code::Jmp_rm64 => return self.operand(it, 0),
            Mnemonic::Jmp => return it.near_branch_target(),
            Mnemonic::Call => {
                let target = if it.code() == Code::Call_rm64 { self.operand(it, 0) } else { it.near_branch_target() };
                self.push(next);
                return target;
            }
            Mnemonic::Push => self.push(self.operand(it, 0)),
            Mnemonic::Ret => return self.pop(),
            _ => panic!("{it} is not among the instructions of a replay"),
        }
        self.check_zeros(it);
        next
    }

    /// Whether a branch is that of the stub that counts passes.
    fn exit_test(&self, it: &Instruction) -> bool {
        let stub = (it.ip() - self.base) as usize;
        self.image.get(stub.wrapping_sub(7)..stub).is_some_and(|before| before.starts_with(&[0x48, 0xff, 0x8d]))
    }

    fn check_zeros(&self, it: &Instruction) {
        for register in [0usize, 1, 2, 3, 8, 9] {
            // A string instruction has its count in ecx.
            assert!(register == 1 || self.registers[register] == 0, "register {register} after {it}");
        }
    }
}
