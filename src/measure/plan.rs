//! What is to be measured, and how hard.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wire::Task;
use crate::clock::Clock;
use crate::dispatch::Mechanism;
use crate::op::BodyKind;
use crate::patch::State;
use crate::regime::Regime;

/// How much effort a run makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Twelve ops of different shape, throughput alone: under 20 s.
    Quick,
    /// All ops and regimes at eight layouts: under 110 s, and workloads under 65 s.
    Default,
    /// All ops and regimes at 64 layouts.
    Full,
}

impl Preset {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Preset::Quick => "quick",
            Preset::Default => "default",
            Preset::Full => "full",
        }
    }

    /// What the workers may take altogether.
    #[must_use]
    pub fn time(self) -> Duration {
        Duration::from_secs(match self {
            Preset::Quick => 11,
            Preset::Default => 114,
            Preset::Full => 20 * 60,
        })
    }

    /// What the workers may take for workloads.
    #[must_use]
    pub fn work_time(self) -> Duration {
        Duration::from_secs(match self {
            Preset::Quick => 8,
            Preset::Default => 57,
            Preset::Full => 10 * 60,
        })
    }

    /// At how many offsets every loop is measured.
    #[must_use]
    pub fn layouts(self) -> usize {
        match self {
            Preset::Quick | Preset::Default => 8,
            Preset::Full => MAX_LAYOUTS,
        }
    }
}

/// The most layouts that a plan may have: one at every second byte of a pair of cache lines.
pub const MAX_LAYOUTS: usize = 64;

/// `count` offsets of the loop head within 128 bytes (1 to [`MAX_LAYOUTS`]), spread evenly, odd ones among them.
#[must_use]
pub fn offsets(count: usize) -> Vec<u32> {
    let count = count.clamp(1, MAX_LAYOUTS) as u32;
    // Every second pair is moved by one byte: instruction fetch and loop buffers do not see odd addresses as even ones.
    (0..count).map(|i| (i * 128 / count) | (i >> 1 & 1)).collect()
}

/// One op in one regime at one layout: what is measured in the same rounds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The op's name.
    pub op: String,
    /// The body that the mechanisms are bound to. The baseline is native always.
    pub body: BodyKind,
    /// The loop.
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

/// A mechanism, in one state where it is patchable: a column of the tables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The mechanism's name.
    pub mechanism: String,
    /// The state of its sites.
    pub state: Option<State>,
}

