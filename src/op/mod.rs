//! Operations: what a mechanism is asked to reach.
//!
//! An op is a type that implements [`Op`]. Its native body is written once as assembly, by [`native!`](crate::native),
//! and is the inline form, the callee of every call, and the bytes that patching writes: every mechanism runs the same
//! instructions, and only the way to them differs. The operands are therefore pinned to the registers of Linux's own
//! call sites (`rdi`, `rsi`, `rdx`, `rcx`, result in `rax`; `PVOP_CALL0..4` in
//! `arch/x86/include/asm/paravirt_types.h`) in the inline form, too.

pub mod catalogue;
mod meta;
pub mod model;
mod native;
pub mod regs;
pub mod xen;

pub mod cpu;
pub mod irq;
pub mod lock;
pub mod mmu;
pub mod time;

pub use meta::{Bytes, Conventions, Group, Kind, Meta, Since};
pub use model::CpuModel;
pub use regs::{Args, Body, Reg, Ret};

/// One machine operation.
///
/// # Safety
/// The bodies are machine code that callers reach through raw calls: [`Op::native`] follows the System V ABI with
/// [`Op::Args`] in its argument registers, changes no register that ABI preserves, and does what [`Op::inline`] does.
/// [`Op::arguments`] gives arguments that are valid for both bodies, any number of times in a row.
pub unsafe trait Op: 'static {
    /// What it is called, where it comes from, how Linux treats it.
    const META: Meta;
    /// Its place in the pv_ops table. Slots from [`catalogue::FIRST_USER_SLOT`] on are free for ops outside the
    /// catalogue.
    const SLOT: usize;
    /// The arguments, each in a register.
    type Args: Args;
    /// The result.
    type Ret: Ret;

    /// The registers that the native body spoils beside its result and the flags.
    const SCRATCH: &'static [&'static str];

    /// The native body, inline.
    ///
    /// # Safety
    /// The arguments are valid for this op (pointers point to what Linux's hook of that name takes), and this thread
    /// has a [`CpuModel`] installed.
    unsafe fn inline(args: Self::Args) -> Self::Ret;

    /// The native body, inline, with the clobber list of a C call: what a call site costs that could be patched into
    /// a call.
    ///
    /// # Safety
    /// As for [`Op::inline`].
    unsafe fn inline_clobber(args: Self::Args) -> Self::Ret;

    /// The native body as a callee.
    ///
    /// # Safety
    /// As for [`Op::inline`].
    unsafe extern "C" fn native(a: Reg, b: Reg, c: Reg, d: Reg) -> Reg;

    /// The callee behind a kCFI preamble: its entry, 16 bytes in, has the type's hash in the four bytes before it
    /// ([`Kcfi`](crate::dispatch::Kcfi)).
    ///
    /// # Safety
    /// As for [`Op::inline`]; to be called at its entry.
    unsafe extern "C" fn native_kcfi(a: Reg, b: Reg, c: Reg, d: Reg) -> Reg;

    /// The callee behind a FineIBT preamble of 16 bytes, which checks the hash in `r10d`
    /// ([`FineIbt`](crate::dispatch::FineIbt)).
    ///
    /// # Safety
    /// As for [`Op::inline`]; with the hash in `r10d`.
    unsafe extern "C" fn native_fineibt(a: Reg, b: Reg, c: Reg, d: Reg) -> Reg;

    /// The callee behind `endbr64` ([`Endbr`](crate::dispatch::Endbr)).
    ///
    /// # Safety
    /// As for [`Op::inline`].
    unsafe extern "C" fn native_endbr(a: Reg, b: Reg, c: Reg, d: Reg) -> Reg;

    /// The body of a Xen PV guest.
    ///
    /// # Safety
    /// As for [`Op::inline`].
    unsafe fn xen(args: Self::Args) -> Self::Ret;

    /// Arguments to measure with, and whatever state they need, set up in this thread's CPU model. Both bodies take
    /// them, any number of times in a row.
    fn arguments(cpu: &mut CpuModel) -> Self::Args;
}

/// The Xen body as a callee: one function of the machine-level type per op.
///
/// # Safety
/// As for [`Op::inline`]; the first `ARITY` registers are initialised.
#[inline(never)]
pub unsafe extern "C" fn xen_entry<O: Op>(a: Reg, b: Reg, c: Reg, d: Reg) -> Reg {
    // SAFETY: the caller's contract is this one's.
    unsafe { O::xen(O::Args::from_regs([a, b, c, d])).into_reg() }
}
