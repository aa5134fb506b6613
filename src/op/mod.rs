//! Operations: the functions that a mechanism reaches.
//!
//! An op is a type that implements [`Op`]. There are two ways to write one:
//!
//! * **As assembly**, by [`native!`](crate::native). The native body is written once. It is the inline form, the
//!   callee of every call, and the bytes that patching writes: every mechanism runs the same instructions, and only the
//!   path to them differs. The inline form, too, has its operands in the registers of Linux's own call sites (`rdi`,
//!   `rsi`, `rdx`, `rcx`, result in `rax`; `PVOP_CALL0..4` in `arch/x86/include/asm/paravirt_types.h`). The [catalogue]
//!   is written this way.
//! * **As a Rust function**, by [`Function`] (or several at once by [`functions!`](crate::functions)): an entry of a
//!   table of function pointers. Mechanisms that need assembly are unavailable for it, with that reason: they put a
//!   preamble in front of the body, copy it, or call it by another convention.

mod body;
pub mod callee_save;
pub mod catalogue;
mod cfi_hash;
mod code_identity;
mod function;
mod list;
pub(crate) mod meta;
mod mix;
pub mod model;
mod native;
pub mod regs;
pub mod xen;

pub mod cpu;
pub mod irq;
pub mod lock;
pub mod mmu;
pub mod time;

use std::arch::{asm, naked_asm};

pub use body::BodyKind;
pub use callee_save::spoils;
pub use cfi_hash::cfi_hash;
pub use code_identity::{CodeIdentity, NoIdentity};
pub use function::Function;
pub use list::{OpVisitor, Ops};
pub use meta::{Bytes, Conventions, Group, Kind, OpMeta, Since};
pub use mix::InstructionMix;
pub use model::CpuModel;
pub use regs::{Args, Body, Reg, Register, Ret};

/// Slots from here on belong to ops outside the catalogue.
pub const FIRST_USER_SLOT: usize = catalogue::FIRST_USER_SLOT;
/// The first slot that no table has.
pub const SLOTS: usize = catalogue::SLOTS;

/// The registers that a C function may spoil, apart from its result.
const CALLER_SAVED: &[&str] = &["rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"];

