//! The task-state segment: the kernel's stack, and the ports that a task may use.

use std::mem::offset_of;

use super::table::{GDT, GDT_ENTRY_TSS, TR};
use super::{CPU_OP, end_batching};
use crate::native;
use crate::op::xen::{Call, LazyMode};
use crate::op::{CpuModel, Op, OpMeta, catalogue::Slot};

/// 64-bit words of a bitmap with one bit per port, which is set if the port is forbidden.
const WORDS: usize = 65536 / 64;

/// `struct io_bitmap`: a task's ports.
#[repr(C)]
#[derive(Debug)]
pub struct IoBitmap {
    /// A number that changes whenever the bitmap changes.
    pub sequence: u64,
    /// Bytes up to the last permitted port, a multiple of 8, at most 8192.
    pub max: u32,
    /// One bit per port, set if the port is forbidden.
    pub bitmap: [u64; WORDS],
}

impl Default for IoBitmap {
    /// A bitmap that permits no port.
    fn default() -> Self {
        IoBitmap { sequence: 1, max: 0, bitmap: [!0; WORDS] }
    }
}

/// `struct tss_struct`, with the fields that the hooks use.
#[repr(C)]
#[derive(Debug)]
pub struct TaskState {
    /// `x86_tss.sp0`: the stack pointer that the CPU loads on entry into the kernel.
    pub sp0: u64,
    /// `io_bitmap.prev_sequence`: the sequence number of the task bitmap that was copied last.
    pub prev_sequence: u64,
    /// `io_bitmap.prev_max`
    pub prev_max: u32,
    /// `x86_tss.io_bitmap_base`: the offset of the bitmap in use.
    pub io_bitmap_base: u16,
    /// `__tss_limit_invalid`: 1 if the task register must be loaded again.
    pub limit_invalid: u8,
    /// `io_bitmap.bitmap`
    pub bitmap: [u64; WORDS],
}

impl TaskState {
    /// A segment that permits no port.
    pub(super) fn new() -> Self {
        TaskState {
            sp0: 0,
            prev_sequence: 0,
            prev_max: 0,
            io_bitmap_base: IO_BITMAP_OFFSET_INVALID,
            limit_invalid: 0,
            bitmap: [!0; WORDS],
        }
    }
}

/// `IO_BITMAP_OFFSET_VALID_MAP`: the bitmap lies behind 104 bytes of the hardware and 16 bytes of Linux.
pub const IO_BITMAP_OFFSET_VALID_MAP: u16 = 104 + 16;
/// `IO_BITMAP_OFFSET_VALID_ALL`: a second bitmap, which permits every port.
pub const IO_BITMAP_OFFSET_VALID_ALL: u16 = IO_BITMAP_OFFSET_VALID_MAP + 8192 + 8;
/// `IO_BITMAP_OFFSET_INVALID`: beyond the segment's limit.
pub const IO_BITMAP_OFFSET_INVALID: u16 = IO_BITMAP_OFFSET_VALID_ALL + 8192 + 8;
/// `_TIF_IO_BITMAP`: the task may use some ports.
pub const TIF_IO_BITMAP: u64 = 1 << 22;

const SP0: usize = offset_of!(CpuModel, cpu.tss.sp0);
const BASE: usize = offset_of!(CpuModel, cpu.tss.io_bitmap_base);
const PREV_SEQUENCE: usize = offset_of!(CpuModel, cpu.tss.prev_sequence);
const PREV_MAX: usize = offset_of!(CpuModel, cpu.tss.prev_max);
const BITMAP: usize = offset_of!(CpuModel, cpu.tss.bitmap);
const LIMIT_INVALID: usize = offset_of!(CpuModel, cpu.tss.limit_invalid);
const FLAGS: usize = offset_of!(CpuModel, cpu.task.flags);
const IOPL_EMUL: usize = offset_of!(CpuModel, cpu.task.iopl_emul);
const SEQUENCE: usize = offset_of!(CpuModel, cpu.task.io_bitmap.sequence);
const MAX: usize = offset_of!(CpuModel, cpu.task.io_bitmap.max);
const TASK_BITMAP: usize = offset_of!(CpuModel, cpu.task.io_bitmap.bitmap);

/// `__KERNEL_DS`
const KERNEL_DS: u64 = 0x18;

/// Sets the stack that the CPU switches to on entry into the kernel.
pub struct LoadSp0;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a store to the installed
// model; a hypercall in Xen.
unsafe impl Op for LoadSp0 {
    const META: OpMeta = OpMeta {
        name: "load_sp0",
        prototype: "void (*load_sp0)(unsigned long sp0)",
        purpose: "set the stack for entries into the kernel",
        source: "arch/x86/include/asm/processor.h, native_load_sp0",
        ..CPU_OP
    };
    const SLOT: usize = Slot::LoadSp0 as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (sp0: "rdi"); "mov gs:[{sp0_field}], rdi"; sp0_field = const SP0 }

    /// `xen_load_sp0`: passes the stack to Xen, and stores it in the segment as on bare metal.
    unsafe fn xen((sp0,): (u64,)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        cpu.xen.batched(Call::StackSwitch { ss: KERNEL_DS, sp: sp0 }, LazyMode::Cpu);
        cpu.cpu.tss.sp0 = sp0;
    }

    /// The top of a task's stack.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        end_batching(cpu);
        (0xffff_c900_0000_4000,)
    }
}

