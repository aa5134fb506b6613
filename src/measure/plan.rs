//! The plan of a run: the comparisons to measure, and the effort.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wire::Task;
use crate::clock::Clock;
use crate::dispatch::Mechanism;
use crate::op::BodyKind;
use crate::patch::State;
use crate::regime::Regime;

/// The effort of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Twelve ops of different shape, throughput only: under 20 s.
    Quick,
    /// All ops and regimes at eight layouts: under 110 s, and workloads under 65 s.
    Default,
    /// All ops and regimes at 64 layouts.
    Full,
}

impl Preset {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Preset::Quick => "quick",
            Preset::Default => "default",
            Preset::Full => "full",
        }
    }

    /// Time for all workers together.
    #[must_use]
    pub fn time(self) -> Duration {
        Duration::from_secs(match self {
            Preset::Quick => 11,
            Preset::Default => 114,
            Preset::Full => 20 * 60,
        })
    }

    /// Time for workers of workloads.
    #[must_use]
    pub fn work_time(self) -> Duration {
        Duration::from_secs(match self {
            Preset::Quick => 8,
            Preset::Default => 57,
            Preset::Full => 10 * 60,
        })
    }

    /// Number of offsets at which every loop is measured.
    #[must_use]
    pub fn layouts(self) -> usize {
        match self {
            Preset::Quick | Preset::Default => 8,
            Preset::Full => MAX_LAYOUTS,
        }
    }
}

/// Largest number of layouts in a plan: one at every second byte of a pair of cache lines.
pub const MAX_LAYOUTS: usize = 64;

/// `count` offsets of the loop head within 128 bytes (1 to [`MAX_LAYOUTS`]), spread evenly, odd ones among them.
#[must_use]
pub fn offsets(count: usize) -> Vec<u32> {
    let count = count.clamp(1, MAX_LAYOUTS) as u32;
    // Every second pair moves by one byte: instruction fetch and loop buffers treat odd addresses unlike even ones.
    (0..count).map(|i| (i * 128 / count) | (i >> 1 & 1)).collect()
}

/// One op with one body in one regime at one layout; its variants share their rounds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Name of the op.
    pub op: String,
    /// The body that the mechanisms are bound to. The baseline is always native.
    pub body: BodyKind,
    /// The regime, which decides the loop.
    pub regime: Regime,
    /// Offset of every loop head within 128 bytes.
    pub offset: u32,
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Comparison { op, body, regime, offset } = self;
        write!(f, "{op}/{}/{}@{offset}", body.name(), regime.name())
    }
}

/// A mechanism, in one state where it is patchable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Name of the mechanism.
    pub mechanism: String,
    /// The state of its sites.
    pub state: Option<State>,
}

impl Variant {
    /// Lists the variants of a mechanism.
    #[must_use]
    pub fn of(mechanism: &Mechanism) -> Vec<Variant> {
        let variant = |state| Variant { mechanism: mechanism.name.to_owned(), state };
        match mechanism.states {
            [] => vec![variant(None)],
            states => states.iter().map(|state| variant(Some(*state))).collect(),
        }
    }
}

impl std::fmt::Display for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.state {
            Some(state) => write!(f, "{} ({state})", self.mechanism),
            None => f.write_str(&self.mechanism),
        }
    }
}

/// The number of workers that take all comparisons, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workers {
    /// Exactly this many, however long they take, and none for single comparisons afterwards.
    Exactly(usize),
    /// As many as fit into this time.
    Within(Duration),
}

/// Share of the time for workers that take all comparisons; the rest is for contended or undecided comparisons. The
/// interval of a median over fewer than nine workers reaches to the first and last of them, so one contended worker
/// decides its width. Most of the time therefore goes to the number of workers.
const ALL_COMPARISONS_SHARE: f64 = 0.9;

/// Workers that an interval of 95% needs.
pub const MIN_WORKERS: usize = 6;

