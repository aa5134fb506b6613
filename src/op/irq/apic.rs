//! 2.6.30's `struct pv_apic_ops`: the local APIC at boot. 2.6.32 moved the first two to `x86_init`.

use std::mem::offset_of;

use crate::native;
use crate::op::{Bytes, CpuModel, Group, Kind, Op, OpMeta, Since, catalogue::Slot};

/// Registers of the local APIC, and the results of calibrating its timer.
#[repr(C)]
#[derive(Debug)]
pub struct LocalApic {
    /// `disable_apic_timer`, from the command line.
    pub timer_disabled: u8,
    /// The timer's count at the start and at the end of calibration; it counts down.
    pub counts: [u32; 2],
    /// `calibration_result`: bus clocks per tick.
    pub clocks_per_tick: u32,
    /// `APIC_LVTT`: vector and mode of the timer.
    pub lvtt: u32,
    /// `APIC_TDCR`: the divider of the bus clock.
    pub tdcr: u32,
    /// `APIC_TMICT`: the count from which the timer counts down.
    pub tmict: u32,
}

impl LocalApic {
    /// A timer that was never programmed, with the counts of a 200 MHz bus clock, divided by 16, over 0.1 s.
    pub(super) fn new() -> Self {
        LocalApic { timer_disabled: 0, counts: [!0, !0 - 1_250_000], clocks_per_tick: 0, lvtt: 0, tdcr: 0xb, tmict: 0 }
    }
}

const DISABLED: usize = offset_of!(CpuModel, irq.apic.timer_disabled);
const COUNTS: usize = offset_of!(CpuModel, irq.apic.counts);
const CLOCKS: usize = offset_of!(CpuModel, irq.apic.clocks_per_tick);
const LVTT: usize = offset_of!(CpuModel, irq.apic.lvtt);
const TDCR: usize = offset_of!(CpuModel, irq.apic.tdcr);
const TMICT: usize = offset_of!(CpuModel, irq.apic.tmict);

/// `LAPIC_CAL_LOOPS`: timer ticks of the calibration, HZ/10 at HZ = 1000.
const CALIBRATION_TICKS: u32 = 100;
/// `LOCAL_TIMER_VECTOR` with `APIC_LVT_TIMER_PERIODIC`.
const PERIODIC: u32 = 0xef | 1 << 17;
/// The complement of `APIC_TDR_DIV_1 | APIC_TDR_DIV_TMBASE`: the bits of the divider register that stay.
const KEPT_BITS: i32 = !(0xb | 1 << 2);
/// `APIC_TDR_DIV_16`
const DIVIDE_BY_16: u32 = 3;

/// Defaults of these ops: functions of 2.6.30 only, called once per CPU.
const APIC_OP: OpMeta = OpMeta { group: Group::Irq, since: Since::Linux2630Only, ..OpMeta::BASE };

/// Calibrates and starts the APIC timer of the boot CPU.
///
/// The body does not wait for 100 ticks: the model holds the counts before and after. It also leaves out registering
/// the clock event device, which is generic code and the same on all machines.
pub struct SetupBootClock;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: loads and stores on the
// installed model; the divisor is a constant.
unsafe impl Op for SetupBootClock {
    const META: OpMeta = OpMeta {
        name: "setup_boot_clock",
        xen_kind: Kind::Real,
        prototype: "void (*setup_boot_clock)(void)",
        purpose: "calibrate and start the local APIC timer of the boot CPU",
        source: "arch/x86/kernel/apic/apic.c, setup_boot_APIC_clock",
        ..APIC_OP
    };
    const SLOT: usize = Slot::SetupBootClock as usize;
    type Args = ();
    type Ret = ();