impl Variant {
    /// The columns of a mechanism.
    #[must_use]
    pub fn of(mechanism: &Mechanism) -> Vec<Variant> {
        let column = |state| Variant { mechanism: mechanism.name.to_owned(), state };
        match mechanism.states {
            [] => vec![column(None)],
            states => states.iter().map(|state| column(Some(*state))).collect(),
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

/// How long workers are started that go through all groups, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workers {
    /// So many, however long they take, and none for single groups afterwards.
    Exactly(usize),
    /// As many as there is time for.
    Within(Duration),
}

/// Of the time of a run, this share goes to workers that take all groups, and the rest to groups that are worth more.
/// An interval of a median over fewer than nine workers reaches to the first and last of them, and one that was
/// disturbed decides its width: so most of it goes to the number of workers.
const ALL_GROUPS: f64 = 0.9;

/// An interval of 95% takes six workers.
pub const MIN_WORKERS: usize = 6;

impl Workers {
    /// Whether another worker is to take all groups, `done` of them being through after `elapsed`.
    #[must_use]
    pub fn go_on(self, done: usize, elapsed: Duration) -> bool {
        match self {
            Workers::Exactly(count) => done < count,
            Workers::Within(_) if done < 2 => true,
            Workers::Within(time) => {
                let share = if done < MIN_WORKERS { 1.0 } else { ALL_GROUPS };
                elapsed.mul_f64(1.0 + 1.0 / done as f64) <= time.mul_f64(share)
            }
        }
    }

    /// Whether another worker is to take all workloads: there is nothing to be done after them.
    #[must_use]
    pub fn go_on_to_the_end(self, done: usize, elapsed: Duration) -> bool {
        self.room(done, elapsed, elapsed.div_f64(done.max(1) as f64))
    }

    /// The same, where one more takes as long as the `last`.
    #[must_use]
    pub fn room(self, done: usize, elapsed: Duration, last: Duration) -> bool {
        match self {
            Workers::Within(time) if done >= 2 => elapsed + last <= time,
            workers => workers.go_on(done, elapsed),
        }
    }

    /// What is left after `elapsed` for single groups.
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
    /// How it came about.
    pub preset: Preset,
    /// Where everything random comes from.
    pub seed: u64,
    /// Every group, to be measured by every worker.
    pub groups: Vec<Comparison>,
    /// What is measured beside `inline`.
    pub columns: Vec<Variant>,
    /// Group by group, which of the columns are measured in it, by their places, rising; empty where all are in all.
    pub only: Vec<Vec<usize>>,
    /// How many worker processes.
    pub workers: Workers,
    /// Palindromic rounds per group and worker. At one layout, each worker's own, there is one more: what differs
    /// between rounds is told from what differs between layouts by it.
    pub rounds: usize,
    /// The least length of a window in core cycles.
    pub window_cycles: u64,
    /// The CPU to pin workers to.
    pub cpu: Option<usize>,
    /// What windows are timed with.
    pub clock: Clock,
}

/// Every so often at most it is looked at what the run has found, to choose what is worth more workers.
pub const MAX_CHECKPOINTS: usize = 20;

/// A window takes about this long: [`WINDOW_CYCLES`] at 3 GHz.
const WINDOW_SECONDS: f64 = 35e-6;

impl Plan {
    /// The tasks of the worker with this number: every group.
    #[must_use]
    pub fn tasks(&self, worker: usize) -> Vec<Task> {
        // By how many layouts of the same op, body and regime stand before it.
        let mut nth: BTreeMap<(&str, BodyKind, Regime), usize> = BTreeMap::new();
        let layouts = self.layouts();
        let task = |index: usize, group: &'_ Comparison, layout: usize| {
            let rounds = self.rounds + usize::from(layout == worker % layouts);
            let only = self.only.get(index).cloned();
            Task { group: group.clone(), rounds, only, count: worker == 0 && layout == 0 }
        };
        let mut tasks = Vec::with_capacity(self.groups.len());
        for (index, group) in self.groups.iter().enumerate() {
            let layout = nth.entry((&group.op, group.body, group.regime)).or_default();
            tasks.push(task(index, group, *layout));
            *layout += 1;
        }
        tasks
    }

    /// The columns that are measured of an op, body and regime, by their places; `None` where all are.
    #[must_use]
    pub fn only(&self, op: &str, body: BodyKind, regime: Regime) -> Option<&[usize]> {
        let of = |group: &Comparison| group.op == op && group.body == body && group.regime == regime;
        self.only.get(self.groups.iter().position(of)?).map(Vec::as_slice)
    }

    /// At how many layouts loops are measured.
    #[must_use]
    pub fn layouts(&self) -> usize {
        self.groups.iter().map(|group| group.offset).collect::<BTreeSet<_>>().len().max(1)
    }

    /// About how long one worker takes, before any has been seen.
    #[must_use]
    pub fn worker_seconds(&self) -> f64 {
        self.tasks(1).iter().map(|task| task.windows(self.columns.len())).sum::<f64>() * WINDOW_SECONDS
    }

    /// How often `resolved` may be decided: once for every cell, and again for every look.
    #[must_use]
    pub fn judgements(&self) -> usize {
        let checkpoints = match self.workers {
            Workers::Exactly(_) => 1,
            Workers::Within(_) => 1 + MAX_CHECKPOINTS,
        };
        self.groups.len() / self.layouts() * (self.columns.len() + 1) * checkpoints
    }
}

/// The least length of a window: the clock may step by 26 ticks, and 100,000 cycles make that 0.03%.
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
    fn workers_go_on_while_there_is_time_for_another_and_single_groups_get_the_rest() {
        let seconds = Duration::from_secs;
        let within = Workers::Within(seconds(100));
        assert!(within.go_on(0, seconds(0)) && within.go_on(1, seconds(500)), "one says nothing about another");
        // At eleven seconds each the ninth would end after more than 90.
        assert!(within.go_on(7, seconds(77)) && !within.go_on(8, seconds(88)));
        assert_eq!(within.left(seconds(80)), seconds(20));
        // At 17 seconds each six do not fit into 90, but they do into 100, and no interval of 95% takes fewer.
        assert!(within.go_on(5, seconds(83)) && !within.go_on(5, seconds(84)));
        assert!(Workers::Exactly(3).go_on(2, seconds(1000)) && !Workers::Exactly(3).go_on(3, seconds(0)));
        assert_eq!(Workers::Exactly(3).left(seconds(0)), seconds(0));
    }

    #[test]
    fn every_worker_makes_one_round_more_at_a_layout_of_its_own() {
        let group = |op: &str, offset| Comparison {
            op: op.to_owned(),
            body: BodyKind::Native,
            regime: Regime::Throughput,
            offset,
        };
        let plan = Plan {
            preset: Preset::Quick,
            seed: 1,
            groups: ["pte_val", "save_fl"].iter().flat_map(|op| [0, 29].map(|offset| group(op, offset))).collect(),
            columns: Vec::new(),
            only: Vec::new(),
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
