//! The time of day: the battery-backed clock on bare metal, the hypervisor's in Xen.

use std::mem::offset_of;

use super::pvclock;
use crate::native;
use crate::op::{CpuModel, Group, Kind, Op, OpMeta, Since, catalogue::Slot};

/// The MC146818 clock behind its two ports (`include/linux/mc146818rtc.h`): an access writes the register's number to
/// port 0x70, then reads or writes port 0x71.
#[repr(C)]
#[derive(Debug)]
pub struct Cmos {
    /// The last value written to port 0x70: a register's number.
    pub port: u8,
    /// The registers: seconds 0, minutes 2, hours 4, day 7, month 8, year 9, in BCD; control A 10 and B 11.
    pub regs: [u8; 64],
}

impl Cmos {
    /// The clock on the release day of 2.6.30, 10 June 2009, at 0:00 UTC, in BCD with 24 hours.
    pub(super) fn new() -> Self {
        let mut regs = [0; 64];
        regs[7..12].copy_from_slice(&[0x10, 0x06, 0x09, 0x26, 0x02]);
        Cmos { port: 0, regs }
    }
}

const PORT: usize = offset_of!(CpuModel, time.cmos.port);
const REGS: usize = offset_of!(CpuModel, time.cmos.regs);

/// Defaults of these ops: C functions of 2.6.30, which 2.6.32 moved to `x86_platform`.
const WALLCLOCK: OpMeta = OpMeta { group: Group::Time, since: Since::Linux2630Only, ..OpMeta::BASE };

/// Reads the time of day, in seconds since 1970.
pub struct GetWallclock;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: accesses the installed model;
// divisors are constants. The wait loops end, because nobody writes the state.
unsafe impl Op for GetWallclock {
    const META: OpMeta = OpMeta {
        name: "get_wallclock",
        xen_kind: Kind::Real,
        prototype: "unsigned long (*get_wallclock)(void)",
        purpose: "read the time of day at boot and after suspend",
        source: "arch/x86/kernel/rtc.c, native_get_wallclock",
        ..WALLCLOCK
    };
    const SLOT: usize = Slot::GetWallclock as usize;
    type Args = ();
    type Ret = u64;

    // mach_get_cmos_time: waits for the end of an update, reads six registers and the status, converts BCD to binary,
    // then mktime.
    native! {
        () -> "rax"; scratch("rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11");
        "22: mov byte ptr gs:[{port}], 10",
        "test byte ptr gs:[{regs} + 10], 0x80",
        "jz 23f",
        "pause",
        "jmp 22b",
        "23:",
        "mov byte ptr gs:[{port}], 0",
        "movzx r8d, byte ptr gs:[{regs} + 0]",
        "mov byte ptr gs:[{port}], 2",
        "movzx r9d, byte ptr gs:[{regs} + 2]",
        "mov byte ptr gs:[{port}], 4",
        "movzx r10d, byte ptr gs:[{regs} + 4]",
        "mov byte ptr gs:[{port}], 7",
        "movzx r11d, byte ptr gs:[{regs} + 7]",
        "mov byte ptr gs:[{port}], 8",
        "movzx esi, byte ptr gs:[{regs} + 8]",
        "mov byte ptr gs:[{port}], 9",
        "movzx edi, byte ptr gs:[{regs} + 9]",
        "mov byte ptr gs:[{port}], 11",
        "movzx eax, byte ptr gs:[{regs} + 11]",
        "mov eax, r8d",
        "shr eax, 4",
        "imul eax, eax, 6",
        "sub r8d, eax",
        "mov eax, r9d",
        "shr eax, 4",
        "imul eax, eax, 6",
        "sub r9d, eax",
        "mov eax, r10d",
        "shr eax, 4",
        "imul eax, eax, 6",
        "sub r10d, eax",
        "mov eax, r11d",
        "shr eax, 4",
        "imul eax, eax, 6",
        "sub r11d, eax",
        "mov eax, esi",
        "shr eax, 4",
        "imul eax, eax, 6",
        "sub esi, eax",
        "mov eax, edi",
        "shr eax, 4",
        "imul eax, eax, 6",
        "sub edi, eax",
        "add edi, 2000",
        // Gauss's method: the year begins in March, so that the leap day is its last day.
        "sub esi, 2",
        "jg 24f",
        "add esi, 12",
        "dec edi",
        "24: imul eax, esi, 367",
        "xor edx, edx",
        "mov ecx, 12",
        "div ecx",
        "add r11d, eax",
        "mov eax, edi",
        "shr eax, 2",
        "add r11d, eax",
        "mov eax, edi",
        "xor edx, edx",
        "mov ecx, 100",
        "div ecx",
        "sub r11d, eax",
        "shr eax, 2",
        "add r11d, eax",
        "imul eax, edi, 365",
        "add eax, r11d",
        "sub eax, 719499",
        "imul rax, rax, 24",
        "add rax, r10",
        "imul rax, rax, 60",
        "add rax, r9",
        "imul rax, rax, 60",
        "add rax, r8";
        port = const PORT, regs = const REGS
    }

