//! Callees of callee-save sites preserve every general register except `rax`.

use std::arch::asm;

use pvbench::op::BodyKind;
use pvbench::op::CpuModel;
use pvbench::pv_ops::op_entries;

/// The registers that a C function may spoil, except `rax` and the vector registers: rcx rdx rsi rdi r8 r9 r10 r11.
type Registers = [u64; 8];

/// Calls `body` with these registers, and stores their values afterwards.
unsafe fn call(body: usize, registers: &mut Registers) {
    // SAFETY: `body` is the entry of a callee that saves the registers it uses; the block declares those that it uses.
    unsafe {
        asm!(
            "mov rcx, [r12]", "mov rdx, [r12 + 8]", "mov rsi, [r12 + 16]", "mov rdi, [r12 + 24]",
            "mov r8, [r12 + 32]", "mov r9, [r12 + 40]", "mov r10, [r12 + 48]", "mov r11, [r12 + 56]",
            "call r13",
            "mov [r12], rcx", "mov [r12 + 8], rdx", "mov [r12 + 16], rsi", "mov [r12 + 24], rdi",
            "mov [r12 + 32], r8", "mov [r12 + 40], r9", "mov [r12 + 48], r10", "mov [r12 + 56], r11",
            in("r12") registers, in("r13") body, clobber_abi("C")
        );
    }
}

#[test]
fn every_saving_callee_preserves_all_general_registers_except_rax() {
    for op in op_entries() {
        for kind in [BodyKind::Native, BodyKind::Xen] {
            let mut cpu = CpuModel::install().unwrap();
            let [rdi, rsi, rdx, rcx] = (op.arguments)(&mut cpu);
            // Registers that hold no argument of the op get arbitrary values.
            let or = |index: usize, value, other| if index < op.arity { value } else { other };
            let before: Registers =
                [or(3, rcx, 0x1111), or(2, rdx, 0x2222), or(1, rsi, 0x3333), or(0, rdi, 0x4444), 5, 6, 7, 8];
            let mut after = before;
            // SAFETY: the entry of a body of this program, called with registers that `call` saves.
            unsafe { call((op.saving)(kind) as usize, &mut after) };
            assert_eq!(after, before, "{} {}", op.meta.name, kind.name());
        }
    }
}

#[test]
fn native_bodies_of_callee_save_hooks_need_no_thunk() {
    use pvbench::op::Conventions;
    for op in op_entries().into_iter().filter(|op| op.meta.conventions == Conventions::CalleeSave) {
        assert!(!op.spoils, "{}", op.meta.name);
        assert_eq!((op.saving)(BodyKind::Native) as usize, (op.body)(BodyKind::Native) as usize, "{}", op.meta.name);
    }
}