impl Workers {
    /// Whether another worker should take all comparisons, after `done` workers in `elapsed`.
    #[must_use]
    pub fn go_on(self, done: usize, elapsed: Duration) -> bool {
        match self {
            Workers::Exactly(count) => done < count,
            Workers::Within(_) if done < 2 => true,
            Workers::Within(time) => {
                let share = if done < MIN_WORKERS { 1.0 } else { ALL_COMPARISONS_SHARE };
                elapsed.mul_f64(1.0 + 1.0 / done as f64) <= time.mul_f64(share)
            }
        }
    }

    /// Whether another worker should take all workloads, when nothing follows them.
    #[must_use]
    pub fn go_on_to_the_end(self, done: usize, elapsed: Duration) -> bool {
        self.room(done, elapsed, elapsed.div_f64(done.max(1) as f64))
    }

    /// Whether there is room for another worker that takes as long as the `last`.
    #[must_use]
    pub fn room(self, done: usize, elapsed: Duration, last: Duration) -> bool {
        match self {
            Workers::Within(time) if done >= 2 => elapsed + last <= time,
            workers => workers.go_on(done, elapsed),
        }
    }

    /// Time that remains after `elapsed` for single comparisons.
    #[must_use]
    pub fn left(self, elapsed: Duration) -> Duration {
        match self {
            Workers::Exactly(_) => Duration::ZERO,
            Workers::Within(time) => time.saturating_sub(elapsed),
        }
    }
}

/// The plan of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The preset that the plan was made from.
    pub preset: Preset,
    /// Seed of everything random.
    pub seed: u64,
    /// All comparisons; every worker measures all of them.
    pub comparisons: Vec<Comparison>,
    /// The variants that are compared with `inline`.
    pub variants: Vec<Variant>,
    /// By comparison, the variants that are measured in it, as rising indices; empty where every comparison has all.
    pub variants_by_comparison: Vec<Vec<usize>>,
    /// Number of worker processes, or their time.
    pub workers: Workers,
    /// Palindromic rounds per comparison and worker. Each worker makes one more at one layout of its own, which
    /// separates the spread between rounds from that between layouts.
    pub rounds: usize,
    /// Shortest length of a window, in core cycles.
    pub window_cycles: u64,
    /// The CPU to pin workers to.
    pub cpu: Option<usize>,
    /// The clock that times windows.
    pub clock: Clock,
}

/// Largest number of checkpoints, at which the samples so far decide the next tasks.
pub const MAX_CHECKPOINTS: usize = 20;

/// Typical length of a window in seconds: [`WINDOW_CYCLES`] at 3 GHz.
const SECONDS_PER_WINDOW: f64 = 35e-6;

impl Plan {
    /// Lists the tasks of the worker with this number: every comparison.
    #[must_use]
    pub fn tasks(&self, worker: usize) -> Vec<Task> {
        // Counts the layouts of each op, body and regime so far.
        let mut nth: BTreeMap<(&str, BodyKind, Regime), usize> = BTreeMap::new();
        let layouts = self.layouts();
        let task = |index: usize, comparison: &'_ Comparison, layout: usize| {
            let rounds = self.rounds + usize::from(layout == worker % layouts);
            let variants = self.variants_by_comparison.get(index).cloned();
            Task { comparison: comparison.clone(), rounds, variants, count: worker == 0 && layout == 0 }
        };
        let mut tasks = Vec::with_capacity(self.comparisons.len());
        for (index, comparison) in self.comparisons.iter().enumerate() {
            let layout = nth.entry((&comparison.op, comparison.body, comparison.regime)).or_default();
            tasks.push(task(index, comparison, *layout));
            *layout += 1;
        }
        tasks
    }

    /// Returns the variants that are measured for an op, body and regime, as indices; `None` for all.
    #[must_use]
    pub fn planned_variants(&self, op: &str, body: BodyKind, regime: Regime) -> Option<&[usize]> {
        let matches = |it: &Comparison| it.op == op && it.body == body && it.regime == regime;
        self.variants_by_comparison.get(self.comparisons.iter().position(matches)?).map(Vec::as_slice)
    }

    /// Number of layouts at which loops are measured.
    #[must_use]
    pub fn layouts(&self) -> usize {
        self.comparisons.iter().map(|comparison| comparison.offset).collect::<BTreeSet<_>>().len().max(1)
    }

    /// Estimates the seconds of one worker, before any has run.
    #[must_use]
    pub fn worker_seconds(&self) -> f64 {
        self.tasks(1).iter().map(|task| task.windows(self.variants.len())).sum::<f64>() * SECONDS_PER_WINDOW
    }

    /// Number of times that `resolved` may be decided: once per cell, and again at every checkpoint.
    #[must_use]
    pub fn judgements(&self) -> usize {
        let checkpoints = match self.workers {
            Workers::Exactly(_) => 1,
            Workers::Within(_) => 1 + MAX_CHECKPOINTS,
        };
        self.comparisons.len() / self.layouts() * (self.variants.len() + 1) * checkpoints
    }
}

