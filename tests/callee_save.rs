//! Callees of callee-save sites keep every register but `rax`.

use std::arch::asm;

use pvbench::dispatch::Platform;
use pvbench::op::CpuModel;
use pvbench::suite::builtin;

/// The registers a C function may spoil, `rax` apart: rcx rdx rsi rdi r8 r9 r10 r11, then xmm0 to xmm15.
#[repr(C)]
#[derive(Clone, Debug, PartialEq)]
struct Registers {
    general: [u64; 8],
    vector: [[u64; 2]; 16],
}

/// Calls `body` with these registers and stores what they are afterwards.
unsafe fn call(body: usize, registers: &mut Registers) {
    unsafe {
        asm!(
            "mov rcx, [r12]", "mov rdx, [r12 + 8]", "mov rsi, [r12 + 16]", "mov rdi, [r12 + 24]",
            "mov r8, [r12 + 32]", "mov r9, [r12 + 40]", "mov r10, [r12 + 48]", "mov r11, [r12 + 56]",
            "movups xmm0, [r12 + 64]", "movups xmm1, [r12 + 80]", "movups xmm2, [r12 + 96]",
            "movups xmm3, [r12 + 112]", "movups xmm4, [r12 + 128]", "movups xmm5, [r12 + 144]",
            "movups xmm6, [r12 + 160]", "movups xmm7, [r12 + 176]", "movups xmm8, [r12 + 192]",
            "movups xmm9, [r12 + 208]", "movups xmm10, [r12 + 224]", "movups xmm11, [r12 + 240]",
            "movups xmm12, [r12 + 256]", "movups xmm13, [r12 + 272]", "movups xmm14, [r12 + 288]",
            "movups xmm15, [r12 + 304]",
            "call r13",
            "mov [r12], rcx", "mov [r12 + 8], rdx", "mov [r12 + 16], rsi", "mov [r12 + 24], rdi",
            "mov [r12 + 32], r8", "mov [r12 + 40], r9", "mov [r12 + 48], r10", "mov [r12 + 56], r11",
            "movups [r12 + 64], xmm0", "movups [r12 + 80], xmm1", "movups [r12 + 96], xmm2",
            "movups [r12 + 112], xmm3", "movups [r12 + 128], xmm4", "movups [r12 + 144], xmm5",
            "movups [r12 + 160], xmm6", "movups [r12 + 176], xmm7", "movups [r12 + 192], xmm8",
            "movups [r12 + 208], xmm9", "movups [r12 + 224], xmm10", "movups [r12 + 240], xmm11",
            "movups [r12 + 256], xmm12", "movups [r12 + 272], xmm13", "movups [r12 + 288], xmm14",
            "movups [r12 + 304], xmm15",
            in("r12") registers, in("r13") body, clobber_abi("C")
        );
    }
}

#[test]
fn every_saving_callee_keeps_all_registers_but_rax() {
    for op in builtin() {
        for platform in [Platform::Native, Platform::Xen] {
            let mut cpu = CpuModel::install().unwrap();
            let [rdi, rsi, rdx, rcx] = (op.arguments)(&mut cpu);
            // Arguments that the op does not take are as good as any other value.
            let or = |index: usize, value, other| if index < op.arity { value } else { other };
            let before = Registers {
                general: [or(3, rcx, 0x1111), or(2, rdx, 0x2222), or(1, rsi, 0x3333), or(0, rdi, 0x4444), 5, 6, 7, 8],
                vector: std::array::from_fn(|n| [0xabcd_0000 + n as u64, !(n as u64)]),
            };
            let mut after = before.clone();
            unsafe { call((op.saving)(platform) as usize, &mut after) };
            assert_eq!(after, before, "{} {}", op.meta.name, platform.name());
        }
    }
}

#[test]
fn hot_hooks_that_linux_makes_callee_save_need_no_thunk() {
    use pvbench::op::Conventions;
    for op in builtin().into_iter().filter(|op| op.meta.conventions == Conventions::CalleeSave) {
        assert!(!op.spoils, "{}", op.meta.name);
        assert_eq!((op.saving)(Platform::Native) as usize, (op.body)(Platform::Native) as usize, "{}", op.meta.name);
    }
}
