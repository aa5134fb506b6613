//! Segments of a task: thread-local storage and `gs`.

use std::mem::{offset_of, replace};

use super::table::{GDT, GDT_ENTRY_TLS_MIN};
use super::{CPU_OP, MSR_GS_BASE, MSR_KERNEL_GS_BASE, Task, end_batching, msr};
use crate::native;
use crate::op::xen::{Call, LazyMode, guest};
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, Since, catalogue::Slot};

/// Segment registers, and the guest's copy of the descriptors that Xen has.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Segments {
    /// The selector in `fs`.
    pub fs: u16,
    /// The selector in `gs`.
    pub gs: u16,
    /// `shadow_tls_desc`: the descriptors that Xen was last given.
    pub shadow_tls: [u64; 3],
}

const GS: usize = offset_of!(CpuModel, cpu.segments.gs);
const ENABLED: usize = offset_of!(CpuModel, irq.enabled);
/// The offset of the active base of `gs` in the model.
pub(super) const GS_BASE: usize = msr::FILE + 8 * msr::index(MSR_GS_BASE);
/// The offset of the base that `swapgs` makes active.
pub(super) const KERNEL_GS_BASE: usize = msr::FILE + 8 * msr::index(MSR_KERNEL_GS_BASE);
/// The offset of the descriptors in a task. The argument of Linux's hook is the `thread_struct`, which begins with
/// them.
const TLS_ARRAY: usize = offset_of!(Task, tls_array);

/// `SEGBASE_GS_USER_SEL`
const SEGBASE_GS_USER_SEL: u64 = 3;

/// Writes a task's thread-local storage segments to the global table. The first argument is the [`Task`]'s `tls_array`.
pub struct LoadTls;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads the three descriptors
// the caller points to; stores to the installed model.
unsafe impl Op for LoadTls {
    const META: OpMeta = OpMeta {
        name: "load_tls",
        prototype: "void (*load_tls)(struct thread_struct *t, unsigned int cpu)",
        purpose: "write a task's thread-local storage segments to the global descriptor table",
        source: "arch/x86/include/asm/desc.h, native_load_tls",
        ..CPU_OP
    };
    const SLOT: usize = Slot::LoadTls as usize;
    type Args = (u64, u64);
    type Ret = ();

    // The table of this CPU, since Linux calls the hook for no other.
    native! {
        (t: "rdi", cpu: "rsi"); scratch("rax", "rcx", "rdx");
        "mov rax, [rdi]",
        "mov rcx, [rdi + 8]",
        "mov rdx, [rdi + 16]",
        "mov gs:[{tls}], rax",
        "mov gs:[{tls} + 8], rcx",
        "mov gs:[{tls} + 16], rdx";
        tls = const GDT + 8 * GDT_ENTRY_TLS_MIN
    }

    /// `xen_load_tls`: within a context switch it clears `fs` first. Then it makes one call for every descriptor that
    /// differs from Xen's, all in one batch.
    unsafe fn xen((thread, _): (u64, u64)) {
        // SAFETY: the caller's thread.
        let tls = unsafe { (thread as *const [u64; 3]).read_volatile() };
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        if cpu.xen.lazy == LazyMode::Cpu {
            cpu.cpu.segments.fs = 0;
        }
        let xen = &mut cpu.xen;
        let mask = xen.mask_events();
        for (number, (shadow, desc)) in (GDT_ENTRY_TLS_MIN..).zip(cpu.cpu.segments.shadow_tls.iter_mut().zip(tls)) {
            if replace(shadow, desc) != desc {
                let ma = xen.virt_to_machine(xen.memory.entry(guest::GDT, number));
                xen.append(Call::UpdateDescriptor { ma, desc });
            }
        }
        xen.issue(LazyMode::Cpu);
        xen.restore_events(mask);
    }

