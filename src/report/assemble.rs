//! Putting the document together from what a run found.

use super::read::MOST_LINES;
use super::schema::{
    Absence, Calibration, Catalogue, Estimate, Failure, Listing, ListingLine, MechanismInfo, OpInfo, OptionInfo,
    PlanSummary, Report, Run, SCHEMA, Tool, Workload,
};
use crate::dispatch::Mechanism;
use crate::estimate::{CONFIDENCE, Estimates, traps};
use crate::host::{Check, Machine};
use crate::kernel::options::{self, KernelOption, Optional};
use crate::measure::explain::Example;
use crate::measure::plan::Plan;
use crate::suite::OpEntry;

/// What a run found out, beside its samples.
pub struct Findings {
    /// The estimates.
    pub estimates: Estimates,
    /// The clock's name.
    pub clock: &'static str,
    /// Why it is not the TSC, if it is not.
    pub clock_reason: Option<String>,
    /// Its rate.
    pub ticks_per_second: f64,
    /// RFC 3339.
    pub started: String,
    /// Seconds.
    pub duration_seconds: f64,
    /// Whether every planned group was measured by some worker and nothing was cut short.
    pub complete: bool,
    /// The machine.
    pub machine: Machine,
    /// Its fitness.
    pub environment: Vec<Check>,
    /// The workloads.
    pub workloads: Vec<Workload>,
    /// What columns execute.
    pub examples: Vec<Example>,
    /// Workers that took all groups.
    pub workers: usize,
    /// Workers for single groups after them.
    pub workers_again: usize,
    /// The CPU that workers of workloads had beside the plan's.
    pub beside: Option<usize>,
    /// What went wrong.
    pub failures: Vec<Failure>,
    /// What is missing.
    pub absent: Vec<Absence>,
}

impl OpInfo {
    /// What the document says of an op.
    #[must_use]
    pub fn of(op: &OpEntry) -> Self {
        let meta = &op.meta;
        OpInfo {
            name: meta.name.to_owned(),
            group: meta.group,
            since: meta.since,
            arguments: op.arity,
            returns: op.returns,
            native_kind: meta.native_kind,
            xen_kind: meta.xen_kind,
            bytes: meta.bytes,
            native_code: op.native_code().iter().map(|byte| format!("{byte:02x}")).collect(),
            conventions: meta.conventions,
            prototype: meta.prototype.to_owned(),
            purpose: meta.purpose.trim().to_owned(),
            source: meta.source.to_owned(),
        }
    }
}

impl MechanismInfo {
    /// What the document says of a mechanism.
    #[must_use]
    pub fn of(mechanism: &Mechanism) -> Self {
        MechanismInfo {
            name: mechanism.name.to_owned(),
            summary: mechanism.summary.to_owned(),
            known_from: mechanism.known_from.to_owned(),
            year: mechanism.year,
            step: mechanism.step.map(str::to_owned),
            states: mechanism.states.iter().map(|state| state.name().to_owned()).collect(),
            listings: Vec::new(),
        }
    }
}

/// Describes the kernel options.
pub struct Options<'a>(pub &'a mut Vec<OptionInfo>);

impl options::Visitor for Options<'_> {
    fn visit<C: Optional>(&mut self) {
        let KernelOption { name, switch, summary } = C::META;
        let (name, switch, summary) = (name.to_owned(), switch.to_owned(), summary.to_owned());
        self.0.push(OptionInfo { name, switch, summary });
    }
}

