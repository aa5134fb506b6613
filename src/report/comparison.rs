//! The cost of pv_ops in a real kernel, in the model kernel and in publications, workload by workload.
//!
//! Instructions are not cycles. A real kernel is counted in instructions, the model kernel is measured in time;
//! publications have both.

use super::linux::{Linux, LinuxWorkload};
use super::published;
use super::schema::{Report, WorkloadResult};

/// Mechanism, state and label of the model kernels that are compared with a real kernel.
const MODEL_KERNELS: [(&str, Option<&str>, &str); 2] =
    [("site", Some("inline"), "model kernel, patched: time"), ("table", None, "model kernel, table: time")];

/// Origin of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Counted in a real kernel.
    Real,
    /// Measured in the model kernel.
    Model,
    /// Published.
    Published,
}

/// One figure on a workload.
#[derive(Clone, Debug)]
pub struct ComparedFigure {
    /// Origin of the figure.
    pub origin: Origin,
    /// Label of the figure.
    pub what: String,
    /// Percent above the reference kernel: the first real kernel, the model kernel with `inline`, or the published one.
    pub percent: f64,
    /// Source of the figure, with the numbers behind it.
    pub source: String,
}

/// All figures on a workload.
#[derive(Clone, Debug)]
pub(crate) struct ComparedWorkload {
    /// Name of the workload.
    pub workload: String,
    /// The figures.
    pub figures: Vec<ComparedFigure>,
}

/// The figures on every workload that a real kernel executed; empty without real kernels.
///
/// # Errors
/// As [`published::figures`].
pub(crate) fn compare_workloads(report: &Report) -> Result<Vec<ComparedWorkload>, toml::de::Error> {
    let Some(linux) = &report.linux else { return Ok(Vec::new()) };
    let published = published::figures()?;
    let compared = linux.workloads.iter().map(|workload| compare(linux, workload, report, &published));
    Ok(compared.filter(|compared| !compared.figures.is_empty()).collect())
}

fn compare(
    linux: &Linux,
    workload: &LinuxWorkload,
    report: &Report,
    published: &[published::Figure],
) -> ComparedWorkload {
    let mut figures = Vec::new();
    let first = linux.kernels.first().map_or("", |kernel| kernel.name.as_str());
    for count in &workload.counts {
        let Some(percent) = count.percent else { continue };
        let (n, base) = (count.per_unit.estimate, count.per_unit.estimate / (1.0 + percent.estimate / 100.0));
        figures.push(ComparedFigure {
            origin: Origin::Real,
            what: format!("Linux, {}: instructions", count.kernel),
            percent: percent.estimate,
            source: format!("{base:.1} to {n:.1} instructions per unit, compared with {first}"),
        });
    }
    let model = workload.model.as_ref().and_then(|name| report.workloads.iter().find(|own| own.name == *name));
    figures.extend(model.into_iter().flat_map(list_model_figures));
    figures.extend(published.iter().flat_map(|figure| list_published_figures(figure, workload)));
    ComparedWorkload { workload: workload.name.clone(), figures }
}

fn list_published_figures<'a>(
    figure: &'a published::Figure,
    workload: &'a LinuxWorkload,
) -> impl Iterator<Item = ComparedFigure> + use<'a> {
    let rows = figure.rows.iter().filter(|row| row.workload().is_some() && row.workload() == workload.model.as_deref());
    rows.filter_map(|row| {
        let (what, [percent, _]) = (row.beside.clone()?, row.published()?);
        Some(ComparedFigure { origin: Origin::Published, what, percent, source: figure.source.clone() })
    })
}

fn list_model_figures(workload: &WorkloadResult) -> Vec<ComparedFigure> {
    let figure = |(mechanism, state, what): &(&str, Option<&str>, &str)| {
        let is = |kernel: &&super::schema::WorkloadKernel| {
            kernel.mechanism.as_deref() == Some(mechanism) && kernel.state.as_deref() == *state
        };
        let overhead = workload.kernels.iter().find(is)?.overhead_percent?;
        Some(ComparedFigure {
            origin: Origin::Model,
            what: (*what).to_owned(),
            percent: overhead.estimate,
            source: format!("{}, {:.2} to {:.2}%, compared with inline", workload.name, overhead.low, overhead.high),
        })
    };
    MODEL_KERNELS.iter().filter_map(figure).collect()
}
