//! The CPU model: what a privileged instruction would read or change, as memory.
//!
//! One model per thread, found through the `gs` segment as Linux finds its per-CPU data, so that a modelled
//! instruction is one load or store at a fixed offset, needs no register, and can be copied anywhere. `gs` is free in
//! user space on x86-64 (psABI: only `fs` is taken, for thread-local storage) and set by `arch_prctl(ARCH_SET_GS)`.

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
/// Offsets into this structure (`core::mem::offset_of!`) are the displacements of the modelled instructions; the whole
/// stays far below 2 GiB, so each is a 32-bit displacement off `gs`.
#[repr(C, align(64))]
pub struct CpuModel {
    /// Points to the model itself, as `%gs:0` of a thread library does.
    this: *mut CpuModel,
    /// Control registers, descriptor tables, MSRs.
    pub cpu: CpuState,
    /// The interrupt flag and what halting does.
    pub irq: IrqState,
    /// Page-table roots, faults, TLB generations, a piece of modelled physical memory.
    pub mmu: MmuState,
    /// Locks to measure on.
    pub lock: LockState,
    /// Clocks.
    pub time: TimeState,
    /// What a Xen PV guest shares with its hypervisor.
    pub xen: XenVcpu,
}

/// Why no CPU model could be installed.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The kernel refused to set the segment base.
    #[error("arch_prctl(ARCH_SET_GS) was refused: {0}; the modelled CPU needs the gs segment")]
    SegmentBase(#[source] std::io::Error),
}

/// A CPU model that this thread's `gs` points to, until another is installed; gone when dropped.
///
/// Not `Send`: the segment base belongs to the thread.
pub struct Installed {
    model: NonNull<CpuModel>,
    room: NonNull<Room>,
}

/// Room for a model, and a page more, so that it can lie elsewhere.
type Room = [MaybeUninit<CacheLine>; LINES + SPARE];

/// A line of the cache, on which a model begins.
#[repr(C, align(64))]
struct CacheLine([u8; 64]);

const LINES: usize = size_of::<CpuModel>() / size_of::<CacheLine>();
const SPARE: usize = 64;

impl CpuModel {
    /// Makes a CPU in its state after boot and installs it for this thread.
    ///
    /// # Errors
    /// [`ModelError::SegmentBase`] where the kernel refuses, as under a strict system-call filter.
    pub fn install() -> Result<Installed, ModelError> {
        // A raw pointer from here on: the bodies reach the model past any reference to it.
        let room = NonNull::from(Box::leak(Box::<Room>::new([const { MaybeUninit::uninit() }; LINES + SPARE])));
        let model = room.cast::<CpuModel>();
        let after_boot = CpuModel {
            this: std::ptr::null_mut(),
            cpu: CpuState::new(),
            irq: IrqState::new(),
            mmu: MmuState::new(),
            lock: LockState::new(),
            time: TimeState::new(),
            xen: XenVcpu::new(),
        };
        // SAFETY: aligned as a line, within the room, and nobody else's.
        unsafe { model.write(CpuModel { this: model.as_ptr(), ..after_boot }) };
        let installed = Installed { model, room };
        set_gs(model.as_ptr() as usize).map_err(ModelError::SegmentBase)?;
        Ok(installed)
    }

    /// The model of this thread, for bodies written in Rust.
    ///
    /// # Safety
    /// A model is installed on this thread, and no other reference to it is in use.
    #[inline(always)]
    #[must_use]
    pub unsafe fn current<'a>() -> &'a mut CpuModel {
        let this: *mut CpuModel;
        // SAFETY: `gs` points to an installed model, whose field `this` points to itself.
        unsafe {
            std::arch::asm!("mov {}, gs:[{}]", out(reg) this, const std::mem::offset_of!(CpuModel, this),
                options(nostack, preserves_flags, readonly));
            &mut *this
        }
    }
}

impl Installed {
    /// Moves the model to another place, drawn from `rng`.
    ///
    /// # Errors
    /// As for [`CpuModel::install`]; it is where it was then.
    pub fn rebuild_at_new_address(&mut self, rng: &mut impl Rng) -> Result<(), ModelError> {
        // SAFETY: within the room, where a model is left behind it.
        let place = unsafe { self.room.cast::<CacheLine>().add(rng.random_range(0..=SPARE)) }.cast::<CpuModel>();
        set_gs(place.as_ptr() as usize).map_err(ModelError::SegmentBase)?;
        // SAFETY: both within the room; no body runs meanwhile, and nobody refers to the model (`&mut self`).
        unsafe {
            place.copy_from(self.model, 1);
            (*place.as_ptr()).this = place.as_ptr();
        }
        self.model = place;
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
        // SAFETY: as for `deref`.
        unsafe { self.model.as_mut() }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // A segment base of 0 makes a forgotten use fault instead of reading freed memory. Refusal cannot be handled
        // here, and a kernel that took the first call takes this one.
        if gs() == self.model.as_ptr() as usize {
            let _ = set_gs(0);
        }
        // SAFETY: written by `install`, leaked by it, and `gs` no longer points there.
        unsafe {
            self.model.drop_in_place();
            drop(Box::from_raw(self.room.as_ptr()));
        }
    }
}

fn set_gs(base: usize) -> std::io::Result<()> {
    // SAFETY: nothing else in a Rust program on x86-64 Linux uses the gs segment (psABI), so changing its base
    // changes nobody's memory.
    let done = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, base) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// This thread's segment base; 0 where the kernel does not say.
fn gs() -> usize {
    let mut base = 0_usize;
    // SAFETY: the kernel writes one word, to a variable of that size.
    let done = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_GS, &raw mut base) };
    if done == 0 { base } else { 0 }
}
