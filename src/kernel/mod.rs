//! The model kernel that workloads run on. In user space it does the work that a kernel does around its pv_ops hooks,
//! with real data structures and real memory traffic.
//!
//! [`Kernel`] is generic over the mechanism that reaches the hooks and over its [`Config`]. Every mechanism and every
//! option therefore compiles to its own kernel from the same source. The contents of a [`Machine`] are the same for all
//! kernels.
//!
//! The kernel calls its hooks where Linux 6.1 (x86-64, four levels of page tables, `CONFIG_PARAVIRT_XXL`, paravirt
//! spinlocks) calls them, in that order, and nowhere else. `pte_none`, `ptep_get_and_clear` and `ptep_set_wrprotect`,
//! for example, are not hooks. The documentation of each workload lists the hooks that it calls, with the reason.
//!
//! A kernel that booted as a Xen PV guest ([`Xen`]) does the same work on the same data. Its hooks are bound to their
//! Xen bodies and call the hypervisor of the [model](crate::op::xen), which checks every page table. The guest adds the
//! work of hardware and hypervisor to that of bare metal and changes nothing else.
//!
//! A function that is out of line in Linux is out of line here (`#[inline(never)]`). Otherwise the optimiser could
//! merge functions differently in the kernels of two mechanisms.

mod account;
pub(crate) mod areas;
pub mod config;
mod entry;
mod fault;
pub mod flags;
mod fork;
mod guard;
mod hooks;
mod map;
pub mod memory;
mod mm;
mod mprotect;
pub mod options;
mod pages;
mod sched;
mod security;
pub mod shared;
mod signal;
mod slab;
mod sync;
mod table;
mod unmap;
mod xen;

use std::marker::PhantomData;

use rand::{Rng, RngExt};
use rustix::mm::MapFlags;

pub use config::{Config, Plain, Xen};
pub use mm::{Area, Mm, Prot};

use self::memory::Memory;
use self::pages::FreeList;
use self::slab::Cache;
use crate::dispatch::Dispatch;
use crate::op::lock::RawSpinlock;
use crate::op::model::{Installed, ModelError};
use crate::op::{BodyKind, CpuModel, Op, catalogue};

/// `-ENOMEM`: the machine has no free frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: the model machine has 32 MiB; the workload must free memory or use less")]
pub struct OutOfMemory;

/// The error of a system call, or of a process's access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// `-ENOMEM`
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// `-EINVAL`
    #[error("invalid argument: {0:#x}")]
    Invalid(u64),
    /// `SIGSEGV`
    #[error("segmentation fault at {0:#x}")]
    Fault(u64),
    /// The second CPU of a workload did not start.
    #[error(
        "the second CPU did not start: the system refused its thread or its memory; raise the limits of this process"
    )]
    NoSecondCpu,
}

/// The reason why a machine cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The system refuses the CPU model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The system refuses the memory.
    #[error("cannot map 48 MiB for the model kernel: {0}; raise the memory limit of this process")]
    Memory(#[from] std::io::Error),
}

/// The data that a kernel works on: memory, processes, lists. A thread has one machine at a time, because the machine
/// holds the thread's CPU model.
pub struct Machine {
    /// Physical memory.
    pub memory: Memory,
    cpu: Installed,
    zone: FreeList,
    pcp: FreeList,
    caches: [Cache; 5],
    /// Address spaces by number; `None` for a freed one.
    mms: Vec<Option<Box<Mm>>>,
    /// Structures of freed address spaces, for reuse.
    // They move between `mms` and this list and keep their addresses.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Mm>>,
    /// Areas that exit unmaps.
    detached: Vec<Option<(u64, Area)>>,
    /// The number of the running process's address space.
    current: usize,
    run_queue: sched::RunQueue,
    /// Pages on their way to the LRU list: `lru_add` of `struct cpu_fbatches`.
    lru_batch: Vec<u64>,
    lru: account::Lru,
    sections: [u8; 64],
    in_use: [i64; 2],
    bad_pages: u64,
    preempt_count: u32,
    need_resched: bool,
    sanitize: bool,
    audit: entry::AuditContext,
    kmap: memory::PageTableEntry,
    /// `struct pt_regs` of the current system call.
    registers: [u64; entry::REGISTERS],
    sighand: RawSpinlock,
    /// The frame of a signal: 104 words of registers and FPU state.
    frame: [u64; 104],
    /// Two lists that pages move between.
    lists: [(RawSpinlock, u64); 2],
    /// Heap padding: allocations that move later ones to new addresses.
    _heap_padding: Vec<Vec<u8>>,
    /// SmallAllocations allocations of earlier machines.
    retained: Vec<SmallAllocations>,
}

