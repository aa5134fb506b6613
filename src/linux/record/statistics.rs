//! What a recording says of a kernel's hooks: how dense they are, how far apart, and how warm their call sites.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::counters::{LineCounter, TargetCounter};
use super::recording::{Class, Recording};
use crate::stats::reuse::Distance;
pub use crate::stats::surroundings::FIRST_LEVEL_LINES;

/// Lines of a usual second-level cache of 1 MiB.
pub const SECOND_LEVEL_LINES: u64 = 16_384;

/// The statistics of a recording. Instructions count a `rep` once.
#[derive(Clone, Debug, Serialize)]
pub struct Statistics {
    /// Name of the workload.
    pub workload: String,
    /// Name of its unit.
    pub unit: String,
    /// Units in the window.
    pub units: u64,
    /// Instructions per unit.
    pub instructions_per_unit: f64,
    /// Iterations of `rep` instructions per unit.
    pub rep_iterations_per_unit: f64,
    /// Share of instructions that processes execute, not the kernel.
    pub user_share: f64,
    /// Calls of hooks per unit.
    pub hooks_per_unit: f64,
    /// Calls of hooks per 1,000 instructions.
    pub hooks_per_1000: f64,
    /// The same by op, from the most frequent on.
    pub ops: Vec<OpCount>,
    /// Instructions per unit, by class.
    pub classes_per_unit: BTreeMap<&'static str, f64>,
    /// Instructions from one hook to the next.
    pub distance: Spread,
    /// The lines of the call sites, when execution comes to them.
    pub site_lines: Lines,
    /// All lines of code, when execution comes to them.
    pub code_lines: Lines,
    /// All lines of data, at each access.
    pub data_lines: Lines,
    /// Indirect calls of hooks.
    pub hook_targets: Targets,
    /// Other indirect calls and jumps.
    pub other_targets: Targets,
    /// Privileged instructions per unit, from the most frequent on.
    pub privileged: Vec<NameCount>,
    /// What interrupts took in the window, and is left out: share of all its instructions.
    pub interrupt_share: f64,
    /// The counts of whole repetitions, which the window is a part of.
    pub whole: WholeStatistics,
}

/// Calls of an op.
#[derive(Clone, Debug, Serialize)]
pub struct OpCount {
    /// Its name.
    pub op: String,
    /// Calls per unit.
    pub per_unit: f64,
    /// Calls per unit from sites in a line at a distance of [`FIRST_LEVEL_LINES`] or more, or in its first use.
    pub cold_per_unit: f64,
    /// Calls per 1,000 instructions.
    pub per_1000: f64,
}

/// Executions of an instruction.
#[derive(Clone, Debug, Serialize)]
pub struct NameCount {
    /// Its name.
    pub name: String,
    /// Executions per unit.
    pub per_unit: f64,
}

/// Quantiles of a number.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// A tenth is below.
    pub p10: u64,
    /// A quarter is below.
    pub p25: u64,
    /// Half is below.
    pub median: u64,
    /// Three quarters are below.
    pub p75: u64,
    /// Nine tenths are below.
    pub p90: u64,
    /// The largest.
    pub max: u64,
    /// How many are below each power of two from 1 on, and not below the one before.
    pub below_powers_of_two: Vec<u64>,
}

/// Uses of lines by their reuse distance: the number of other lines of the same kind since the last use.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lines {
    /// Uses.
    pub uses: u64,
    /// Different lines.
    pub lines: u64,
    /// Share of uses at a distance below [`FIRST_LEVEL_LINES`].
    pub within_first_level: f64,
    /// Share of uses beyond that and below [`SECOND_LEVEL_LINES`].
    pub within_second_level: f64,
    /// Share of uses beyond that.
    pub beyond: f64,
    /// Share of uses that are the first in the window.
    pub first: f64,
    /// The distances, without first uses.
    pub distance: Spread,
}

/// Targets of indirect calls and jumps.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Targets {
    /// Executions per unit.
    pub per_unit: f64,
    /// Different instructions.
    pub sites: u64,
    /// Those that had more than one target.
    pub changing_sites: u64,
    /// Share of executions with another target than the last of the same instruction.
    pub changes: f64,
}