    native! {
        (); scratch("rax", "rcx", "rdx");
        "cmp byte ptr gs:[{disabled}], 0",
        "jne 22f",
        "mov eax, gs:[{counts}]",
        "sub eax, gs:[{counts} + 4]",
        "shl eax, 4",
        "xor edx, edx",
        "mov ecx, {loops}",
        "div ecx",
        "mov gs:[{clocks}], eax",
        "mov dword ptr gs:[{lvtt}], {periodic}",
        "mov ecx, gs:[{tdcr}]",
        "and ecx, {keep}",
        "or ecx, {divide}",
        "mov gs:[{tdcr}], ecx",
        "shr eax, 4",
        "mov gs:[{tmict}], eax",
        "22:";
        disabled = const DISABLED, counts = const COUNTS, loops = const CALIBRATION_TICKS, clocks = const CLOCKS,
        lvtt = const LVTT, periodic = const PERIODIC, tdcr = const TDCR, keep = const KEPT_BITS,
        divide = const DIVIDE_BY_16, tmict = const TMICT
    }

    /// `arch/x86/xen/enlighten.c` of 2.6.30, `xen_apic_ops`: `paravirt_nop`, because Xen provides a guest's timer.
    #[inline(always)]
    unsafe fn xen((): ()) {}

    fn arguments(cpu: &mut CpuModel) {
        cpu.irq.apic = LocalApic::new();
    }
}

/// Starts the APIC timer of another CPU with the boot CPU's calibration.
pub struct SetupSecondaryClock;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: loads and stores on the
// installed model.
unsafe impl Op for SetupSecondaryClock {
    const META: OpMeta = OpMeta {
        name: "setup_secondary_clock",
        xen_kind: Kind::Real,
        prototype: "void (*setup_secondary_clock)(void)",
        purpose: "start the local APIC timer of another CPU",
        source: "arch/x86/kernel/apic/apic.c, setup_secondary_APIC_clock",
        ..APIC_OP
    };
    const SLOT: usize = Slot::SetupSecondaryClock as usize;
    type Args = ();
    type Ret = ();

    native! {
        (); scratch("rax", "rcx");
        "mov eax, gs:[{clocks}]",
        "mov dword ptr gs:[{lvtt}], {periodic}",
        "mov ecx, gs:[{tdcr}]",
        "and ecx, {keep}",
        "or ecx, {divide}",
        "mov gs:[{tdcr}], ecx",
        "shr eax, 4",
        "mov gs:[{tmict}], eax";
        clocks = const CLOCKS, lvtt = const LVTT, periodic = const PERIODIC, tdcr = const TDCR, keep = const KEPT_BITS,
        divide = const DIVIDE_BY_16, tmict = const TMICT
    }

    /// `arch/x86/xen/enlighten.c` of 2.6.30, `xen_apic_ops`: `paravirt_nop`.
    #[inline(always)]
    unsafe fn xen((): ()) {}

    /// A CPU that has the boot CPU's calibration.
    fn arguments(cpu: &mut CpuModel) {
        let counted = LocalApic::new();
        let clocks_per_tick = (counted.counts[0] - counted.counts[1]) * 16 / CALIBRATION_TICKS;
        cpu.irq.apic = LocalApic { clocks_per_tick, ..counted };
    }
}

/// Notifies the hypervisor (VMI) before a CPU is started.
pub struct StartupIpiHook;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: both bodies are empty.
unsafe impl Op for StartupIpiHook {
    const META: OpMeta = OpMeta {
        name: "startup_ipi_hook",
        native_kind: Kind::Real,
        xen_kind: Kind::Real,
        bytes: Bytes::Nop,
        prototype: "void (*startup_ipi_hook)(int phys_apicid, unsigned long start_eip, unsigned long start_esp)",
        purpose: "notify the hypervisor of the address at which a CPU is about to start",
        source: "arch/x86/kernel/paravirt.c, paravirt_nop",
        ..APIC_OP
    };
    const SLOT: usize = Slot::StartupIpiHook as usize;
    type Args = (u64, u64, u64);
    type Ret = ();

    native! { (phys_apicid: "rdi", start_eip: "rsi", start_esp: "rdx"); }

    /// `arch/x86/xen/enlighten.c` of 2.6.30, `xen_apic_ops`: `paravirt_nop`.
    #[inline(always)]
    unsafe fn xen(_: (u64, u64, u64)) {}

    /// The trampoline below 1 MiB and a kernel stack.
    fn arguments(_: &mut CpuModel) -> (u64, u64, u64) {
        (1, 0x6000, 0xffff_8800_0000_2000)
    }
}
