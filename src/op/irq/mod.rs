//! `struct pv_irq_ops`: the interrupt flag and waiting for an interrupt; and 2.6.30's `struct pv_apic_ops`, whose three
//! hooks belong to the same hardware.

mod apic;
mod flag;
mod frame;
mod halt;
mod init;

pub use apic::{LocalApic, SetupBootClock, SetupSecondaryClock, StartupIpiHook};
pub use flag::{IrqDisable, IrqEnable, RestoreFl, SaveFl};
pub use frame::{AdjustExceptionFrame, ExceptionFrame};
pub use halt::{Halt, SafeHalt};
pub use init::InitIrq;

/// Vectors of an interrupt descriptor table.
pub(crate) const VECTORS: usize = 256;

/// `NR_EVENT_CHANNELS` of a 64-bit guest (`include/xen/interface/xen.h`): 64 words of 64 bits.
pub(crate) const EVENT_CHANNELS: usize = 64 * 64;

/// One bit per event channel.
pub type EventBits = [u64; EVENT_CHANNELS / 64];

/// The interrupt hardware of the model, and the event channels that replace it in a Xen guest.
#[repr(C)]
#[derive(Debug)]
pub struct IrqState {
    /// `EFLAGS.IF`: 1 if interrupts are delivered.
    pub enabled: u8,
    /// 1 after `hlt`.
    pub halted: u8,
    /// `smp_processor_id()`, in Xen also the number of the virtual CPU.
    pub cpu: u64,
    /// The interrupt descriptor table: two words per gate.
    pub idt: [[u64; 2]; VECTORS],
    /// `interrupt[]`: the address of each vector's entry stub.
    pub stubs: [u64; VECTORS],
    /// Registers of the local APIC.
    pub apic: LocalApic,
    /// The stack that Xen leaves at an exception.
    pub exception: ExceptionFrame,
    /// `shared_info.evtchn_pending`
    pub evtchn_pending: EventBits,
    /// `shared_info.evtchn_mask`
    pub evtchn_mask: EventBits,
    /// `cpu_evtchn_mask`: the channels bound to this CPU.
    pub evtchn_bound: EventBits,
}

impl IrqState {
    /// The state after boot: interrupts on, an empty descriptor table, an APIC timer that was never programmed, no
    /// event channel in use.
    #[must_use]
    pub(crate) fn new() -> Self {
        IrqState {
            enabled: 1,
            halted: 0,
            cpu: 0,
            idt: [[0; 2]; VECTORS],
            stubs: std::array::from_fn(init::stub_address),
            apic: LocalApic::new(),
            exception: ExceptionFrame::new(),
            evtchn_pending: [0; EVENT_CHANNELS / 64],
            evtchn_mask: [0; EVENT_CHANNELS / 64],
            evtchn_bound: [0; EVENT_CHANNELS / 64],
        }
    }
}

impl Default for IrqState {
    fn default() -> Self {
        Self::new()
    }
}
