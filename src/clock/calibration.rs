//! Core cycles without a performance counter: a chain of dependent adds takes one cycle per add on every x86-64 core
//! (Agner Fog, instruction tables: latency of `ADD r,r`), whatever the clock's rate and the core's frequency.

use std::arch::asm;

/// Adds per pass of [`chain`].
pub(crate) const ADDS: u64 = 64;

/// `repeat passes { 64 x: x += 1 register, dependent }`: `ADDS` core cycles per pass, because the loop's own
/// decrement and branch execute in parallel with the chain.
///
/// It has the type of a measured [`Loop`](crate::regime::Loop), so that it is timed in the same way.
///
/// # Safety
/// No requirement; `args` is not read.
pub unsafe extern "C" fn chain(_args: *const [u64; 4], passes: u64) -> u64 {
    let mut x: u64 = 0;
    // SAFETY: register arithmetic in a loop that ends; passes is at least 1.
    unsafe {
        asm!(
            ".balign 64",
            "2:",
            ".rept {adds}",
            "add {x}, {y}",
            ".endr",
            "dec {left}",
            "jnz 2b",
            x = inout(reg) x,
            y = in(reg) 1u64,
            left = inout(reg) passes.max(1) => _,
            adds = const ADDS,
            options(nomem, nostack),
        );
    }
    x
}

/// `repeat passes { 16 x: 4 independent adds }`: measures the core throughput of this thread, in adds per core cycle.
///
/// The chain of [`chain`] takes a cycle per add whatever else the core does. The independent adds slow down, like
/// everything that is measured, while another hyperthread of the core works. That hyperthread may belong to another
/// guest, which no system call reports.
///
/// # Safety
/// As for [`chain`].
pub unsafe extern "C" fn independent(_args: *const [u64; 4], passes: u64) -> u64 {
    let mut x: u64 = 0;
    // SAFETY: register arithmetic in a loop that ends; passes is at least 1.
    unsafe {
        asm!(
            ".balign 64",
            "2:",
            ".rept {rows}",
            "add {a}, {y}",
            "add {b}, {y}",
            "add {c}, {y}",
            "add {d}, {y}",
            ".endr",
            "dec {left}",
            "jnz 2b",
            a = inout(reg) x,
            b = inout(reg) 0u64 => _,
            c = inout(reg) 0u64 => _,
            d = inout(reg) 0u64 => _,
            y = in(reg) 1u64,
            left = inout(reg) passes.max(1) => _,
            rows = const ADDS / 4,
            options(nomem, nostack),
        );
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_adds_once_per_link() {
        // SAFETY: `chain` reads no arguments, so that any pointer is valid.
        assert_eq!(unsafe { chain(std::ptr::null(), 3) }, 3 * ADDS);
        // SAFETY: `independent` reads no arguments, so that any pointer is valid.
        assert_eq!(unsafe { independent(std::ptr::null(), 3) }, 3 * ADDS / 4);
    }
}
