//! Security hooks (`security/security.c`): lists of functions that are asked in turn.

use std::sync::OnceLock;

use super::{Config, Kernel, KernelError};
use crate::dispatch::Dispatch;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// `security_mmap_addr`
    MmapAddr,
    /// `security_file_mprotect`
    Mprotect,
    /// `security_vm_enough_memory_mm`
    EnoughMemory,
    /// `security_task_alloc`
    TaskAlloc,
    /// `security_bprm_check`
    BprmCheck,
}

type Hook = fn(Ask, u64) -> i32;

/// `struct security_hook_list`
struct Listed {
    hook: Hook,
    next: Option<&'static Listed>,
}

/// The capability module and one with a policy, as a distribution's kernel has.
static CAPABILITY: Listed = Listed { hook: capability, next: Some(&POLICY) };
static POLICY: Listed = Listed { hook: policy, next: None };

/// Heads of the lists: known at boot, not to the compiler.
static HEADS: OnceLock<[&'static Listed; 5]> = OnceLock::new();

/// Lists the modules.
pub(super) fn register() {
    HEADS.get_or_init(|| std::hint::black_box([&CAPABILITY; 5]));
}

/// `cap_mmap_addr` and its like.
#[inline(never)]
fn capability(ask: Ask, value: u64) -> i32 {
    // `dac_mmap_min_addr`
    if ask == Ask::MmapAddr && value < 0x1_0000 { -1 } else { 0 }
}

/// A look-up in a table of decisions, as `avc_has_perm` does.
#[inline(never)]
fn policy(ask: Ask, value: u64) -> i32 {
    static DECISIONS: [u32; 64] = [u32::MAX; 64];
    let place = (ask as u64).wrapping_mul(0x9e37_79b9).wrapping_add(value >> 40) as usize & 63;
    if std::hint::black_box(&DECISIONS)[place] & (1 << (ask as u32)) == 0 { -13 } else { 0 }
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `call_int_hook`
    ///
    /// # Errors
    /// Where a module refuses.
    #[inline(always)]
    pub(super) fn security(&self, ask: Ask, value: u64) -> Result<(), KernelError> {
        if C::SECURITY { walk(ask, value) } else { Ok(()) }
    }
}

#[inline(never)]
fn walk(ask: Ask, value: u64) -> Result<(), KernelError> {
    let mut module = HEADS.get().map(|heads| heads[ask as usize]);
    while let Some(listed) = module {
        if (listed.hook)(ask, value) != 0 {
            return Err(KernelError::Invalid(value));
        }
        module = listed.next;
    }
    Ok(())
}
