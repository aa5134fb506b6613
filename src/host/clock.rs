//! Choice of the clock that times the windows.

use super::CpuFacts;

/// The clock of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClockChoice {
    /// The time stamp counter, read directly.
    Tsc,
    /// The operating system's monotonic clock.
    Os {
        /// Why the time stamp counter is not used.
        reason: String,
    },
}

/// Chooses the clock: the time stamp counter if it is readable, constant, invariant, monotonic and offered by the
/// kernel, else the clock of the operating system. An observed fault precedes a missing guarantee as the reason.
pub fn clock_choice(facts: &CpuFacts) -> ClockChoice {
    let wrong = if !facts.tsc_readable {
        Some("the time stamp counter cannot be read by this process")
    } else if facts.tsc_monotonic == Some(false) {
        Some("the time stamp counter went backwards or stood still")
    } else if facts.tsc_kept_by_kernel == Some(false) {
        Some("the kernel does not offer the time stamp counter as a clock source")
    } else if !facts.tsc_constant {
        Some("the CPU does not guarantee that the time stamp counter ticks at a constant rate")
    } else if !facts.tsc_invariant {
        Some("the CPU does not guarantee that the time stamp counter runs in deep sleep states")
    } else if facts.tsc_monotonic.is_none() {
        Some("the time stamp counter was not tested")
    } else {
        None
    };
    match wrong {
        None => ClockChoice::Tsc,
        Some(reason) => ClockChoice::Os { reason: reason.to_owned() },
    }
}