    /// `arch/x86/xen/time.c` of 2.6.30, `xen_get_wallclock`.
    unsafe fn xen((): ()) -> u64 {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        pvclock::read_wallclock(&unsafe { CpuModel::current() }.time).sec
    }

    fn arguments(cpu: &mut CpuModel) {
        cpu.time.cmos = Cmos::new();
        cpu.time.vcpu_time = super::VcpuTimeInfo::new();
        cpu.time.wall_clock = super::WallClock::new();
    }
}

/// Sets minutes and seconds of the battery-backed clock.
pub struct SetWallclock;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: accesses the installed model;
// divisors are constants.
unsafe impl Op for SetWallclock {
    const META: OpMeta = OpMeta {
        name: "set_wallclock",
        xen_kind: Kind::Real,
        prototype: "int (*set_wallclock)(unsigned long now)",
        purpose: "set minutes and seconds of the battery-backed clock",
        source: "arch/x86/kernel/rtc.c, native_set_wallclock",
        ..WALLCLOCK
    };
    const SLOT: usize = Slot::SetWallclock as usize;
    type Args = (u64,);
    type Ret = u64;

    // mach_set_rtc_mmss: stops the clock, compares the minutes, writes them, and starts the clock again. It corrects a
    // difference of up to half an hour either way, so that time zones of half hours do not matter. It returns -1 if the
    // difference is larger.
    native! {
        (now: "rdi") -> "rax"; scratch("rcx", "rdx", "rsi", "r8", "r9", "r10", "r11");
        "mov byte ptr gs:[{port}], 11",
        "movzx r8d, byte ptr gs:[{regs} + 11]",
        "mov eax, r8d",
        "or eax, 0x80",
        "mov byte ptr gs:[{port}], 11",
        "mov gs:[{regs} + 11], al",
        "mov byte ptr gs:[{port}], 10",
        "movzx r9d, byte ptr gs:[{regs} + 10]",
        "mov eax, r9d",
        "or eax, 0x70",
        "mov byte ptr gs:[{port}], 10",
        "mov gs:[{regs} + 10], al",
        "mov byte ptr gs:[{port}], 2",
        "movzx r10d, byte ptr gs:[{regs} + 2]",
        "mov eax, r10d",
        "shr eax, 4",
        "imul eax, eax, 6",
        "sub r10d, eax",
        "mov rax, rdi",
        "xor edx, edx",
        "mov ecx, 60",
        "div rcx",
        "mov r11d, edx",
        "mov esi, eax",
        "sub eax, r10d",
        "mov ecx, eax",
        "neg ecx",
        "cmovns eax, ecx",
        "add eax, 15",
        "xor edx, edx",
        "mov ecx, 30",
        "div ecx",
        "test al, 1",
        "jz 22f",
        "add esi, 30",
        "22: mov eax, esi",
        "xor edx, edx",
        "mov ecx, 60",
        "div ecx",
        "mov esi, edx",
        "mov eax, esi",
        "sub eax, r10d",
        "mov ecx, eax",
        "neg ecx",
        "cmovns eax, ecx",
        "cmp eax, 30",
        "jge 23f",
        "mov eax, r11d",
        "xor edx, edx",
        "mov ecx, 10",
        "div ecx",
        "imul eax, eax, 6",
        "add r11d, eax",
        "mov eax, esi",
        "xor edx, edx",
        "div ecx",
        "imul eax, eax, 6",
        "add esi, eax",
        "mov byte ptr gs:[{port}], 0",
        "mov gs:[{regs}], r11b",
        "mov byte ptr gs:[{port}], 2",
        "mov gs:[{regs} + 2], sil",
        "xor eax, eax",
        "jmp 24f",
        "23: mov eax, -1",
        "24: mov byte ptr gs:[{port}], 11",
        "mov gs:[{regs} + 11], r8b",
        "mov byte ptr gs:[{port}], 10",
        "mov gs:[{regs} + 10], r9b";
        port = const PORT, regs = const REGS
    }

    /// `arch/x86/xen/time.c` of 2.6.30, `xen_set_wallclock`: an unprivileged guest sets nothing. Returns -1 as an
    /// `int`.
    #[inline(always)]
    unsafe fn xen(_: (u64,)) -> u64 {
        u64::from(!0_u32)
    }

    /// Two minutes and five seconds later than the clock shows.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        cpu.time.cmos = Cmos::new();
        (1_244_592_000 + 125,)
    }
}
