//! `retpoline` and `retpoline_lfence`: indirect calls that do not use the predictor of indirect branches (Paul Turner,
//! "Retpoline: a software construct for preventing branch-target-injection", 2018; `arch/x86/lib/retpoline.S`).
//!
//! Machine code: a load of the slot into `r11` and a call of a thunk. The classic thunk overwrites its own return
//! address with the target and returns there; a loop of `pause; lfence` catches speculation. AMD's thunk is `lfence;
//! jmp *%r11`. Linux withdrew it in 2022 (CVE-2021-26401); it is measured for its cost.

use std::arch::{asm, naked_asm};

use super::{CallSequence, Dispatch, Mechanism, PV_OPS, Slots, Table};
use crate::op::{Args, Op, Reg, Ret};

/// `__x86_indirect_thunk_r11`
#[unsafe(naked)]
extern "C" fn thunk() {
    naked_asm!(
        "call 3f",
        "2: pause",
        "lfence",
        "jmp 2b",
        ".balign 16, 0xcc",
        "3: mov [rsp], r11",
        "ret",
        ".balign 16, 0xcc"
    )
}

/// `__x86_indirect_thunk_amd_r11`, 4.15 to 5.16
#[unsafe(naked)]
extern "C" fn lfence_thunk() {
    naked_asm!("lfence", "jmp r11", ".balign 16, 0xcc")
}

/// The addresses of the two thunks, the classic one first, for checks of call targets.
#[must_use]
pub fn thunks() -> [usize; 2] {
    [thunk as *const () as usize, lfence_thunk as *const () as usize]
}

/// An indirect call through a thunk that returns to its target.
pub struct Retpoline;

impl Dispatch for Retpoline {
    const META: Mechanism = Mechanism {
        name: "retpoline",
        way: CallSequence::Thunk,
        switches: true,
        states: &[],
        sites: None,
        known_from: "Linux 4.15 (2018), CONFIG_RETPOLINE",
        summary: "the table, by a thunk that returns to its target",
        year: Some(2018),
        step: Some("indirect calls without the branch predictor, against Spectre v2"),
        ..Mechanism::BASE
    };
    const TABLE: Option<&'static Slots> = Table::TABLE;

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the thunk jumps to the body in `r11`, which follows the C ABI, whose clobbers are declared.
        unsafe {
            asm!("mov r11, qword ptr [rip + {pv_ops} + {offset}]", "call {thunk}", pv_ops = sym PV_OPS,
                offset = const O::SLOT * 8, thunk = sym thunk,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }
}

/// An indirect call through a thunk with a fence and a jump.
pub struct RetpolineLfence;

impl Dispatch for RetpolineLfence {
    const META: Mechanism = Mechanism {
        name: "retpoline_lfence",
        way: CallSequence::Thunk,
        switches: true,
        known_from: "Linux 4.15 (2018), AMD; withdrawn in 2022",
        summary: "the table, by a thunk that fences and jumps",
        ..Mechanism::BASE
    };
    const TABLE: Option<&'static Slots> = Table::TABLE;

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the block must declare what it changes: the thunk jumps to the body in `r11`, which follows the C
        // ABI, whose clobbers are declared.
        unsafe {
            asm!("mov r11, qword ptr [rip + {pv_ops} + {offset}]", "call {thunk}", pv_ops = sym PV_OPS,
                offset = const O::SLOT * 8, thunk = sym lfence_thunk,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }
}
