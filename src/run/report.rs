//! The document of a run, made from its findings.

use serde::{Deserialize, Serialize};

use super::catalogue::{mechanism_info, op_info, option_infos};
use super::plan::Plan;
use crate::dispatch::Mechanism;
use crate::estimate::kernel_time::{bound_predictions, price_kernel};
use crate::estimate::{CONFIDENCE, Estimates, traps};
use crate::host::{self, Check, Machine};
use crate::measure::explain::Example;
use crate::report::native::Native;
use crate::report::read::MAX_LINES;
use crate::report::recorded::Recorded;
use crate::report::schema::{
    Calibration, Catalogue, CentralRange, Failure, Listing, ListingLine, MechanismInfo, OpInfo, PlanSummary, Report,
    Run, SCHEMA, Tool, Unavailable, WorkloadResult,
};
use crate::suite::OpEntry;

/// The content of a report besides its plan: estimates from samples, and facts.
pub struct Findings {
    /// The estimates of the cells.
    pub(crate) estimates: Estimates,
    /// The estimates of the workloads.
    pub(crate) workloads: Vec<WorkloadResult>,
    /// The facts.
    pub(crate) facts: Facts,
}

/// The content of a report that is not estimated from samples.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Name of the clock.
    pub(crate) clock: String,
    /// The reason why it is not the TSC.
    pub(crate) clock_reason: Option<String>,
    /// Rate of the clock.
    pub(crate) ticks_per_second: f64,
    /// Start of the run, as in RFC 3339.
    pub(crate) started: String,
    /// Duration of the run.
    pub(crate) duration_seconds: f64,
    /// Whether some worker measured every planned comparison, and the run was not stopped.
    pub(crate) complete: bool,
    /// The machine.
    pub(crate) machine: Machine,
    /// The checks of the machine's fitness.
    pub(crate) environment: Vec<Check>,
    /// The listings of variants, each with its mechanism.
    pub(crate) listings: Vec<(String, Listing)>,
    /// Number of workers that took all comparisons.
    pub(crate) workers: usize,
    /// Number of workers for single comparisons after them.
    pub(crate) workers_again: usize,
    /// The second CPU, on which workers of workloads ran.
    pub(crate) second_cpu: Option<usize>,
    /// The failures.
    pub(crate) failures: Vec<Failure>,
    /// The unavailable parts, with reasons.
    pub(crate) absent: Vec<Unavailable>,
    /// The running kernel; absent if it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) running_kernel: Option<RunningKernel>,
}

/// The time of workloads on the running kernel, and the hooks that a real kernel calls in them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunningKernel {
    /// The hooks.
    pub recorded: Recorded,
    /// The time.
    pub native: Native,
}

