//! Security hooks (`security/security.c`): lists of functions, called in turn.

use std::sync::OnceLock;

use super::{Config, Kernel, KernelError};
use crate::dispatch::Dispatch;

/// The request that a security hook decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecurityRequest {
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

type Hook = fn(SecurityRequest, u64) -> i32;

/// `struct security_hook_list`
struct HookEntry {
    hook: Hook,
    next: Option<&'static HookEntry>,
}

/// The capability module and one with a policy, as in a distribution's kernel.
static CAPABILITY: HookEntry = HookEntry { hook: capability, next: Some(&POLICY) };
static POLICY: HookEntry = HookEntry { hook: policy, next: None };

/// Heads of the lists. They are set at run time, so that the compiler does not know them.
static HEADS: OnceLock<[&'static HookEntry; 5]> = OnceLock::new();

/// Registers the modules.
pub(super) fn register() {
    HEADS.get_or_init(|| std::hint::black_box([&CAPABILITY; 5]));
}

/// The capability module: `cap_mmap_addr` and the like.
#[inline(never)]
fn capability(request: SecurityRequest, value: u64) -> i32 {
    // `dac_mmap_min_addr`
    if request == SecurityRequest::MmapAddr && value < 0x1_0000 { -1 } else { 0 }
}

/// The policy module: a look-up in a table of decisions, as in `avc_has_perm`.
#[inline(never)]
fn policy(request: SecurityRequest, value: u64) -> i32 {
    static DECISIONS: [u32; 64] = [u32::MAX; 64];
    let index = (request as u64).wrapping_mul(0x9e37_79b9).wrapping_add(value >> 40) as usize & 63;
    if std::hint::black_box(&DECISIONS)[index] & (1 << (request as u32)) == 0 { -13 } else { 0 }
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `call_int_hook`
    ///
    /// # Errors
    /// Fails when a module refuses the request.
    #[inline(always)]
    pub(super) fn security(&self, request: SecurityRequest, value: u64) -> Result<(), KernelError> {
        if C::SECURITY { call_hooks(request, value) } else { Ok(()) }
    }
}

#[inline(never)]
fn call_hooks(request: SecurityRequest, value: u64) -> Result<(), KernelError> {
    let mut module = HEADS.get().map(|heads| heads[request as usize]);
    while let Some(entry) = module {
        if (entry.hook)(request, value) != 0 {
            return Err(KernelError::Invalid(value));
        }
        module = entry.next;
    }
    Ok(())
}
