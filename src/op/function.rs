//! Rust functions as ops: the entries of a table of function pointers.

use std::arch::asm;

use super::{Args, CpuModel, Op, OpMeta, Ret};

/// A safe Rust function as an [`Op`]: an entry of a table of function pointers, a method of a trait, or a field of a
/// struct of hooks.
///
/// The inline form is compiled into the call site. The compiler keeps no memory contents in registers across it: every
/// call does its loads and stores, as behind a pointer. The other mechanisms call it by the C convention.
///
/// ```
/// use pvbench::op::{FIRST_USER_SLOT, Function};
///
/// /// Reads a register of a chip.
/// struct Read;
///
/// impl Function for Read {
///     const NAME: &'static str = "uart_read";
///     const SLOT: usize = FIRST_USER_SLOT;
///     type Args = (u64,);
///     type Ret = u64;
///     fn native((register,): (u64,)) -> u64 {
///         0x60 | register
///     }
///     fn arguments() -> (u64,) {
///         (5,)
///     }
/// }
/// ```
///
/// [`functions!`](crate::functions) writes this for a whole table.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an op",
    label = "implement `Function` for it (a Rust function) or `Op` (assembly, instruction bytes)"
)]
pub trait Function: Sized + 'static {
    /// Its name in commands and reports: letters, digits, `_`, `-`, `.`, `:`.
    const NAME: &'static str;
    /// See [`Op::SLOT`].
    const SLOT: usize;
    /// The purpose, in one line.
    const PURPOSE: &'static str = "";
    /// Whether a result is a valid first argument, so that calls can be chained through it.
    const CHAINS: bool = false;
    /// The arguments, each in a register.
    type Args: Args;
    /// The result.
    type Ret: Ret;

    /// The body that the table usually holds: it is measured inline and behind every mechanism.
    fn native(args: Self::Args) -> Self::Ret;

    /// The body that the table may hold instead, measured by `run --body alternative`.
    fn alternative(args: Self::Args) -> Self::Ret {
        Self::native(args)
    }

    /// Returns the arguments that are measured. Both bodies take them any number of times in a row.
    fn arguments() -> Self::Args;
}

// SAFETY: the bodies are safe functions, which the defaults of `Op` turn into callees; a compiled callee follows the
// ABI.
unsafe impl<F: Function> Op for F {
    const META: OpMeta = OpMeta { name: F::NAME, purpose: F::PURPOSE, chains: F::CHAINS, prototype: "", ..OpMeta::OWN };
    const SLOT: usize = F::SLOT;
    type Args = F::Args;
    type Ret = F::Ret;

    #[inline(always)]
    unsafe fn inline(args: F::Args) -> F::Ret {
        let result = F::native(args);
        // Not `nomem`: the body's stores happen before the next call, which loads the values again. Otherwise eight
        // calls of `count += 1` would be inlined as one of `count += 8`.
        // SAFETY: the block must declare what it changes: its template is empty.
        unsafe { asm!("", options(nostack, preserves_flags)) };
        result
    }

    unsafe fn xen(args: F::Args) -> F::Ret {
        F::alternative(args)
    }

    fn arguments(_: &mut CpuModel) -> F::Args {
        F::arguments()
    }
}

