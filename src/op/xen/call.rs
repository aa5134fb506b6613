//! The hypercalls of a PV guest that the catalogue's ops make.
//!
//! Sources: `include/xen/interface/xen.h`, `physdev.h`, `sched.h`, `vcpu.h`, `event_channel.h`.

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
    /// `sched_op(SCHEDOP_block)`: enables events and waits.
    SchedBlock,
    /// `sched_op(SCHEDOP_poll)`: waits for one event channel.
    SchedPoll { port: u64 },
    /// `event_channel_op(EVTCHNOP_send)`
    EvtchnSend { port: u64 },
    /// `vcpu_op(VCPUOP_down)`: stops scheduling this CPU.
    VcpuDown { vcpu: u64 },
    /// `xen_version(0)`: only delivers pending events (`xen_force_evtchn_callback`).
    XenVersion,
    /// `iret`: returns to the interrupted frame.
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

/// `update_va_mapping` also drops all translations of this CPU.
pub const UVMF_TLB_FLUSH: u64 = 1;
/// `update_va_mapping` also drops the translation of the address.
pub(crate) const UVMF_INVLPG: u64 = 2;

/// The kind of a call, without its arguments: an index for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CallKind {
    SetTrapTable,
    MmuUpdate,
    UpdateVaMapping,
    MmuExt,
    SetGdt,
    UpdateDescriptor,
    StackSwitch,
    FpuTaskswitch,
    SetDebugreg,
    GetDebugreg,
    SetSegmentBase,
    SetIopl,
    SetIobitmap,
    SchedBlock,
    SchedPoll,
    EvtchnSend,
    VcpuDown,
    XenVersion,
    Iret,
}

impl CallKind {
    /// The number of kinds.
    pub(crate) const COUNT: usize = CallKind::Iret as usize + 1;
}

impl MmuExtCmd {
    /// The number of commands.
    pub(crate) const COUNT: usize = MmuExtCmd::SetLdt as usize + 1;
}

impl Call {
    /// The kind of this hypercall.
    #[must_use]
    pub(crate) fn kind(&self) -> CallKind {
        match self {
            Call::SetTrapTable { .. } => CallKind::SetTrapTable,
            Call::MmuUpdate { .. } => CallKind::MmuUpdate,
            Call::UpdateVaMapping { .. } => CallKind::UpdateVaMapping,
            Call::MmuExt { .. } => CallKind::MmuExt,
            Call::SetGdt { .. } => CallKind::SetGdt,
            Call::UpdateDescriptor { .. } => CallKind::UpdateDescriptor,
            Call::StackSwitch { .. } => CallKind::StackSwitch,
            Call::FpuTaskswitch { .. } => CallKind::FpuTaskswitch,
            Call::SetDebugreg { .. } => CallKind::SetDebugreg,
            Call::GetDebugreg { .. } => CallKind::GetDebugreg,
            Call::SetSegmentBase { .. } => CallKind::SetSegmentBase,
            Call::SetIopl { .. } => CallKind::SetIopl,
            Call::SetIobitmap { .. } => CallKind::SetIobitmap,
            Call::SchedBlock => CallKind::SchedBlock,
            Call::SchedPoll { .. } => CallKind::SchedPoll,
            Call::EvtchnSend { .. } => CallKind::EvtchnSend,
            Call::VcpuDown { .. } => CallKind::VcpuDown,
            Call::XenVersion => CallKind::XenVersion,
            Call::Iret => CallKind::Iret,
        }
    }
}
