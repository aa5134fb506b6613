//! Plan of a gate run, made from the rules: it measures what they bind and nothing else.
//!
//! A field that a rule leaves open takes the values of `run --quick`: in the built-in suite twelve ops of different
//! shape, throughput, native bodies, and the workload `mmap_perf`.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::cli::error::CliError;
use crate::cli::selection::{BLOCKS_PER_WORKLOAD, kernels};
use crate::dispatch::Mechanism;
use crate::gate::budget::Field;
use crate::gate::rules::{Names, ResolvedRule};
use crate::measure::comparison::{Comparison, Matrix, PlannedComparison, offsets};
use crate::measure::variant::{MechanismState, Treatment, TreatmentId};
use crate::op::BodyKind;
use crate::patch::State;
use crate::regime::Regime;
use crate::report::subject;
use crate::run::catalogue::option_infos;
use crate::run::host_context::HostContext;
use crate::run::plan::{Effort, Plan, Preset, WINDOW_CYCLES, Workers, WorkloadPlan};
use crate::suite::Suite;

/// Time for cells without `--time`; more only if eight workers need longer.
const CELL_TIME: Duration = Duration::from_secs(4);
/// Time for workloads without `--time`.
const WORKLOAD_TIME: Duration = Duration::from_secs(8);
/// Share of `--time` that workloads get if the rules bind cells, too.
const WORKLOAD_SHARE: f64 = 0.65;
/// Smallest number of workers for cells without `--time`. With fewer workers the intervals at which all verdicts hold
/// together are wide.
const MIN_WORKERS: f64 = 8.0;

/// The ops, mechanisms, workloads and kernel options that a suite can measure on this machine.
pub(crate) struct Measurable<'a> {
    suite: &'a Suite,
    mechanisms: Vec<Mechanism>,
    workloads: Vec<&'static str>,
    options: Vec<String>,
}

impl<'a> Measurable<'a> {
    /// Collects them from a suite.
    pub fn new(suite: &'a Suite) -> Self {
        let entries = suite.workloads();
        let mut found = Vec::new();
        // Only the model kernel has options.
        if entries.iter().any(|entry| !entry.options.is_empty()) {
            found = option_infos();
        }
        let here = entries.iter().filter(|entry| (entry.unavailable)().is_none());
        Measurable {
            suite,
            mechanisms: suite.mechanism_metas(),
            workloads: here.map(|entry| entry.meta.name).collect(),
            options: found.into_iter().map(|option| option.name).collect(),
        }
    }

    /// Returns the names that globs of rules select from.
    pub fn names(&self) -> Names {
        let owned = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect::<Vec<_>>();
        let mechanisms = owned(&mut self.mechanisms.iter().map(|m| m.name));
        let mut states = owned(&mut self.mechanisms.iter().flat_map(|m| m.states).map(|state| state.name()));
        states.sort_unstable();
        states.dedup();
        let cells = [
            (Field::Op, owned(&mut self.suite.ops().iter().map(|op| op.meta.name))),
            (Field::Body, owned(&mut [BodyKind::Native, BodyKind::Xen].iter().map(|body| body.name()))),
            (Field::Mechanism, mechanisms.clone()),
            (Field::State, states.clone()),
            (Field::Regime, owned(&mut Regime::ALL.iter().map(|regime| regime.name()))),
        ];
        let kernels = [
            (Field::Workload, owned(&mut self.workloads.iter().copied())),
            (Field::Mechanism, mechanisms),
            (Field::State, states),
            (Field::Option, self.options.clone()),
        ];
        Names { cells: BTreeMap::from(cells), kernels: BTreeMap::from(kernels) }
    }

    /// Makes the plan for rules; with `again`, only for these subjects.
    ///
    /// # Errors
    /// The rules bind nothing that can be measured.
    pub fn plan(
        &self,
        rules: &[ResolvedRule],
        again: Option<&HashSet<String>>,
        how: (&HostContext, u64, Option<Duration>),
    ) -> Result<Plan, CliError> {
        let (here, seed, time) = how;
        let mut matrix = self.plan_cells(rules, again, here.movable());
        let (workloads, kernels) = self.plan_workloads(rules, again);
        if matrix.comparisons.is_empty() && workloads.is_empty() {
            let message = "the rules bind nothing that this build can measure; `pvbench list` shows what it can";
            return Err(CliError::Usage(message.to_owned()));
        }
        let kernels = kernels.into_iter().map(|kernel| matrix.treatments.add(kernel)).collect();
        let effort = Effort { workers: Workers::Exactly(1), blocks: BLOCKS_PER_WORKLOAD };
        let mut plan = Plan {
            preset: Preset::Quick,
            seed,
            matrix,
            effort: Effort { workers: Workers::Within(CELL_TIME), blocks: 1 },
            work: WorkloadPlan { workloads, kernels, effort },
            window_cycles: WINDOW_CYCLES,
            cpu: here.cpu(),
            second_cpu: None,
            clock: here.clock,
        };
        let bounds = rules.iter().filter(|rule| rule.rule.selects_workloads()).flat_map(|rule| &rule.rule.bounds);
        let timed = bounds.into_iter().any(|bound| bound.quantity.is_time());
        let share = match (plan.matrix.comparisons.is_empty(), plan.work.workloads.is_empty() || !timed) {
            (true, _) => 1.0,
            (false, true) => 0.0,
            (false, false) => WORKLOAD_SHARE,
        };
        let (of_cells, of_work) = match time {
            Some(time) => (time.mul_f64(1.0 - share), time.mul_f64(share)),
            None => (CELL_TIME.max(Duration::from_secs_f64(plan.worker_seconds() * MIN_WORKERS)), WORKLOAD_TIME),
        };
        plan.effort.workers = Workers::Within(of_cells);
        // Without bounds on times one worker is enough: it counts instructions, and counts are exact.
        if timed {
            plan.work.effort.workers = Workers::Within(of_work);
        }
        Ok(plan)
    }

