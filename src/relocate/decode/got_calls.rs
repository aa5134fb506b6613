//! The GOT calls of a function: the constant words that it calls through.
//!
//! `call [rip+word]` names its word. Where a function is called several times, compilers load its address once and call
//! the register:
//!
//! ```text
//!     mov  r15, [rip+word]
//!     ..
//!     call r15
//! ```
//!
//! Such a load counts as a GOT call if, on every path from it, the register is only called until it is overwritten.
//! Then no code keeps the address.

use std::collections::BTreeMap;

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::{DecodedFunction, elf_image, through_memory};

/// Finds the words that a function calls through, by the address of the instruction that reads each.
pub fn find_got_calls(function: &DecodedFunction) -> BTreeMap<u64, u64> {
    let mut info = InstructionInfoFactory::new();
    let instructions: Vec<Instruction> = function.instructions().iter().map(|(instruction, _)| *instruction).collect();
    let mut read = |(index, instruction): (usize, &Instruction)| {
        let slot = through_memory(instruction).or_else(|| find_loaded_word(instruction))?;
        elf_image::function_at(slot)?;
        let is_called = through_memory(instruction).is_some() || is_only_called(&instructions, index, &mut info);
        is_called.then_some((instruction.ip(), slot))
    };
    instructions.iter().enumerate().filter_map(&mut read).collect()
}

/// The address of the word that an instruction loads into a 64-bit register.
fn find_loaded_word(instruction: &Instruction) -> Option<u64> {
    let loads = instruction.mnemonic() == Mnemonic::Mov && instruction.op1_kind() == OpKind::Memory;
    let whole = loads && instruction.op0_register().is_gpr64() && instruction.is_ip_rel_memory_operand();
    whole.then(|| instruction.ip_rel_memory_address())
}

