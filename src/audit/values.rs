//! Where the target of an indirect call comes from: the values of registers and stack slots, followed through one
//! function.
//!
//! The values are symbolic. Each instruction is read once, in the order of addresses. States meet at the targets of
//! forward jumps; a register that differs there is unknown. Jumps back are ignored: a pointer that a loop advances keeps
//! the origin that it had before the loop. Slots of the stack keep what was stored last, so code without optimisation is
//! read like optimised code.

use std::collections::HashMap;

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

/// A value; equal values have equal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

/// How a value came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// Nothing is known of it; each has a number of its own.
    Unknown(u32),
    /// A register as it was when the function began.
    Entry(u8),
    /// What a call returned.
    Result(u32),
    /// A number or an address.
    Constant(u64),
    /// The stack pointer at the start, plus so many bytes.
    Stack(i64),
    /// A word of memory at a value plus an offset.
    Word {
        /// The address without offset and index.
        base: Id,
        /// Bytes from the base.
        offset: i64,
        /// Whether a register with an index adds to the address.
        indexed: bool,
        /// Size of the word in bytes.
        bytes: u8,
    },
    /// A value plus a number.
    Sum {
        /// The value.
        base: Id,
        /// The number.
        offset: i64,
    },
    /// The sum of two values.
    Pair(Id, Id),
}

const GENERAL: usize = 16;
const RAX: usize = 0;
const RSP: usize = 4;
const RBP: usize = 5;
/// Registers that a call may change (System V psABI for x86-64, figure 3.4), by their number in machine code.
const CHANGED_BY_CALL: [usize; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];

/// The values of all general registers.
type Registers = [Id; GENERAL];

/// The values of one function, read instruction by instruction.
pub struct Values {
    known: HashMap<Value, Id>,
    values: Vec<Value>,
    unknown: u32,
    registers: Registers,
    slots: HashMap<i64, Id>,
    /// States at the targets of jumps that come later in the function.
    ahead: HashMap<u64, Registers>,
    /// States at the sources of jumps back, from the first reading of the function.
    back: HashMap<u64, Registers>,
    /// The state at the last jump that may lead anywhere in the function.
    at_table: Option<Registers>,
    /// The frame: stack and frame pointer at the last call or conditional jump.
    frame: Option<(Id, Id)>,
    /// Whether the instruction before leads to the next one.
    flows: bool,
    /// Whether a state was needed that only a later instruction can tell.
    is_guessed: bool,
    info: InstructionInfoFactory,
}

impl Values {
    /// The values at the start of a function.
    #[must_use]
    pub fn new() -> Values {
        let mut values = Values {
            known: HashMap::new(),
            values: Vec::new(),
            unknown: 0,
            registers: [Id(0); GENERAL],
            slots: HashMap::new(),
            ahead: HashMap::new(),
            back: HashMap::new(),
            at_table: None,
            frame: None,
            flows: true,
            is_guessed: false,
            info: InstructionInfoFactory::new(),
        };
        for register in 0..GENERAL {
            values.registers[register] = values.id(Value::Entry(register as u8));
        }
        values.registers[RSP] = values.id(Value::Stack(0));
        values
    }

    /// Begins a second reading of the function, which knows the states at the sources of jumps back.
    pub fn restart(&mut self) {
        let back = std::mem::take(&mut self.ahead);
        for register in 0..GENERAL {
            self.registers[register] = self.id(Value::Entry(register as u8));
        }
        self.registers[RSP] = self.id(Value::Stack(0));
        self.back.extend(back);
        self.slots.clear();
        self.is_guessed = false;
        (self.at_table, self.frame, self.flows) = (None, None, true);
    }

    /// Whether a state was needed that only a later instruction can tell.
    #[must_use]
    pub fn is_guessed(&self) -> bool {
        self.is_guessed
    }

    /// How a value came to be.
    #[must_use]
    pub fn value(&self, id: Id) -> Value {
        self.values.get(id.0 as usize).copied().unwrap_or(Value::Unknown(u32::MAX))
    }

    /// The value of a register by its number in machine code.
    #[must_use]
    pub fn register(&self, number: usize) -> Id {
        self.registers.get(number).copied().unwrap_or(Id(0))
    }

