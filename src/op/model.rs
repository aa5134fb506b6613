//! The CPU model: the state that privileged instructions read or change, held in memory.
//!
//! Each thread has one model and finds it through the `gs` segment, as Linux finds its per-CPU data. A modelled
//! instruction is therefore one load or store at a fixed offset, needs no register, and can be copied anywhere. `gs` is
//! free in user space on x86-64 (psABI: only `fs` is taken, for thread-local storage); `arch_prctl(ARCH_SET_GS)` sets
//! it.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use rand::{Rng, RngExt};

use super::cpu::CpuState;
use super::irq::IrqState;
use super::lock::LockState;
use super::mmu::MmuState;
use super::time::TimeState;
use super::xen::XenVcpu;

/// `arch/x86/include/uapi/asm/prctl.h`
const ARCH_SET_GS: libc::c_int = 0x1001;
const ARCH_GET_GS: libc::c_int = 0x1004;

/// One CPU's privileged state. Fields are grouped by the pv_ops structure whose ops use them.
///
/// Offsets into this structure (`core::mem::offset_of!`) are the displacements of the modelled instructions. The
/// structure stays far below 2 GiB, so each is a 32-bit displacement off `gs`.
#[repr(C, align(64))]
pub struct CpuModel {
    /// Points to the model itself, as `%gs:0` of a thread library does.
    this: *mut CpuModel,
    /// Control registers, descriptor tables, MSRs.
    pub cpu: CpuState,
    /// The interrupt flag, the halted state, and interrupt hardware.
    pub irq: IrqState,
    /// Page-table roots, faults, TLB generations, a piece of modelled physical memory.
    pub mmu: MmuState,
    /// Locks, and the state of waiting for them.
    pub lock: LockState,
    /// Clocks.
    pub time: TimeState,
    /// The state that a Xen PV guest shares with its hypervisor.
    pub xen: XenVcpu,
}

/// The reason why no CPU model could be installed or moved.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The kernel refused to set the segment base.
    #[error("the kernel refused arch_prctl(ARCH_SET_GS): {0}; the CPU model needs the gs segment, so allow this call")]
    SegmentBase(#[source] std::io::Error),
}

/// An installed CPU model: this thread's `gs` points to it until another one is installed. Dropping it frees the model.
///
/// Not `Send`: the segment base belongs to the thread.
pub struct Installed {
    model: NonNull<CpuModel>,
    memory: NonNull<ModelMemory>,
}

/// Memory for a model plus one page, so that the model can move within it.
type ModelMemory = [MaybeUninit<CacheLine>; MODEL_LINES + SPARE_LINES];

/// A cache line, 64 bytes: a model begins at the start of one.
#[repr(C, align(64))]
struct CacheLine([u8; 64]);

/// Cache lines that a model takes.
const MODEL_LINES: usize = size_of::<CpuModel>() / size_of::<CacheLine>();
/// Cache lines beyond the model, one page in all: the model can begin at 65 addresses.
const SPARE_LINES: usize = 64;

impl CpuModel {
    /// Creates a CPU model in its state after boot and installs it for this thread.
    ///
    /// # Errors
    /// [`ModelError::SegmentBase`] if the kernel refuses the call, as a strict system-call filter does.
    pub fn install() -> Result<Installed, ModelError> {
        // A raw pointer from here on: the bodies access the model without a Rust reference to it.
        let lines = [const { MaybeUninit::uninit() }; MODEL_LINES + SPARE_LINES];
        let memory = NonNull::from(Box::leak(Box::<ModelMemory>::new(lines)));
        let model = memory.cast::<CpuModel>();
        let after_boot = CpuModel {
            this: std::ptr::null_mut(),
            cpu: CpuState::new(),
            irq: IrqState::new(),
            mmu: MmuState::new(),
            lock: LockState::new(),
            time: TimeState::new(),
            xen: XenVcpu::new(),
        };
        // SAFETY: aligned to a cache line, within the memory, and used by nobody else.
        unsafe { model.write(CpuModel { this: model.as_ptr(), ..after_boot }) };
        let installed = Installed { model, memory };
        set_gs(model.as_ptr() as usize).map_err(ModelError::SegmentBase)?;
        Ok(installed)
    }

