//! The calls of a function whose targets are not in the calling instruction: the constant words that it calls through,
//! and the addresses that it loads to call them.
//!
//! `call [rip+word]` names its word. Where a function is called several times, compilers load its address once and call
//! the register:
//!
//! ```text
//!     mov  r15, [rip+word]        or, if the linker knows the distance, lea r15, [rip+function]
//!     ..
//!     call r15
//! ```
//!
//! Such a load counts as a call if the address is [only called](super::only_called).

use std::collections::BTreeMap;

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpKind};

use super::only_called::is_only_called;
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

/// Finds the functions whose addresses a function loads by their distance and only calls, by the address of the
/// instruction that loads each.
pub fn find_loaded_calls(function: &DecodedFunction) -> BTreeMap<u64, u64> {
    let mut info = InstructionInfoFactory::new();
    let instructions: Vec<Instruction> = function.instructions().iter().map(|(instruction, _)| *instruction).collect();
    let mut load = |(index, instruction): (usize, &Instruction)| {
        let loads = instruction.mnemonic() == Mnemonic::Lea && instruction.is_ip_rel_memory_operand();
        let target = instruction.ip_rel_memory_address();
        let is_call = loads && elf_image::is_text(target as usize) && is_only_called(&instructions, index, &mut info);
        is_call.then_some((instruction.ip(), target))
    };
    instructions.iter().enumerate().filter_map(&mut load).collect()
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
        // mov rbp, r15; call r15; mov r15, rbp; call r15: copied to another register and back.
        let copied = [&R15[..], &[0x4c, 0x89, 0xfd], &CALL_R15, &[0x49, 0x89, 0xef], &CALL_R15, &RET].concat();
        assert!(is_got_call(&copied));
        // mov [rsp+8], r15; pop r15; call [rsp]; add rsp, 8: spilled, and called from the stack.
        let spilled = [0x4c, 0x89, 0x7c, 0x24, 8, 0x41, 0x5f, 0xff, 0x14, 0x24, 0x48, 0x83, 0xc4, 8];
        let spilled = [&R15[..], &spilled, &RET].concat();
        assert!(is_got_call(&spilled));
        // pop r15; jmp rdi
        assert!(is_got_call(&[&RDI[..], &POP_R15, &[0xff, 0xe7]].concat()));
    }

    #[test]
    fn a_register_whose_contents_other_code_might_keep_is_not_a_got_call() {
        assert!(!is_got_call(&[&R15[..], &POP_R15, &RET].concat()), "never called");
        // mov [rbx], r15
        assert!(!is_got_call(&[&R15[..], &CALL_R15, &[0x4c, 0x89, 0x3b], &RET].concat()), "stored");
        // mov [rsp+8], r15; cmp rax, [rsp+8]
        assert!(
            !is_got_call(
                &[&R15[..], &CALL_R15, &[0x4c, 0x89, 0x7c, 0x24, 8, 0x48, 0x3b, 0x44, 0x24, 8], &RET].concat()
            ),
            "compared after it was spilled"
        );
        // mov rbx, r15; mov [rdi], rbx
        assert!(
            !is_got_call(&[&R15[..], &CALL_R15, &[0x4c, 0x89, 0xfb, 0x48, 0x89, 0x1f], &RET].concat()),
            "a copy is stored"
        );
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