    /// The number of bytes that the function has on its stack; `None` if unknown.
    #[must_use]
    pub fn stack_bytes(&self) -> Option<i64> {
        match self.value(self.registers[RSP]) {
            Value::Stack(offset) => Some(-offset),
            _ => None,
        }
    }

    fn id(&mut self, value: Value) -> Id {
        if let Some(id) = self.known.get(&value) {
            return *id;
        }
        let id = self.push(value);
        self.known.insert(value, id);
        id
    }

    fn unknown(&mut self) -> Id {
        self.unknown += 1;
        self.push(Value::Unknown(self.unknown))
    }

    /// A value that equals no other.
    fn push(&mut self, value: Value) -> Id {
        let id = Id(self.values.len() as u32);
        self.values.push(value);
        id
    }

    fn add(&mut self, base: Id, offset: i64) -> Id {
        if offset == 0 {
            return base;
        }
        let value = match self.value(base) {
            Value::Constant(value) => Value::Constant(value.wrapping_add_signed(offset)),
            Value::Stack(at) => Value::Stack(at.wrapping_add(offset)),
            Value::Sum { base, offset: before } => match before.wrapping_add(offset) {
                0 => return base,
                offset => Value::Sum { base, offset },
            },
            _ => Value::Sum { base, offset },
        };
        self.id(value)
    }

    /// Prepares for an instruction: joins the states that meet there. To be called before the operands are asked for.
    pub fn arrive(&mut self, instruction: &Instruction) {
        let ip = instruction.ip();
        let ahead = self.ahead.get(&ip).copied();
        match (self.flows, ahead) {
            (true, None) => {}
            (true, Some(other)) => self.merge(&other),
            (false, Some(other)) => self.registers = other,
            (false, None) => self.guess(ip),
        }
        self.flows = true;
    }

    fn merge(&mut self, other: &Registers) {
        for register in 0..GENERAL {
            if self.registers[register] != other[register] {
                self.registers[register] = self.unknown();
            }
        }
    }

    /// The state where no earlier instruction leads: that of a later jump, else that of the last jump through a table.
    fn guess(&mut self, ip: u64) {
        self.is_guessed = true;
        if let Some(registers) = self.back.get(&ip).or(self.at_table.as_ref()) {
            self.registers = *registers;
            return;
        }
        for register in 0..GENERAL {
            self.registers[register] = self.unknown();
        }
        if let Some((stack, frame)) = self.frame {
            (self.registers[RSP], self.registers[RBP]) = (stack, frame);
        }
    }

    /// The value of the target operand of an indirect call or jump.
    pub fn target(&mut self, instruction: &Instruction) -> Id {
        match instruction.op0_kind() {
            OpKind::Register => self.read(instruction.op0_register()),
            _ => self.load(instruction, 8),
        }
    }

    fn read(&mut self, register: Register) -> Id {
        match number(register) {
            Some(number) if register.size() == 8 => self.registers[number],
            _ => self.unknown(),
        }
    }

    fn write(&mut self, register: Register, value: Id) {
        let Some(number) = number(register) else { return };
        // A write of 32 bits clears the rest; one of 8 or 16 bits keeps it.
        self.registers[number] = if register.size() >= 4 { value } else { self.unknown() };
    }

    /// The address of a memory operand: its base, the offset, and whether an index adds to it.
    fn address(&mut self, instruction: &Instruction) -> (Id, i64, bool) {
        let offset = instruction.memory_displacement64() as i64;
        if instruction.is_ip_rel_memory_operand() {
            return (self.id(Value::Constant(instruction.ip_rel_memory_address())), 0, false);
        }
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        if matches!(instruction.segment_prefix(), Register::FS | Register::GS) {
            // Data of a thread or a CPU has no address that is known here.
            let base = self.unknown();
            return (base, offset, false);
        }
        let indexed = index != Register::None;
        match (base, indexed) {
            (Register::None, _) => (self.id(Value::Constant(offset as u64)), 0, indexed),
            (base, false) => {
                let base = self.read(base);
                self.split(base, offset)
            }
            (base, true) => {
                let base_value = self.read(base);
                let index_value = self.read(index);
                // The compiler may use either register for the address of the table.
                let scale_one = instruction.memory_index_scale() == 1;
                let is_address = |value| matches!(value, Value::Constant(_) | Value::Stack(_));
                let swap = scale_one && is_address(self.value(index_value)) && !is_address(self.value(base_value));
                let (base, offset, _) = self.split(if swap { index_value } else { base_value }, offset);
                (base, offset, true)
            }
        }
    }

