//! Slow ports and the privilege to use them.

use std::mem::offset_of;

use super::CPU_OP;
use crate::native;
use crate::op::xen::Call;
use crate::op::{CpuModel, Kind, Op, OpMeta, Since, catalogue::Slot};

/// The way in which `io_delay` waits, and counts of its writes to ports.
#[repr(C)]
#[derive(Debug)]
pub struct IoDelayState {
    /// `io_delay_type`: 0 port 0x80, 1 port 0xed, 2 a counted loop, 3 not at all.
    pub kind: u32,
    /// Iterations of the counted loop, at least one.
    pub(crate) loops: u32,
    /// How often port 0x80 was written.
    pub port_80: u8,
    /// How often port 0xed was written.
    pub port_ed: u8,
}

impl Default for IoDelayState {
    /// The default of `CONFIG_IO_DELAY_0X80`. The counted loop takes 2 µs at 3 GHz and one cycle per iteration.
    fn default() -> Self {
        IoDelayState { kind: 0, loops: 6000, port_80: 0, port_ed: 0 }
    }
}

const KIND: usize = offset_of!(CpuModel, cpu.io_delay.kind);
const LOOPS: usize = offset_of!(CpuModel, cpu.io_delay.loops);
const PORT_80: usize = offset_of!(CpuModel, cpu.io_delay.port_80);
const PORT_ED: usize = offset_of!(CpuModel, cpu.io_delay.port_ed);

/// Waits for a slow device, by a write to an unused port.
pub struct IoDelay;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: accesses to the installed
// model and a loop that ends.
unsafe impl Op for IoDelay {
    const META: OpMeta = OpMeta {
        name: "io_delay",
        xen_kind: Kind::Real,
        prototype: "void (*io_delay)(void)",
        purpose: "wait for a slow device between two port accesses",
        source: "arch/x86/kernel/io_delay.c, native_io_delay",
        ..CPU_OP
    };
    const SLOT: usize = Slot::IoDelay as usize;
    type Args = ();
    type Ret = ();

    native! {
        (); scratch("rax");
        "mov eax, gs:[{kind}]",
        "cmp eax, 2",
        "je 23f",
        "cmp eax, 3",
        "je 25f",
        "cmp eax, 1",
        "je 22f",
        "inc byte ptr gs:[{port_80}]",
        "jmp 25f",
        "22: inc byte ptr gs:[{port_ed}]",
        "jmp 25f",
        "23: mov eax, gs:[{loops}]",
        "24: dec eax",
        "jnz 24b",
        "25:";
        kind = const KIND, port_80 = const PORT_80, port_ed = const PORT_ED, loops = const LOOPS
    }

    /// `xen_io_delay`: empty, because a guest has no slow devices.
    #[inline(always)]
    unsafe fn xen((): ()) {}

    fn arguments(cpu: &mut CpuModel) {
        cpu.cpu.io_delay = IoDelayState::default();
    }
}

/// Gives a task access to the ports: `iopl` until 5.5. On 64 bits the flags in the task's frame suffice, so the native
/// function is empty. It is not `paravirt_nop`, so it is called.
pub struct SetIoplMask;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; a
// hypercall in Xen.
unsafe impl Op for SetIoplMask {
    const META: OpMeta = OpMeta {
        name: "set_iopl_mask",
        since: Since::Linux2630Only,
        native_kind: Kind::Real,
        prototype: "void (*set_iopl_mask)(unsigned mask)",
        purpose: "set the privilege that port accesses need",
        source: "arch/x86/include/asm/processor.h, native_set_iopl_mask",
        ..CPU_OP
    };
    const SLOT: usize = Slot::SetIoplMask as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (mask: "rdi"); }

    /// `xen_set_iopl_mask`: level 0 belongs to Xen, so the kernel's level is 1.
    unsafe fn xen((mask,): (u64,)) {
        let iopl = if mask as u32 == 0 { 1 } else { mask >> 12 & 3 };
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        unsafe { CpuModel::current() }.xen.hypercall(Call::SetIopl { iopl });
    }

    /// Access to all ports for the user.
    fn arguments(_: &mut CpuModel) -> (u64,) {
        (3 << 12,)
    }
}
