//! `plt`: a call into a shared library as compilers make it by default, through an entry of the procedure linkage table
//! (System V psABI for AMD64, 5.2 "Procedure Linkage Table").
//!
//! Machine code: `call rel32` to a stub, one per op, that is `jmp qword ptr [rip + got_plt + 8*slot]` (`ff 25 disp32`)
//! to the body. The word is bound before the first call, as with `LD_BIND_NOW` or `-z now`. The lazy half of an entry
//! (`push`, `jmp` to the resolver) would run once per process and is left out.

use std::arch::{asm, naked_asm};

use super::slots::Slots;
use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, Op, Reg, Ret};

/// `.got.plt`: the words that the stubs jump through.
pub static GOT_PLT: Slots = Slots::new();

/// An entry of `.plt`, 16 bytes long like the linker's.
///
/// # Safety
/// As for [`Op::native`].
#[unsafe(naked)]
unsafe extern "C" fn stub<O: Op>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    naked_asm!("jmp qword ptr [rip + {got} + {offset}]", ".balign 16, 0xcc", got = sym GOT_PLT,
        offset = const O::SLOT * 8)
}

/// A call of a stub that jumps through a word.
pub struct Plt;

impl Dispatch for Plt {
    const META: Mechanism = Mechanism {
        name: "plt",
        way: CallSequence::Plt,
        switches: true,
        known_from: "System V Release 4 (1988), dynamic linking",
        summary: "a direct call of a stub that jumps through a word of the GOT, as into a shared library",
        ..Mechanism::BASE
    };
    const TABLE: Option<&'static Slots> = Some(&GOT_PLT);

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the stub jumps to a body of `O`, which follows the C ABI, whose clobbers are declared.
        unsafe {
            asm!("call {stub}", stub = sym stub::<O>,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }

    /// None: the stubs read the words, and a copy of a caller calls the same stubs.
    fn data() -> Option<(usize, usize)> {
        None
    }
}