/// Number of allocations of up to a page each that pad the heap between the pieces of a machine.
const HEAP_PADDING_PIECES: usize = 24;

/// The small allocations of a machine. The allocator keeps freed pieces of this size in lists and reuses the last one
/// first, so each machine would get the addresses of the machine before it.
struct SmallAllocations {
    _mms: Vec<Option<Box<Mm>>>,
    #[allow(clippy::vec_box, reason = "a cleared `spare`")]
    _spare: Vec<Box<Mm>>,
    _run_queue: sched::RunQueue,
    _lru_batch: Vec<u64>,
}

/// Number of machines whose small allocations are retained, so that each machine gets new addresses. At this number all
/// are freed, and the allocator divides their memory anew.
const MAX_RETAINED_MACHINES: usize = 64;

/// The frame of the table of fixed mappings.
const FIXMAP_FRAME: u64 = 1;
/// Number of frames, from frame 0 on, that the page allocator does not own.
const RESERVED_FRAMES: usize = 2;

fn clear<T>(mut vec: Vec<T>) -> Vec<T> {
    vec.clear();
    vec
}

impl Machine {
    /// Makes a machine in its state after boot.
    ///
    /// # Errors
    /// Fails when the system refuses the segment base or the memory.
    pub fn new() -> Result<Self, MachineError> {
        Self::boot(Memory::new(MapFlags::POPULATE)?)
    }

    /// Makes the machine of a second CPU. It starts quickly, because its pages are not populated; it hardly uses
    /// memory.
    ///
    /// # Errors
    /// As for [`new`](Machine::new).
    pub(crate) fn second() -> Result<Self, MachineError> {
        let mut machine = Self::boot(Memory::new(MapFlags::empty())?)?;
        machine.cpu.irq.cpu = 1;
        Ok(machine)
    }

    /// Moves the pieces of the machine to new addresses: `struct page`, CPU, processes and the machine itself. The
    /// frames stay. The machine must be `reset` before its next use.
    ///
    /// Addresses of data change the speed of a program as much as addresses of code, and they differ between processes.
    /// They decide which lines share a cache set, and which stores and loads appear to alias.
    ///
    /// # Errors
    /// Fails when the system refuses the segment base.
    pub fn rebuild_at_new_address(self: Box<Self>, rng: &mut impl Rng) -> Result<Box<Self>, MachineError> {
        // The padding is allocated before the old pieces are freed, so that it does not take their addresses.
        let _heap_padding =
            (0..HEAP_PADDING_PIECES).map(|_| Vec::with_capacity(rng.random_range(1..memory::PAGE))).collect();
        let Machine { mut memory, mut cpu, mut retained, mms, spare, run_queue, lru_batch, .. } = *self;
        memory.pages.rebuild_at_new_address(rng);
        cpu.rebuild_at_new_address(rng)?;
        // Address spaces are larger and are freed; only the emptied vectors are retained.
        let (mms, spare) = (clear(mms), clear(spare));
        retained.push(SmallAllocations { _mms: mms, _spare: spare, _run_queue: run_queue, _lru_batch: lru_batch });
        if retained.len() == MAX_RETAINED_MACHINES {
            retained.clear();
        }
        Ok(Box::new(Machine { _heap_padding, retained, ..Self::assemble(memory, cpu) }))
    }

    /// Moves the frames to other pages of the system, between two runs. The contents of frames have no meaning after
    /// `reset`.
    pub fn draw_frames(&mut self, rng: &mut impl Rng) {
        self.memory.draw_frames(rng);
        self.clear_reserved();
    }

    /// Clears the zero page and the table of fixed mappings.
    fn clear_reserved(&mut self) {
        (0..RESERVED_FRAMES).for_each(|frame| self.memory.fill(frame as u64, 0));
        self.kmap = self.memory.entry(FIXMAP_FRAME, 0);
    }

