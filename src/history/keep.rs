//! From a report to a kept run.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::kept::{
    CellName, Commit, CoreState, Header, KeptCell, KeptCheck, KeptFloor, KeptKernel, KeptMode, KeptRun, KeptTool,
    KeptValue, KeptWorkload, KernelName,
};
use super::machine_class::machine_class;
use super::names::Names;
use crate::host::Status;
use crate::report::Report;
use crate::report::schema::{Calibration, Cell, Estimate, WorkloadKernel, WorkloadResult};

/// Suite of reports that do not name theirs: the built-in one.
const BUILT_IN_SUITE: &str = env!("CARGO_PKG_NAME");
/// Maximum length in characters of texts from reports and commits. Lines of the environment have up to 200.
pub(super) const MAX_TEXT: usize = 200;

/// A report cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("run.started is no time: {started:?}; keep the report.json as the run wrote it")]
pub struct NoTime {
    /// The text in place of a time.
    started: String,
}

/// Makes a kept run of a report, which [`crate::report::read::report`] has checked.
///
/// # Errors
/// If the report does not say when its run started.
pub fn keep(report: &Report, commit: Option<Commit>) -> Result<KeptRun, NoTime> {
    let mut names = Names::default();
    Ok(KeptRun {
        header: header(report, commit)?,
        cells: report.cells.iter().map(|cell| keep_cell(cell, &mut names)).collect(),
        workloads: report.workloads.iter().map(|workload| keep_workload(workload, &mut names)).collect(),
    })
}

fn header(report: &Report, commit: Option<Commit>) -> Result<Header, NoTime> {
    let (run, tool) = (&report.run, &report.tool);
    let since_1970 = humantime::parse_rfc3339(&run.started).ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let started_seconds = since_1970.ok_or_else(|| NoTime { started: clip(&run.started) })?.as_secs();
    let mut machine = report.machine.clone();
    let boot_id = machine.boot_id.take();
    Ok(Header {
        suite: tool.suite.as_deref().map_or_else(|| BUILT_IN_SUITE.to_owned(), clip),
        preset: clip(&run.plan.preset),
        machine_class: machine_class(&machine, &report.environment),
        machine,
        boot_id: boot_id.as_deref().map(clip),
        tool: KeptTool {
            version: clip(&tool.version),
            build: clip(&tool.build),
            rustc: tool.rustc.as_deref().map(clip),
        },
        commit,
        started: run.started.clone(),
        started_seconds,
        duration_seconds: run.duration_seconds,
        seed: run.seed,
        complete: run.complete,
        layouts: run.plan.layouts.clone(),
        workers: run.plan.workers,
        core: report.calibration.as_ref().map(core_state),
        floors: report
            .floors
            .iter()
            .map(|floor| KeptFloor { regime: floor.regime.name().to_owned(), cycles: floor.cycles })
            .collect(),
        checks: report
            .environment
            .iter()
            .filter(|check| check.status != Status::Ok)
            .map(|check| KeptCheck { id: clip(&check.id), status: check.status, detail: clip(&check.detail) })
            .collect(),
        absent: report.absent.clone(),
        failures: report.failures.len(),
    })
}

fn core_state(calibration: &Calibration) -> CoreState {
    CoreState {
        ghz: calibration.core_ghz,
        adds_per_cycle: calibration.adds_per_cycle,
        ticks_per_cycle: calibration.ticks_per_cycle.median,
        contended_share: calibration.contended_share,
    }
}

/// The error of an estimate is that of workers, blocks and runs. The layouts are a fixed grid: their range is no part
/// of it.
fn keep_value(estimate: &Estimate) -> KeptValue {
    let Estimate { estimate: value, standard_error, degrees_of_freedom, .. } = *estimate;
    KeptValue { value, standard_error, degrees_of_freedom }
}

fn keep_cell(cell: &Cell, names: &mut Names) -> KeptCell {
    let name = CellName {
        op: names.text(&cell.op),
        body: names.text(cell.body.name()),
        mechanism: names.text(&cell.mechanism),
        state: cell.state.as_deref().map(|state| names.text(state)),
        regime: names.text(cell.regime.name()),
    };
    KeptCell {
        name: names.cell(name),
        overhead: cell.overhead.as_ref().map(|overhead| keep_value(&overhead.cycles)),
        native_cycles: cell.native_cycles,
        floor_cycles: cell.floor_cycles,
        modes: cell
            .modes
            .iter()
            .map(|mode| KeptMode { offset: mode.offset, cycles: mode.cycles, share: mode.share })
            .collect(),
        instructions: cell.instructions.map(|count| count.per_op),
        mix: cell.mix.as_ref().map(|mix| names.mix(mix)),
        code: cell.code,
        resolved: cell.resolved,
        limit: cell.limit,
        absent: reason(cell.absent.as_deref(), names),
    }
}

fn keep_workload(workload: &WorkloadResult, names: &mut Names) -> KeptWorkload {
    let name = names.text(&workload.name);
    KeptWorkload {
        unit: names.text(&workload.unit),
        inline_cycles: workload.inline_cycles.as_ref().map(keep_value),
        inline_instructions: workload.inline_instructions,
        floor_percent: workload.floor_percent,
        placement_percent: workload.placement_percent,
        kernels: workload.kernels.iter().map(|kernel| keep_kernel(&name, kernel, names)).collect(),
        name,
    }
}

fn keep_kernel(workload: &Arc<str>, kernel: &WorkloadKernel, names: &mut Names) -> KeptKernel {
    let mut text = |text: &Option<String>| text.as_deref().map(|text| names.text(text));
    let name = KernelName {
        workload: workload.clone(),
        mechanism: text(&kernel.mechanism),
        state: text(&kernel.state),
        option: text(&kernel.option),
    };
    KeptKernel {
        name: names.kernel(name),
        overhead_percent: kernel.overhead_percent.as_ref().map(keep_value),
        instructions: kernel.instructions.map(|count| count.per_unit),
        floor_percent: kernel.floor_percent,
        resolved: kernel.resolved,
        limit: kernel.limit,
        absent: reason(kernel.absent.as_deref(), names),
    }
}

fn reason(text: Option<&str>, names: &mut Names) -> Option<Arc<str>> {
    text.map(|text| names.text(&clip(text)))
}

/// A text of at most [`MAX_TEXT`] characters.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
