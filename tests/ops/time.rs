//! The ops on clocks: the values that each body reads and sets.

use crate::bodies::{native, xen};
use pvbench::op::time::*;
use pvbench::op::{CpuModel, Op};

/// 10 June 2009, 0:00 UTC, in seconds since 1970.
const RELEASE: u64 = 1_244_592_000;

#[test]
fn sched_clock_scales_the_counter_by_the_copy_that_the_sequence_selects() {
    for half in [0_u32, 1] {
        let prepare = |cpu: &mut CpuModel| {
            cpu.time.cyc2ns.sequence = 4 + half;
            // With a multiplier of 0 the result is the offset, which shows the copy that was read.
            for (index, data) in cpu.time.cyc2ns.data.iter_mut().enumerate() {
                *data = Cyc2NsData { mul: 0, shift: 10, offset: 1000 + index as u64 };
            }
        };
        native::<SchedClock>(prepare, |_, ns| assert_eq!(ns, 1000 + u64::from(half)));
    }
}

#[test]
fn sched_clock_lies_between_two_readings_of_the_counter() {
    // SAFETY: every x86-64 CPU has the instruction.
    let tsc = || unsafe { std::arch::x86_64::_rdtsc() };
    for (mul, shift) in [(1, 0), (3, 1), (1 << 30, 31), (u32::MAX, 40)] {
        let scale = |tsc: u64| ((u128::from(tsc) * u128::from(mul)) >> shift) as u64 + 7;
        let mut cpu = CpuModel::install().unwrap();
        cpu.time.cyc2ns.data = [Cyc2NsData { mul, shift, offset: 7 }; 2];
        // The fences keep the readings in order; rdtsc alone may execute early.
        // SAFETY: every x86-64 CPU has the instruction.
        let fence = || unsafe { std::arch::x86_64::_mm_lfence() };
        let before = tsc();
        fence();
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        let ns = unsafe { SchedClock::inline(()) };
        fence();
        let after = tsc();
        assert!(scale(before) <= ns && ns <= scale(after), "{ns} for {before}..{after}, {mul} >> {shift}");
    }
}

#[test]
fn sched_clock_in_xen_is_the_shared_clock_minus_the_offset_at_boot() {
    for flags in [0, 1] {
        let prepare = |cpu: &mut CpuModel| {
            cpu.time.vcpu_time.tsc_to_system_mul = 0;
            cpu.time.vcpu_time.system_time = 5_000;
            cpu.time.vcpu_time.flags = flags;
            cpu.time.sched_clock_offset = 1_000;
        };
        xen::<SchedClock>(prepare, |_, ns| assert_eq!(ns, 4_000));
    }
}

#[test]
fn the_shared_clock_shifts_before_it_multiplies() {
    for (shift, mul) in [(1_i8, 1_u32 << 30), (0, 1 << 31), (-1, 1 << 31)] {
        let mut cpu = CpuModel::install().unwrap();
        cpu.time.vcpu_time.tsc_shift = shift;
        cpu.time.vcpu_time.tsc_to_system_mul = mul;
        // SAFETY: every x86-64 CPU has the instruction.
        let before = unsafe { std::arch::x86_64::_rdtsc() };
        unsafe { std::arch::x86_64::_mm_lfence() };
        let ns = unsafe { SchedClock::xen(()) };
        // SAFETY: every x86-64 CPU has the instruction.
        unsafe { std::arch::x86_64::_mm_lfence() };
        let after = unsafe { std::arch::x86_64::_rdtsc() };
        // A cycle is half a nanosecond, or a quarter for the negative shift.
        let part = if shift < 0 { 4 } else { 2 };
        assert!(before / part <= ns && ns <= after / part, "{ns} for {before}..{after}, shift {shift}");
    }
}