    /// A value and an offset, in the form in which equal addresses are equal.
    fn split(&mut self, base: Id, offset: i64) -> (Id, i64, bool) {
        match self.value(base) {
            Value::Sum { base, offset: inner } => (base, inner.wrapping_add(offset), false),
            Value::Constant(_) | Value::Stack(_) => (self.add(base, offset), 0, false),
            _ => (base, offset, false),
        }
    }

    fn load(&mut self, instruction: &Instruction, bytes: u8) -> Id {
        let (base, offset, indexed) = self.address(instruction);
        if let (Value::Stack(at), false) = (self.value(base), indexed)
            && let Some(stored) = self.slots.get(&at.wrapping_add(offset))
        {
            return *stored;
        }
        self.id(Value::Word { base, offset, indexed, bytes })
    }

    fn store(&mut self, instruction: &Instruction, value: Id) {
        let (base, offset, indexed) = self.address(instruction);
        if let (Value::Stack(at), false) = (self.value(base), indexed) {
            self.slots.insert(at.wrapping_add(offset), value);
        }
    }

    /// Follows an instruction.
    pub fn follow(&mut self, instruction: &Instruction) {
        match instruction.flow_control() {
            FlowControl::Next => self.compute(instruction),
            FlowControl::Call | FlowControl::IndirectCall => {
                self.frame = Some((self.registers[RSP], self.registers[RBP]));
                for register in CHANGED_BY_CALL {
                    self.registers[register] = self.unknown();
                }
                self.unknown += 1;
                self.registers[RAX] = self.push(Value::Result(self.unknown));
            }
            FlowControl::ConditionalBranch => {
                self.frame = Some((self.registers[RSP], self.registers[RBP]));
                self.jump(instruction.near_branch_target());
            }
            FlowControl::UnconditionalBranch => {
                self.jump(instruction.near_branch_target());
                self.flows = false;
            }
            FlowControl::IndirectBranch => {
                self.at_table = Some(self.registers);
                self.flows = false;
            }
            FlowControl::Return => self.flows = false,
            _ => self.flows = instruction.code() == Code::Syscall || instruction.mnemonic() == Mnemonic::Int,
        }
    }

    fn jump(&mut self, target: u64) {
        match self.ahead.get(&target).copied() {
            None => {
                self.ahead.insert(target, self.registers);
            }
            Some(mut state) => {
                for (joined, own) in state.iter_mut().zip(self.registers) {
                    if *joined != own {
                        *joined = self.unknown();
                    }
                }
                self.ahead.insert(target, state);
            }
        }
    }

