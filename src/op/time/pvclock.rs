//! The clock that a hypervisor shares with its guest (`arch/x86/kernel/pvclock.c`,
//! `arch/x86/include/asm/pvclock-abi.h`).

use std::arch::asm;
use std::sync::atomic::{Ordering, fence};

use super::{TimeState, Timespec};

/// `struct pvclock_vcpu_time_info`, per virtual CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct VcpuTimeInfo {
    /// Odd while the hypervisor writes.
    pub(crate) version: u32,
    pad0: u32,
    /// The time-stamp counter when `system_time` was written.
    pub(crate) tsc_timestamp: u64,
    /// Nanoseconds since boot at that moment.
    pub system_time: u64,
    /// Multiplier to nanoseconds, as a fraction of 2^32.
    pub tsc_to_system_mul: u32,
    /// Shift before the multiplication, to the left; to the right if negative.
    pub tsc_shift: i8,
    /// `PVCLOCK_*`
    pub flags: u8,
    pad: [u8; 2],
}

/// `PVCLOCK_TSC_STABLE_BIT`: the counters of all CPUs agree.
pub(super) const TSC_STABLE: u8 = 1;

impl VcpuTimeInfo {
    /// The clock of a machine that booted at counter 0, with a stable counter at 2 GHz.
    pub(super) const fn new() -> Self {
        VcpuTimeInfo {
            version: 2,
            pad0: 0,
            tsc_timestamp: 0,
            system_time: 0,
            tsc_to_system_mul: 1 << 31,
            tsc_shift: 0,
            flags: TSC_STABLE,
            pad: [0; 2],
        }
    }

    /// `pvclock_tsc_khz`: the frequency that follows from multiplier and shift, in kHz; 0 if the multiplier is 0.
    pub(super) fn tsc_khz(&self) -> u64 {
        let khz = (1_000_000_u64 << 32).checked_div(u64::from(self.tsc_to_system_mul)).unwrap_or(0);
        let shift = u32::from(self.tsc_shift.unsigned_abs());
        let shifted = if self.tsc_shift < 0 { khz.checked_shl(shift) } else { khz.checked_shr(shift) };
        shifted.unwrap_or(0)
    }

    /// `__pvclock_read_cycles`: nanoseconds since boot at a value of the time-stamp counter.
    fn nanoseconds(&self, tsc: u64) -> u64 {
        let delta = tsc.wrapping_sub(self.tsc_timestamp);
        let shift = u32::from(self.tsc_shift.unsigned_abs());
        let delta = if self.tsc_shift < 0 { delta.wrapping_shr(shift) } else { delta.wrapping_shl(shift) };
        let scaled = (u128::from(delta) * u128::from(self.tsc_to_system_mul)) >> 32;
        self.system_time.wrapping_add(scaled as u64)
    }
}

/// `struct pvclock_wall_clock`: the time of day at boot.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// Odd while the hypervisor writes.
    pub(crate) version: u32,
    /// Seconds since 1970.
    pub sec: u32,
    /// Nanoseconds, in addition to the seconds.
    pub nsec: u32,
}

impl WallClock {
    /// A machine that booted on the release day of 2.6.30, 10 June 2009.
    pub(super) const fn new() -> Self {
        WallClock { version: 2, sec: 1_244_592_000, nsec: 250_000_000 }
    }
}

/// `rdtsc_ordered`: reads the time-stamp counter after all earlier loads are complete.
#[inline(always)]
fn rdtsc_ordered() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: writes the two registers; legal in user space.
    unsafe { asm!("lfence", "rdtsc", out("rax") low, out("rdx") high, options(nostack, preserves_flags)) };
    high << 32 | low
}

/// `pvclock_clocksource_read`: nanoseconds since boot. It reads until the version is even and the same before and
/// after. Unless the counters of all CPUs agree, the result is never less than a value that any CPU has read.
#[inline(always)]
pub(super) fn read(time: &TimeState) -> u64 {
    let source = &raw const time.vcpu_time;
    let (now, flags) = loop {
        // SAFETY: a field of the borrowed state; volatile, because the hypervisor writes it.
        let version = unsafe { (&raw const (*source).version).read_volatile() } & !1;
        fence(Ordering::Acquire);
        // SAFETY: a field of the borrowed state; volatile, because the hypervisor writes it.
        let info = unsafe { source.read_volatile() };
        let now = info.nanoseconds(rdtsc_ordered());
        fence(Ordering::Acquire);
        // SAFETY: a field of the borrowed state; volatile, because the hypervisor writes it.
        if version == unsafe { (&raw const (*source).version).read_volatile() } {
            break (now, info.flags);
        }
    };
    if flags & TSC_STABLE != 0 {
        return now;
    }
    let mut last = time.pvclock_last.load(Ordering::Relaxed);
    while now > last {
        match time.pvclock_last.compare_exchange(last, now, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => return now,
            Err(seen) => last = seen,
        }
    }
    last
}

/// `pvclock_read_wallclock`: the time of day, as the time of boot plus the time since boot.
pub(super) fn read_wallclock(time: &TimeState) -> Timespec {
    const NSEC_PER_SEC: u64 = 1_000_000_000;
    let shared = &raw const time.wall_clock;
    let boot = loop {
        // SAFETY: a field of the borrowed state; volatile, because the hypervisor writes it.
        let version = unsafe { (&raw const (*shared).version).read_volatile() };
        fence(Ordering::Acquire);
        // SAFETY: a field of the borrowed state; volatile, because the hypervisor writes it.
        let boot = unsafe { shared.read_volatile() };
        fence(Ordering::Acquire);
        // SAFETY: a field of the borrowed state; volatile, because the hypervisor writes it.
        let after = unsafe { (&raw const (*shared).version).read_volatile() };
        if after & 1 == 0 && after == version {
            break boot;
        }
    };
    let now =
        u64::from(boot.sec).wrapping_mul(NSEC_PER_SEC).wrapping_add(u64::from(boot.nsec)).wrapping_add(read(time));
    Timespec { sec: now / NSEC_PER_SEC, nsec: now % NSEC_PER_SEC }
}