#[test]
fn the_shared_clock_never_runs_backwards_if_counters_disagree() {
    let ahead = |flags| {
        move |cpu: &mut CpuModel| {
            cpu.time.vcpu_time.tsc_to_system_mul = 0;
            cpu.time.vcpu_time.system_time = 5_000;
            cpu.time.vcpu_time.flags = flags;
            *cpu.time.pvclock_last.get_mut() = 9_000;
        }
    };
    xen::<SchedClock>(ahead(0), |_, ns| assert_eq!(ns, 9_000));
    xen::<SchedClock>(ahead(1), |_, ns| assert_eq!(ns, 5_000, "with stable counters the last value does not matter"));
    let behind = |cpu: &mut CpuModel| {
        ahead(0)(cpu);
        *cpu.time.pvclock_last.get_mut() = 1;
    };
    xen::<SchedClock>(behind, |cpu, ns| assert_eq!((ns, *cpu.time.pvclock_last.get_mut()), (5_000, 5_000)));
}

#[test]
fn no_time_is_stolen_on_bare_metal() {
    let prepare = |cpu: &mut CpuModel| {
        cpu.time.runstate[1].time = [1, 20, 300, 4_000];
        (1,)
    };
    native::<StealClock>(prepare, |_, ns| assert_eq!(ns, 0));
}

#[test]
fn stolen_time_in_xen_is_runnable_plus_offline_time_including_that_before_a_suspend() {
    let prepare = |number| {
        move |cpu: &mut CpuModel| {
            cpu.time.runstate[1].time = [1, 20, 300, 4_000];
            cpu.time.old_runstate_time[1] = [50_000, 600_000, 7_000_000, 80_000_000];
            (number,)
        }
    };
    xen::<StealClock>(prepare(1), |_, ns| assert_eq!(ns, 80_604_020));
    xen::<StealClock>(prepare(0), |_, ns| assert_eq!(ns, 0));
    xen::<StealClock>(prepare(u64::MAX), |_, ns| assert_eq!(ns, 0, "the CPU does not exist"));
}

#[test]
fn time_init_programs_the_interval_timer_unless_there_is_an_hpet() {
    native::<TimeInit>(TimeInit::arguments, |cpu, _| {
        let pit = &cpu.time.pit;
        assert_eq!((pit.mode, pit.irq0), (0x34, 1));
        assert_eq!(u16::from_le_bytes(pit.reload), 1193, "1000 interrupts per second");
    });
    let hpet = |cpu: &mut CpuModel| {
        TimeInit::arguments(cpu);
        cpu.time.pit.hpet = 1;
    };
    native::<TimeInit>(hpet, |cpu, _| {
        assert_eq!((cpu.time.pit.mode, cpu.time.pit.reload, cpu.time.pit.irq0), (0, [0, 0], 1));
    });
}

/// Stops the shared clock at `ns` nanoseconds after boot.
fn stop_clock(cpu: &mut CpuModel, ns: u64) {
    cpu.time.vcpu_time.tsc_to_system_mul = 0;
    cpu.time.vcpu_time.system_time = ns;
    (cpu.time.wall_clock.sec, cpu.time.wall_clock.nsec) = (100, 750_000_000);
}

#[test]
fn time_init_in_xen_sets_the_time_of_day_from_the_shared_page() {
    xen::<TimeInit>(
        |cpu| stop_clock(cpu, 2_500_000_000),
        |cpu, _| {
            assert_eq!(cpu.time.xtime, Timespec { sec: 103, nsec: 250_000_000 });
            assert_eq!((cpu.time.pit.mode, cpu.time.pit.irq0), (0, 0));
        },
    );
}

#[test]
fn get_wallclock_reads_the_day_from_the_battery_backed_clock() {
    native::<GetWallclock>(GetWallclock::arguments, |cpu, seconds| {
        assert_eq!(seconds, RELEASE);
        assert_eq!(cpu.time.cmos.port, 11);
    });
    // Seconds, minutes, hours, day, month, year in BCD; the expected values come from `date -u +%s -d ..`.
    for (fields, expected) in [
        ([0x59, 0x59, 0x23, 0x31, 0x12, 0x99], 4_102_444_799),
        ([0x00, 0x00, 0x00, 0x29, 0x02, 0x00], 951_782_400),
        ([0x01, 0x02, 0x03, 0x01, 0x03, 0x24], 1_709_262_121),
        ([0x00, 0x00, 0x12, 0x31, 0x01, 0x23], 1_675_166_400),
    ] {
        let prepare = |cpu: &mut CpuModel| {
            for (register, value) in [0, 2, 4, 7, 8, 9].into_iter().zip(fields) {
                cpu.time.cmos.regs[register] = value;
            }
        };
        native::<GetWallclock>(prepare, |_, seconds| assert_eq!(seconds, expected, "{fields:x?}"));
    }
}

