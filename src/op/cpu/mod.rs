//! `struct pv_cpu_ops`: control and debug registers, descriptor tables, model-specific registers, I/O permissions,
//! kernel exits, context switches.
//!
//! Xen bodies follow `arch/x86/xen/enlighten_pv.c`. Where Linux stops with `BUG` because a hypercall was refused, the
//! model goes on: it has no such end. The descriptor tables that hooks are given an address of are pages of the guest
//! ([`guest::GDT`](crate::op::xen::guest::GDT), [`guest::LDT`](crate::op::xen::guest::LDT)), which the hypervisor knows
//! and writes to. They are in the direct map, so that `arbitrary_virt_to_machine()` (`arch/x86/xen/mmu.c`) needs no
//! page walk and `lookup_address()` finds no alias.

mod context;
mod control;
mod control_legacy;
mod debug;
mod entry;
mod exit;
mod identify;
mod io;
mod io_bitmap;
mod ldt;
mod msr;
mod msr_legacy;
mod segment;
mod table;
mod table_store;
mod trap;

pub use context::{EndContextSwitch, StartContextSwitch, TIF_LAZY_MMU_UPDATES};
pub use control::{ControlRegisters, ReadCr0, WriteCr0, WriteCr4};
pub use control_legacy::{Clts, ReadCr4, ReadCr4Safe, ReadCr8, WriteCr8};
pub use debug::{GetDebugreg, SetDebugreg};
pub use entry::{DESC_LDT, DESC_TSS, DESCTYPE_S, WriteGdtEntry, WriteIdtEntry, WriteLdtEntry};
pub use exit::{ExitState, Iret, IrqEnableSysexit, UsergsSysret32, UsergsSysret64};
pub use identify::{Cpuid, CpuidWords, ReadTsc, ReadTscp, Wbinvd};
pub use io::{IoDelay, IoDelayState, SetIoplMask};
pub use io_bitmap::{
    IO_BITMAP_OFFSET_INVALID, IO_BITMAP_OFFSET_VALID_ALL, IO_BITMAP_OFFSET_VALID_MAP, InvalidateIoBitmap, IoBitmap,
    LoadSp0, TIF_IO_BITMAP, TaskState, UpdateIoBitmap,
};
pub use ldt::{AllocLdt, FreeLdt, SetLdt};
pub use msr::{
    MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSRS, PMCS, ReadMsr, ReadMsrSafe, ReadPmc, WriteMsr, WriteMsrSafe,
};
pub use msr_legacy::ReadMsrAmd;
pub use segment::{LoadGsIndex, LoadTls, Segments, Swapgs};
pub use table::{DescPtr, LoadGdt, LoadIdt, LoadTrDesc, StoreTr, TableRegister, Tables};
pub use table_store::{StoreGdt, StoreIdt};
pub use trap::{TrapInfo, XEN_ENTRIES};

use super::{CpuModel, Group, OpMeta};

/// What most entries of this group share.
const CPU_OP: OpMeta = OpMeta { group: Group::Cpu, ..OpMeta::BASE };

/// What the ops of this group need of a task: `task_struct` with its `thread_info` and `thread_struct`.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Task {
    /// `thread_info.flags`: the `TIF_` bits.
    pub flags: u64,
    /// `thread_struct.tls_array`: descriptors of thread-local storage.
    pub tls_array: [u64; 3],
    /// `thread_struct.iopl_emul`: 3 where the task may use every port.
    pub iopl_emul: u32,
    /// `*thread_struct.io_bitmap`: the ports it may use otherwise.
    pub io_bitmap: IoBitmap,
}

/// State of the model.
#[repr(C)]
#[derive(Debug)]
pub struct CpuState {
    /// `cr0`, `cr4`, `cr8`.
    pub control: ControlRegisters,
    /// `dr0` to `dr7`.
    pub debug: [u64; 8],
    /// Table registers and tables.
    pub tables: Tables,
    /// Segment registers and what Xen remembers of thread-local storage.
    pub segments: Segments,
    /// The task-state segment (`cpu_tss_rw`).
    pub tss: TaskState,
    /// The current task, or one that is switched from or to.
    pub task: Task,
    /// Model-specific registers, each at the low eight bits of its number, where those that Linux's hooks see do not
    /// meet: the segment bases end in 00 to 02, the `syscall` registers in 80 to 84, the `sysenter` ones in 74 to 76.
    pub msr: [u64; MSRS],
    /// Performance counters, each at the low three bits of its number.
    pub pmc: [u64; PMCS],
    /// 1 after `wbinvd`: nothing is in the caches.
    pub caches_empty: u8,
    /// Operands of `cpuid` and `rdtscp` to measure with.
    pub words: CpuidWords,
    /// How to wait after slow I/O, and the ports it writes to.
    pub io_delay: IoDelayState,
    /// What a return to user space loads.
    pub exit: ExitState,
}

impl CpuState {
    /// After boot: flat kernel segments, empty tables otherwise, protection and paging on.
    #[must_use]
    pub fn new() -> Self {
        CpuState {
            control: ControlRegisters::new(),
            debug: [0, 0, 0, 0, 0, 0, debug::DR6_RESERVED, debug::DR7_RESERVED],
            tables: Tables::new(),
            segments: Segments::default(),
            tss: TaskState::new(),
            task: Task::default(),
            msr: [0; MSRS],
            pmc: [0; PMCS],
            caches_empty: 0,
            words: CpuidWords::default(),
            io_delay: IoDelayState::default(),
            exit: ExitState::default(),
        }
    }
}

impl Default for CpuState {
    fn default() -> Self {
        Self::new()
    }
}

/// Batching off and nothing collected, which is what an op finds outside of a context switch; no frame is recycled.
fn end_batching(cpu: &mut CpuModel) {
    cpu.xen.lazy = super::xen::LazyMode::None;
    cpu.xen.flush();
    cpu.xen.recycle_frames(&[]);
}
