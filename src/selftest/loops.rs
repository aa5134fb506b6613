//! Loops whose cost is known from the CPU maker's documents, not from measurements.
//!
//! All have the type and the shape of a measured loop: [`SITES`] repetitions per pass, then a decrement and a branch,
//! which run in parallel to the chain and cost nothing.

use std::arch::asm;

use crate::op::Reg;
use crate::regime::SITES;

/// Adds per op in every loop. Even a loop without further instructions has a chain long enough to hide its own two
/// instructions.
pub const BASE: u64 = 4;

/// `repeat passes { 8 x: PER_OP dependent adds }`: `PER_OP` cycles per op.
///
/// # Safety
/// It may be called with any arguments: `args` is never read.
pub unsafe extern "C" fn adds<const PER_OP: u64>(_args: *const [u64; 4], passes: u64) -> u64 {
    let mut x: u64 = 0;
    // SAFETY: the code changes only the declared registers, and the loop ends because `left` starts at 1 or more.
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
    // SAFETY: the code changes only the declared registers, and the loop ends because `left` starts at 1 or more.
    unsafe {
        asm!(
            "2:", ".rept {sites}", ".rept {base}", "add {x}, {y}", ".endr", "imul {x}, {x}", ".endr",
            "dec {left}", "jnz 2b",
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

/// `repeat passes { 8 x: PER_OP times stored to memory and loaded again }`: each load waits for the store before it.
///
/// # Safety
/// As for [`adds`].
pub(crate) unsafe extern "C" fn store_load<const PER_OP: u64>(_args: *const [u64; 4], passes: u64) -> u64 {
    let mut x: u64 = 1;
    let mut word: u64 = 0;
    // SAFETY: the code accesses only `word`, a local variable, and the declared registers; the loop ends because `left`
    // starts at 1 or more.
    unsafe {
        asm!(
            // The add keeps a core with memory renaming from removing the whole chain.
            "2:", ".rept {links}", "mov [{word}], {x}", "mov {x}, [{word}]", "add {x}, 1", ".endr",
            "dec {left}", "jnz 2b",
            x = inout(reg) x,
            word = in(reg) &raw mut word,
            left = inout(reg) passes.max(1) => _,
            links = const PER_OP * SITES,
            options(nostack),
        );
    }
    x
}

/// A body that is never called.
///
/// # Safety
/// It may be called with any arguments, because it reads no memory.
pub unsafe extern "C" fn nothing(first: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    first
}