/// Makes the document. `ops` and `mechanisms` are those of the build; only what the plan names is described.
#[must_use]
pub fn report(plan: &Plan, ops: &[OpEntry], mechanisms: &[Mechanism], findings: Findings) -> Report {
    let Findings { mut estimates, mut absent, .. } = findings;
    if findings.machine.virtualised.is_some() {
        let may_trap = |name: &str| ops.iter().any(|op| op.meta.name == name && op.may_trap());
        absent.extend(traps::mark(&mut estimates.cells, may_trap));
    }
    let planned = |name: &str| plan.groups.iter().any(|group| group.op == name);
    let ops: Vec<OpInfo> = ops.iter().filter(|op| planned(op.meta.name)).map(OpInfo::of).collect();
    let named = |mechanism: &str| {
        let kernels = findings.workloads.iter().flat_map(|workload| &workload.kernels);
        plan.columns.iter().any(|column| column.mechanism == mechanism)
            || kernels.filter_map(|kernel| kernel.mechanism.as_deref()).any(|name| name == mechanism)
    };
    let mechanisms: Vec<MechanismInfo> = mechanisms
        .iter()
        .filter(|m| m.name == "inline" || named(m.name))
        .map(|mechanism| {
            let of_it = findings.examples.iter().filter(|example| example.column.mechanism == mechanism.name);
            MechanismInfo { listings: of_it.filter_map(listing).collect(), ..MechanismInfo::of(mechanism) }
        })
        .collect();
    let mut options = Vec::new();
    options::for_each(&mut Options(&mut options));
    options.retain(|option| {
        let kernels = findings.workloads.iter().flat_map(|workload| &workload.kernels);
        kernels.filter_map(|kernel| kernel.option.as_ref()).any(|name| *name == option.name)
    });
    let ticks_per_second = findings.ticks_per_second;
    Report {
        schema: SCHEMA.to_owned(),
        tool: Tool {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        },
        run: Run {
            seed: plan.seed,
            plan: PlanSummary {
                preset: plan.preset.name().to_owned(),
                ops: ops.len(),
                mechanisms: mechanisms.iter().map(|m| m.name.clone()).collect(),
                regimes: distinct(plan.groups.iter().map(|g| g.regime)),
                bodies: distinct(plan.groups.iter().map(|g| g.body)),
                layouts: distinct(plan.groups.iter().map(|g| g.offset)),
                workers: findings.workers,
                workers_again: findings.workers_again,
                rounds: plan.rounds,
                window_cycles: plan.window_cycles,
                cpu: plan.cpu,
                beside: findings.beside,
                confidence: CONFIDENCE,
                error_per_cell: estimates.error_per_cell,
            },
            started: findings.started,
            duration_seconds: findings.duration_seconds,
            complete: findings.complete,
        },
        machine: findings.machine,
        environment: findings.environment,
        calibration: estimates.ticks_per_cycle.map(|ticks| Calibration {
            clock: findings.clock.to_owned(),
            clock_reason: findings.clock_reason,
            ticks_per_second,
            ticks_per_cycle: ticks,
            // Few ticks per cycle are many cycles per second: the ends change places.
            core_ghz: Estimate {
                estimate: ticks_per_second / ticks.estimate / 1e9,
                low: ticks_per_second / ticks.high / 1e9,
                high: ticks_per_second / ticks.low / 1e9,
            },
            adds_per_cycle: estimates.adds_per_cycle,
            disturbed_share: estimates.disturbed_share,
            rounds: estimates.rounds,
            dropped_rounds: estimates.dropped_rounds,
            dropped_values: estimates.dropped_values,
        }),
        floor: estimates.floor,
        floors: estimates.floors,
        catalogue: Catalogue { ops, mechanisms, options },
        cells: estimates.cells,
        workloads: findings.workloads,
        linux: None,
        absent,
        failures: findings.failures,
    }
}

/// An example as the document has it; `None` for one that is longer than a document may hold.
fn listing(example: &Example) -> Option<Listing> {
    let lines = &example.explanation.lines;
    (lines.len() <= MOST_LINES).then(|| Listing {
        op: example.op.to_owned(),
        state: example.column.state.map(|state| state.name().to_owned()),
        lines: lines
            .iter()
            .map(|line| ListingLine {
                bytes: line.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                text: line.text.clone(),
                place: line.place.name().to_owned(),
                changed: line.changed,
            })
            .collect(),
    })
}

fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}
