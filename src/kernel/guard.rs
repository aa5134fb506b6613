//! The stack canary that a compiler adds to functions for `CONFIG_STACKPROTECTOR_STRONG`.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Config;

/// `fixed_percpu_data.stack_canary`
static CANARY: AtomicU64 = AtomicU64::new(0x5bd1_e995_9e37_7900);

/// A canary on the stack: written at the start of a function, compared at its end.
pub(super) struct Guard<C> {
    slot: u64,
    _config: PhantomData<fn(C)>,
}

/// Begins a guarded function.
#[inline(always)]
pub(super) fn guard<C: Config>() -> Guard<C> {
    let mut guard = Guard { slot: 0, _config: PhantomData };
    if C::STACK_PROTECTOR {
        // SAFETY: the guard's own field; the store is volatile, because the compiler would remove a plain one.
        unsafe { (&raw mut guard.slot).write_volatile(CANARY.load(Ordering::Relaxed)) };
    }
    guard
}

impl<C> Guard<C> {
    fn holds(&self) -> bool {
        // SAFETY: the guard's own field.
        unsafe { (&raw const self.slot).read_volatile() == CANARY.load(Ordering::Relaxed) }
    }
}

impl<C: Config> Guard<C> {
    /// Ends a guarded function. A changed canary ends the process, as `__stack_chk_fail` ends the kernel.
    #[inline(always)]
    pub(super) fn end(self) {
        if C::STACK_PROTECTOR && !self.holds() {
            std::process::abort();
        }
    }
}
