//! One question, side by side: what pv_ops costs in a real kernel, in the model kernel, and in what was published.
//!
//! Instructions are not cycles. A real kernel is counted in instructions, the model kernel measured in time; what was
//! published has both.

use super::linux::{Linux, LinuxWorkload};
use super::published;
use super::schema::{Report, WorkloadResult};

/// Mechanisms of the model kernel that stand beside a real one.
const MODEL: [(&str, Option<&str>, &str); 2] =
    [("site", Some("inline"), "model kernel, patched: time"), ("table", None, "model kernel, table: time")];

/// Who says a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// A real kernel, counted.
    Real,
    /// The model kernel, measured.
    Model,
    /// A publication.
    Published,
}

/// A figure.
#[derive(Clone, Debug)]
pub struct ComparedFigure {
    /// Who says it.
    pub voice: Voice,
    /// Of what.
    pub what: String,
    /// In percent of the kernel without.
    pub percent: f64,
    /// Where it is from.
    pub source: String,
}

/// All figures on a workload.
#[derive(Clone, Debug)]
pub struct ComparedWorkload {
    /// The workload.
    pub workload: String,
    /// The figures.
    pub figures: Vec<ComparedFigure>,
}

/// The figures of a report's kernels, workload by workload.
///
/// # Errors
/// As [`published::figures`].
pub fn groups(report: &Report) -> Result<Vec<ComparedWorkload>, toml::de::Error> {
    let Some(linux) = &report.linux else { return Ok(Vec::new()) };
    let published = published::figures()?;
    let groups = linux.workloads.iter().map(|workload| group(linux, workload, report, &published));
    Ok(groups.filter(|group| !group.figures.is_empty()).collect())
}

fn group(
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
            voice: Voice::Real,
            what: format!("Linux, {}: instructions", count.kernel),
            percent: percent.estimate,
            source: format!("{base:.1} to {n:.1} instructions per unit, against {first}"),
        });
    }
    let model = workload.model.as_ref().and_then(|name| report.workloads.iter().find(|own| own.name == *name));
    figures.extend(model.into_iter().flat_map(of_model));
    figures.extend(published.iter().flat_map(|figure| of_published(figure, workload)));
    ComparedWorkload { workload: workload.name.clone(), figures }
}

fn of_published<'a>(
    figure: &'a published::Figure,
    workload: &'a LinuxWorkload,
) -> impl Iterator<Item = ComparedFigure> + use<'a> {
    let rows = figure.rows.iter().filter(|row| row.workload().is_some() && row.workload() == workload.model.as_deref());
    rows.filter_map(|row| {
        let (what, [percent, _]) = (row.beside.clone()?, row.published()?);
        Some(ComparedFigure { voice: Voice::Published, what, percent, source: figure.source.clone() })
    })
}

fn of_model(workload: &WorkloadResult) -> Vec<ComparedFigure> {
    let figure = |(mechanism, state, what): &(&str, Option<&str>, &str)| {
        let is = |kernel: &&super::schema::WorkloadKernel| {
            kernel.mechanism.as_deref() == Some(mechanism) && kernel.state.as_deref() == *state
        };
        let overhead = workload.kernels.iter().find(is)?.overhead_percent?;
        Some(ComparedFigure {
            voice: Voice::Model,
            what: (*what).to_owned(),
            percent: overhead.estimate,
            source: format!("{}, {:.2} to {:.2}%, against inline", workload.name, overhead.low, overhead.high),
        })
    };
    MODEL.iter().filter_map(figure).collect()
}