    /// Boots a machine on the given memory.
    fn boot(memory: Memory) -> Result<Self, MachineError> {
        let mut machine = Self::assemble(memory, CpuModel::install()?);
        machine.clear_reserved();
        machine.reset();
        Ok(machine)
    }

    /// Puts a machine together; the caller must reset it.
    fn assemble(memory: Memory, cpu: Installed) -> Self {
        let kmap = memory.entry(FIXMAP_FRAME, 0);
        Machine {
            memory,
            cpu,
            zone: FreeList::default(),
            pcp: FreeList::default(),
            caches: slab::caches(),
            mms: Vec::with_capacity(8),
            spare: Vec::with_capacity(8),
            detached: Vec::with_capacity(256),
            current: 0,
            run_queue: sched::RunQueue::default(),
            lru_batch: Vec::with_capacity(account::LRU_BATCH),
            lru: account::Lru::default(),
            sections: [0; 64],
            in_use: [0; 2],
            bad_pages: 0,
            preempt_count: 0,
            need_resched: false,
            sanitize: false,
            audit: entry::AuditContext::default(),
            kmap,
            registers: [0; entry::REGISTERS],
            sighand: RawSpinlock::new(),
            frame: [0; 104],
            lists: std::array::from_fn(|_| (RawSpinlock::new(), 0)),
            _heap_padding: Vec::new(),
            retained: Vec::with_capacity(MAX_RETAINED_MACHINES),
        }
    }

    /// Returns everything but the contents of memory to the state after boot. Every run begins with the same frames in
    /// the same order.
    pub(crate) fn reset(&mut self) {
        self.free_all(RESERVED_FRAMES);
        self.caches = slab::caches();
        for mut mm in self.mms.drain(..).flatten() {
            mm.areas.clear();
            self.spare.push(mm);
        }
        // Every run takes the same structures in the same order.
        self.spare.sort_by_key(|mm| std::ptr::from_ref::<Mm>(mm).addr());
        self.current = 0;
        self.run_queue = sched::RunQueue::default();
        self.lru_batch.clear();
        self.lru = account::Lru::default();
        self.in_use = [0; 2];
        self.bad_pages = 0;
        self.preempt_count = 0;
        self.need_resched = false;
        self.audit = entry::AuditContext::default();
        self.sighand = RawSpinlock::new();
        self.frame = [0; 104];
        self.lists = std::array::from_fn(|_| (RawSpinlock::new(), 0));
        security::register();
    }

    /// Whether the kernel zeroes freed memory, for kernels that test it ([`config::Sanitize`]).
    #[inline(always)]
    fn sanitize(&self) -> bool {
        // SAFETY: the machine's own field; the load is volatile, because a boot option sets it.
        unsafe { (&raw const self.sanitize).read_volatile() }
    }

    /// The number of allocated pages.
    #[must_use]
    pub fn pages_in_use(&self) -> i64 {
        self.in_use.iter().sum()
    }
}

/// Binds every hook. The function exists once per mechanism, not once per kernel, because it is as long as the
/// catalogue.
#[inline(never)]
pub(crate) fn bind_hooks<D: Dispatch>(body: BodyKind) {
    struct Bind<D>(BodyKind, PhantomData<fn(D)>);
    impl<D: Dispatch> catalogue::OpVisitor for Bind<D> {
        fn visit<O: Op>(&mut self) {
            D::bind::<O>(self.0);
        }
    }
    catalogue::for_each(&mut Bind::<D>(body, PhantomData));
}

/// A kernel on a machine.
pub struct Kernel<'m, D, C> {
    machine: &'m mut Machine,
    _kind: PhantomData<fn(D, C)>,
}

impl<'m, D: Dispatch, C: Config> Kernel<'m, D, C> {
    /// Boots a kernel: binds the hooks to native bodies, or to Xen's where the configuration says so.
    /// [`patch`](crate::patch) must have bound a mechanism whose calls are rewritten before this call.
    pub fn new(machine: &'m mut Machine) -> Self {
        bind_hooks::<D>(if C::XEN { BodyKind::Xen } else { BodyKind::Native });
        if C::XEN {
            machine.boot_on_xen();
        }
        machine.sanitize = C::SANITIZE == config::Sanitize::On;
        Kernel { machine, _kind: PhantomData }
    }

    /// The machine that this kernel runs on.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        self.machine
    }
}
