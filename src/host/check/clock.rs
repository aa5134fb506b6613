//! Checks of the time stamp counter and of the clock.

use super::Check;
use crate::host::{ClockChoice, CpuFacts, clock_choice};

pub(super) fn tsc_constant(cpu: &CpuFacts) -> Check {
    check_guarantee("tsc_constant", cpu, cpu.tsc_constant, "tick at a constant rate whatever the frequency of the core")
}

pub(super) fn tsc_invariant(cpu: &CpuFacts) -> Check {
    check_guarantee("tsc_invariant", cpu, cpu.tsc_invariant, "run in deep sleep states (CPUID 0x80000007 EDX bit 8)")
}

/// Checks a guarantee of CPUID about the counter. Hypervisors hide the bit so that a guest can migrate to another host;
/// in a guest its absence says nothing about the hardware.
fn check_guarantee(id: &str, cpu: &CpuFacts, holds: bool, what: &str) -> Check {
    if holds {
        Check::ok(id, format!("the time stamp counter is guaranteed to {what}"))
    } else if cpu.hypervisor.is_some() {
        Check::unknown(
            id,
            format!("the hypervisor does not guarantee the time stamp counter to {what}"),
            "make the hypervisor pass the bit on (QEMU: -cpu host,migratable=off,+invtsc)",
        )
    } else {
        Check::warning(
            id,
            format!("the time stamp counter is not guaranteed to {what}"),
            "windows are timed by the clock of the operating system; its reads take longer, so intervals are wider",
            "no command changes a CPU: keep `pvbench run --clock os`, the default here, or measure on a newer CPU",
        )
    }
}

pub(super) fn clock(cpu: &CpuFacts) -> Check {
    const ID: &str = "clock";
    match clock_choice(cpu) {
        ClockChoice::Tsc => match cpu.tsc_hz {
            Some(hz) => {
                Check::ok(ID, format!("the time stamp counter, {hz} Hz by CPUID, monotonic in a series of reads"))
            }
            None => Check::ok(
                ID,
                "the time stamp counter, monotonic in a series of reads; CPUID does not have its frequency",
            ),
        },
        ClockChoice::Os { reason } => {
            let detail = format!("the clock of the operating system: {reason}");
            // A guarantee that a hypervisor hides is not a fault; an observed fault of the counter is.
            let is_faulty =
                !cpu.tsc_readable || cpu.tsc_monotonic == Some(false) || cpu.tsc_kept_by_kernel == Some(false);
            let lacks_guarantee = !(cpu.tsc_constant && cpu.tsc_invariant);
            if is_faulty || (lacks_guarantee && cpu.hypervisor.is_none()) {
                Check::warning(
                    ID,
                    detail,
                    "reads of this clock take longer and it ticks in steps, so intervals are wider",
                    "`sudo dmesg | grep -i tsc` shows why the kernel gave the counter up; a BIOS update often mends it",
                )
            } else {
                Check::unknown(
                    ID,
                    detail,
                    "give the guest an invariant time stamp counter, and keep windows long until then",
                )
            }
        }
    }
}
