//! A Xen PV guest's replacements for privileged instructions: a page shared with the hypervisor, a translation between
//! the guest's and the machine's frame numbers, and hypercalls, batched where Linux batches them.
//!
//! Sources: `include/xen/interface/xen.h` (`struct vcpu_info`, the hypercalls), `arch/x86/xen/multicalls.c`,
//! `arch/x86/xen/p2m.c`.

mod call;
mod emulate;
pub mod frames;
pub mod guest;
mod hypervisor;
pub mod memory;
mod multicall;
pub mod p2m;

pub(crate) use call::UVMF_INVLPG;
pub use call::{Call, CallKind, MmuExtCmd, UVMF_TLB_FLUSH};
pub use frames::{Frame, FrameType};
pub use hypervisor::{Hypervisor, PRESERVE_AD};
pub use memory::{Memory, Size, StructPage};
pub use multicall::{ARGUMENT_BYTES, BATCH, Multicall};
pub use p2m::P2m;

/// `enum xen_lazy_mode`: the kind of updates that are batched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum LazyMode {
    /// No batch: every update is sent at once.
    None = 0,
    /// Page-table updates are batched.
    Mmu = 1,
    /// The updates of a context switch are batched.
    Cpu = 2,
}

/// `struct vcpu_info`: the part that guest and hypervisor share per virtual CPU.
#[repr(C)]
#[derive(Debug, Default)]
pub struct VcpuInfo {
    /// 1 if an event is pending.
    pub evtchn_upcall_pending: u8,
    /// 1 if events are masked: the guest's interrupt flag, inverted.
    pub evtchn_upcall_mask: u8,
    /// `arch.cr2`: the address of the last page fault.
    pub cr2: u64,
}

/// The Xen state of one virtual CPU, of the guest and of the hypervisor.
#[repr(C)]
pub struct XenVcpu {
    /// The part that is shared with the hypervisor.
    pub info: VcpuInfo,
    /// The kind of updates that are batched (`xen_lazy_mode`, a per-CPU variable).
    pub lazy: LazyMode,
    /// The batched calls.
    pub multicall: Multicall,
    /// Frame translation.
    pub p2m: P2m,
    /// The guest's pages.
    pub memory: Memory,
    /// The hypervisor's state.
    pub hypervisor: Hypervisor,
    /// The frames whose state is restored after each call.
    pub recycled: guest::Recycled,
}

impl XenVcpu {
    /// A virtual CPU after boot: events enabled, none pending, no batch, the tables of [`guest`] in use, all counts 0.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Memory::new(), Size::SMALL)
    }

    /// A virtual CPU after boot, of a guest with this memory.
    #[must_use]
    pub fn of(memory: Memory, size: Size) -> Self {
        let p2m = P2m::with_size(size);
        let mut vcpu = XenVcpu {
            info: VcpuInfo::default(),
            lazy: LazyMode::None,
            multicall: Multicall::new(),
            memory,
            hypervisor: Hypervisor::new(&p2m),
            p2m,
            recycled: guest::Recycled::new(),
        };
        vcpu.boot();
        vcpu.hypervisor.reset_counts();
        (vcpu.hypervisor.tlb_flushes, vcpu.hypervisor.invalidated) = (0, 0);
        vcpu
    }
}

impl Default for XenVcpu {
    fn default() -> Self {
        Self::new()
    }
}
