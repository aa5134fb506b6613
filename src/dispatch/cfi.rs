//! `kcfi`, `fineibt`, `endbr`: checked indirect calls.
//!
//! * `kcfi` (clang `-fsanitize=kcfi`, Linux 6.1): the caller compares the hash of the callee's type, in the four bytes
//!   before its entry, with the expected one.
//! * `fineibt` (Linux 6.2, `arch/x86/kernel/alternative.c`): the caller loads its hash and calls 16 bytes before the
//!   entry, where the callee compares.
//! * `endbr` (Indirect Branch Tracking, Linux 5.18): an indirect call may only land on `endbr64`.
//!
//! The measurement covers the instructions alone. Enforcement of IBT needs ring 0 and a recent CPU; without it
//! `endbr64` is a NOP.

use std::arch::{asm, naked_asm};

use super::{CallSequence, Dispatch, Mechanism, Slots};
use crate::op::{Args, BodyKind, Op, Reg, Ret, cfi_hash, xen_entry};

/// Size of a preamble in bytes.
const PREAMBLE: usize = 16;

static KCFI: Slots = Slots::new();
static FINEIBT: Slots = Slots::new();
static ENDBR: Slots = Slots::new();

/// The Xen body behind a kCFI preamble.
#[unsafe(naked)]
unsafe extern "C" fn xen_kcfi<O: Op>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    naked_asm!(".nops 11", "mov eax, {hash}", "jmp {body}", ".balign 16, 0xcc", hash = const cfi_hash::<O>(),
        body = sym xen_entry::<O>)
}

/// The Xen body behind a FineIBT preamble.
#[unsafe(naked)]
unsafe extern "C" fn xen_fineibt<O: Op>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    naked_asm!("endbr64", "sub r10d, {hash}", "je 2f", "ud2", "2: nop", "jmp {body}", ".balign 16, 0xcc",
        hash = const cfi_hash::<O>(), body = sym xen_entry::<O>)
}

/// The Xen body behind `endbr64`.
#[unsafe(naked)]
unsafe extern "C" fn xen_endbr<O: Op>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    naked_asm!("endbr64", "jmp {body}", ".balign 16, 0xcc", body = sym xen_entry::<O>)
}

/// A call whose caller checks the hash.
pub struct Kcfi;

impl Dispatch for Kcfi {
    const META: Mechanism = Mechanism {
        name: "kcfi",
        needs_assembly: Some("a check stands in front of the callee's first instruction"),
        way: CallSequence::CallerCheck,
        switches: true,
        states: &[],
        sites: None,
        known_from: "Linux 6.1 (2022), CONFIG_CFI_CLANG",
        summary: "the table, after a comparison of the callee's type hash",
        year: Some(2022),
        step: Some("the caller checks its callee's type"),
    };
    const TABLE: Option<&'static Slots> = Some(&KCFI);

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the slot holds the entry of a body of `O` with a hash before it; its C clobbers are declared.
        unsafe {
            asm!("mov r11, qword ptr [rip + {pv_ops} + {offset}]", "mov r10d, {negative}", "add r10d, [r11 - 4]",
                "je 2f", "ud2", "2: call r11", pv_ops = sym KCFI, offset = const O::SLOT * 8,
                negative = const -(cfi_hash::<O>() as i32),
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }

    fn bind<O: Op>(body: BodyKind) {
        let preamble = match body {
            BodyKind::Native => O::native_kcfi as *const () as usize,
            BodyKind::Xen => xen_kcfi::<O> as *const () as usize,
        };
        KCFI.set(O::SLOT, preamble + PREAMBLE);
    }
}

/// A call whose callee checks the hash.
pub struct FineIbt;

impl Dispatch for FineIbt {
    const META: Mechanism = Mechanism {
        name: "fineibt",
        needs_assembly: Some("a check stands in front of the callee's first instruction"),
        way: CallSequence::CalleeCheck,
        switches: true,
        states: &[],
        sites: None,
        known_from: "Linux 6.2 (2023), FineIBT",
        summary: "the table, to a callee that compares its caller's type hash",
        year: Some(2023),
        step: Some("the callee checks its caller's type"),
    };
    const TABLE: Option<&'static Slots> = Some(&FINEIBT);

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the slot holds the entry of a body of `O` with a preamble before it; its C clobbers are declared.
        unsafe {
            asm!("mov r11, qword ptr [rip + {pv_ops} + {offset}]", "mov r10d, {hash}", "sub r11, 16", ".nops 4",
                "call r11", pv_ops = sym FINEIBT, offset = const O::SLOT * 8, hash = const cfi_hash::<O>(),
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }

    fn bind<O: Op>(body: BodyKind) {
        let preamble = match body {
            BodyKind::Native => O::native_fineibt as *const () as usize,
            BodyKind::Xen => xen_fineibt::<O> as *const () as usize,
        };
        FINEIBT.set(O::SLOT, preamble + PREAMBLE);
    }
}

/// A call to an `endbr64` landing pad.
pub struct Endbr;

impl Dispatch for Endbr {
    const META: Mechanism = Mechanism {
        name: "endbr",
        needs_assembly: Some("a check stands in front of the callee's first instruction"),
        way: CallSequence::IndirectMemory,
        switches: true,
        known_from: "Linux 5.18 (2022), CONFIG_X86_KERNEL_IBT",
        summary: "the table, to a callee that starts with endbr64",
        ..Mechanism::BASE
    };
    const TABLE: Option<&'static Slots> = Some(&ENDBR);

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the slot holds a body of `O`, which follows the C ABI, whose clobbers are declared.
        unsafe {
            asm!("call qword ptr [rip + {pv_ops} + {offset}]", pv_ops = sym ENDBR, offset = const O::SLOT * 8,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }

    fn bind<O: Op>(body: BodyKind) {
        let callee = match body {
            BodyKind::Native => O::native_endbr as *const () as usize,
            BodyKind::Xen => xen_endbr::<O> as *const () as usize,
        };
        ENDBR.set(O::SLOT, callee);
    }
}
