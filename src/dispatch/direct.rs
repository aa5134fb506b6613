//! `direct`: `call rel32` to the native body. Linux's patching makes this of a site whose op is a C function.
//!
//! Machine code: `e8 rel32`, with the C clobber list.

use std::arch::asm;

use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, Op, Reg, Ret};

/// A direct call.
pub struct Direct;

impl Dispatch for Direct {
    const META: Mechanism = Mechanism {
        name: "direct",
        way: CallSequence::DirectCall,
        switches: false,
        known_from: "Linux 2.6.20, paravirt_patch_call",
        summary: "a direct call of the native body",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the callee follows the C ABI (contract of `Op`), whose clobbers are declared. The block may push, so
        // it does not claim `nostack`.
        unsafe {
            asm!("call {body}", body = sym O::native, in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d,
                lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }
}
