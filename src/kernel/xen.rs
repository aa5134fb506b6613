//! What a kernel that booted as a Xen PV guest has in place of bare metal ([`Config::XEN`]).
//!
//! Its frames are the guest's: the first are those that the domain builder gives it ([`guest`]), then come pages for
//! user mode's roots, the others are the page allocator's. Entries of page tables hold machine frames. What the
//! hardware does with them goes past the hypervisor; what Linux writes to them without a hook traps
//! ([`XenVcpu::store`]).

use super::memory::{FRAMES, Memory, PageTableEntry};
use super::table::{FRAME, WRITE};
use super::{Config, Kernel, Machine};
use crate::dispatch::Dispatch;
use crate::op::cpu::CpuState;
use crate::op::irq::IrqState;
use crate::op::lock::LockState;
use crate::op::mmu::MmuState;
use crate::op::time::TimeState;
use crate::op::xen::memory::{self, STORED_FRAMES};
use crate::op::xen::{Size, XenVcpu, guest};

/// Pages for user mode's roots: one for each address space there can be at a time.
const USER_ROOTS: usize = 64;
/// Frames that the allocator does not give away.
pub(super) const RESERVED_FRAMES: usize = STORED_FRAMES + USER_ROOTS;
/// All frames of the model kernel have contents. The hypervisor has the first MiB, and others a part behind.
const SIZE: Size = Size { stored: FRAMES, guest: FRAMES, machine: 2 * FRAMES, first: 256 };

impl Machine {
    /// As after [`reset`](Machine::reset), as a domain that was just built.
    pub(super) fn boot_on_xen(&mut self) {
        self.reset();
        let pages = self.memory.base().cast::<memory::Page>();
        let cpu = &mut *self.cpu;
        let number = cpu.irq.cpu;
        (cpu.cpu, cpu.irq, cpu.lock) = (CpuState::new(), IrqState::new(), LockState::new());
        cpu.irq.cpu = number;
        (cpu.mmu, cpu.time) = (MmuState::new(), TimeState::new());
        // SAFETY: so many frames are there, at page boundaries, and reached through raw pointers alone; they go when
        // the machine goes, to which the model belongs.
        cpu.xen = XenVcpu::of(unsafe { memory::Memory::over(pages, FRAMES) }, SIZE);
        for pfn in (STORED_FRAMES..RESERVED_FRAMES).rev() {
            cpu.xen.memory.map[pfn].private = cpu.mmu.free_page;
            cpu.mmu.free_page = cpu.xen.memory.pfn_to_virt(pfn as u64);
        }
        self.free_all(RESERVED_FRAMES);
    }

    /// The virtual CPU of the kernel that was last booted on Xen.
    #[must_use]
    pub fn vcpu(&self) -> &XenVcpu {
        &self.cpu.xen
    }

    /// The frames of the roots of all address spaces there are.
    pub fn roots(&self) -> impl Iterator<Item = u64> + '_ {
        self.mms.iter().flatten().map(|mm| mm.root)
    }

    /// The frame that an entry leads to, as the hardware reads it: in a guest's, the number is the machine's.
    #[inline(always)]
    pub(super) fn frame_in<C: Config>(&self, entry: u64) -> u64 {
        let frame = (entry & FRAME) >> 12;
        if C::XEN { self.cpu.xen.p2m.machine_to_phys(frame) } else { frame }
    }

    /// `xchg` of an entry with 0, by a guest.
    pub(super) fn take_trapped(&mut self, at: PageTableEntry) -> u64 {
        let old = self.memory.read(at);
        self.cpu.xen.store(at.0 as u64, 0);
        old
    }

    /// Takes the write permission from an entry, by a guest.
    pub(super) fn write_protect_trapped(&mut self, at: PageTableEntry) {
        let old = self.memory.read(at);
        self.cpu.xen.store(at.0 as u64, old & !WRITE);
    }

    /// The root from which the hardware walks in user mode.
    #[inline(always)]
    pub(super) fn user_root<C: Config>(&self) -> u64 {
        if C::XEN { self.cpu.xen.p2m.machine_to_phys(self.cpu.xen.hypervisor.user_base) } else { self.mm().root }
    }
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// What the kernel's half of a root holds at an index: in a guest what the boot root has.
    #[inline(always)]
    pub(super) fn kernel_entry(memory: &Memory, index: u64) -> u64 {
        if C::XEN { memory.read(memory.entry(guest::ROOT, index)) } else { (index << 12) | super::table::TABLE }
    }

    /// What hooks are given for a task. A guest's look at its flags: those of any task here, for none is ever switched
    /// away from while it batches updates.
    #[inline(always)]
    pub(super) fn task(&mut self, number: usize) -> u64 {
        if C::XEN { (&raw mut self.machine.cpu.cpu.task) as u64 } else { number as u64 }
    }
}
