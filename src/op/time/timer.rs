//! 2.6.30: starting the timer, and finding out how fast the time-stamp counter is.

use std::mem::offset_of;

use super::pvclock;
use crate::native;
use crate::op::{CpuModel, Group, Kind, Op, OpMeta, Since, catalogue::Slot};

/// The 8254 interval timer, what a calibration against it found, and whether there is a better one.
#[repr(C)]
#[derive(Debug)]
pub struct Pit {
    /// Whether there is an HPET, which is then used instead.
    pub hpet: u8,
    /// Port 0x43: the mode last set.
    pub mode: u8,
    /// Port 0x40: what channel 0 starts from, low byte and high byte.
    pub reload: [u8; 2],
    /// Whether interrupt 0 has its handler.
    pub irq0: u8,
    /// Port 0x61: gate of channel 2, and the speaker.
    pub gate: u8,
    /// Port 0x42: channel 2.
    pub channel2: u8,
    /// The time-stamp counter when calibrating began and when it had seen enough of channel 2.
    pub tsc: [u64; 2],
}

impl Pit {
    /// After the firmware: a counter at 2 GHz was watched.
    pub(super) const fn new() -> Self {
        Pit { hpet: 0, mode: 0, reload: [0; 2], irq0: 0, gate: 0x02, channel2: 0, tsc: [0, 10_727_618] }
    }
}

/// `PIT_TICK_RATE`, in Hz.
const TICK_RATE: u32 = 1_193_182;
/// `LATCH` at HZ = 1000: ticks of the 8254 per timer interrupt.
const LATCH: u32 = (TICK_RATE + 500) / 1000;
/// How often channel 2's high byte was seen to change, times 256 ticks, times 1000 for kHz.
const TICKS_1000: u32 = 25 * 256 * 1000;

const HPET: usize = offset_of!(CpuModel, time.pit.hpet);
const MODE: usize = offset_of!(CpuModel, time.pit.mode);
const RELOAD: usize = offset_of!(CpuModel, time.pit.reload);
const IRQ0: usize = offset_of!(CpuModel, time.pit.irq0);
const GATE: usize = offset_of!(CpuModel, time.pit.gate);
const CHANNEL2: usize = offset_of!(CpuModel, time.pit.channel2);
const TSC: usize = offset_of!(CpuModel, time.pit.tsc);

/// C functions called at boot; 2.6.30.
const TIMER: OpMeta = OpMeta { group: Group::Time, since: Since::Linux2630Only, ..OpMeta::BASE };

/// Starts the timer at boot.
pub struct TimeInit;

// SAFETY: accesses the installed model.
unsafe impl Op for TimeInit {
    const META: OpMeta = OpMeta {
        name: "time_init",
        prototype: "void (*time_init)(void)",
        purpose: "start the timer interrupt at boot",
        source: "arch/x86/kernel/time_64.c, hpet_time_init",
        ..TIMER
    };
    const SLOT: usize = Slot::TimeInit as usize;
    type Args = ();
    type Ret = ();

    // No HPET: channel 0 periodic, its reload value low byte first (init_pit_timer); then the handler.
    native! {
        ();
        "cmp byte ptr gs:[{hpet}], 0",
        "jne 22f",
        "mov byte ptr gs:[{mode}], 0x34",
        "mov byte ptr gs:[{reload}], {low}",
        "mov byte ptr gs:[{reload} + 1], {high}",
        "22: mov byte ptr gs:[{irq0}], 1";
        hpet = const HPET, mode = const MODE, reload = const RELOAD, irq0 = const IRQ0,
        low = const LATCH & 0xff, high = const LATCH >> 8
    }

    /// `arch/x86/xen/time.c` of 2.6.30, `xen_time_init`: the time of day from the shared page. Its other part, asking
    /// Xen to stop the 100 Hz tick and setting up a one-shot timer, is left out.
    unsafe fn xen((): ()) {
        // SAFETY: the only reference to the model in use.
        let time = &mut unsafe { CpuModel::current() }.time;
        time.xtime = pvclock::read_wallclock(time);
    }

    fn arguments(cpu: &mut CpuModel) {
        cpu.time.pit = Pit::new();
        cpu.time.vcpu_time = super::VcpuTimeInfo::new();
        cpu.time.wall_clock = super::WallClock::new();
    }
}

/// How fast the time-stamp counter is.
///
/// The milliseconds of waiting are left out of the native body: the counter's values before and after are found in the
/// model. What remains is setting up channel 2 of the interval timer and the arithmetic.
pub struct GetTscKhz;

// SAFETY: accesses the installed model. The quotient fits: the factor above is smaller than the divisor.
unsafe impl Op for GetTscKhz {
    const META: OpMeta = OpMeta {
        name: "get_tsc_khz",
        xen_kind: Kind::Real,
        prototype: "unsigned long (*get_tsc_khz)(void)",
        purpose: "find the frequency of the time-stamp counter at boot",
        source: "arch/x86/kernel/tsc.c, native_calibrate_tsc (quick_pit_calibrate)",
        ..TIMER
    };
    const SLOT: usize = Slot::GetTscKhz as usize;
    type Args = ();
    type Ret = u64;

    // Gate on and speaker off, mode 0, count from 0xffff, two reads to let it start; kHz from counter and ticks.
    native! {
        () -> "rax"; scratch("rcx", "rdx");
        "mov al, gs:[{gate}]",
        "and al, 0xfd",
        "or al, 1",
        "mov gs:[{gate}], al",
        "mov byte ptr gs:[{mode}], 0xb0",
        "mov byte ptr gs:[{channel2}], 0xff",
        "mov byte ptr gs:[{channel2}], 0xff",
        "mov al, gs:[{channel2}]",
        "mov al, gs:[{channel2}]",
        "mov rax, gs:[{tsc} + 8]",
        "sub rax, gs:[{tsc}]",
        "mov ecx, {rate}",
        "mul rcx",
        "mov ecx, {ticks}",
        "div rcx";
        gate = const GATE, mode = const MODE, channel2 = const CHANNEL2, tsc = const TSC, rate = const TICK_RATE,
        ticks = const TICKS_1000
    }

    /// `arch/x86/xen/time.c` of 2.6.30, `xen_tsc_khz`: what Xen's multiplier and shift stand for.
    unsafe fn xen((): ()) -> u64 {
        // SAFETY: the only reference to the model in use.
        unsafe { CpuModel::current() }.time.vcpu_time.tsc_khz()
    }

    fn arguments(cpu: &mut CpuModel) {
        cpu.time.pit = Pit::new();
        cpu.time.vcpu_time = super::VcpuTimeInfo::new();
    }
}

const _: () = assert!(TICK_RATE < TICKS_1000);
