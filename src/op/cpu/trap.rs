//! The trap table, which replaces gates in a Xen guest: `struct trap_info` (`include/xen/interface/xen.h`).

use crate::op::irq::VECTORS;

/// An entry of a trap table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrapInfo {
    /// The exception's or interrupt's number.
    pub vector: u8,
    /// Bits 0 and 1: the ring that may raise it by instruction; bit 2: events are masked on entry.
    pub flags: u8,
    /// The code segment.
    pub cs: u16,
    /// The handler; 0 ends the table.
    pub address: u64,
}

/// The distance of the model's `xen_asm_exc_*` from the `asm_exc_*`, in bytes. The former first drop the words that Xen
/// leaves on the stack.
pub const XEN_ENTRIES: u64 = 0x1_0000;

/// Exceptions with an entry in `trap_array`.
const EXCEPTIONS: usize = 20;
/// `GATE_INTERRUPT`
const INTERRUPT: u64 = 0xe;
/// `GATE_TRAP`
const TRAP: u64 = 0xf;

/// `cvt_gate_to_trap`: converts a gate to a trap entry; `None` if it is not an interrupt or trap gate. It searches the
/// handlers of exceptions one by one, as `get_trap_addr` does; the model's interrupt stubs stand for them.
pub(super) fn convert_gate(vector: u64, [low, high]: [u64; 2], stubs: &[u64; VECTORS]) -> Option<TrapInfo> {
    let kind = low >> 40 & 0x1f;
    if kind != INTERRUPT && kind != TRAP {
        return None;
    }
    let mut address = low & 0xffff | (low >> 48) << 16 | high << 32;
    if stubs[..EXCEPTIONS].contains(&address) {
        address = address.wrapping_add(XEN_ENTRIES);
    }
    let masks_events = u8::from(kind == INTERRUPT) << 2;
    Some(TrapInfo {
        vector: vector as u8,
        flags: (low >> 45 & 3) as u8 | masks_events,
        cs: (low >> 16) as u16,
        address,
    })
}

/// `pack_gate`: builds a present interrupt gate of ring 0 to a handler in `__KERNEL_CS`.
pub(super) fn interrupt_gate(address: u64) -> [u64; 2] {
    [address & 0xffff | 0x10 << 16 | 0x8e00 << 32 | (address >> 16 & 0xffff) << 48, address >> 32]
}
