//! `ifunc`: GNU indirect functions (`STT_GNU_IFUNC`), by which glibc picks its `memcpy`. A resolver runs once at
//! program start and returns the body's address. The linker makes a PLT entry that every call goes through.
//!
//! Machine code: `call rel32` to an entry in `.iplt` that is `jmp qword ptr [rip + word]`, after an `endbr64` if the
//! linker protects against forged jumps. The dynamic loader writes the word (`R_X86_64_IRELATIVE`). It is read-only
//! afterwards in a program linked with `-z relro -z now`, so this mechanism does not switch.

use std::arch::{asm, naked_asm};

use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, Op, Reg, Ret};

/// Whether the C library resolves indirect functions. Musl's loader refuses a program that has one.
const GNU: bool = cfg!(target_env = "gnu");

/// The symbol that calls name. Its code is the resolver, which takes no argument and returns the body's address. It is
/// marked as an indirect function, so that only the loader calls it. It runs before all relocations are processed, so
/// it must not need one.
///
/// # Safety
/// As for [`Op::native`].
#[unsafe(naked)]
unsafe extern "C" fn indirect<O: Op>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    naked_asm!(".if {gnu}", ".type {this}, @gnu_indirect_function", ".endif", "lea rax, [rip + {body}]", "ret",
        gnu = const GNU as u8, this = sym indirect::<O>, body = sym O::native)
}

/// A call of a GNU indirect function.
pub struct Ifunc;

impl Dispatch for Ifunc {
    const META: Mechanism = Mechanism {
        name: "ifunc",
        way: CallSequence::Plt,
        switches: false,
        known_from: "binutils 2.20, glibc 2.11 (2009), STT_GNU_IFUNC",
        summary: "a call of an indirect function, resolved once at program start",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the linker's entry jumps to the native body of `O`, which follows the C ABI. Its clobbers are
        // declared.
        unsafe {
            asm!("call {indirect}", indirect = sym indirect::<O>,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }

    fn unavailable() -> Option<String> {
        (!GNU).then(|| "only glibc resolves indirect functions; build for a -gnu target".to_owned())
    }
}