    fn compute(&mut self, instruction: &Instruction) {
        let is_register = |operand| instruction.op_kind(operand) == OpKind::Register;
        let is_memory = |operand| instruction.op_kind(operand) == OpKind::Memory;
        let first = instruction.op0_register();
        match instruction.mnemonic() {
            Mnemonic::Mov if is_register(0) && is_register(1) => {
                let value = self.read(instruction.op1_register());
                self.write(first, value);
            }
            Mnemonic::Mov if is_register(0) && is_memory(1) => {
                let value = self.load(instruction, first.size() as u8);
                self.write(first, value);
            }
            Mnemonic::Mov if is_memory(0) && is_register(1) => {
                let value = self.read(instruction.op1_register());
                self.store(instruction, value);
            }
            Mnemonic::Mov if is_memory(0) => {
                let value = self.id(Value::Constant(instruction.immediate(1)));
                self.store(instruction, value);
            }
            Mnemonic::Mov if is_register(0) => {
                let value = self.id(Value::Constant(instruction.immediate(1)));
                self.write(first, value);
            }
            Mnemonic::Movsxd | Mnemonic::Movzx | Mnemonic::Movsx if is_memory(1) => {
                let value = self.load(instruction, instruction.memory_size().size() as u8);
                self.write(first, value);
            }
            Mnemonic::Cdqe => {
                // The 32-bit word that was loaded, with its sign.
                self.registers[RAX] = self.registers[RAX];
            }
            Mnemonic::Movsxd if is_register(1) => {
                let value = number(instruction.op1_register()).map(|number| self.registers[number]);
                let value = value.unwrap_or(Id(0));
                self.write(first, value);
            }
            Mnemonic::Lea => {
                let (base, offset, indexed) = self.address(instruction);
                let value = if indexed { self.unknown() } else { self.add(base, offset) };
                self.write(first, value);
            }
            Mnemonic::Add if is_register(0) && is_register(1) => {
                let (a, b) = (self.read(first), self.read(instruction.op1_register()));
                let value = self.id(Value::Pair(a.min(b), a.max(b)));
                self.write(first, value);
            }
            Mnemonic::Add if is_register(0) && is_memory(1) => {
                let a = self.read(first);
                let b = self.load(instruction, first.size() as u8);
                let value = self.id(Value::Pair(a.min(b), a.max(b)));
                self.write(first, value);
            }
            Mnemonic::Add | Mnemonic::Sub if is_register(0) && first.size() == 8 => {
                let value = if is_memory(1) || is_register(1) {
                    self.unknown()
                } else {
                    let by = instruction.immediate(1) as i64;
                    let by = if instruction.mnemonic() == Mnemonic::Add { by } else { by.wrapping_neg() };
                    let value = self.read(first);
                    self.add(value, by)
                };
                self.write(first, value);
            }
            // Alignment of the stack: slots below keep distances of their own.
            Mnemonic::And if first == Register::RSP => {}
            Mnemonic::Xor if is_register(0) && is_register(1) && first == instruction.op1_register() => {
                let zero = self.id(Value::Constant(0));
                self.write(first, zero);
            }
            Mnemonic::Push => {
                let value = if is_register(0) { self.read(first) } else { self.unknown() };
                let stack = self.add(self.registers[RSP], -8);
                self.registers[RSP] = stack;
                if let Value::Stack(at) = self.value(stack) {
                    self.slots.insert(at, value);
                }
            }
            Mnemonic::Pop => {
                let stack = self.registers[RSP];
                let stored = match self.value(stack) {
                    Value::Stack(at) => self.slots.get(&at).copied(),
                    _ => None,
                };
                let value = stored.unwrap_or_else(|| self.unknown());
                self.registers[RSP] = self.add(stack, 8);
                self.write(first, value);
            }
            Mnemonic::Leave => {
                let frame = self.registers[RBP];
                let stored = match self.value(frame) {
                    Value::Stack(at) => self.slots.get(&at).copied(),
                    _ => None,
                };
                self.registers[RBP] = stored.unwrap_or_else(|| self.unknown());
                self.registers[RSP] = self.add(frame, 8);
            }
            Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Nop | Mnemonic::Endbr64 => {}
            _ => self.forget(instruction),
        }
    }

    /// Forgets what an instruction writes.
    fn forget(&mut self, instruction: &Instruction) {
        let mut written = [None; 8];
        let info = self.info.info(instruction);
        let writes = |access| {
            matches!(access, OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite | OpAccess::ReadCondWrite)
        };
        let used = info.used_registers().iter().filter(|used| writes(used.access()));
        for (slot, used) in written.iter_mut().zip(used) {
            *slot = number(used.register());
        }
        for register in written.into_iter().flatten() {
            self.registers[register] = self.unknown();
        }
        if instruction.op0_kind() == OpKind::Memory && writes(self.info.info(instruction).op0_access()) {
            let value = self.unknown();
            self.store(instruction, value);
        }
    }
}

/// The number of a general register in machine code, for all its widths.
#[must_use]
pub fn number(register: Register) -> Option<usize> {
    register.is_gpr().then(|| register.full_register().number())
}