/// Forbids all ports, because the next task may use none.
pub struct InvalidateIoBitmap;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a store to the installed
// model; a hypercall in Xen.
unsafe impl Op for InvalidateIoBitmap {
    const META: OpMeta = OpMeta {
        name: "invalidate_io_bitmap",
        prototype: "void (*invalidate_io_bitmap)(void)",
        purpose: "forbid all ports",
        source: "arch/x86/include/asm/io_bitmap.h, native_tss_invalidate_io_bitmap",
        ..CPU_OP
    };
    const SLOT: usize = Slot::InvalidateIoBitmap as usize;
    type Args = ();
    type Ret = ();

    native! { (); "mov word ptr gs:[{base}], {invalid}"; base = const BASE, invalid = const IO_BITMAP_OFFSET_INVALID }

    /// `xen_invalidate_io_bitmap`
    unsafe fn xen((): ()) {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(()) };
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        unsafe { CpuModel::current() }.xen.hypercall(Call::SetIobitmap { bitmap: 0, ports: 0 });
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Permits the current task's ports, before a return to user space.
pub struct UpdateIoBitmap;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: accesses to the installed
// model; the copy is bounded by the bitmap's size.
unsafe impl Op for UpdateIoBitmap {
    const META: OpMeta = OpMeta {
        name: "update_io_bitmap",
        prototype: "void (*update_io_bitmap)(void)",
        purpose: "permit the ports of the current task",
        source: "arch/x86/kernel/process.c, native_tss_update_io_bitmap",
        ..CPU_OP
    };
    const SLOT: usize = Slot::UpdateIoBitmap as usize;
    type Args = ();
    type Ret = ();

    // 22: the task has its own bitmap. 23: if it is not in the segment already, it is copied, up to the longer of both
    // bitmaps. 26: an exit from a virtual machine shortens the segment's limit; loading the task register restores it
    // (`refresh_tss_limit`).
    native! {
        (); scratch("rax", "rcx", "rdx");
        "test dword ptr gs:[{flags}], {tif}",
        "jnz 21f",
        "mov word ptr gs:[{base}], {invalid}",
        "jmp 27f",
        "21: cmp dword ptr gs:[{iopl}], 3",
        "jne 22f",
        "mov word ptr gs:[{base}], {all}",
        "jmp 26f",
        "22: mov rax, gs:[{sequence}]",
        "cmp gs:[{prev_sequence}], rax",
        "je 25f",
        "mov ecx, gs:[{max}]",
        "mov eax, gs:[{prev_max}]",
        "cmp ecx, eax",
        "cmovb ecx, eax",
        "mov eax, {bytes}",
        "cmp ecx, eax",
        "cmova ecx, eax",
        "xor eax, eax",
        "23: cmp eax, ecx",
        "jae 24f",
        "mov rdx, gs:[rax + {task_bitmap}]",
        "mov gs:[rax + {bitmap}], rdx",
        "add eax, 8",
        "jmp 23b",
        "24: mov ecx, gs:[{max}]",
        "mov gs:[{prev_max}], ecx",
        "mov rax, gs:[{sequence}]",
        "mov gs:[{prev_sequence}], rax",
        "25: mov word ptr gs:[{base}], {map}",
        "26: cmp byte ptr gs:[{limit_invalid}], 0",
        "je 27f",
        "mov word ptr gs:[{tr}], {selector}",
        "or byte ptr gs:[{tss} + 5], 2",
        "mov byte ptr gs:[{limit_invalid}], 0",
        "27:";
        flags = const FLAGS, tif = const TIF_IO_BITMAP, base = const BASE, invalid = const IO_BITMAP_OFFSET_INVALID,
        iopl = const IOPL_EMUL, all = const IO_BITMAP_OFFSET_VALID_ALL, sequence = const SEQUENCE,
        prev_sequence = const PREV_SEQUENCE, max = const MAX, prev_max = const PREV_MAX, bytes = const WORDS * 8,
        task_bitmap = const TASK_BITMAP, bitmap = const BITMAP, map = const IO_BITMAP_OFFSET_VALID_MAP,
        limit_invalid = const LIMIT_INVALID, tr = const TR, selector = const GDT_ENTRY_TSS * 8,
        tss = const GDT + GDT_ENTRY_TSS * 8
    }

    /// `xen_update_io_bitmap`: as on bare metal, then passes the bitmap's address to Xen. The model stores one bitmap;
    /// for the bitmap that permits every port it passes only the address at that offset.
    unsafe fn xen((): ()) {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(()) };
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        let tss = &cpu.cpu.tss;
        let bitmap = match tss.io_bitmap_base {
            IO_BITMAP_OFFSET_VALID_MAP => tss.bitmap.as_ptr() as u64,
            offset => (&raw const *tss as u64).wrapping_add(u64::from(offset)),
        };
        let ports = if tss.io_bitmap_base == IO_BITMAP_OFFSET_INVALID { 0 } else { 65536 };
        cpu.xen.hypercall(Call::SetIobitmap { bitmap, ports });
    }

    /// A task that may use ports, and whose bitmap was copied last.
    fn arguments(cpu: &mut CpuModel) {
        let task = &mut cpu.cpu.task;
        task.flags |= TIF_IO_BITMAP;
        task.iopl_emul = 0;
        cpu.cpu.tss.prev_sequence = task.io_bitmap.sequence;
        cpu.cpu.tss.limit_invalid = 0;
    }
}
