//! `pv_time_ops`, in 6.1 the static calls `pv_sched_clock` and `pv_steal_clock`: clocks.

mod clock;
mod cmos;
mod pvclock;
mod timer;

use std::sync::atomic::AtomicU64;

pub use clock::{Cyc2Ns, Cyc2NsData, SchedClock, StealClock};
pub use cmos::{Cmos, GetWallclock, SetWallclock};
pub use pvclock::{VcpuTimeInfo, WallClock};
pub use timer::{GetTscKhz, Pit, TimeInit};

use super::lock::CPUS;

/// `RUNSTATE_*` (`include/xen/interface/vcpu.h`): the virtual CPU is running.
pub const RUNSTATE_RUNNING: u32 = 0;
/// It could run, but has no CPU to run on: this time is stolen.
pub const RUNSTATE_RUNNABLE: u32 = 1;
/// It waits for an event.
pub const RUNSTATE_BLOCKED: u32 = 2;
/// It is neither running nor able to run.
pub const RUNSTATE_OFFLINE: u32 = 3;

/// `struct vcpu_runstate_info`: the state of a virtual CPU and the time spent in each state, written by Xen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runstate {
    /// `RUNSTATE_*`
    pub state: u32,
    /// The time at which it entered that state, in ns; bit 63 is set while Xen writes.
    pub(crate) entry_time: u64,
    /// Nanoseconds in each state so far.
    pub time: [u64; 4],
}

/// Time in seconds and nanoseconds, `struct timespec`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timespec {
    /// Seconds.
    pub sec: u64,
    /// Nanoseconds, below 1,000,000,000.
    pub nsec: u64,
}

/// The clocks of the model.
#[repr(C)]
#[derive(Debug)]
pub struct TimeState {
    /// `cyc2ns`: the conversion of this CPU's time-stamp counter to nanoseconds.
    pub cyc2ns: Cyc2Ns,
    /// The battery-backed clock.
    pub cmos: Cmos,
    /// The interval timer.
    pub pit: Pit,
    /// `vcpu_info.time`: the clock that Xen keeps for this CPU.
    pub vcpu_time: VcpuTimeInfo,
    /// `shared_info.wc`: the time of day at which the machine was booted.
    pub wall_clock: WallClock,
    /// `last_value` of `pvclock.c`, in ns: the latest time that any CPU has read. No CPU returns an earlier one.
    pub pvclock_last: AtomicU64,
    /// `xen_sched_clock_offset`, in ns.
    pub sched_clock_offset: u64,
    /// `xen_runstate` of every CPU.
    pub runstate: [Runstate; CPUS],
    /// `old_runstate_time` of every CPU, in ns: the times from before the guest's last suspend.
    pub old_runstate_time: [[u64; 4]; CPUS],
    /// `xtime`: the time of day that the kernel keeps.
    pub xtime: Timespec,
}

impl TimeState {
    /// The state after boot: clocks set up, no time stolen, the time of day not yet read.
    #[must_use]
    pub(crate) fn new() -> Self {
        TimeState {
            cyc2ns: Cyc2Ns::new(),
            cmos: Cmos::new(),
            pit: Pit::new(),
            vcpu_time: VcpuTimeInfo::new(),
            wall_clock: WallClock::new(),
            pvclock_last: AtomicU64::new(0),
            sched_clock_offset: 0,
            runstate: Default::default(),
            old_runstate_time: [[0; 4]; CPUS],
            xtime: Timespec::default(),
        }
    }
}

impl Default for TimeState {
    fn default() -> Self {
        Self::new()
    }
}
