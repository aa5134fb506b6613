//! Whether code only calls an address that it loads: on every path from the load, the address is called, copied to
//! another register or word of the stack frame, or overwritten. Then no code keeps it.
//!
//! Compilers load the address of a function once and call the register. Where registers are short, they copy it to
//! another one before a call and back after it:
//!
//! ```text
//!     mov  r13, [rip+word]
//! 1:  ..
//!     mov  rbp, r13
//!     call r13
//!     mov  r13, rbp
//!     jne  1b
//! ```

use std::collections::BTreeSet;

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

/// Bytes of a word.
const WORD: i64 = 8;

/// Registers that carry arguments (System V psABI, 3.2.3): a function that is called may keep the contents of any of
/// them.
const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// Registers that keep their contents across a call.
const CALLEE_SAVED: [Register; 6] =
    [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// Where a loaded address may be.
#[derive(Clone, Default, PartialEq)]
struct Holders {
    registers: BTreeSet<Register>,
    /// Words of the stack frame, by their distance from `rsp`.
    stack: BTreeSet<i64>,
}

impl Holders {
    fn is_empty(&self) -> bool {
        self.registers.is_empty() && self.stack.is_empty()
    }

    /// Adds those of another path. Returns whether that added any.
    fn join(&mut self, other: &Holders) -> bool {
        let before = (self.registers.len(), self.stack.len());
        self.registers.extend(&other.registers);
        self.stack.extend(&other.stack);
        before != (self.registers.len(), self.stack.len())
    }

    fn has_any(&self, registers: &[Register]) -> bool {
        registers.iter().any(|register| self.registers.contains(register))
    }

    /// Whether the memory operand's address depends on the loaded one.
    fn is_address_of(&self, instruction: &Instruction) -> bool {
        self.has_any(&[instruction.memory_base(), instruction.memory_index()])
    }

    fn set_register(&mut self, register: Register, holds: bool) {
        if holds {
            self.registers.insert(register);
        } else {
            self.registers.remove(&register);
        }
    }

    fn set_word(&mut self, word: i64, holds: bool) {
        if holds {
            self.stack.insert(word);
        } else {
            self.stack.remove(&word);
        }
    }

    /// Follows a change of `rsp`: words below it are free.
    fn move_stack(&mut self, by: i64) {
        self.stack = self.stack.iter().map(|word| word - by).filter(|word| *word >= 0).collect();
    }
}

/// What an instruction does with a loaded address.
enum Step {
    /// It calls the address, or jumps to it.
    Calls(Holders),
    /// It does not call the address.
    Passes(Holders),
    /// Something other than a call may use the address, or keep it.
    Keeps,
}

/// Whether the address that the instruction at index `load` of `code` loads into a register is called, and used for
/// nothing else.
pub(super) fn is_only_called(code: &[Instruction], load: usize, info: &mut InstructionInfoFactory) -> bool {
    let first = Holders { registers: BTreeSet::from([code[load].op0_register()]), ..Holders::default() };
    let mut seen: Vec<Holders> = vec![Holders::default(); code.len()];
    let (mut open, mut is_called) = (vec![(load + 1, first)], false);
    while let Some((at, holders)) = open.pop() {
        let Some(instruction) = code.get(at) else { continue };
        if !seen[at].join(&holders) {
            continue;
        }
        let after = match step(instruction, seen[at].clone(), info) {
            Step::Keeps => return false,
            Step::Calls(after) => {
                is_called = true;
                after
            }
            Step::Passes(after) => after,
        };
        if after.is_empty() {
            continue;
        }
        match instruction.flow_control() {
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                if instruction.flow_control() == FlowControl::ConditionalBranch {
                    open.push((at + 1, after.clone()));
                }
                match code.binary_search_by_key(&instruction.near_branch_target(), Instruction::ip) {
                    Ok(target) => open.push((target, after)),
                    // A jump to another function.
                    Err(_) if after.has_any(&ARGUMENTS) => return false,
                    Err(_) => {}
                }
            }
            FlowControl::Return | FlowControl::Exception | FlowControl::IndirectBranch => {}
            _ => open.push((at + 1, after)),
        }
    }
    is_called
}

/// The word of the stack frame that a memory operand of eight bytes is; `None` for other operands.
fn frame_word(instruction: &Instruction, operand: u32) -> Option<i64> {
    let is_word = instruction.op_kind(operand) == OpKind::Memory
        && instruction.memory_base() == Register::RSP
        && instruction.memory_index() == Register::None
        && instruction.memory_size().size() as i64 == WORD;
    is_word.then_some(instruction.memory_displacement64() as i64)
}

