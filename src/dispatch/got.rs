//! `got`: a call into a shared library as `-fno-plt` makes it (GCC 6, 2016). Rust calls shared libraries in the same
//! way.
//!
//! Machine code: exactly `call qword ptr [rip + got + 8*slot]` (`ff 15 disp32`), with the C clobber list. `table` has
//! the same machine code with other memory, so a difference between the two comes from the address of the word. The
//! words belong to this mechanism, because a linker that finds the callee in the same file turns a call through its
//! real GOT (`R_X86_64_GOTPCRELX`) into a direct one.

use std::arch::asm;

use super::slots::Slots;
use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, Op, Reg, Ret};

/// The words of `.got`, one per op.
pub static GOT: Slots = Slots::new();

/// An indirect call through a word of the GOT.
pub struct Got;

impl Dispatch for Got {
    const META: Mechanism = Mechanism {
        name: "got",
        way: CallSequence::Got,
        switches: true,
        known_from: "GCC 6 (2016), -fno-plt",
        summary: "an indirect call through a word of the GOT: the code of table, with other memory",
        ..Mechanism::BASE
    };
    const TABLE: Option<&'static Slots> = Some(&GOT);

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the word holds a body of `O`, which follows the C ABI. Its clobbers are declared, and the block does
        // not claim `nostack`.
        unsafe {
            asm!("call qword ptr [rip + {got} + {offset}]", got = sym GOT, offset = const O::SLOT * 8,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }
}
