//! The model kernel of the workloads: in user space, with real data structures and real memory traffic, the work that a
//! kernel does around its pv_ops hooks.
//!
//! [`Kernel`] is generic over the mechanism that reaches the hooks and over its [`Config`], so that every mechanism and
//! every option compiles to a kernel of its own from the same source; what a [`Machine`] holds is the same for all.
//! Hooks are called where Linux 6.1 (x86-64, four levels of page tables, `CONFIG_PARAVIRT_XXL`, paravirt spinlocks)
//! calls them, in that order, and nowhere else: `pte_none`, `ptep_get_and_clear` and `ptep_set_wrprotect`, for example,
//! are none. `docs` of each workload say which hooks it calls and why.
//!
//! A kernel that booted as a Xen PV guest ([`Xen`]) does the same work on the same data with the hooks bound to their
//! Xen bodies, against the hypervisor of the [model](crate::op::xen), which checks every page table: to bare metal it
//! adds what the hardware and the hypervisor do there, and changes nothing of it.
//!
//! What is out of line in Linux is out of line here (`#[inline(never)]`), so that one mechanism's kernel does not
//! differ from another's by what the optimiser made of a larger function.

mod account;
pub mod areas;
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
pub use sched::Thread;

use self::memory::Memory;
use self::pages::FreeList;
use self::slab::Cache;
use crate::dispatch::Dispatch;
use crate::op::lock::RawSpinlock;
use crate::op::model::{Installed, ModelError};
use crate::op::{BodyKind, CpuModel, Op, catalogue};

/// No frame is left: `-ENOMEM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: the model machine has 32 MiB")]
pub struct OutOfMemory;

/// What a system call or an access of a process comes to, if not to its end.
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
    /// A second CPU was to take part, and did not come up.
    #[error("the second CPU did not come up: no thread, or no memory for its machine")]
    NoSecondCpu,
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The modelled CPU.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Its memory.
    #[error("cannot map 48 MiB for the model kernel: {0}")]
    Memory(#[from] std::io::Error),
}

/// What a kernel works on: memory, processes, lists. One at a time per thread, for it holds the thread's CPU model.
pub struct Machine {
    /// Physical memory.
    pub memory: Memory,
    cpu: Installed,
    zone: FreeList,
    pcp: FreeList,
    caches: [Cache; 5],
    /// Address spaces; `None` for those that are gone.
    mms: Vec<Option<Box<Mm>>>,
    /// Structures of address spaces that are gone, to be used again.
    // They come from `mms` and go back there, and stay where they are meanwhile.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Mm>>,
    /// Areas that exit unmaps.
    detached: Vec<Option<(u64, Area)>>,
    /// That of the running process.
    current: usize,
    /// The run queue.
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
    /// `struct pt_regs` of the system call at hand.
    registers: [u64; entry::REGISTERS],
    sighand: RawSpinlock,
    /// A signal's frame: 104 words of registers and FPU state.
    frame: [u64; 104],
    /// Two lists that pages move between.
    lists: [(RawSpinlock, u64); 2],
    /// What else the allocator gave, so that it gives other places.
    _ballast: Vec<Vec<u8>>,
    /// Small pieces that machines before this one consisted of.
    kept: Vec<Small>,
}

/// So many pieces of up to a page lie about among what a machine is made of.
const BALLAST: usize = 24;

/// What a machine has in pieces so small that the allocator keeps them by their size and gives back the last one: every
/// machine would have those of the one before it.
struct Small {
    _mms: Vec<Option<Box<Mm>>>,
    #[allow(clippy::vec_box, reason = "an emptied `spare`")]
    _spare: Vec<Box<Mm>>,
    _run_queue: sched::RunQueue,
    _lru_batch: Vec<u64>,
}

/// Small pieces of so many machines are kept, so that each has others; then all go, and what they leave is divided
/// anew.
const KEPT: usize = 64;

/// The frame that fixed mappings are kept in.
const FIXMAP_FRAME: u64 = 1;
/// Frames that the allocator does not give away.
const RESERVED_FRAMES: usize = 2;

fn emptied<T>(mut vec: Vec<T>) -> Vec<T> {
    vec.clear();
    vec
}

impl Machine {
    /// A machine after boot.
    ///
    /// # Errors
    /// Where the system refuses the segment base or the memory.
    pub fn new() -> Result<Self, MachineError> {
        Self::with(Memory::new(MapFlags::POPULATE)?)
    }

    /// That of another CPU, which starts quickly and hardly uses memory of its own.
    ///
    /// # Errors
    /// As for [`new`](Machine::new).
    pub fn second() -> Result<Self, MachineError> {
        let mut machine = Self::with(Memory::new(MapFlags::empty())?)?;
        machine.cpu.irq.cpu = 1;
        Ok(machine)
    }