fn step(instruction: &Instruction, mut holders: Holders, info: &mut InstructionInfoFactory) -> Step {
    match instruction.flow_control() {
        FlowControl::Call | FlowControl::IndirectCall | FlowControl::IndirectBranch => {
            return branch(instruction, holders);
        }
        // The address is returned, or returned to.
        FlowControl::Return if holders.has_any(&[Register::RAX, Register::RDX]) || holders.stack.contains(&0) => {
            return Step::Keeps;
        }
        FlowControl::Return => return Step::Passes(Holders::default()),
        _ => {}
    }
    match instruction.mnemonic() {
        Mnemonic::Mov => {
            let (target, source) = (instruction.op0_register(), instruction.op1_register());
            if target.is_gpr64() && source.is_gpr64() && ![target, source].contains(&Register::RSP) {
                holders.set_register(target, holders.registers.contains(&source));
                return Step::Passes(holders);
            }
            if let Some(word) = frame_word(instruction, 0).filter(|_| source.is_gpr64()) {
                holders.set_word(word, holders.registers.contains(&source));
                return Step::Passes(holders);
            }
            if let Some(word) = frame_word(instruction, 1).filter(|_| target.is_gpr64()) {
                holders.set_register(target, holders.stack.contains(&word));
                return Step::Passes(holders);
            }
        }
        Mnemonic::Push if instruction.op0_register().is_gpr64() => {
            let pushed = holders.registers.contains(&instruction.op0_register());
            holders.move_stack(-WORD);
            holders.set_word(0, pushed);
            return Step::Passes(holders);
        }
        Mnemonic::Pop if instruction.op0_register().is_gpr64() => {
            holders.set_register(instruction.op0_register(), holders.stack.contains(&0));
            holders.move_stack(WORD);
            return Step::Passes(holders);
        }
        Mnemonic::Add | Mnemonic::Sub if instruction.op0_register() == Register::RSP => {
            let Ok(by) = instruction.try_immediate(1) else { return Step::Keeps };
            let by = by as i64;
            holders.move_stack(if instruction.mnemonic() == Mnemonic::Add { by } else { -by });
            return Step::Passes(holders);
        }
        _ => {}
    }
    other(instruction, holders, info)
}

/// A call, or a jump to an address that is not known.
fn branch(instruction: &Instruction, mut holders: Holders) -> Step {
    let register = instruction.op0_register();
    let by_register = instruction.op0_kind() == OpKind::Register && holders.registers.contains(&register);
    let by_word = frame_word(instruction, 0).is_some_and(|word| holders.stack.contains(&word));
    let calls_it = by_register || by_word;
    let jumps = instruction.flow_control() == FlowControl::IndirectBranch;
    if jumps && !calls_it {
        // A jump table, or a tail call that may receive the address in a register.
        return Step::Keeps;
    }
    let passed = ARGUMENTS
        .iter()
        .any(|argument| holders.registers.contains(argument) && !(by_register && *argument == register));
    if passed || (instruction.op0_kind() == OpKind::Memory && holders.is_address_of(instruction)) {
        return Step::Keeps;
    }
    if jumps {
        return Step::Calls(Holders::default());
    }
    // Other registers lose their contents at the call.
    holders.registers.retain(|register| CALLEE_SAVED.contains(register));
    if calls_it { Step::Calls(holders) } else { Step::Passes(holders) }
}

/// Any other instruction: it may overwrite the address, but not read it.
fn other(instruction: &Instruction, mut holders: Holders, info: &mut InstructionInfoFactory) -> Step {
    let used = info.info(instruction);
    for used in used.used_registers() {
        let register = used.register().full_register();
        let moves_stack = register == Register::RSP && used.access() != OpAccess::Read && !holders.stack.is_empty();
        if moves_stack {
            return Step::Keeps;
        }
        if holders.registers.contains(&register) {
            match used.access() {
                OpAccess::Write if used.register().size() >= 4 => holders.set_register(register, false),
                _ => return Step::Keeps,
            }
        }
    }
    for memory in used.used_memory() {
        let (start, bytes) = (memory.displacement() as i64, memory.memory_size().size() as i64);
        let in_frame = memory.base() == Register::RSP && memory.index() == Register::None;
        let overlaps = |word: &i64| in_frame && start < word + WORD && *word < start + bytes;
        if holders.stack.iter().any(overlaps) {
            return Step::Keeps;
        }
    }
    Step::Passes(holders)
}