/// Shortest length of a window in core cycles: the clock may step by 26 ticks, which is 0.03% of 100,000 cycles.
pub const WINDOW_CYCLES: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_distinct_within_a_pair_of_lines_and_some_are_odd() {
        for count in 1..=MAX_LAYOUTS {
            let offsets = offsets(count);
            assert_eq!(offsets.iter().collect::<BTreeSet<_>>().len(), count);
            assert!(offsets.iter().all(|offset| *offset < 128), "{offsets:?}");
            assert!(count < 3 || offsets.iter().any(|offset| offset % 2 == 1), "{offsets:?}");
        }
        assert_eq!((offsets(0), offsets(1)), (vec![0], vec![0]));
        assert_eq!(offsets(MAX_LAYOUTS + 1).len(), MAX_LAYOUTS);
    }

    #[test]
    fn workers_follow_each_other_while_one_more_fits_and_single_comparisons_get_the_rest() {
        let seconds = Duration::from_secs;
        let within = Workers::Within(seconds(100));
        assert!(within.go_on(0, seconds(0)) && within.go_on(1, seconds(500)), "one worker says nothing about the next");
        // At eleven seconds each, the ninth would end after more than 90.
        assert!(within.go_on(7, seconds(77)) && !within.go_on(8, seconds(88)));
        assert_eq!(within.left(seconds(80)), seconds(20));
        // At 17 seconds each, six do not fit into 90 but into 100, and an interval of 95% needs six.
        assert!(within.go_on(5, seconds(83)) && !within.go_on(5, seconds(84)));
        assert!(Workers::Exactly(3).go_on(2, seconds(1000)) && !Workers::Exactly(3).go_on(3, seconds(0)));
        assert_eq!(Workers::Exactly(3).left(seconds(0)), seconds(0));
    }

    #[test]
    fn every_worker_makes_one_more_round_at_one_layout_of_its_own() {
        let comparison = |op: &str, offset| Comparison {
            op: op.to_owned(),
            body: BodyKind::Native,
            regime: Regime::Throughput,
            offset,
        };
        let plan = Plan {
            preset: Preset::Quick,
            seed: 1,
            comparisons: ["pte_val", "save_fl"]
                .iter()
                .flat_map(|op| [0, 29].map(|offset| comparison(op, offset)))
                .collect(),
            variants: Vec::new(),
            variants_by_comparison: Vec::new(),
            workers: Workers::Exactly(2),
            rounds: 3,
            window_cycles: WINDOW_CYCLES,
            cpu: None,
            clock: Clock::Tsc,
        };
        let rounds = |worker| plan.tasks(worker).iter().map(|task| task.rounds).collect::<Vec<_>>();
        assert_eq!((rounds(0), rounds(1), rounds(2)), (vec![4, 3, 4, 3], vec![3, 4, 3, 4], vec![4, 3, 4, 3]));
        let counting = |worker| plan.tasks(worker).iter().filter(|task| task.count).count();
        assert_eq!((counting(0), counting(1)), (2, 0), "each op is counted once");
        assert_eq!((plan.layouts(), plan.judgements()), (2, 2));
    }
}