    /// The model of this thread, for bodies written in Rust. References to it end with the value that this returns.
    ///
    /// # Safety
    /// A model is installed on this thread, and no other reference to it is used while one made from this value is.
    #[inline(always)]
    #[must_use]
    pub(crate) unsafe fn current() -> Current {
        let this: *mut CpuModel;
        // SAFETY: the load needs a valid `gs` base: it points to an installed model, whose field `this` points to
        // itself.
        unsafe {
            std::arch::asm!("mov {}, gs:[{}]", out(reg) this, const std::mem::offset_of!(CpuModel, this),
                options(nostack, preserves_flags, readonly));
        }
        Current(this)
    }
}

/// Access to this thread's CPU model; see `CpuModel::current`.
pub struct Current(*mut CpuModel);

impl std::ops::Deref for Current {
    type Target = CpuModel;
    #[inline(always)]
    fn deref(&self) -> &CpuModel {
        // SAFETY: a reference needs a live model that nobody changes meanwhile: the caller of `current` vouches for it.
        unsafe { &*self.0 }
    }
}

impl std::ops::DerefMut for Current {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut CpuModel {
        // SAFETY: a unique reference needs a live model without other references in use: the caller of `current`
        // vouches for it.
        unsafe { &mut *self.0 }
    }
}

impl Installed {
    /// Moves the model to another address, drawn from `rng`.
    ///
    /// # Errors
    /// As for [`CpuModel::install`]; the model then stays at its address.
    pub(crate) fn rebuild_at_new_address(&mut self, rng: &mut impl Rng) -> Result<(), ModelError> {
        let line = rng.random_range(0..=SPARE_LINES);
        // SAFETY: within the memory, with enough lines behind it for a model.
        let target = unsafe { self.memory.cast::<CacheLine>().add(line) }.cast::<CpuModel>();
        set_gs(target.as_ptr() as usize).map_err(ModelError::SegmentBase)?;
        // SAFETY: both within the memory; no body runs meanwhile, and nobody refers to the model (`&mut self`).
        unsafe {
            target.copy_from(self.model, 1);
            (*target.as_ptr()).this = target.as_ptr();
        }
        self.model = target;
        Ok(())
    }
}

impl std::ops::Deref for Installed {
    type Target = CpuModel;
    fn deref(&self) -> &CpuModel {
        // SAFETY: allocated by `install`, freed by `drop`; bodies run only between uses of this reference.
        unsafe { self.model.as_ref() }
    }
}

impl std::ops::DerefMut for Installed {
    fn deref_mut(&mut self) -> &mut CpuModel {
        // SAFETY: a unique reference needs a live model without other references in use: allocated by `install`, freed
        // by `drop`; bodies run only between uses of this reference.
        unsafe { self.model.as_mut() }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // With a segment base of 0, a later use faults instead of reading freed memory. A refusal cannot be handled
        // here, and a kernel that accepted the first call accepts this one.
        if gs() == self.model.as_ptr() as usize {
            let _ = set_gs(0);
        }
        // SAFETY: written by `install`, leaked by it, and `gs` no longer points there.
        unsafe {
            self.model.drop_in_place();
            drop(Box::from_raw(self.memory.as_ptr()));
        }
    }
}

fn set_gs(base: usize) -> std::io::Result<()> {
    // SAFETY: the call must not change a base that other code uses: Rust programs on x86-64 Linux leave the gs segment
    // alone (psABI).
    let done = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, base) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// This thread's segment base; 0 if the kernel does not tell it.
fn gs() -> usize {
    let mut base = 0_usize;
    // SAFETY: the kernel writes one word, to a variable of that size.
    let done = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_GS, &raw mut base) };
    if done == 0 { base } else { 0 }
}
