//! Arguments and result of an op: up to four registers in, at most one out, as in the System V x86-64 psABI and in
//! Linux's `PVOP_CALL0..4` (`arch/x86/include/asm/paravirt_types.h`).
//!
//! Every body has one machine-level type, [`Body`]: four registers in, one out, each a [`Reg`]. A register that an op
//! does not use is an uninitialised [`MaybeUninit`], for which the compiler emits nothing. One type therefore serves
//! all arities without a cast between function types.

use std::arch::asm;
use std::mem::MaybeUninit;

/// The contents of one general-purpose register, 64 bits; uninitialised if an op does not use the register.
pub type Reg = MaybeUninit<u64>;

/// The machine-level type of a callee: arguments in `rdi`, `rsi`, `rdx`, `rcx`, result in `rax`.
pub type Body = unsafe extern "C" fn(Reg, Reg, Reg, Reg) -> Reg;

/// Keeps a value in a register and hides it from the compiler, without an instruction of its own.
///
/// `std::hint::black_box` would send the value through memory.
#[inline(always)]
#[must_use]
pub(crate) fn launder(mut value: u64) -> u64 {
    // SAFETY: the block must declare what it changes: its template is empty; the operand is in and out of one register,
    // unchanged.
    unsafe { asm!("/* {0} */", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

mod sealed {
    pub trait Sealed {}
}

/// A value that travels in one general-purpose register: an integer of up to 64 bits, `bool`, a raw pointer. Sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not travel in one general-purpose register",
    label = "arguments and results of an op are integers of up to 64 bits, `bool` or raw pointers",
    note = "pass a larger value by a pointer to it, a float by its bits (`to_bits`)"
)]
pub trait Register: sealed::Sealed + Copy + 'static {
    /// Converts the value to the word that the register holds.
    fn into_word(self) -> u64;
    /// Converts the word that the register holds to a value. Bits above the width of the type are ignored, for `bool`
    /// all but the lowest.
    fn from_word(word: u64) -> Self;
}

/// Implements [`Register`] for integers.
macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl sealed::Sealed for $integer {}
        impl Register for $integer {
            #[inline(always)]
            fn into_word(self) -> u64 {
                self as u64
            }
            #[inline(always)]
            fn from_word(word: u64) -> Self {
                word as $integer
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

impl sealed::Sealed for bool {}
impl Register for bool {
    #[inline(always)]
    fn into_word(self) -> u64 {
        u64::from(self)
    }
    #[inline(always)]
    fn from_word(word: u64) -> Self {
        word & 1 != 0
    }
}

impl<T: 'static> sealed::Sealed for *mut T {}
impl<T: 'static> Register for *mut T {
    #[inline(always)]
    fn into_word(self) -> u64 {
        self as u64
    }
    #[inline(always)]
    fn from_word(word: u64) -> Self {
        word as *mut T
    }
}

impl<T: 'static> sealed::Sealed for *const T {}
impl<T: 'static> Register for *const T {
    #[inline(always)]
    fn into_word(self) -> u64 {
        self as u64
    }
    #[inline(always)]
    fn from_word(word: u64) -> Self {
        word as *const T
    }
}

/// The arguments of an op: a tuple of none to four values, each in a register ([`Register`]). Sealed: a call site
/// passes only registers.
///
/// Anything else is a compile error. Five arguments are too many:
///
/// ```compile_fail,E0277
/// fn takes<A: pvbench::op::Args>() {}
/// takes::<(u64, u64, u64, u64, u64)>();
/// ```
///
/// and a float does not travel in a general-purpose register:
///
/// ```compile_fail,E0277
/// fn takes<A: pvbench::op::Args>() {}
/// takes::<(f64,)>();
/// ```
///
/// These tuples are accepted:
///
/// ```
/// fn takes<A: pvbench::op::Args>() -> usize {
///     A::ARITY
/// }
/// assert_eq!(takes::<()>(), 0);
/// assert_eq!(takes::<(u32, *mut u8, bool, i64)>(), 4);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the arguments of an op",
    label = "an op takes a tuple of 0 to 4 register-sized values: `()`, `(u64,)`, .. `(u64, u32, *mut T, bool)`",
    note = "a call site passes arguments in rdi, rsi, rdx and rcx; pass more by a pointer to a structure"
)]
pub trait Args: sealed::Sealed + Copy + 'static {
    /// The number of registers that are used, 0 to 4.
    const ARITY: usize;
    /// Puts the values into the argument registers, in the order of the psABI.
    fn into_regs(self) -> [Reg; 4];
    /// Takes the values out of the argument registers.
    ///
    /// # Safety
    /// The first [`Args::ARITY`] registers are initialised.
    unsafe fn from_regs(regs: [Reg; 4]) -> Self;
    /// Converts plain words to arguments; words beyond [`Args::ARITY`] are ignored.
    fn from_words(words: [u64; 4]) -> Self;
    /// Converts the arguments to plain words; words beyond [`Args::ARITY`] are zero.
    fn to_words(self) -> [u64; 4];
    /// Applies `launder` to every argument.
    #[must_use]
    fn launder(self) -> Self;
    /// The arguments with the first one replaced, as a latency chain feeds a result back. Unchanged if there are none.
    #[must_use]
    fn with_first(self, first: u64) -> Self;
    /// The first argument; 0 if there are none.
    fn first(self) -> u64;
}