    /// The same machine with everything that it consists of elsewhere, but for its frames: `struct page`, CPU,
    /// processes, and itself. It is to be [`reset`](Machine::reset) before it does anything.
    ///
    /// Where data lies moves a program as much as where its code does, and every process has it elsewhere: which lines
    /// share a set of a cache, which stores and loads seem to be of one address.
    ///
    /// # Errors
    /// Where the system refuses the segment base.
    pub fn rebuild_at_new_address(self: Box<Self>, rng: &mut impl Rng) -> Result<Box<Self>, MachineError> {
        // Before the others are given back, which these then cannot take the places of.
        let _ballast = (0..BALLAST).map(|_| Vec::with_capacity(rng.random_range(1..memory::PAGE))).collect();
        let Machine { mut memory, mut cpu, mut kept, mms, spare, run_queue, lru_batch, .. } = *self;
        memory.pages.rebuild_at_new_address(rng);
        cpu.rebuild_at_new_address(rng)?;
        // Processes are larger, and none is kept.
        let (mms, spare) = (emptied(mms), emptied(spare));
        kept.push(Small { _mms: mms, _spare: spare, _run_queue: run_queue, _lru_batch: lru_batch });
        if kept.len() == KEPT {
            kept.clear();
        }
        Ok(Box::new(Machine { _ballast, kept, ..Self::of(memory, cpu) }))
    }

    /// Draws other pages of the system's for the frames, between two runs: what frames hold is nothing that counts
    /// after
    /// [`reset`](Machine::reset).
    pub fn draw_frames(&mut self, rng: &mut impl Rng) {
        self.memory.draw_frames(rng);
        self.clear_reserved();
    }

    /// Clears the zero page, and the table of fixed mappings.
    fn clear_reserved(&mut self) {
        (0..RESERVED_FRAMES).for_each(|frame| self.memory.fill(frame as u64, 0));
        self.kmap = self.memory.entry(FIXMAP_FRAME, 0);
    }

    /// One after boot.
    fn with(memory: Memory) -> Result<Self, MachineError> {
        let mut machine = Self::of(memory, CpuModel::install()?);
        machine.clear_reserved();
        machine.reset();
        Ok(machine)
    }

    fn of(memory: Memory, cpu: Installed) -> Self {
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
            _ballast: Vec::new(),
            kept: Vec::with_capacity(KEPT),
        }
    }

    /// Everything as after boot, but for what memory holds: every run begins with the same frames in the same order.
    pub fn reset(&mut self) {
        self.free_all(RESERVED_FRAMES);
        self.caches = slab::caches();
        for mut mm in self.mms.drain(..).flatten() {
            mm.areas.clear();
            self.spare.push(mm);
        }
        // The same structures in the same order every time.
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

    /// Whether freed memory is to be zeroed, for kernels that ask ([`config::Sanitize`]).
    #[inline(always)]
    fn sanitize(&self) -> bool {
        // SAFETY: the machine's own field; volatile, since a boot option sets it.
        unsafe { (&raw const self.sanitize).read_volatile() }
    }

    /// Pages that are allocated and not free.
    #[must_use]
    pub fn pages_in_use(&self) -> i64 {
        self.in_use.iter().sum()
    }
}

/// Binds every hook. Once per mechanism and not in each kernel: it is as long as the catalogue.
#[inline(never)]
pub(crate) fn bind_hooks<D: Dispatch>(platform: BodyKind) {
    struct Bind<D>(BodyKind, PhantomData<fn(D)>);
    impl<D: Dispatch> catalogue::OpVisitor for Bind<D> {
        fn visit<O: Op>(&mut self) {
            D::bind::<O>(self.0);
        }
    }
    catalogue::for_each(&mut Bind::<D>(platform, PhantomData));
}

/// A kernel on a machine.
pub struct Kernel<'m, D, C> {
    machine: &'m mut Machine,
    _kind: PhantomData<fn(D, C)>,
}

impl<'m, D: Dispatch, C: Config> Kernel<'m, D, C> {
    /// Boots: binds the hooks to native bodies, or to Xen's where the configuration says so. A mechanism whose calls
    /// are rewritten is bound by [`patch`](crate::patch), and is to be so before.
    pub fn new(machine: &'m mut Machine) -> Self {
        bind_hooks::<D>(if C::XEN { BodyKind::Xen } else { BodyKind::Native });
        if C::XEN {
            machine.boot_on_xen();
        }
        machine.sanitize = C::SANITIZE == config::Sanitize::On;
        Kernel { machine, _kind: PhantomData }
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        self.machine
    }
}
