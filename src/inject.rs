//! Regressions to try the gate on. Builds with the feature `inject` have them, and no others.
//!
//! `inject-load` puts one more load in the way of `table`. The other two are switched on by the environment variable
//! `PVBENCH_INJECT`: `fallback` or `work`.

use std::arch::asm;
use std::ffi::{OsStr, OsString};
use std::sync::OnceLock;

#[cfg(feature = "inject-load")]
use crate::dispatch::{PV_OPS, Slots};
#[cfg(feature = "inject-load")]
use crate::op::{Args, Op, Reg, Ret};

/// Sites of `site_callee_save` that are to hold native instructions silently stay indirect calls.
pub fn fallback() -> bool {
    injected("fallback")
}

/// About a hundredth more work in the workload `mmap_perf` on kernels with `site`.
fn work() -> bool {
    injected("work")
}

fn injected(name: &str) -> bool {
    static INJECTED: OnceLock<Option<OsString>> = OnceLock::new();
    INJECTED.get_or_init(|| std::env::var_os("PVBENCH_INJECT")).as_deref() == Some(OsStr::new(name))
}

#[cfg(feature = "inject-load")]
static TABLE: &Slots = &PV_OPS;

/// What `table` does instead: the table is reached through a pointer, and the call depends on the load of that.
///
/// # Safety
/// As for [`crate::dispatch::Dispatch::call`].
#[cfg(feature = "inject-load")]
#[inline(always)]
pub unsafe fn call_through_pointer<O: Op>(args: O::Args) -> O::Ret {
    let [a, b, c, d] = args.into_regs();
    let result: Reg;
    // SAFETY: as for `table`, whose slots the pointer leads to.
    unsafe {
        asm!("mov rax, qword ptr [rip + {table}]", "call qword ptr [rax + {offset}]", table = sym TABLE,
            offset = const O::SLOT * 8, in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result,
            clobber_abi("C"));
        O::Ret::from_reg(result)
    }
}

/// With `work`, more at the end of a unit of `mmap_perf` on kernels with `site`: twice sixteen adds, each of which
/// waits for the one before, where the unit itself executes some 3,250 instructions in 1,740 cycles.
#[inline(always)]
pub fn more(workload: &str, mechanism: &str) {
    if workload == "mmap_perf" && mechanism == "site" && work() {
        // SAFETY: registers alone.
        unsafe {
            asm!(".rept 16", "add {one}, 1", "add {two}, 1", ".endr", one = inout(reg) 0u64 => _,
                two = inout(reg) 0u64 => _, options(nomem, nostack));
        }
    }
}
