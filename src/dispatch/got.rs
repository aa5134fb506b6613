//! `got`: a call into a shared library as `-fno-plt` makes it (GCC 6, 2016), which is also how Rust calls one.
//!
//! Machine code: exactly `call qword ptr [rip + got + 8*slot]` (`ff 15 disp32`), the C clobber list around it. That is
//! the machine code of `table`, through other memory: whatever lies between the two is what the place of the word does.
//! The words are this mechanism's own, for a linker that finds the callee in the same file rewrites a call through its
//! real GOT (`R_X86_64_GOTPCRELX`) into a direct one.

use std::arch::asm;

use super::slots::Slots;
use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, BodyKind, Op, Reg, Ret};

/// `.got`: a word per function.
pub static GOT: Slots = Slots::new();

/// An indirect call through a word of the GOT.
pub struct Got;

impl Dispatch for Got {
    const META: Mechanism = Mechanism {
        name: "got",
        way: CallSequence::Got,
        switches: true,
        known_from: "GCC 6 (2016), -fno-plt",
        summary: "an indirect call through a word of the GOT, the code of table through other memory",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the word holds a body of `O`, which follows the C ABI; its clobbers are declared, and the block does
        // not claim `nostack`.
        unsafe {
            asm!("call qword ptr [rip + {got} + {offset}]", got = sym GOT, offset = const O::SLOT * 8,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }

    #[inline(always)]
    fn pointer<O: Op>() -> Option<*mut usize> {
        Some(GOT.word(O::SLOT))
    }

    fn data() -> Option<(usize, usize)> {
        Some(GOT.extent())
    }

    fn bind<O: Op>(platform: BodyKind) {
        GOT.bind::<O>(platform);
    }
}