/// Whole repetitions, as `pvbench linux ab` counts them.
#[derive(Clone, Debug, Serialize)]
pub struct WholeStatistics {
    /// Units.
    pub units: u64,
    /// Instructions per unit, with every iteration of a `rep` and with interrupts.
    pub instructions_per_unit: f64,
    /// Calls of hooks per unit, with those of interrupts.
    pub hooks_per_unit: f64,
    /// Share of instructions in interrupts.
    pub interrupt_share: f64,
    /// Share of calls of hooks in interrupts.
    pub interrupt_calls_share: f64,
    /// Instructions that the recorder did not see; negative if it saw more.
    pub unexplained: i64,
}

/// Counts of one pass over a recording.
struct Pass {
    instructions: u64,
    user: u64,
    hooks: Vec<u64>,
    cold_hooks: Vec<u64>,
    privileged: Vec<u64>,
    classes: [u64; Class::NAMES.len()],
    distances: Vec<u64>,
    sites: LineCounter,
    site_lines: HashSet<u64>,
    code: LineCounter,
    data: LineCounter,
    hook_targets: TargetCounter,
    other_targets: TargetCounter,
}

impl Statistics {
    /// Computes the statistics of a recording.
    #[must_use]
    pub fn of(recording: &Recording) -> Statistics {
        let about = &recording.about;
        let pass = Pass::over(recording);
        let units = about.units.max(1) as f64;
        let per_unit = |count: u64| count as f64 / units;
        let per_1000 = |count: u64| share(count * 1000, pass.instructions);
        let all: u64 = pass.hooks.iter().sum();
        let mut ops: Vec<OpCount> = about
            .ops
            .iter()
            .zip(pass.hooks.iter().zip(&pass.cold_hooks))
            .map(|(op, (calls, cold))| OpCount {
                op: op.clone(),
                per_unit: per_unit(*calls),
                cold_per_unit: per_unit(*cold),
                per_1000: per_1000(*calls),
            })
            .collect();
        ops.sort_by(|a, b| b.per_unit.total_cmp(&a.per_unit).then_with(|| a.op.cmp(&b.op)));
        let named = about.privileged.iter().zip(&pass.privileged);
        let mut privileged: Vec<NameCount> =
            named.map(|(name, count)| NameCount { name: name.clone(), per_unit: per_unit(*count) }).collect();
        privileged.sort_by(|a, b| b.per_unit.total_cmp(&a.per_unit).then_with(|| a.name.cmp(&b.name)));
        let rounds = recording.rounds.iter().fold(0u64, |sum, rounds| sum.saturating_add(*rounds));
        Statistics {
            workload: about.workload.clone(),
            unit: about.unit.clone(),
            units: about.units,
            instructions_per_unit: per_unit(pass.instructions),
            rep_iterations_per_unit: per_unit(rounds),
            user_share: share(pass.user, pass.instructions),
            hooks_per_unit: per_unit(all),
            hooks_per_1000: per_1000(all),
            ops,
            classes_per_unit: Class::NAMES.into_iter().zip(pass.classes.map(per_unit)).collect(),
            distance: Spread::of(pass.distances),
            site_lines: pass.sites.finish(pass.site_lines.len() as u64),
            code_lines: pass.code.finish_all(),
            data_lines: pass.data.finish_all(),
            hook_targets: pass.hook_targets.finish(units),
            other_targets: pass.other_targets.finish(units),
            privileged,
            interrupt_share: share(about.interrupts, about.instructions.saturating_add(about.interrupts)),
            whole: WholeStatistics::of(recording),
        }
    }
}

impl WholeStatistics {
    fn of(recording: &Recording) -> WholeStatistics {
        let whole = &recording.about.whole;
        let sum = |calls: &BTreeMap<String, u64>| calls.values().fold(0u64, |sum, calls| sum.saturating_add(*calls));
        let (calls, cut) = (sum(&whole.calls), sum(&whole.calls_in_interrupts));
        let all = calls.saturating_add(cut);
        WholeStatistics {
            units: whole.units,
            instructions_per_unit: share(whole.instructions, whole.units),
            hooks_per_unit: share(all, whole.units),
            interrupt_share: share(whole.interrupts, whole.instructions),
            interrupt_calls_share: share(cut, all),
            unexplained: whole.unexplained,
        }
    }
}

