//! The parts of a kernel that differ in a Xen PV guest ([`Config::XEN`]).
//!
//! The machine's frames are the guest's. The first ones come from the domain builder ([`guest`]), the next ones hold
//! the roots of user mode, and the page allocator has the rest. Entries of page tables hold machine frames. The
//! hardware reads and writes entries without the hypervisor; Linux's writes without a hook trap ([`XenVcpu::store`]).

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

/// Number of pages for the roots of user mode, one per address space. It bounds the address spaces that exist at a
/// time.
const MAX_USER_ROOTS: usize = 64;
/// Number of frames, from frame 0 on, that the page allocator does not own.
pub(super) const RESERVED_FRAMES: usize = STORED_FRAMES + MAX_USER_ROOTS;
/// Frames of the guest and of the machine, in pages. All guest frames have contents. The hypervisor owns the first MiB,
/// other domains the rest.
const SIZE: Size = Size { stored: FRAMES, guest: FRAMES, machine: 2 * FRAMES, first: 256 };

impl Machine {
    /// Resets the machine to the state of a domain that was just built.
    pub(super) fn boot_on_xen(&mut self) {
        self.reset();
        let pages = self.memory.base().cast::<memory::Page>();
        let cpu = &mut *self.cpu;
        let number = cpu.irq.cpu;
        (cpu.cpu, cpu.irq, cpu.lock) = (CpuState::new(), IrqState::new(), LockState::new());
        cpu.irq.cpu = number;
        (cpu.mmu, cpu.time) = (MmuState::new(), TimeState::new());
        // SAFETY: the memory has `FRAMES` page-aligned frames, accessed through raw pointers only. They live as long as
        // the machine, which owns the model.
        cpu.xen = XenVcpu::of(unsafe { memory::Memory::over(pages, FRAMES) }, SIZE);
        for pfn in (STORED_FRAMES..RESERVED_FRAMES).rev() {
            cpu.xen.memory.map[pfn].private = cpu.mmu.free_page;
            cpu.mmu.free_page = cpu.xen.memory.pfn_to_virt(pfn as u64);
        }
        self.free_all(RESERVED_FRAMES);
    }

    /// The virtual CPU of the kernel that last booted on Xen.
    #[must_use]
    pub fn vcpu(&self) -> &XenVcpu {
        &self.cpu.xen
    }

    /// The root frames of all address spaces.
    pub fn roots(&self) -> impl Iterator<Item = u64> + '_ {
        self.mms.iter().flatten().map(|mm| mm.root)
    }

    /// The frame that the hardware finds in an entry. A guest's entry holds a machine frame number, which is
    /// translated.
    #[inline(always)]
    pub(super) fn frame_in<C: Config>(&self, entry: u64) -> u64 {
        let frame = (entry & FRAME) >> 12;
        if C::XEN { self.cpu.xen.p2m.machine_to_phys(frame) } else { frame }
    }

    /// Exchanges an entry with 0 in a guest, where the write traps.
    pub(super) fn get_and_clear_trapped(&mut self, at: PageTableEntry) -> u64 {
        let old = self.memory.read(at);
        self.cpu.xen.store(at.0 as u64, 0);
        old
    }

    /// Clears the write permission of an entry in a guest, where the write traps.
    pub(super) fn write_protect_trapped(&mut self, at: PageTableEntry) {
        let old = self.memory.read(at);
        self.cpu.xen.store(at.0 as u64, old & !WRITE);
    }

    /// The root frame of the hardware's walk in user mode.
    #[inline(always)]
    pub(super) fn user_root<C: Config>(&self) -> u64 {
        if C::XEN { self.cpu.xen.p2m.machine_to_phys(self.cpu.xen.hypervisor.user_base) } else { self.mm().root }
    }
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// The entry at an index in the kernel's half of a root. A guest copies it from the boot root.
    #[inline(always)]
    pub(super) fn kernel_entry(memory: &Memory, index: u64) -> u64 {
        if C::XEN { memory.read(memory.entry(guest::ROOT, index)) } else { (index << 12) | super::table::TABLE }
    }

    /// The task argument of hooks. A guest's hooks read the task's flags; all tasks share one structure here, because
    /// no task is switched away from while it batches updates.
    #[inline(always)]
    pub(super) fn task(&mut self, number: usize) -> u64 {
        if C::XEN { (&raw mut self.machine.cpu.cpu.task) as u64 } else { number as u64 }
    }
}
