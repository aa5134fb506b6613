//! What a command measures: the options that select it, and the plan that they make.

use std::time::Duration;

use clap::Args;

use super::conditions::Conditions;
use super::error::CliError;
use super::measured::RunningKernelTime;
use crate::dispatch::Mechanism;
use crate::measure::comparison::{Comparison, MAX_LAYOUTS, Matrix, offsets};
use crate::measure::variant::{MechanismState, Treatment};
use crate::op::{BodyKind, Since};
use crate::patch::State;
use crate::regime::Regime;
use crate::report::schema::Unavailable;
use crate::run::catalogue::option_infos;
use crate::run::host_context::HostContext;
use crate::run::plan::{Effort, Plan, Preset, WINDOW_CYCLES, Workers, WorkloadPlan};
use crate::select::select;
use crate::suite::Suite;

/// The ops, mechanisms and workloads to measure, and the effort for them.
#[derive(Args)]
pub(crate) struct Selection {
    /// A few ops of different shape, chosen by the suite; throughput only; under 20 s
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// All ops and regimes at 64 layouts, in 20 minutes
    #[arg(long)]
    full: bool,
    /// Ops to measure: globs, separated by commas or in repeated options
    #[arg(long, value_name = "GLOB")]
    op: Vec<String>,
    /// Mechanisms to compare with inline
    #[arg(long, value_name = "GLOB")]
    mechanism: Vec<String>,
    /// Regimes: throughput, latency, pressure, cold, flushed, random2, random4, random8
    #[arg(long, value_name = "GLOB")]
    regime: Vec<String>,
    /// Bodies of the ops: native, xen (alternative for functions of your own); the reference is always native inline
    #[arg(long, value_name = "GLOB", default_value = "native")]
    body: Vec<String>,
    /// Workloads to run (`list workloads` has all); cells are skipped unless --op or --regime is given
    #[arg(long, value_name = "GLOB")]
    workload: Vec<String>,
    #[command(flatten)]
    pub conditions: Conditions,
    /// Seconds for all workers together; twice the time narrows intervals by a third
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=604_800))]
    time: Option<u32>,
    /// Number of worker processes, each of which measures everything; ignores the preset's time
    #[arg(long, value_name = "N", conflicts_with = "time", value_parser = clap::value_parser!(u16).range(2..=1000))]
    workers: Option<u16>,
    /// Code offsets of each loop within 128 bytes, 1 to 64
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=MAX_LAYOUTS as i64))]
    layouts: Option<u8>,
}

/// Share of `--time` that workloads get if cells are measured, too.
const WORKLOAD_SHARE: f64 = 0.45;

/// Time for the running kernel's workloads, of which a run has eleven.
const RUNNING_KERNEL: Duration = Duration::from_secs(6);
/// The same for one workload.
const QUICK_RUNNING_KERNEL: Duration = Duration::from_secs(1);
/// A run of less time leaves the running kernel out: it would take much of its time.
const SHORTEST_WITH_RUNNING_KERNEL: Duration = Duration::from_secs(10);

/// The bodies that `--body` selects from.
const BODIES: [BodyKind; 2] = [BodyKind::Native, BodyKind::Xen];

/// Blocks of a workload per worker, each with its own kernel placement. They take about as long as their preparation.
pub(crate) const BLOCKS_PER_WORKLOAD: usize = 8;

/// The plan of a selection.
pub struct Planned {
    /// The plan, without a second CPU.
    pub plan: Plan,
    /// The selected workloads that are unavailable on this machine, with the reasons.
    pub absent: Vec<Unavailable>,
}

impl Selection {
    /// Makes the plan of the selection.
    ///
    /// # Errors
    /// A name matches nothing, nothing is left to measure, or `--time` is too short for two workers.
    pub fn plan(&self, suite: &Suite, here: &HostContext) -> Result<Planned, CliError> {
        let preset = match (self.quick, self.full) {
            (true, _) => Preset::Quick,
            (_, true) => Preset::Full,
            _ => Preset::Default,
        };
        let mut matrix = self.cells(suite, here, preset)?;
        let Workloads { workloads, kernels, absent } = self.workloads(suite, preset)?;
        let kernels = kernels.into_iter().map(|kernel| matrix.treatments.add(kernel)).collect();
        let workers = |time| self.workers.map_or(Workers::Within(time), |workers| Workers::Exactly(workers.into()));
        let with_workloads = self.op.is_empty() && self.regime.is_empty() || !self.workload.is_empty();
        let share = if with_workloads { 1.0 - WORKLOAD_SHARE } else { 1.0 };
        let time = self.time.map_or(preset.time(), |seconds| Duration::from_secs(seconds.into()).mul_f64(share));
        let workload_time = match (self.time, self.only_workloads()) {
            (None, _) => preset.work_time(),
            (Some(seconds), true) => Duration::from_secs(seconds.into()),
            (Some(seconds), false) => Duration::from_secs(seconds.into()).mul_f64(WORKLOAD_SHARE),
        };
        let effort = Effort { workers: workers(workload_time), blocks: BLOCKS_PER_WORKLOAD };
        let plan = Plan {
            preset,
            seed: self.conditions.seed(),
            matrix,
            effort: Effort { workers: workers(time), blocks: 1 },
            work: WorkloadPlan { workloads, kernels, effort },
            window_cycles: WINDOW_CYCLES,
            cpu: here.cpu(),
            second_cpu: None,
            clock: here.clock,
        };
        let min_seconds = 2.0 * plan.worker_seconds();
        if let Some(seconds) = self.time
            && min_seconds > time.as_secs_f64()
        {
            return Err(CliError::Usage(format!(
                "--time {seconds} is too short: two workers over {} comparisons take about {min_seconds:.0} s; name \
                 fewer ops, mechanisms or regimes, or --layouts {}",
                plan.matrix.comparisons.len(),
                (plan.matrix.layouts() / 2).max(1)
            )));
        }
        Ok(Planned { plan, absent })
    }

