//! The ops on the processor itself: the effects of each body on the CPU model.

mod control;
mod identify;
mod segments;
mod tables;
mod task;

use crate::bodies::{assert_calls, both, native, xen};
use pvbench::op::cpu::*;
use pvbench::op::xen::{Call, CallKind, FrameType, LazyMode, MmuExtCmd, guest};
use pvbench::op::{Bytes, CpuModel, Kind, Op};

/// Sets up an op's arguments without recycling frames, so that the effect of a call stays visible.
fn prepare_once<O: Op>(cpu: &mut CpuModel) -> O::Args {
    let args = O::arguments(cpu);
    cpu.xen.recycled = guest::Recycled::new();
    args
}

/// Reads words of a page of the guest.
fn read_words<const N: usize>(cpu: &CpuModel, pfn: u64, first: usize) -> [u64; N] {
    std::array::from_fn(|index| cpu.xen.memory.read(pfn, first + index).unwrap())
}

/// The hypervisor's type of a frame of the guest.
fn frame_type(cpu: &CpuModel, pfn: u64) -> FrameType {
    cpu.xen.hypervisor.frames.get(cpu.xen.p2m.pfn_to_mfn(pfn)).unwrap().kind
}

/// Whether a page is writable in the guest's direct map.
fn is_writable(cpu: &CpuModel, pfn: u64) -> bool {
    cpu.xen.hypervisor.frames.direct(pfn).unwrap() & 2 != 0
}

/// The machine address of a word of a page.
fn machine_address(cpu: &CpuModel, pfn: u64, index: usize) -> u64 {
    cpu.xen.virt_to_machine(cpu.xen.memory.entry(pfn, index))
}

/// Adds a call to the batch, as if the batch had begun before the op.
fn collect(cpu: &mut CpuModel) {
    cpu.xen.append(Call::SetIopl { iopl: 2 });
}

/// Two descriptors of flat data segments with user privilege.
const DATA: u64 = 0x00cf_f300_0000_ffff;
const OTHER_DATA: u64 = 0x00cf_f300_1000_ffff;

/// Garbage in the upper half of an argument register, which a 32-bit argument does not use.
const GARBAGE: u64 = 0xdead_beef << 32;

const CR0: u64 = 0x8005_0033;
const CR0_TS: u64 = 1 << 3;
const CR0_WP: u64 = 1 << 16;
const SMEP: u64 = 1 << 20;
const SMAP: u64 = 1 << 21;
const PSE: u64 = 1 << 4;
const PGE: u64 = 1 << 7;
const PCE: u64 = 1 << 8;

const GS_BASE: usize = 1;
const KERNEL_GS_BASE: usize = 2;

/// Sets the kernel's and the user's base.
fn set_bases(cpu: &mut CpuModel) {
    cpu.cpu.msr[GS_BASE] = 0x1111;
    cpu.cpu.msr[KERNEL_GS_BASE] = 0x2222;
}

/// A gate of a type and ring, to a handler.
fn gate(kind: u64, dpl: u64, handler: u64) -> [u64; 2] {
    [handler & 0xffff | 0x10 << 16 | (0x80 | dpl << 5 | kind) << 40 | (handler >> 16 & 0xffff) << 48, handler >> 32]
}
