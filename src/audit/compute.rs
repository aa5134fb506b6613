//! What an instruction does to the values of registers and stack slots.

use iced_x86::{Instruction, InstructionInfoOptions, Mnemonic, OpAccess, OpKind, Register};

use super::pool::{Id, Place, Value, number, vector};
use super::values::{RBP, RSP, Values};

impl Values {
    /// The value of the target operand of an indirect call or jump.
    pub fn target(&mut self, instruction: &Instruction) -> Id {
        match instruction.op0_kind() {
            OpKind::Register => self.read(instruction.op0_register()),
            _ => self.load(instruction, 8, 0),
        }
    }

    /// The value of a register. A register of 32 bits counts as the whole: compilers clear the rest, or extend it.
    fn read(&mut self, register: Register) -> Id {
        match number(register) {
            Some(number) if register.size() >= 4 => self.registers[number],
            _ => self.unknown(Place::Other(0)),
        }
    }

    fn write(&mut self, register: Register, value: Id) {
        let Some(number) = number(register) else { return };
        // A write of 32 bits clears the rest; one of 8 or 16 bits keeps it.
        self.registers[number] = if register.size() >= 4 { value } else { self.unknown(Place::Written(number as u8)) };
    }

    /// The address of a memory operand.
    fn address(&mut self, instruction: &Instruction) -> Id {
        let offset = instruction.memory_displacement64() as i64;
        if instruction.is_ip_rel_memory_operand() {
            return self.pool.id(Value::Constant(instruction.ip_rel_memory_address()));
        }
        if matches!(instruction.segment_prefix(), Register::FS | Register::GS) {
            // Data of a thread or a CPU has no address that is known here.
            let base = self.unknown(Place::Other(1));
            return self.pool.add(base, offset);
        }
        let base = match instruction.memory_base() {
            Register::None => self.pool.id(Value::Constant(offset as u64)),
            base => {
                let base = self.read(base);
                self.pool.add(base, offset)
            }
        };
        match instruction.memory_index() {
            Register::None => base,
            index => {
                let (index, scale) = (self.read(index), instruction.memory_index_scale());
                // The compiler may use either register for the address of the table.
                match scale == 1 && self.constant(index).is_some() && self.constant(base).is_none() {
                    true => self.pool.index(index, base, 1),
                    false => self.pool.index(base, index, scale),
                }
            }
        }
    }

    /// The word at a memory operand plus a number of bytes.
    fn load(&mut self, instruction: &Instruction, bytes: u8, behind: i64) -> Id {
        let address = self.address(instruction);
        self.word(address, bytes, behind)
    }

    fn word(&mut self, address: Id, bytes: u8, behind: i64) -> Id {
        let address = self.pool.add(address, behind);
        if let Value::Stack(at) = self.value(address)
            && let Some(stored) = self.slot(at)
        {
            return stored;
        }
        let (base, offset) = self.pool.split(address);
        self.pool.id(Value::Word { base, offset, bytes })
    }

    fn store(&mut self, instruction: &Instruction, value: Id, behind: i64) {
        let address = self.address(instruction);
        if let Value::Stack(at) = self.value(address) {
            self.store_slot(at.wrapping_add(behind), value);
        }
    }