    /// How long to time the running kernel. A run times it if it measures Linux's ops and nothing was left out by name.
    #[must_use]
    pub(super) fn running_kernel(&self, suite: &Suite, plan: &Plan) -> Option<RunningKernelTime> {
        let names = [&self.op, &self.mechanism, &self.regime, &self.workload];
        let is_whole = names.iter().all(|names| names.is_empty()) && self.bodies().ok()?.contains(&BodyKind::Native);
        let is_linux = suite.ops().iter().any(|op| op.meta.since != Since::NotLinux);
        let is_brief = plan.workers().is_shorter_than(SHORTEST_WITH_RUNNING_KERNEL);
        (is_whole && is_linux && !is_brief).then_some(RunningKernelTime {
            claim_only: self.quick,
            time: if self.quick { QUICK_RUNNING_KERNEL } else { RUNNING_KERNEL },
        })
    }

    /// Whether cells are skipped: workloads are named, and neither ops nor regimes.
    fn only_workloads(&self) -> bool {
        !self.workload.is_empty() && self.op.is_empty() && self.regime.is_empty()
    }

    /// Selects the cells.
    fn cells(&self, suite: &Suite, here: &HostContext, preset: Preset) -> Result<Matrix, CliError> {
        let movable = here.movable();
        let ops = suite.ops();
        let names: Vec<&str> = ops.iter().map(|op| op.meta.name).collect();
        let quick = to_owned_names(suite.choices().quick_ops);
        let wanted = if self.op.is_empty() && preset == Preset::Quick { &quick } else { &self.op };
        let chosen = select("op", wanted, &names)?;
        let regimes: Vec<Regime> = if self.regime.is_empty() && preset == Preset::Quick {
            vec![Regime::Throughput]
        } else {
            let names = Regime::ALL.map(Regime::name);
            select("regime", &self.regime, &names)?.into_iter().map(|i| Regime::ALL[i]).collect()
        };
        let bodies = self.bodies()?;
        let mechanisms = self.mechanisms_for(suite, &bodies)?;
        // Cold regimes measure only the suite's cold ops, unless ops or regimes are named.
        let narrow = self.op.is_empty() && self.regime.is_empty() && preset != Preset::Full;
        // Loops that cannot be copied have a single address, which the linker chose.
        let layouts = if movable { offsets(self.layouts.map_or(preset.layouts(), usize::from)) } else { vec![0] };
        let cold = |name| suite.choices().cold_ops.is_none_or(|ops| ops.contains(&name));
        let mut comparisons = Vec::new();
        for op in chosen.iter().map(|&i| &ops[i]) {
            for &regime in regimes.iter().filter(|&&regime| op.pairs.iter().all(|p| p.loop_of(regime).is_some())) {
                // The copies of an unrolled chain lie at all offsets, so one layout covers them.
                let apart = regime.is_cold() || regime.targets().is_some();
                if apart && (!movable || (narrow && !cold(op.meta.name))) {
                    continue;
                }
                for &body in &bodies {
                    for &offset in if apart { &layouts[..1] } else { &layouts[..] } {
                        comparisons.push(Comparison { op: op.meta.name.to_owned(), body, regime, offset });
                    }
                }
            }
        }
        if self.only_workloads() {
            comparisons.clear();
        } else if comparisons.is_empty() {
            let message =
                "these ops have no loop in these regimes; name others (latency needs an argument and a result)";
            return Err(CliError::Usage(message.into()));
        }
        let mut matrix = Matrix::default();
        let treatments = matrix.treatments.add_mechanisms(mechanisms.iter().flat_map(MechanismState::list));
        matrix.plan(comparisons, &treatments);
        Ok(matrix)
    }