/// Makes the document of a suite. `ops` and `mechanisms` are those of the build; the document describes only what the
/// plan names.
#[must_use]
pub fn report(plan: &Plan, suite: &str, ops: &[OpEntry], mechanisms: &[Mechanism], findings: Findings) -> Report {
    let Findings { mut estimates, workloads, facts } = findings;
    let mut absent = facts.absent;
    if facts.machine.virtualised.is_some() {
        let may_trap = |name: &str| ops.iter().any(|op| op.meta.name == name && op.may_trap());
        absent.extend(traps::mark(&mut estimates.cells, may_trap));
    }
    let planned = |name: &str| plan.matrix.has_op(name);
    let ops: Vec<OpInfo> = ops.iter().filter(|op| planned(op.meta.name)).map(op_info).collect();
    let named = |mechanism: &str| {
        let kernels = workloads.iter().flat_map(|workload| &workload.kernels);
        let mut treatments = plan.matrix.comparisons.iter().flat_map(|planned| &planned.treatments);
        treatments.any(|id| plan.matrix.treatments.mechanism(*id).is_some_and(|it| it.mechanism == mechanism))
            || kernels.filter_map(|kernel| kernel.mechanism.as_deref()).any(|name| name == mechanism)
    };
    let mechanisms: Vec<MechanismInfo> = mechanisms
        .iter()
        .filter(|m| m.name == "inline" || named(m.name))
        .map(|mechanism| {
            let own = facts.listings.iter().filter(|(name, _)| name == mechanism.name);
            let listings = own.map(|(_, listing)| listing.clone()).collect();
            MechanismInfo { listings, ..mechanism_info(mechanism) }
        })
        .collect();
    let mut options = option_infos();
    options.retain(|option| {
        let kernels = workloads.iter().flat_map(|workload| &workload.kernels);
        kernels.filter_map(|kernel| kernel.option.as_ref()).any(|name| *name == option.name)
    });
    let ticks_per_second = facts.ticks_per_second;
    let comparisons = || plan.matrix.comparisons.iter().map(|planned| &planned.comparison);
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        tool: Tool {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            suite: Some(suite.to_owned()),
            rustc: host::compiler(),
        },
        run: Run {
            seed: plan.seed,
            plan: PlanSummary {
                preset: plan.preset.name().to_owned(),
                ops: ops.len(),
                mechanisms: mechanisms.iter().map(|m| m.name.clone()).collect(),
                regimes: sort_distinct(comparisons().map(|comparison| comparison.regime)),
                bodies: sort_distinct(comparisons().map(|comparison| comparison.body)),
                layouts: sort_distinct(comparisons().map(|comparison| comparison.offset)),
                workers: facts.workers,
                workers_again: facts.workers_again,
                rounds: plan.effort.blocks,
                window_cycles: plan.window_cycles,
                cpu: plan.cpu,
                second_cpu: facts.second_cpu,
                confidence: CONFIDENCE,
                error_per_cell: estimates.error_per_cell,
            },
            started: facts.started,
            duration_seconds: facts.duration_seconds,
            complete: facts.complete,
        },
        machine: facts.machine,
        environment: facts.environment,
        calibration: estimates.ticks_per_cycle.map(|ticks| Calibration {
            clock: facts.clock,
            clock_reason: facts.clock_reason,
            ticks_per_second,
            ticks_per_cycle: ticks,
            // Few ticks per cycle mean many cycles per second, so low and high change places.
            core_ghz: CentralRange {
                median: ticks_per_second / ticks.median / 1e9,
                low: ticks_per_second / ticks.high / 1e9,
                high: ticks_per_second / ticks.low / 1e9,
            },
            adds_per_cycle: estimates.adds_per_cycle,
            contended_share: estimates.contended_share,
            rounds: estimates.rounds,
            dropped_rounds: estimates.dropped_rounds,
            dropped_values: estimates.dropped_values,
        }),
        floor: estimates.floor,
        floors: estimates.floors,
        catalogue: Catalogue { ops, mechanisms, options },
        cells: estimates.cells,
        workloads,
        kernel_time: None,
        linux: None,
        absent,
        failures: facts.failures,
    };
    bound_predictions(&mut report);
    if let Some(RunningKernel { recorded, native }) = facts.running_kernel {
        report.kernel_time = Some(price_kernel(&report, recorded, native));
    }
    report
}

/// Converts examples to listings, each with its mechanism. Listings longer than [`MAX_LINES`] are omitted.
#[must_use]
pub fn listings(examples: &[Example]) -> Vec<(String, Listing)> {
    let short = examples.iter().filter(|example| example.explanation.lines.len() <= MAX_LINES);
    short.map(|example| (example.variant.mechanism.clone(), to_listing(example))).collect()
}

fn to_listing(example: &Example) -> Listing {
    let lines = &example.explanation.lines;
    Listing {
        op: example.op.to_owned(),
        state: example.variant.state.map(|state| state.name().to_owned()),
        lines: lines
            .iter()
            .map(|line| ListingLine {
                bytes: line.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                text: line.text.clone(),
                place: line.place.name().to_owned(),
                changed: line.changed,
            })
            .collect(),
    }
}

fn sort_distinct<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}