    /// Returns the comparisons that rules bind, with their treatments.
    fn plan_cells(&self, rules: &[ResolvedRule], again: Option<&HashSet<String>>, movable: bool) -> Matrix {
        let mut matrix = Matrix::default();
        let mut treatments: Vec<(TreatmentId, MechanismState, bool)> = Vec::new();
        for mechanism in self.mechanisms.iter().filter(|m| m.name != "inline") {
            for state in MechanismState::list(mechanism) {
                let id = matrix.treatments.add(Treatment::Mechanism(state.clone()));
                treatments.push((id, state, mechanism.switches));
            }
        }
        let all = if movable { offsets(Preset::Quick.layouts()) } else { vec![0] };
        for op in self.suite.ops() {
            for regime in Regime::ALL {
                let apart = regime.is_cold() || regime.targets().is_some();
                let has_loop = op.pairs.iter().all(|pair| pair.loop_of(regime).is_some());
                if !has_loop || (apart && !movable) {
                    continue;
                }
                for body in [BodyKind::Native, BodyKind::Xen] {
                    let wants = |mechanism: &str, state: Option<State>| {
                        let state = state.map(State::name);
                        let cell = subject::cell_of(op.meta.name, body, mechanism, state, regime);
                        rules.iter().any(|rule| self.wants_cell(rule, op.meta.name, body, mechanism, state, regime))
                            && again.is_none_or(|again| again.contains(&cell))
                    };
                    // A mechanism that cannot reach Xen's body would measure the native one under its name.
                    let reaches = |switches: bool| switches || body == BodyKind::Native;
                    let wanted = treatments.iter().filter(|(_, MechanismState { mechanism, state }, switches)| {
                        reaches(*switches) && wants(mechanism, *state)
                    });
                    let wanted: Vec<TreatmentId> = wanted.map(|(id, ..)| *id).collect();
                    if wanted.is_empty() && !wants("inline", None) {
                        continue;
                    }
                    // The copies of an unrolled chain lie at all offsets, so one layout covers them.
                    for &offset in if apart { &all[..1] } else { &all[..] } {
                        let comparison = Comparison { op: op.meta.name.to_owned(), body, regime, offset };
                        matrix.comparisons.push(PlannedComparison { comparison, treatments: wanted.clone() });
                    }
                }
            }
        }
        matrix
    }

    /// Returns the workloads that rules bind, and the kernels of all of them.
    fn plan_workloads(&self, rules: &[ResolvedRule], again: Option<&HashSet<String>>) -> (Vec<String>, Vec<Treatment>) {
        let options = self.options.iter().cloned().map(Treatment::Option);
        let (mut workloads, mut chosen) = (Vec::new(), Vec::new());
        for kernel in kernels(self.mechanisms.iter()).chain(options) {
            let wants = |workload: &str| {
                let (mechanism, state, option) = kernel.names();
                rules.iter().any(|rule| self.wants_kernel(rule, workload, mechanism, state, option))
                    && again.is_none_or(|again| again.contains(&subject::kernel_of(workload, mechanism, state, option)))
            };
            let wanted: Vec<&str> = self.workloads.iter().copied().filter(|name| wants(name)).collect();
            for name in &wanted {
                if !workloads.iter().any(|there: &String| there == name) {
                    workloads.push((*name).to_owned());
                }
            }
            if !wanted.is_empty() {
                chosen.push(kernel);
            }
        }
        (workloads, chosen)
    }
}

/// Whether a rule selects a name in a field; `quick` if the rule leaves the field open.
fn takes(rule: &ResolvedRule, field: Field, name: Option<&str>, quick: bool) -> bool {
    if rule.names.contains_key(&field) { name.is_some_and(|name| rule.matches(field, name)) } else { quick }
}

/// Whether a name is in a choice of the suite; no choice stands for all names.
fn is_chosen(choice: Option<&[&str]>, name: &str) -> bool {
    choice.is_none_or(|names| names.contains(&name))
}

impl Measurable<'_> {
    fn wants_cell(
        &self,
        rule: &ResolvedRule,
        op: &str,
        body: BodyKind,
        mechanism: &str,
        state: Option<&str>,
        regime: Regime,
    ) -> bool {
        !rule.rule.selects_workloads()
            && takes(rule, Field::Op, Some(op), is_chosen(self.suite.choices().quick_ops, op))
            && takes(rule, Field::Body, Some(body.name()), body == BodyKind::Native)
            && takes(rule, Field::Mechanism, Some(mechanism), true)
            && takes(rule, Field::State, state, true)
            && takes(rule, Field::Regime, Some(regime.name()), regime == Regime::Throughput)
    }

    fn wants_kernel(
        &self,
        rule: &ResolvedRule,
        workload: &str,
        mechanism: Option<&str>,
        state: Option<&str>,
        option: Option<&str>,
    ) -> bool {
        let choices = self.suite.choices();
        let decisive = mechanism.is_none_or(|mechanism| is_chosen(choices.workload_mechanisms, mechanism));
        rule.rule.selects_workloads()
            && takes(rule, Field::Workload, Some(workload), is_chosen(choices.quick_workloads, workload))
            && takes(rule, Field::Mechanism, mechanism, decisive)
            && takes(rule, Field::State, state, true)
            && takes(rule, Field::Option, option, true)
    }
}