/// Defines an op for every function of a table: a type that implements [`Function`], with its slot.
///
/// ```
/// mod chip {
///     use std::sync::atomic::{AtomicU8, Ordering};
///     static REGISTERS: [AtomicU8; 8] = [const { AtomicU8::new(0) }; 8];
///     pub fn read(register: u64) -> u8 {
///         REGISTERS[register as usize % 8].load(Ordering::Relaxed)
///     }
///     pub fn write(register: u64, byte: u8) {
///         REGISTERS[register as usize % 8].store(byte, Ordering::Relaxed);
///     }
/// }
///
/// pvbench::functions! {
///     /// Reads a register.
///     pub struct Read: "uart_read" = fn(register: u64 = 5) -> u8 { chip::read(register) };
///     /// Writes one; without a chip, nothing.
///     pub struct Write: "uart_write" = fn(register: u64 = 0, byte: u8 = b'x') { chip::write(register, byte) } or {};
/// }
///
/// let suite = pvbench::Suite::builder("uart").ops::<(Read, Write)>().build().unwrap();
/// assert_eq!(suite.ops().len(), 2);
/// ```
///
/// A line has the type, the name in reports, the arguments with their measured values, the result and the body; after
/// `or` follows the other body. Slots are assigned in order from [`FIRST_USER_SLOT`](crate::op::FIRST_USER_SLOT) on. A
/// second list in the same suite begins behind the first: its first line is `from 2;` if the first list has two ops.
///
/// Arguments and results travel in registers: integers, `bool`, raw pointers. For a function that takes or returns
/// something else (a reference, a slice, `&mut self`, a `Result`), write a body that supplies the value and turns the
/// result into a word:
///
/// ```
/// static PAGE: [u8; 64] = [0x55; 64];
/// fn checksum(bytes: &[u8]) -> Result<u8, ()> {
///     bytes.iter().copied().reduce(|a, b| a ^ b).ok_or(())
/// }
///
/// pvbench::functions! {
///     /// Over a page.
///     pub struct Checksum: "checksum" = fn() -> u8 { checksum(std::hint::black_box(&PAGE)).unwrap_or(0) };
/// }
/// ```
///
/// A malformed line is a compile error that shows the expected form:
///
/// ```compile_fail
/// pvbench::functions! {
///     /// The semicolon is missing.
///     pub struct Read: "read" = fn() -> u64 { 5 }
/// }
/// ```
///
/// ```compile_fail
/// pvbench::functions! {
///     /// A reference.
///     pub struct Read: "read" = fn(register: usize = 0, byte: &u8 = &1) -> u64 { 5 };
/// }
/// ```
#[macro_export]
macro_rules! functions {
    (from $from:literal; $($rest:tt)*) => {
        $crate::functions! { @ ($crate::op::FIRST_USER_SLOT + $from) $($rest)* }
    };
    (@ ($slot:expr)) => {};
    // References first: expanded, they would give an error about a lifetime that the user did not write.
    (@ ($slot:expr)
        $(#[$doc:meta])* $vis:vis struct $Op:ident: $name:literal = fn($a:ident: & $($rest:tt)*) $($more:tt)*
    ) => { $crate::functions! { @reference $name } };
    (@ ($slot:expr)
        $(#[$doc:meta])* $vis:vis struct $Op:ident: $name:literal =
            fn($a:ident: $at:ty = $av:expr, $b:ident: & $($rest:tt)*) $($more:tt)*
    ) => { $crate::functions! { @reference $name } };
    (@ ($slot:expr)
        $(#[$doc:meta])* $vis:vis struct $Op:ident: $name:literal =
            fn($a:ident: $at:ty = $av:expr, $b:ident: $bt:ty = $bv:expr, $c:ident: & $($rest:tt)*) $($more:tt)*
    ) => { $crate::functions! { @reference $name } };
    (@ ($slot:expr)
        $(#[$doc:meta])* $vis:vis struct $Op:ident: $name:literal =
            fn($a:ident: $at:ty = $av:expr, $b:ident: $bt:ty = $bv:expr, $c:ident: $ct:ty = $cv:expr,
                $d:ident: & $($rest:tt)*) $($more:tt)*
    ) => { $crate::functions! { @reference $name } };
    (@ ($slot:expr)
        $(#[$doc:meta])* $vis:vis struct $Op:ident: $name:literal = fn($($args:tt)*) -> & $($more:tt)*
    ) => { $crate::functions! { @reference $name } };
    (@reference $name:literal) => {
        ::core::compile_error!(::core::concat!(
            $name, ": arguments and results cannot be references; take a `*const T`, or access a static in the body"
        ));
    };
    (@ ($slot:expr)
        $(#[doc = $doc:literal])* $vis:vis struct $Op:ident: $name:literal =
        fn($($arg:ident: $type:ty = $value:expr),* $(,)?) $(-> $ret:ty)? $native:block $(or $alternative:block)?;
        $($rest:tt)*
    ) => {
        $(#[doc = $doc])*
        $vis struct $Op;

        impl $crate::op::Function for $Op {
            const NAME: &'static str = $name;
            const SLOT: usize = $slot;
            const PURPOSE: &'static str = concat!($($doc),*);
            type Args = ($($type,)*);
            type Ret = $crate::functions!(@ret $($ret)?);
            #[inline(always)]
            fn native(($($arg,)*): Self::Args) -> Self::Ret $native
            $crate::functions!(@alternative ($($arg),*) $($alternative)?);
            #[allow(clippy::unused_unit, reason = "there may be no arguments")]
            fn arguments() -> Self::Args {
                ($($value,)*)
            }
        }

        $crate::functions! { @ ($slot + 1) $($rest)* }
    };
    // Any other line: without this arm, the last arm would match it again and again.
    (@ ($slot:expr) $($rest:tt)+) => {
        ::core::compile_error!(::core::concat!(
            "this line of functions! is malformed: `", ::core::stringify!($($rest)+), "`; write \
             `pub struct Type: \"name\" = fn(argument: type = value, ..) -> result { body };`, with the semicolon, \
             and `or { other body }` before it if there is another body"
        ));
    };
    (@alternative ($($arg:ident),*)) => {};
    (@alternative ($($arg:ident),*) $alternative:block) => {
        #[allow(unused_variables, reason = "the other body may do without arguments")]
        fn alternative(($($arg,)*): Self::Args) -> Self::Ret $alternative
    };
    (@ret) => { () };
    (@ret $ret:ty) => { $ret };
    ($($rest:tt)*) => {
        $crate::functions! { @ ($crate::op::FIRST_USER_SLOT) $($rest)* }
    };
}