/// A ratio, or 0 of nothing.
pub(super) fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

impl Pass {
    fn over(recording: &Recording) -> Pass {
        let about = &recording.about;
        let mut pass = Pass {
            instructions: 0,
            user: 0,
            hooks: vec![0; about.ops.len()],
            cold_hooks: vec![0; about.ops.len()],
            privileged: vec![0; about.privileged.len()],
            classes: [0; Class::NAMES.len()],
            distances: Vec::new(),
            sites: LineCounter::default(),
            site_lines: HashSet::new(),
            code: LineCounter::new(count_line_changes(recording)),
            data: LineCounter::new(recording.touches.len()),
            hook_targets: TargetCounter::default(),
            other_targets: TargetCounter::default(),
        };
        // Instructions at the last hook; the line that is being executed and its distance; an indirect call before.
        let mut last_hook: Option<u64> = None;
        let (mut line, mut distance) = (None, Distance::First);
        let mut jump: Option<(u64, bool)> = None;
        for execution in recording.executions() {
            if let (Some((site, is_hook)), Some(first)) = (jump.take(), execution.code.first()) {
                let targets = if is_hook { &mut pass.hook_targets } else { &mut pass.other_targets };
                targets.note(site, first.address);
            }
            for it in execution.code {
                pass.instructions += 1;
                pass.user += u64::from(it.is_user());
                if let Some(count) = pass.classes.get_mut(it.class.index()) {
                    *count += 1;
                }
                if line != Some(it.line()) {
                    distance = pass.code.touch(it.line());
                }
                if it.last_line() != it.line() {
                    // The instruction crosses into the next line, whose distance counts for what follows.
                    let next = pass.code.touch(it.last_line());
                    pass.note_class(it.class, it.line(), distance, &mut last_hook);
                    (line, distance) = (Some(it.last_line()), next);
                } else {
                    line = Some(it.line());
                    pass.note_class(it.class, it.line(), distance, &mut last_hook);
                }
            }
            jump = execution.code.last().and_then(|last| match last.class {
                Class::Hook(_) => Some((last.address, true)),
                Class::Indirect => Some((last.address, false)),
                _ => None,
            });
            for touch in execution.touches {
                pass.data.touch(touch.line);
            }
        }
        pass
    }

    fn note_class(&mut self, class: Class, line: u64, distance: Distance, last_hook: &mut Option<u64>) {
        match class {
            Class::Hook(op) => {
                let is_cold = !matches!(distance, Distance::Lines(lines) if lines < FIRST_LEVEL_LINES);
                for (counts, counted) in [(&mut self.hooks, true), (&mut self.cold_hooks, is_cold)] {
                    if let Some(calls) = counts.get_mut(usize::from(op)) {
                        *calls += u64::from(counted);
                    }
                }
                self.distances.extend(last_hook.replace(self.instructions).map(|last| self.instructions - last));
                self.sites.note(distance);
                self.site_lines.insert(line);
            }
            Class::Privileged(name) => {
                if let Some(count) = self.privileged.get_mut(usize::from(name)) {
                    *count += 1;
                }
            }
            _ => {}
        }
    }
}

/// An upper bound on how often the executed line of code changes.
fn count_line_changes(recording: &Recording) -> usize {
    let changes = |run: u32| {
        let code = recording.code_of(run);
        let crossings = code.iter().filter(|it| it.line() != it.last_line()).count();
        let changes = code.windows(2).filter(|pair| matches!(pair, [a, b] if a.last_line() != b.line())).count();
        1 + changes + crossings
    };
    let by_run: Vec<usize> = (0..recording.runs.len() as u32).map(changes).collect();
    recording.sequence.iter().filter_map(|run| by_run.get(*run as usize)).sum()
}
