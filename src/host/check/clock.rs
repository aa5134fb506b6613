//! The time stamp counter, and whether it can be the clock.

use super::Check;
use crate::host::{ClockChoice, CpuFacts, clock_choice};

pub(super) fn tsc_constant(cpu: &CpuFacts) -> Check {
    promised("tsc_constant", cpu, cpu.tsc_constant, "tick at one rate whatever the frequency of the core")
}

pub(super) fn tsc_invariant(cpu: &CpuFacts) -> Check {
    promised("tsc_invariant", cpu, cpu.tsc_invariant, "go on in deep sleep states (CPUID 0x80000007 EDX bit 8)")
}

/// A promise of CPUID about the counter. Hypervisors take the bit away to keep a guest movable to another host, so that
/// in a guest its absence says nothing about the hardware.
fn promised(id: &str, cpu: &CpuFacts, holds: bool, what: &str) -> Check {
    if holds {
        Check::ok(id, format!("the time stamp counter is promised to {what}"))
    } else if cpu.hypervisor.is_some() {
        Check::unknown(
            id,
            format!("the hypervisor does not promise the time stamp counter to {what}"),
            "have the hypervisor pass the bit on (QEMU: -cpu host,migratable=off,+invtsc)",
        )
    } else {
        Check::warning(
            id,
            format!("the time stamp counter is not promised to {what}"),
            "measure on a newer CPU; here the clock of the operating system is used",
        )
    }
}

pub(super) fn clock(cpu: &CpuFacts) -> Check {
    const ID: &str = "clock";
    match clock_choice(cpu) {
        ClockChoice::Tsc => match cpu.tsc_hz {
            Some(hz) => {
                Check::ok(ID, format!("the time stamp counter, {hz} Hz by CPUID, never backwards in a row of reads"))
            }
            None => Check::ok(
                ID,
                "the time stamp counter, never backwards in a row of reads; CPUID does not tell its frequency",
            ),
        },
        ClockChoice::Os { reason } => {
            let detail = format!("the clock of the operating system: {reason}");
            // A promise that a hypervisor withholds is no fault seen; a counter seen to misbehave is.
            let misbehaves =
                !cpu.tsc_readable || cpu.tsc_monotonic == Some(false) || cpu.tsc_kept_by_kernel == Some(false);
            let unpromised = !(cpu.tsc_constant && cpu.tsc_invariant);
            if misbehaves || (unpromised && cpu.hypervisor.is_none()) {
                Check::warning(
                    ID,
                    detail,
                    "look for the reason in the kernel's log (dmesg | grep -i tsc), and keep windows long meanwhile",
                )
            } else {
                Check::unknown(
                    ID,
                    detail,
                    "give the guest an invariant time stamp counter, and keep windows long meanwhile",
                )
            }
        }
    }
}
