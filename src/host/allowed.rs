//! CPUs that this process may run on, also after its threads are pinned.

use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu};

static BEFORE_PINNING: OnceLock<CpuSet> = OnceLock::new();

/// Remembers the allowed CPUs; must be called before a thread is pinned. Only the first call has an effect.
pub(crate) fn remember_allowed_cpus() {
    if let Ok(allowed) = sched_getaffinity(None) {
        BEFORE_PINNING.get_or_init(|| allowed);
    }
}

/// Returns an allowed CPU other than that of this thread; `None` if no other one is allowed.
#[must_use]
pub fn another_cpu() -> Option<usize> {
    let now = sched_getaffinity(None).ok()?;
    let allowed = BEFORE_PINNING.get().unwrap_or(&now);
    let here = cpus(&now).next().filter(|_| now.count() == 1).unwrap_or_else(sched_getcpu);
    cpus(allowed).find(|cpu| *cpu != here)
}

fn cpus(set: &CpuSet) -> impl Iterator<Item = usize> + '_ {
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu))
}