/// One machine operation.
///
/// The defaults here fit a compiled body; [`native!`](crate::native) writes all of these items for an assembly body.
/// For functions that are safe to call, [`Function`] is shorter and needs no `unsafe`.
///
/// ```
/// use pvbench::op::{Bytes, CpuModel, FIRST_USER_SLOT, OpMeta, Op};
///
/// /// Turns the interrupts of a coprocessor off; the other body does nothing.
/// struct Mask;
///
/// // SAFETY: `native!` writes the bodies; both store to a word of this program.
/// unsafe impl Op for Mask {
///     const META: OpMeta = OpMeta { name: "mask", bytes: Bytes::Instruction, site: 8, ..OpMeta::OWN };
///     const SLOT: usize = FIRST_USER_SLOT;
///     type Args = (*mut u64,);
///     type Ret = ();
///     pvbench::native! { (register: "rdi"); "mov qword ptr [rdi], 0" }
///     unsafe fn xen(_: (*mut u64,)) {}
///     fn arguments(_: &mut CpuModel) -> (*mut u64,) {
///         static mut REGISTER: u64 = 1;
///         (&raw mut REGISTER,)
///     }
/// }
/// ```
///
/// # Safety
/// The bodies are machine code that callers reach through raw calls: [`Op::native`] follows the System V ABI with
/// [`Op::Args`] in its argument registers, changes no register that ABI preserves, and does what [`Op::inline`] does.
/// [`Op::ASSEMBLY`] and [`Op::SCRATCH`] describe it correctly. [`Op::INSTRUCTIONS`] has the same effect and spoils only
/// registers that a C function may spoil. [`Op::arguments`] gives arguments that are valid for both bodies, any number
/// of times in a row.
pub unsafe trait Op: Sized + 'static {
    /// The catalogue entry: the name, the origin, and how call sites are patched.
    const META: OpMeta;
    /// The index in the tables of function pointers. Slots from [`FIRST_USER_SLOT`] to below [`SLOTS`] are free for ops
    /// outside the catalogue. A [suite](crate::Suite) in which two ops have the same slot is refused.
    const SLOT: usize;
    /// The arguments, each in a register.
    type Args: Args;
    /// The result.
    type Ret: Ret;

    /// Whether the body is assembly ([`native!`](crate::native)): it ends in its only return, spoils only
    /// [`Op::SCRATCH`], and can run at any address.
    const ASSEMBLY: bool = false;
    /// The registers that the native body spoils, apart from its result and the flags.
    const SCRATCH: &'static [&'static str] = CALLER_SAVED;
    /// The bytes that patching writes in place of a call, for compiled bodies with [`Bytes::Instruction`]. `None` means
    /// the body itself. The bytes are position-independent and at most `META.site` bytes long.
    const INSTRUCTIONS: Option<&'static [u8]> = None;

    /// The native body, inline.
    ///
    /// # Safety
    /// The arguments are valid for this op (pointers point to what Linux's hook of that name takes), and this thread
    /// has a [`CpuModel`] installed.
    unsafe fn inline(args: Self::Args) -> Self::Ret;

    /// The native body, inline, with the clobber list of a C call: a call site that can be patched into a call has this
    /// cost.
    ///
    /// # Safety
    /// As for [`Op::inline`].
    #[inline(always)]
    unsafe fn inline_clobber(args: Self::Args) -> Self::Ret {
        // SAFETY: `inline` has the contract of this function, which the caller meets; the template of the block is
        // empty.
        unsafe {
            let result = Self::inline(args);
            asm!("", clobber_abi("C"));
            result
        }
    }

    /// The native body as a callee.
    ///
    /// # Safety
    /// As for [`Op::inline`].
    #[inline(never)]
    unsafe extern "C" fn native(a: Reg, b: Reg, c: Reg, d: Reg) -> Reg {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(Self::Args::from_regs([a, b, c, d])).into_reg() }
    }

    /// The callee behind a kCFI preamble: its entry, 16 bytes in, has the type's hash in the four bytes before it
    /// ([`Kcfi`](crate::dispatch::Kcfi)).
    ///
    /// # Safety
    /// As for [`Op::inline`]; to be called at its entry.
    #[unsafe(naked)]
    unsafe extern "C" fn native_kcfi(a: Reg, b: Reg, c: Reg, d: Reg) -> Reg {
        naked_asm!(".nops 11", "mov eax, {hash}", "jmp {body}", ".balign 16, 0xcc",
            hash = const cfi_hash::<Self>(), body = sym Self::native)
    }

    /// The callee behind a FineIBT preamble of 16 bytes, which checks the hash in `r10d`
    /// ([`FineIbt`](crate::dispatch::FineIbt)).
    ///
    /// # Safety
    /// As for [`Op::inline`]; with the hash in `r10d`.
    #[unsafe(naked)]
    unsafe extern "C" fn native_fineibt(a: Reg, b: Reg, c: Reg, d: Reg) -> Reg {
        naked_asm!("endbr64", "sub r10d, {hash}", "je 2f", "ud2", "2: nop", "jmp {body}", ".balign 16, 0xcc",
            hash = const cfi_hash::<Self>(), body = sym Self::native)
    }

    /// The callee behind `endbr64` ([`Endbr`](crate::dispatch::Endbr)).
    ///
    /// # Safety
    /// As for [`Op::inline`].
    #[unsafe(naked)]
    unsafe extern "C" fn native_endbr(a: Reg, b: Reg, c: Reg, d: Reg) -> Reg {
        naked_asm!("endbr64", "jmp {body}", ".balign 16, 0xcc", body = sym Self::native)
    }

    /// The other body. An op of the catalogue has the body of a Xen PV guest; an op of a suite has the alternative that
    /// its table may hold.
    ///
    /// # Safety
    /// As for [`Op::inline`].
    unsafe fn xen(args: Self::Args) -> Self::Ret;

    /// Returns the arguments that are measured, and sets up the state that they need in this thread's CPU model. Both
    /// bodies take them any number of times in a row.
    fn arguments(cpu: &mut CpuModel) -> Self::Args;
}

/// The Xen body as a callee: one function of the machine-level type per op.
///
/// # Safety
/// As for [`Op::inline`]; the first `ARITY` registers are initialised.
#[inline(never)]
pub unsafe extern "C" fn xen_entry<O: Op>(a: Reg, b: Reg, c: Reg, d: Reg) -> Reg {
    // SAFETY: `O::xen` has the contract of this function, which the caller meets.
    unsafe { O::xen(O::Args::from_regs([a, b, c, d])).into_reg() }
}
