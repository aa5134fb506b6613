//! `struct pv_cpu_ops`: control and debug registers, descriptor tables, model-specific registers, I/O permissions,
//! kernel exits, context switches.
//!
//! Xen bodies follow `arch/x86/xen/enlighten_pv.c`. If a hypercall is refused, Linux stops with `BUG`, but the model
//! continues. Descriptor tables whose address is an argument are pages of the guest
//! ([`guest::GDT`](crate::op::xen::guest::GDT), [`guest::LDT`](crate::op::xen::guest::LDT)), which the hypervisor
//! checks and writes to. They are in the direct map, so `arbitrary_virt_to_machine()` (`arch/x86/xen/mmu.c`) needs no
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

/// Defaults of the group's catalogue entries.
const CPU_OP: OpMeta = OpMeta { group: Group::Cpu, ..OpMeta::BASE };

/// A task: the fields of `task_struct`, with its `thread_info` and `thread_struct`, that the ops of this group use.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Task {
    /// `thread_info.flags`: the `TIF_` bits.
    pub flags: u64,
    /// `thread_struct.tls_array`: descriptors of thread-local storage.
    pub tls_array: [u64; 3],
    /// `thread_struct.iopl_emul`: 3 if the task may use every port.
    pub iopl_emul: u32,
    /// `*thread_struct.io_bitmap`: the ports that it may use otherwise.
    pub io_bitmap: IoBitmap,
}

/// The processor state of the model.
#[repr(C)]
#[derive(Debug)]
pub struct CpuState {
    /// `cr0`, `cr4`, `cr8`.
    pub control: ControlRegisters,
    /// `dr0` to `dr7`.
    pub debug: [u64; 8],
    /// Table registers and tables.
    pub tables: Tables,
    /// Segment registers, and the copy of thread-local storage that Xen was given.
    pub segments: Segments,
    /// The task-state segment (`cpu_tss_rw`).
    pub tss: TaskState,
    /// The current task, or the one that a context switch leaves or enters.
    pub task: Task,
    /// Model-specific registers, each at the index given by the low eight bits of its number. Registers that Linux's
    /// hooks use do not collide there: the segment bases end in 00 to 02, the `syscall` registers in 80 to 84, the
    /// `sysenter` registers in 74 to 76.
    pub msr: [u64; MSRS],
    /// Performance counters, each at the index given by the low three bits of its number.
    pub pmc: [u64; PMCS],
    /// 1 after `wbinvd`: the caches count as empty.
    pub caches_empty: u8,
    /// Operands of `cpuid` and `rdtscp` in measurements.
    pub words: CpuidWords,
    /// The way to wait after slow I/O, and the ports that this writes to.
    pub io_delay: IoDelayState,
    /// The state that a return to user space loads.
    pub exit: ExitState,
}

impl CpuState {
    /// The state after boot: flat kernel segments, otherwise empty tables, protection and paging on.
    #[must_use]
    pub(crate) fn new() -> Self {
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

/// Sends the batch, turns batching off, and recycles no frame: the state outside of a context switch.
fn end_batching(cpu: &mut CpuModel) {
    cpu.xen.lazy = super::xen::LazyMode::None;
    cpu.xen.flush();
    cpu.xen.recycle_frames(&[]);
}