impl sealed::Sealed for () {}
impl Args for () {
    const ARITY: usize = 0;
    #[inline(always)]
    fn into_regs(self) -> [Reg; 4] {
        [Reg::uninit(); 4]
    }
    #[inline(always)]
    unsafe fn from_regs(_: [Reg; 4]) -> Self {}
    #[inline(always)]
    fn from_words(_: [u64; 4]) -> Self {}
    #[inline(always)]
    fn to_words(self) -> [u64; 4] {
        [0; 4]
    }
    #[inline(always)]
    fn launder(self) -> Self {}
    #[inline(always)]
    fn with_first(self, _: u64) -> Self {}
    #[inline(always)]
    fn first(self) -> u64 {
        0
    }
}

/// Implements [`Args`] for one tuple: `args!(2: A a, B b)` is the pair.
macro_rules! args {
    ($arity:literal: $First:ident $first:ident $(, $Rest:ident $rest:ident)*) => {
        impl<$First: Register, $($Rest: Register),*> sealed::Sealed for ($First, $($Rest,)*) {}
        impl<$First: Register, $($Rest: Register),*> Args for ($First, $($Rest,)*) {
            const ARITY: usize = $arity;
            #[inline(always)]
            fn into_regs(self) -> [Reg; 4] {
                let ($first, $($rest,)*) = self;
                let mut regs = [Reg::uninit(); 4];
                for (reg, value) in regs.iter_mut().zip([$first.into_word(), $($rest.into_word()),*]) {
                    reg.write(value);
                }
                regs
            }
            #[inline(always)]
            unsafe fn from_regs([$first, $($rest,)* ..]: [Reg; 4]) -> Self {
                // SAFETY: the caller guarantees that the registers of all arguments are initialised.
                unsafe { ($First::from_word($first.assume_init()), $($Rest::from_word($rest.assume_init()),)*) }
            }
            #[inline(always)]
            fn from_words([$first, $($rest,)* ..]: [u64; 4]) -> Self {
                ($First::from_word($first), $($Rest::from_word($rest),)*)
            }
            #[inline(always)]
            fn to_words(self) -> [u64; 4] {
                let ($first, $($rest,)*) = self;
                let mut words = [0; 4];
                for (word, value) in words.iter_mut().zip([$first.into_word(), $($rest.into_word()),*]) {
                    *word = value;
                }
                words
            }
            #[inline(always)]
            fn launder(self) -> Self {
                let ($first, $($rest,)*) = self;
                (launder_value($first), $(launder_value($rest),)*)
            }
            #[inline(always)]
            fn with_first(self, first: u64) -> Self {
                let (_, $($rest,)*) = self;
                ($First::from_word(first), $($rest,)*)
            }
            #[inline(always)]
            fn first(self) -> u64 {
                self.0.into_word()
            }
        }
    };
}

/// Applies [`launder`] to a value of any type.
#[inline(always)]
fn launder_value<R: Register>(value: R) -> R {
    R::from_word(launder(value.into_word()))
}

args!(1: A a);
args!(2: A a, B b);
args!(3: A a, B b, C c);
args!(4: A a, B b, C c, D d);

/// The result of an op: a [`Register`] in `rax`, or nothing. Sealed.
///
/// ```compile_fail,E0277
/// fn returns<R: pvbench::op::Ret>() {}
/// returns::<u128>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of an op",
    label = "an op returns `()`, an integer of up to 64 bits, `bool` or a raw pointer",
    note = "the result travels in rax"
)]
pub trait Ret: sealed::Sealed + Copy + 'static {
    /// Whether there is a value.
    const HAS_VALUE: bool;
    /// Takes the value out of `rax`.
    ///
    /// # Safety
    /// If [`Ret::HAS_VALUE`], the register is initialised.
    unsafe fn from_reg(reg: Reg) -> Self;
    /// Puts the value into `rax`.
    fn into_reg(self) -> Reg;
    /// Uses the value in a register, so that the compiler does not drop the code that computes it.
    fn sink(self);
    /// The value; 0 if there is none.
    fn value(self) -> u64;
}

impl<R: Register> Ret for R {
    const HAS_VALUE: bool = true;
    #[inline(always)]
    unsafe fn from_reg(reg: Reg) -> Self {
        // SAFETY: the caller guarantees that the register is initialised.
        R::from_word(unsafe { reg.assume_init() })
    }
    #[inline(always)]
    fn into_reg(self) -> Reg {
        Reg::new(self.into_word())
    }
    #[inline(always)]
    fn sink(self) {
        // SAFETY: the block must declare what it changes: its template is empty, and only reads a register.
        unsafe { asm!("/* {0} */", in(reg) self.into_word(), options(nomem, nostack, preserves_flags)) };
    }
    #[inline(always)]
    fn value(self) -> u64 {
        self.into_word()
    }
}

impl Ret for () {
    const HAS_VALUE: bool = false;
    #[inline(always)]
    unsafe fn from_reg(_: Reg) -> Self {}
    #[inline(always)]
    fn into_reg(self) -> Reg {
        Reg::uninit()
    }
    #[inline(always)]
    fn sink(self) {}
    #[inline(always)]
    fn value(self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_pass_through_registers_unchanged() {
        let words = [1, 2, 3, 4];
        // SAFETY: all three were just written.
        let back = |regs: [Reg; 4]| unsafe { <(u64, u64, u64)>::from_regs(regs) };
        assert_eq!(back(<(u64, u64, u64)>::from_words(words).into_regs()), (1, 2, 3));
        assert_eq!((1u64, 2u64).to_words(), [1, 2, 0, 0]);
        assert_eq!((1u64, 2u64).with_first(9), (9, 2));
        assert_eq!(().first(), 0);
        assert_eq!(<(u64, u64, u64, u64) as Args>::ARITY, 4);
    }

    #[test]
    fn launder_changes_no_value() {
        assert_eq!((7u64, 8u64).launder(), (7, 8));
        assert_eq!(launder(u64::MAX), u64::MAX);
    }
}