    pub(super) fn compute(&mut self, instruction: &Instruction) {
        let is_register = |operand| instruction.op_kind(operand) == OpKind::Register;
        let is_memory = |operand| instruction.op_kind(operand) == OpKind::Memory;
        let first = instruction.op0_register();
        match instruction.mnemonic() {
            Mnemonic::Mov if is_register(0) && is_register(1) => {
                let value = self.read(instruction.op1_register());
                self.write(first, value);
            }
            Mnemonic::Mov if is_register(0) && is_memory(1) => {
                let value = self.load(instruction, first.size() as u8, 0);
                self.write(first, value);
            }
            Mnemonic::Mov if is_memory(0) && is_register(1) => {
                let value = self.read(instruction.op1_register());
                self.store(instruction, value, 0);
            }
            Mnemonic::Mov if is_memory(0) => {
                let value = self.pool.id(Value::Constant(instruction.immediate(1)));
                self.store(instruction, value, 0);
            }
            Mnemonic::Mov if is_register(0) => {
                let value = self.pool.id(Value::Constant(instruction.immediate(1)));
                self.write(first, value);
            }
            Mnemonic::Movsxd | Mnemonic::Movzx | Mnemonic::Movsx if is_memory(1) => {
                let value = self.load(instruction, instruction.memory_size().size() as u8, 0);
                self.write(first, value);
            }
            Mnemonic::Movsxd if is_register(1) => {
                let value = self.read(instruction.op1_register());
                self.write(first, value);
            }
            // The 32-bit word that was loaded, with its sign.
            Mnemonic::Cdqe => {}
            Mnemonic::Lea => {
                let value = self.address(instruction);
                self.write(first, value);
            }
            Mnemonic::Add if is_register(0) && first.size() >= 4 => {
                let value = self.read(first);
                let value = if is_register(1) || is_memory(1) {
                    let other = match is_register(1) {
                        true => self.read(instruction.op1_register()),
                        false => self.load(instruction, first.size() as u8, 0),
                    };
                    match self.constant(other).is_some() {
                        true => self.pool.index(other, value, 1),
                        false => self.pool.index(value, other, 1),
                    }
                } else {
                    self.pool.add(value, instruction.immediate(1) as i64)
                };
                self.write(first, value);
            }
            Mnemonic::Sub if is_register(0) && first.size() >= 4 && !is_register(1) && !is_memory(1) => {
                let value = self.read(first);
                let value = self.pool.add(value, (instruction.immediate(1) as i64).wrapping_neg());
                self.write(first, value);
            }
            Mnemonic::Inc | Mnemonic::Dec if is_register(0) => {
                let value = self.read(first);
                let by = if instruction.mnemonic() == Mnemonic::Inc { 1 } else { -1 };
                let value = self.pool.add(value, by);
                self.write(first, value);
            }
            Mnemonic::Shl if is_register(0) && !is_register(1) && instruction.immediate(1) < 16 => {
                let value = self.read(first);
                let zero = self.pool.id(Value::Constant(0));
                let value = match self.constant(value) {
                    Some(_) => self.unknown(Place::Other(0)),
                    None => {
                        let (value, offset) = self.pool.split(value);
                        let by = instruction.immediate(1) as u32;
                        let value = self.pool.id(Value::Index { base: zero, index: value, scale: 1 << by });
                        self.pool.add(value, offset.wrapping_shl(by))
                    }
                };
                self.write(first, value);
            }
            // Alignment of the stack: slots below keep distances of their own.
            Mnemonic::And if first == Register::RSP => {}
            Mnemonic::Xor if is_register(0) && is_register(1) && first == instruction.op1_register() => {
                let zero = self.pool.id(Value::Constant(0));
                self.write(first, zero);
            }
            Mnemonic::Xchg if is_register(0) && is_register(1) => {
                let (a, b) = (self.read(first), self.read(instruction.op1_register()));
                self.write(first, b);
                self.write(instruction.op1_register(), a);
            }
            Mnemonic::Push => {
                let value = match instruction.op0_kind() {
                    OpKind::Register => self.read(first),
                    OpKind::Memory => self.load(instruction, 8, 0),
                    _ => self.unknown(Place::Other(0)),
                };
                let stack = self.pool.add(self.registers[RSP], -8);
                self.registers[RSP] = stack;
                if let Value::Stack(at) = self.value(stack) {
                    self.store_slot(at, value);
                }
            }
            Mnemonic::Pop => {
                let stack = self.registers[RSP];
                let value = self.popped(stack);
                self.registers[RSP] = self.pool.add(stack, 8);
                if is_register(0) {
                    self.write(first, value);
                }
            }
            Mnemonic::Leave => {
                let frame = self.registers[RBP];
                self.registers[RBP] = self.popped(frame);
                self.registers[RSP] = self.pool.add(frame, 8);
            }
            Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Nop | Mnemonic::Endbr64 => {}
            _ if instruction.op_count() > 0 && self.move_vector(instruction) => {}
            _ => self.forget(instruction),
        }
    }

    fn popped(&mut self, stack: Id) -> Id {
        let stored = if let Value::Stack(at) = self.value(stack) { self.slot(at) } else { None };
        stored.unwrap_or_else(|| self.unknown(Place::Other(0)))
    }

    /// Moves of two words by a vector register. Returns whether the instruction was understood.
    fn move_vector(&mut self, instruction: &Instruction) -> bool {
        let is_pair = matches!(
            instruction.mnemonic(),
            Mnemonic::Movups
                | Mnemonic::Movaps
                | Mnemonic::Movupd
                | Mnemonic::Movapd
                | Mnemonic::Movdqu
                | Mnemonic::Movdqa
                | Mnemonic::Vmovups
                | Mnemonic::Vmovaps
                | Mnemonic::Vmovdqu
                | Mnemonic::Vmovdqa
        );
        let is_word = matches!(instruction.mnemonic(), Mnemonic::Movq | Mnemonic::Vmovq);
        let to = vector(instruction.op0_register());
        if let (Mnemonic::Punpcklqdq | Mnemonic::Movlhps, Some(to)) = (instruction.mnemonic(), to) {
            let other = vector(instruction.op1_register()).and_then(|from| self.vectors[from]);
            self.vectors[to] = self.vectors[to].zip(other).map(|((low, _), (high, _))| (low, high));
            return true;
        }
        if !is_pair && !is_word {
            return match to {
                // Instructions on vectors change no other register, except for those that compare strings.
                Some(to) if !matches!(instruction.mnemonic(), Mnemonic::Pcmpestri | Mnemonic::Pcmpistri) => {
                    self.vectors[to] = None;
                    instruction.op_count() > 1
                }
                _ => false,
            };
        }
        let is_wide = [instruction.op0_register(), instruction.op1_register()].iter().any(|it| it.size() > 16);
        let from = vector(instruction.op1_register());
        let value = if is_wide {
            None
        } else if let Some(from) = from {
            self.vectors[from]
        } else if instruction.op1_kind() == OpKind::Memory {
            let low = self.load(instruction, 8, 0);
            Some((low, if is_pair { self.load(instruction, 8, 8) } else { self.unknown(Place::Other(0)) }))
        } else {
            let low = self.read(instruction.op1_register());
            Some((low, self.unknown(Place::Other(0))))
        };
        if let Some(to) = to {
            self.vectors[to] = value;
        } else if instruction.op0_kind() == OpKind::Memory {
            let words = if is_wide { 4 } else { 1 + i64::from(is_pair) };
            for word in 0..words {
                let known = value.map(|(low, high)| if word == 0 { low } else { high });
                let known = known.unwrap_or_else(|| self.unknown(Place::Other(2 + word as u8)));
                self.store(instruction, known, 8 * word);
            }
        } else {
            let low = value.map_or_else(|| self.unknown(Place::Other(0)), |(low, _)| low);
            self.write(instruction.op0_register(), low);
        }
        true
    }

