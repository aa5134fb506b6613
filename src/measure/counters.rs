//! Hardware counters, on machines that have them.

use perf_event::events::{Cache, CacheOp, CacheResult, Hardware, WhichCache};
use perf_event::{Builder, Counter, Group};

/// A group of counters that count at the same time.
pub struct Counters {
    group: Group,
    counters: Vec<(&'static str, Counter)>,
}

impl Counters {
    /// Opens cycles, instructions, branches, branch misses, L1i misses and iTLB misses, in user space only.
    ///
    /// The first two are required; the others are omitted where the CPU lacks them.
    ///
    /// # Errors
    /// The kernel's error: no PMU (as in most guests), `perf_event_paranoid`, no permission, no such system call.
    pub(crate) fn open() -> std::io::Result<Self> {
        let mut group = Group::new()?;
        let miss = |which| Cache { which, operation: CacheOp::READ, result: CacheResult::MISS };
        let mut counters = vec![
            ("cycles", Builder::new().group(&mut group).kind(Hardware::CPU_CYCLES).build()?),
            ("instructions", Builder::new().group(&mut group).kind(Hardware::INSTRUCTIONS).build()?),
        ];
        for (name, kind) in [("branches", Hardware::BRANCH_INSTRUCTIONS), ("branch_misses", Hardware::BRANCH_MISSES)] {
            if let Ok(counter) = Builder::new().group(&mut group).kind(kind).build() {
                counters.push((name, counter));
            }
        }
        for (name, which) in [("l1i_misses", WhichCache::L1I), ("itlb_misses", WhichCache::ITLB)] {
            if let Ok(counter) = Builder::new().group(&mut group).kind(miss(which)).build() {
                counters.push((name, counter));
            }
        }
        Ok(Counters { group, counters })
    }

    /// Counts events per op of one call. Empty where the counters did not run for all of it.
    pub(crate) fn count_per_op(&mut self, call: impl FnOnce(), ops: u64) -> Vec<(String, f64)> {
        let started = self.group.reset().and_then(|()| self.group.enable());
        call();
        let counts = started.and_then(|()| self.group.disable()).and_then(|()| self.group.read());
        let Ok(counts) = counts else { return Vec::new() };
        self.counters
            .iter()
            .map(|(name, counter)| ((*name).to_owned(), counts[counter] as f64 / ops.max(1) as f64))
            .collect()
    }
}