    /// Selects the bodies. In suites of one's own the second body is named `alternative`.
    fn bodies(&self) -> Result<Vec<BodyKind>, CliError> {
        let chosen = select("body", &self.body, &["native", "xen", "alternative"])?;
        let is_chosen = |body: &BodyKind| chosen.iter().any(|&i| BODIES[i.min(1)] == *body);
        Ok(BODIES.into_iter().filter(is_chosen).collect())
    }

    /// Selects the mechanisms that can reach the bodies.
    fn mechanisms_for(&self, suite: &Suite, bodies: &[BodyKind]) -> Result<Vec<Mechanism>, CliError> {
        let all = suite.mechanism_metas();
        let names: Vec<&str> = all.iter().map(|m| m.name).collect();
        let chosen = select("mechanism", &self.mechanism, &names)?;
        let mut mechanisms: Vec<Mechanism> =
            chosen.into_iter().map(|i| all[i]).filter(|m| m.name != "inline").collect();
        if bodies.contains(&BodyKind::Xen) {
            // Mechanisms that cannot reach Xen's body would measure the native one under its name.
            mechanisms.retain(|m| m.switches);
        }
        if mechanisms.is_empty() && self.mechanism.iter().all(|m| m != "inline") {
            let message =
                "none of these mechanisms can reach that body; see the column bodies of `pvbench list mechanisms`";
            return Err(CliError::Usage(message.into()));
        }
        Ok(mechanisms)
    }

    /// Selects the workloads; none where ops or regimes are named and no workload.
    fn workloads(&self, suite: &Suite, preset: Preset) -> Result<Workloads, CliError> {
        let entries = suite.workloads();
        let names: Vec<&str> = entries.iter().map(|entry| entry.meta.name).collect();
        let quick = to_owned_names(suite.choices().quick_workloads);
        let wanted = if self.workload.is_empty() && preset == Preset::Quick { &quick[..] } else { &self.workload };
        let mut chosen = select("workload", wanted, &names)?;
        if self.workload.is_empty() && !(self.op.is_empty() && self.regime.is_empty()) {
            chosen.clear();
        }
        if self.workload.is_empty() && preset != Preset::Full {
            chosen.retain(|&i| entries[i].by_default);
        }
        let native = self.bodies()?.contains(&BodyKind::Native);
        if !native && !self.workload.is_empty() {
            let message = "workloads have native bodies only; leave --body out, or name native, too";
            return Err(CliError::Usage(message.to_owned()));
        }
        if !native {
            chosen.clear();
        }
        let find_absence = |&i: &usize| {
            let reason = (entries[i].unavailable)()?;
            Some(Unavailable { what: format!("workload {}", names[i]), reason })
        };
        let absent: Vec<Unavailable> = chosen.iter().filter_map(find_absence).collect();
        chosen.retain(|i| find_absence(i).is_none());
        if let (true, Some(Unavailable { what, reason })) = (chosen.is_empty(), absent.first()) {
            return Err(CliError::Usage(format!("{what}: {reason}")));
        }
        let all = suite.mechanism_metas();
        let mechanism_names: Vec<&str> = all.iter().map(|m| m.name).collect();
        let decisive = to_owned_names(suite.choices().workload_mechanisms);
        let wanted = if self.mechanism.is_empty() && preset != Preset::Full { &decisive[..] } else { &self.mechanism };
        let mechanisms = select("mechanism", wanted, &mechanism_names)?;
        let mechanisms = mechanisms.into_iter().map(|i| &all[i]);
        let mut options = Vec::new();
        // Only the model kernel has options.
        if entries.iter().any(|entry| !entry.options.is_empty()) {
            options = option_infos();
        }
        let options = options.into_iter().map(|option| Treatment::Option(option.name));
        Ok(Workloads {
            workloads: chosen.into_iter().map(|i| names[i].to_owned()).collect(),
            kernels: kernels(mechanisms).chain(options).collect(),
            absent,
        })
    }
}

/// The kernels of mechanisms other than `inline`.
pub fn kernels<'a>(mechanisms: impl Iterator<Item = &'a Mechanism>) -> impl Iterator<Item = Treatment> {
    let states = mechanisms.filter(|mechanism| mechanism.name != "inline").flat_map(MechanismState::list);
    // A whole kernel cannot replace ops that do something by NOPs; where ops do nothing, `inline` has NOPs already.
    states.filter(|mechanism| mechanism.state != Some(State::Nop)).map(Treatment::Mechanism)
}

/// The selected workloads.
struct Workloads {
    /// Those that are available on this machine.
    workloads: Vec<String>,
    kernels: Vec<Treatment>,
    absent: Vec<Unavailable>,
}

/// Copies the names of a choice; no choice gives no names, which stands for all.
fn to_owned_names(names: Option<&[&str]>) -> Vec<String> {
    names.unwrap_or_default().iter().map(|name| (*name).to_owned()).collect()
}