    /// Forgets what an instruction writes.
    fn forget(&mut self, instruction: &Instruction) {
        let writes = |access| {
            matches!(access, OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite | OpAccess::ReadCondWrite)
        };
        let mut written = [None; 8];
        let info = self.info.info_options(instruction, InstructionInfoOptions::NO_MEMORY_USAGE);
        let used = info.used_registers().iter().filter(|used| writes(used.access()));
        for (slot, used) in written.iter_mut().zip(used) {
            *slot = number(used.register());
        }
        let stores =
            instruction.op_count() > 0 && instruction.op0_kind() == OpKind::Memory && writes(info.op0_access());
        for register in written.into_iter().flatten() {
            self.registers[register] = self.unknown(Place::Written(register as u8));
        }
        if stores {
            let value = self.unknown(Place::Other(0));
            self.store(instruction, value, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::audit::kind::Kind;
    use crate::audit::made::{Made, sites};

    /// The kind of the last site of a function.
    fn kind(code: &[u8]) -> Kind {
        let mut made = Made::new();
        made.function("function", code);
        sites(&made.audit(), "function").last().expect("a site").0
    }

    #[test]
    fn a_value_that_differs_where_two_ways_meet_is_no_load() {
        // mov (%rdi),%rax; test %rdx,%rdx; je 1f; mov %rsi,%rax; 1: call *%rax; ret
        let merged = [0x48, 0x8b, 0x07, 0x48, 0x85, 0xd2, 0x74, 3, 0x48, 0x89, 0xf0, 0xff, 0xd0, 0xc3];
        assert_eq!(kind(&merged), Kind::Register);
        // The same value on both ways.
        let same = [0x48, 0x8b, 0x07, 0x48, 0x85, 0xd2, 0x74, 3, 0x48, 0x8b, 0x07, 0xff, 0xd0, 0xc3];
        assert_eq!(kind(&same), Kind::Table);
    }

    #[test]
    fn padding_before_the_target_of_a_jump_changes_nothing() {
        // mov (%rdi),%rax; test %rdx,%rdx; jne 1f; ret; nop; 1: call *16(%rax); ret
        let code = [0x48, 0x8b, 0x07, 0x48, 0x85, 0xd2, 0x75, 2, 0xc3, 0x90, 0xff, 0x50, 0x10, 0xc3];
        assert_eq!(kind(&code), Kind::Virtual);
    }

    #[test]
    fn a_loop_changes_what_it_writes() {
        // mov (%rdi),%rax; 1: call *%rax; mov %rbx,%rax; jmp 1b
        let code = [0x48, 0x8b, 0x07, 0xff, 0xd0, 0x48, 0x89, 0xd8, 0xeb, 0xf9];
        assert_eq!(kind(&code), Kind::Register);
    }

    #[test]
    fn a_pair_of_words_keeps_its_origin_through_a_vector_register() {
        // sub $24,%rsp; movups (%rdi),%xmm0; movups %xmm0,(%rsp); mov 8(%rsp),%rax; mov (%rsp),%rdi; call *24(%rax)
        let code = [
            0x48, 0x83, 0xec, 0x18, 0x0f, 0x10, 0x07, 0x0f, 0x11, 0x04, 0x24, 0x48, 0x8b, 0x44, 0x24, 8, 0x48, 0x8b,
            0x3c, 0x24, 0xff, 0x50, 0x18, 0x48, 0x83, 0xc4, 0x18, 0xc3,
        ];
        assert_eq!(kind(&code), Kind::Virtual);
    }

    #[test]
    fn a_system_call_is_no_call() {
        let mut made = Made::new();
        made.function("function", &[0x0f, 0x05, 0xff, 0xd0, 0xc3]);
        let binary = made.audit();
        assert_eq!((binary.functions[0].call_instructions, binary.functions[0].sites.len()), (1, 1));
        assert_eq!(binary.functions[0].sites[0].kind, Kind::Register);
    }
}