#[test]
fn get_wallclock_in_xen_adds_the_time_since_boot() {
    xen::<GetWallclock>(|cpu| stop_clock(cpu, 2_249_999_999), |_, seconds| assert_eq!(seconds, 102));
    xen::<GetWallclock>(|cpu| stop_clock(cpu, 2_250_000_000), |_, seconds| assert_eq!(seconds, 103));
}

#[test]
fn set_wallclock_corrects_minutes_and_seconds_and_starts_the_clock_again() {
    native::<SetWallclock>(SetWallclock::arguments, |cpu, result| {
        let regs = &cpu.time.cmos.regs;
        assert_eq!(result, 0);
        assert_eq!((regs[0], regs[2], regs[4]), (0x05, 0x02, 0x00));
        assert_eq!((regs[10], regs[11]), (0x26, 0x02), "the control registers are unchanged");
    });
    // Minute shown (BCD), time to set, minute and second afterwards (BCD): across the hour, and off by half an hour.
    for (shown, now, minute, second) in [(0x10, 3600 + 39 * 60 + 59, 0x09, 0x59), (0x59, 55 * 60, 0x55, 0)] {
        let prepare = |cpu: &mut CpuModel| {
            cpu.time.cmos.regs[2] = shown;
            (now,)
        };
        native::<SetWallclock>(prepare, |cpu, result| {
            assert_eq!((result, cpu.time.cmos.regs[2], cpu.time.cmos.regs[0]), (0, minute, second));
        });
    }
}

#[test]
fn set_wallclock_refuses_a_time_more_than_half_an_hour_off_after_correction() {
    // Minute 59 is shown, and 0 is to be set: 59 minutes off, which the correction for half-hour time zones does not
    // reduce.
    let prepare = |cpu: &mut CpuModel| {
        cpu.time.cmos.regs[2] = 0x59;
        (0,)
    };
    native::<SetWallclock>(prepare, |cpu, result| {
        assert_eq!(result as u32 as i32, -1);
        assert_eq!(cpu.time.cmos.regs[2], 0x59);
        assert_eq!((cpu.time.cmos.regs[10], cpu.time.cmos.regs[11]), (0x26, 0x02));
    });
}

#[test]
fn set_wallclock_in_xen_sets_nothing() {
    xen::<SetWallclock>(SetWallclock::arguments, |cpu, result| {
        assert_eq!(result as u32 as i32, -1);
        assert_eq!((cpu.time.cmos.regs[0], cpu.time.cmos.regs[2]), (0, 0));
    });
}

#[test]
fn get_tsc_khz_calibrates_the_counter_against_the_interval_timer() {
    // 25 * 256 ticks of 1193182 Hz.
    for (cycles, khz) in [(10_727_618_u64, 2_000_000), (16_091_427, 3_000_000)] {
        let prepare = |cpu: &mut CpuModel| cpu.time.pit.tsc = [1_000, 1_000 + cycles];
        native::<GetTscKhz>(prepare, |cpu, found| {
            assert_eq!(found, khz);
            let pit = &cpu.time.pit;
            assert_eq!((pit.gate, pit.mode, pit.channel2), (1, 0xb0, 0xff), "gate on, speaker off");
        });
    }
}

#[test]
fn get_tsc_khz_in_xen_inverts_multiplier_and_shift() {
    for (shift, mul, khz) in [(0, 1 << 31, 2_000_000), (1, 1 << 31, 1_000_000), (-1, 1 << 31, 4_000_000), (0, 0, 0)] {
        let prepare = |cpu: &mut CpuModel| {
            cpu.time.vcpu_time.tsc_shift = shift;
            cpu.time.vcpu_time.tsc_to_system_mul = mul;
        };
        xen::<GetTscKhz>(prepare, |_, found| assert_eq!(found, khz));
    }
}
