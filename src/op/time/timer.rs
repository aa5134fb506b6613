//! 2.6.30: starting the timer, and calibrating the time-stamp counter.

use std::mem::offset_of;

use super::pvclock;
use crate::native;
use crate::op::{CpuModel, Group, Kind, Op, OpMeta, Since, catalogue::Slot};

/// The 8254 interval timer, the counter values of a calibration against it, and whether the machine has an HPET.
#[repr(C)]
#[derive(Debug)]
pub struct Pit {
    /// Whether the machine has an HPET, which is then used instead.
    pub hpet: u8,
    /// Port 0x43: the mode last set.
    pub mode: u8,
    /// Port 0x40: the initial count of channel 0, low byte and high byte.
    pub reload: [u8; 2],
    /// Whether the handler of interrupt 0 is installed.
    pub irq0: u8,
    /// Port 0x61: the gate of channel 2, and the speaker.
    pub gate: u8,
    /// Port 0x42: channel 2.
    pub channel2: u8,
    /// The time-stamp counter at the start and at the end of the calibration against channel 2.
    pub tsc: [u64; 2],
}

impl Pit {
    /// The state after the firmware, with the calibration of a counter at 2 GHz.
    pub(super) const fn new() -> Self {
        Pit { hpet: 0, mode: 0, reload: [0; 2], irq0: 0, gate: 0x02, channel2: 0, tsc: [0, 10_727_618] }
    }
}

/// `PIT_TICK_RATE`, in Hz.
const TICK_RATE: u32 = 1_193_182;
/// `LATCH` at HZ = 1000: ticks of the 8254 per timer interrupt.
const LATCH: u32 = (TICK_RATE + 500) / 1000;
/// Ticks of the calibration, times 1000 for kHz: channel 2's high byte changes 25 times, every 256 ticks.
const TICKS_1000: u32 = 25 * 256 * 1000;

const HPET: usize = offset_of!(CpuModel, time.pit.hpet);
const MODE: usize = offset_of!(CpuModel, time.pit.mode);
const RELOAD: usize = offset_of!(CpuModel, time.pit.reload);
const IRQ0: usize = offset_of!(CpuModel, time.pit.irq0);
const GATE: usize = offset_of!(CpuModel, time.pit.gate);
const CHANNEL2: usize = offset_of!(CpuModel, time.pit.channel2);
const TSC: usize = offset_of!(CpuModel, time.pit.tsc);

/// Defaults of these ops: C functions of 2.6.30, called at boot.
const TIMER: OpMeta = OpMeta { group: Group::Time, since: Since::Linux2630Only, ..OpMeta::BASE };

/// Starts the timer at boot.
pub struct TimeInit;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: accesses the installed model.
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

    // Without an HPET, sets channel 0 to periodic and writes its reload value, low byte first (init_pit_timer). Then
    // installs the handler.
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

    /// `arch/x86/xen/time.c` of 2.6.30, `xen_time_init`: reads the time of day from the shared page. The model leaves
    /// out the other part, which asks Xen to stop the 100 Hz tick and sets up a one-shot timer.
    unsafe fn xen((): ()) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let time = &mut unsafe { CpuModel::current() }.time;
        time.xtime = pvclock::read_wallclock(time);
    }

    fn arguments(cpu: &mut CpuModel) {
        cpu.time.pit = Pit::new();
        cpu.time.vcpu_time = super::VcpuTimeInfo::new();
        cpu.time.wall_clock = super::WallClock::new();
    }
}

/// Finds the frequency of the time-stamp counter, in kHz.
///
/// The native body does not wait for milliseconds: the model holds the counter's values before and after the wait. The
/// body sets up channel 2 of the interval timer and does the arithmetic.
pub struct GetTscKhz;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: accesses the installed model.
// The quotient fits, because `TICK_RATE` is smaller than `TICKS_1000`.
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

    // Gate on, speaker off, mode 0, count from 0xffff, two reads until it starts; then kHz from counter and ticks.
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

    /// `arch/x86/xen/time.c` of 2.6.30, `xen_tsc_khz`: the frequency that follows from Xen's multiplier and shift.
    unsafe fn xen((): ()) -> u64 {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        unsafe { CpuModel::current() }.time.vcpu_time.tsc_khz()
    }

    fn arguments(cpu: &mut CpuModel) {
        cpu.time.pit = Pit::new();
        cpu.time.vcpu_time = super::VcpuTimeInfo::new();
    }
}

const _: () = assert!(TICK_RATE < TICKS_1000);
