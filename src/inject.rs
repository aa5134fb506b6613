//! Regressions to try the gate on. Builds with the feature `inject` have them, and no others; the environment variable
//! `PVBENCH_INJECT` says when such a build is made which of them it holds: `load`, `fallback` or `work`.

use std::arch::asm;

use crate::dispatch::{PV_OPS, Slots};
use crate::measure::clock::Clock;
use crate::op::{Args, Op, Reg, Ret};

/// One more load in the way of `table`, which the call depends on: the table is reached through a pointer.
pub const LOAD: bool = is(b"load");
/// Sites of `site_callee_save` that are to hold native instructions silently stay indirect calls.
pub const FALLBACK: bool = is(b"fallback");
/// A hundredth more work in the workload `mmap_perf` on kernels with `site`.
pub const WORK: bool = is(b"work");

const fn is(name: &[u8]) -> bool {
    let Some(injected) = option_env!("PVBENCH_INJECT") else { return false };
    let injected = injected.as_bytes();
    let mut at = 0;
    while at < name.len() && at < injected.len() && name[at] == injected[at] {
        at += 1;
    }
    at == name.len() && at == injected.len()
}

static TABLE: &Slots = &PV_OPS;

/// What `table` does with [`LOAD`].
///
/// # Safety
/// As for [`crate::dispatch::Dispatch::call`].
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

/// What a timed part of a workload does with [`WORK`]: it goes on for a hundredth of what it took.
pub fn go_on(workload: &str, mechanism: &str, clock: Clock, start: u64) {
    if WORK && workload == "mmap_perf" && mechanism == "site" {
        let took = clock.stop().saturating_sub(start);
        while clock.stop().saturating_sub(start) < took + took / 100 {}
    }
}