    /// A task whose segments are in the table already: in a 64-bit system no task has such segments.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        end_batching(cpu);
        cpu.cpu.task.tls_array = [0; 3];
        cpu.cpu.segments.shadow_tls = [0; 3];
        for number in GDT_ENTRY_TLS_MIN..GDT_ENTRY_TLS_MIN + 3 {
            cpu.xen.memory.write(guest::GDT, number, 0);
        }
        (&raw const cpu.cpu.task as u64 + TLS_ARRAY as u64, cpu.irq.cpu)
    }
}

/// Loads the selector of the user's `gs`, whose base is inactive while the kernel runs.
///
/// The model has only flat segments, so the base becomes 0.
pub struct LoadGsIndex;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: loads and stores on the
// installed model; mfence is legal everywhere.
unsafe impl Op for LoadGsIndex {
    const META: OpMeta = OpMeta {
        name: "load_gs_index",
        prototype: "void (*load_gs_index)(unsigned int idx)",
        purpose: "load the selector of the user's gs segment",
        source: "arch/x86/entry/entry_64.S, asm_load_gs_index; arch/x86/include/asm/special_insns.h",
        ..CPU_OP
    };
    const SLOT: usize = Slot::LoadGsIndex as usize;
    type Args = (u64,);
    type Ret = ();

    // Interrupts are off around two `swapgs`; the fence belongs to the second one (`X86_BUG_SWAPGS_FENCE`). The
    // interrupt flag comes from the model, since the one in the flags register is always on in ring 3.
    native! {
        (idx: "rdi"); scratch("rax", "rcx", "r8");
        "movzx r8d, byte ptr gs:[{enabled}]",
        "mov byte ptr gs:[{enabled}], 0",
        "mov rax, gs:[{base}]",
        "mov rcx, gs:[{kernel}]",
        "mov gs:[{base}], rcx",
        "mov gs:[{kernel}], rax",
        "mov gs:[{selector}], di",
        "mov qword ptr gs:[{base}], 0",
        "mfence",
        "mov rax, gs:[{base}]",
        "mov rcx, gs:[{kernel}]",
        "mov gs:[{base}], rcx",
        "mov gs:[{kernel}], rax",
        "test r8d, r8d",
        "jz 22f",
        "mov byte ptr gs:[{enabled}], 1",
        "22:";
        enabled = const ENABLED, base = const GS_BASE, kernel = const KERNEL_GS_BASE, selector = const GS
    }

    /// `xen_load_gs_index`
    unsafe fn xen((idx,): (u64,)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        xen.hypercall(Call::SetSegmentBase { which: SEGBASE_GS_USER_SEL, base: idx & 0xffff_ffff });
    }

    /// The null selector, as in nearly every 64-bit process.
    fn arguments(_: &mut CpuModel) -> (u64,) {
        (0,)
    }
}

/// Exchanges the two bases of `gs`, on entry into and exit from the kernel.
///
/// Modelled on the two registers that hold the bases (`MSR_GS_BASE` and `MSR_KERNEL_GS_BASE`).
pub struct Swapgs;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: exchanges two words of the
// installed model.
unsafe impl Op for Swapgs {
    const META: OpMeta = OpMeta {
        name: "swapgs",
        site: 36,
        since: Since::Linux2630Only,
        xen_kind: Kind::Real,
        bytes: Bytes::Instruction,
        prototype: "void (*swapgs)(void)",
        purpose: "exchange the user's and the kernel's gs base",
        source: "arch/x86/include/asm/paravirt.h, native_swapgs",
        ..CPU_OP
    };
    const SLOT: usize = Slot::Swapgs as usize;
    type Args = ();
    type Ret = ();

    native! {
        (); scratch("rax", "rcx");
        "mov rax, gs:[{base}]",
        "mov rcx, gs:[{kernel}]",
        "mov gs:[{base}], rcx",
        "mov gs:[{kernel}], rax";
        base = const GS_BASE, kernel = const KERNEL_GS_BASE
    }

    /// `xen_cpu_ops` of 2.6.30: `paravirt_nop`, because Xen exchanges the bases on entry and exit.
    #[inline(always)]
    unsafe fn xen((): ()) {}

    fn arguments(_: &mut CpuModel) {}
}
