//! Loops whose cost is known from the documents of the CPU's maker, not from having been measured.
//!
//! All have the type and the shape of a measured loop: [`SITES`] times the same thing per pass, then a decrement and a
//! branch, which run beside the chain and cost nothing.

use std::arch::asm;

use crate::op::Reg;
use crate::regime::SITES;

/// Adds in front of what is looked for, so that a chain of none still hides the loop's own two instructions.
pub const BASE: u64 = 4;

/// `repeat passes { 8 x: PER_OP dependent adds }`: `PER_OP` cycles per op.
///
/// # Safety
/// None beyond the type's: `args` is not read.
pub unsafe extern "C" fn adds<const PER_OP: u64>(_args: *const [u64; 4], passes: u64) -> u64 {
    let mut x: u64 = 0;
    // SAFETY: register arithmetic in a loop that ends; passes is at least 1.
    unsafe {
        asm!(
            "2:", ".rept {adds}", "add {x}, {y}", ".endr", "dec {left}", "jnz 2b",
            x = inout(reg) x,
            y = in(reg) 1u64,
            left = inout(reg) passes.max(1) => _,
            adds = const PER_OP * SITES,
            options(nomem, nostack),
        );
    }
    x
}

/// `repeat passes { 8 x: BASE dependent adds, one dependent 64-bit multiplication }`
///
/// # Safety
/// As for [`adds`].
pub unsafe extern "C" fn imul(_args: *const [u64; 4], passes: u64) -> u64 {
    let mut x: u64 = 1;
    // SAFETY: as in `adds`.
    unsafe {
        asm!(
            "2:", ".rept {sites}", ".rept {base}", "add {x}, {y}", ".endr", "imul {x}, {x}", ".endr", "dec {left}", "jnz 2b",
            x = inout(reg) x,
            y = in(reg) 1u64,
            left = inout(reg) passes.max(1) => _,
            sites = const SITES,
            base = const BASE,
            options(nomem, nostack),
        );
    }
    x
}

/// `repeat passes { 8 x: PER_OP times stored to memory and loaded again }`: each load waits for the store before.
///
/// # Safety
/// As for [`adds`].
pub unsafe extern "C" fn store_load<const PER_OP: u64>(_args: *const [u64; 4], passes: u64) -> u64 {
    let mut x: u64 = 1;
    let mut word: u64 = 0;
    // SAFETY: memory of this function, in a loop that ends; passes is at least 1.
    unsafe {
        asm!(
            // The add keeps a core that renames memory from taking the whole chain away.
            "2:", ".rept {links}", "mov [{word}], {x}", "mov {x}, [{word}]", "add {x}, 1", ".endr", "dec {left}", "jnz 2b",
            x = inout(reg) x,
            word = in(reg) &raw mut word,
            left = inout(reg) passes.max(1) => _,
            links = const PER_OP * SITES,
            options(nostack),
        );
    }
    x
}

/// A callee that nobody calls.
///
/// # Safety
/// None: it reads nothing.
pub unsafe extern "C" fn nothing(first: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    first
}