/// Registers that carry arguments (System V psABI, 3.2.3): a function that is called may keep the contents of any of
/// them.
const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// Registers that keep their contents across a call.
const CALLEE_SAVED: [Register; 6] =
    [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// Whether the address that the instruction at `load` loads is called, and used for nothing else.
fn is_only_called(code: &[Instruction], load: usize, info: &mut InstructionInfoFactory) -> bool {
    let register = code[load].op0_register();
    let passed = ARGUMENTS.contains(&register);
    let after_call = |open: &mut Vec<usize>, at: usize| {
        // Other registers lose their contents at the call.
        if CALLEE_SAVED.contains(&register) {
            open.push(at + 1);
        }
    };
    let (mut open, mut seen, mut called) = (vec![load + 1], vec![false; code.len()], false);
    while let Some(at) = open.pop() {
        let Some(instruction) = code.get(at) else { continue };
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        let calls_it = instruction.op0_kind() == OpKind::Register && instruction.op0_register() == register;
        match instruction.flow_control() {
            FlowControl::IndirectCall if calls_it => {
                called = true;
                after_call(&mut open, at);
                continue;
            }
            FlowControl::IndirectBranch if calls_it => {
                called = true;
                continue;
            }
            // A jump table, or a tail call that may receive the address in a register.
            FlowControl::IndirectBranch => return false,
            FlowControl::Return if matches!(register, Register::RAX | Register::RDX) => return false,
            FlowControl::Call | FlowControl::IndirectCall if passed => return false,
            _ => {}
        }
        let uses =
            info.info(instruction).used_registers().iter().filter(|used| used.register().full_register() == register);
        let mut overwritten = false;
        for used in uses {
            match used.access() {
                OpAccess::Write if used.register().size() >= 4 => overwritten = true,
                _ => return false,
            }
        }
        if overwritten {
            continue;
        }
        let conditional = instruction.flow_control() == FlowControl::ConditionalBranch;
        match instruction.flow_control() {
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                match code.binary_search_by_key(&instruction.near_branch_target(), Instruction::ip) {
                    Ok(target) => open.push(target),
                    // A jump to another function.
                    Err(_) if passed => return false,
                    Err(_) => {}
                }
                if conditional {
                    open.push(at + 1);
                }
            }
            FlowControl::Call | FlowControl::IndirectCall => after_call(&mut open, at),
            FlowControl::Return | FlowControl::Exception => {}
            _ => open.push(at + 1),
        }
    }
    called
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    /// Whether code that starts with `mov r, [rip+word]` only calls the register.
    fn is_got_call(code: &[u8]) -> bool {
        let code: Vec<Instruction> = Decoder::with_ip(64, code, 0x1000, DecoderOptions::NONE).iter().collect();
        assert_eq!(find_loaded_word(&code[0]), Some(0x1017));
        is_only_called(&code, 0, &mut InstructionInfoFactory::new())
    }

    const R15: [u8; 7] = [0x4c, 0x8b, 0x3d, 0x10, 0, 0, 0];
    const RAX: [u8; 7] = [0x48, 0x8b, 0x05, 0x10, 0, 0, 0];
    const RDI: [u8; 7] = [0x48, 0x8b, 0x3d, 0x10, 0, 0, 0];
    const CALL_R15: [u8; 3] = [0x41, 0xff, 0xd7];
    const CALL_RAX: [u8; 2] = [0xff, 0xd0];
    const CALL_RDI: [u8; 2] = [0xff, 0xd7];
    const POP_R15: [u8; 2] = [0x41, 0x5f];
    const RET: [u8; 1] = [0xc3];

    #[test]
    fn a_register_that_is_only_called_until_it_is_restored_is_a_got_call() {
        assert!(is_got_call(&[&R15[..], &CALL_R15, &CALL_R15, &POP_R15, &RET].concat()));
        // A loop: `dec eax; jne` back to the call.
        assert!(is_got_call(&[&R15[..], &CALL_R15, &[0xff, 0xc8, 0x75, 0xf9], &POP_R15, &RET].concat()));
        // Another register is called in between, and the final jump leads to the function.
        assert!(is_got_call(&[&R15[..], &CALL_RAX, &[0x41, 0xff, 0xe7]].concat()));
        assert!(is_got_call(&[&RAX[..], &CALL_RAX, &[0x31, 0xc0], &RET].concat()));
        assert!(is_got_call(&[&RAX[..], &CALL_RAX, &RET].concat()), "the callee's result is returned");
        assert!(is_got_call(&[&RDI[..], &CALL_RDI, &RET].concat()));
        // pop r15; jmp rdi
        assert!(is_got_call(&[&RDI[..], &POP_R15, &[0xff, 0xe7]].concat()));
    }

    #[test]
    fn a_register_whose_contents_other_code_might_keep_is_not_a_got_call() {
        assert!(!is_got_call(&[&R15[..], &POP_R15, &RET].concat()), "never called");
        // mov [rbx], r15
        assert!(!is_got_call(&[&R15[..], &CALL_R15, &[0x4c, 0x89, 0x3b], &RET].concat()), "stored");
        // push r15
        assert!(!is_got_call(&[&R15[..], &CALL_R15, &[0x41, 0x57], &RET].concat()), "spilled");
        // test edi, edi; jz over the store: one path that stores is enough.
        assert!(!is_got_call(
            &[&R15[..], &CALL_R15, &[0x85, 0xff, 0x74, 3, 0x4c, 0x89, 0x3b], &POP_R15, &RET].concat()
        ));
        assert!(!is_got_call(&[&RAX[..], &[0x85, 0xff, 0x74, 2], &CALL_RAX, &RET].concat()), "returned");
        assert!(!is_got_call(&[&RDI[..], &CALL_RAX, &CALL_RDI, &RET].concat()), "an argument");
        // test eax, eax; jnz to another function, which receives it as an argument; call rdi
        assert!(
            !is_got_call(&[&RDI[..], &[0x85, 0xc0, 0x75, 0x40], &CALL_RDI, &RET].concat()),
            "an argument of a tail call"
        );
        // jmp rcx: a jump table.
        assert!(!is_got_call(&[&R15[..], &CALL_R15, &[0xff, 0xe1]].concat()));
    }
}
