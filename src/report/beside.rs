//! One question, side by side: what pv_ops costs in a real kernel, in the model kernel, and in what was published.
//!
//! Instructions are not cycles. A real kernel is counted in instructions, the model kernel measured in time; what was
//! published has both.

use super::linux::{Linux, LinuxWorkload};
use super::schema::{Report, Workload};

/// A published figure.
struct Published {
    /// The real kernel's workload.
    workload: &'static str,
    what: &'static str,
    percent: f64,
    /// Where it is from.
    source: &'static str,
}

/// As they stand in their sources: with against without CONFIG_PARAVIRT, on bare metal.
const PUBLISHED: [Published; 3] = [
    Published {
        workload: "mmap_perf",
        what: "2009: instructions",
        percent: 1.62,
        source: "mmap-perf on a Core 2 E6800, 1,927,074,043 to 1,958,330,813 instructions; LKML 2009-05-26",
    },
    Published {
        workload: "mmap_perf",
        what: "2009: cycles",
        percent: 0.96,
        source: "the same run, 3,602,663,413 to 3,637,329,004 cycles; LKML 2009-05-26",
    },
    Published {
        workload: "mmap_perf",
        what: "2009, January: time",
        percent: 3.74,
        source: "mmap-perf, task clock 1,311.55 to 1,360.62 ms; LKML 2009-01-20",
    },
];

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
pub struct Figure {
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
pub struct Group {
    /// The workload.
    pub workload: String,
    /// The figures.
    pub figures: Vec<Figure>,
}

/// The figures of a report's kernels, workload by workload.
#[must_use]
pub fn groups(report: &Report) -> Vec<Group> {
    let Some(linux) = &report.linux else { return Vec::new() };
    linux
        .workloads
        .iter()
        .map(|workload| group(linux, workload, report))
        .filter(|group| !group.figures.is_empty())
        .collect()
}

fn group(linux: &Linux, workload: &LinuxWorkload, report: &Report) -> Group {
    let mut figures = Vec::new();
    let first = linux.kernels.first().map_or("", |kernel| kernel.name.as_str());
    for count in &workload.counts {
        let Some(percent) = count.percent else { continue };
        let (n, base) = (count.per_unit.estimate, count.per_unit.estimate / (1.0 + percent.estimate / 100.0));
        figures.push(Figure {
            voice: Voice::Real,
            what: format!("Linux, {}: instructions", count.kernel),
            percent: percent.estimate,
            source: format!("{base:.1} to {n:.1} instructions per unit, against {first}"),
        });
    }
    let model = workload.model.as_ref().and_then(|name| report.workloads.iter().find(|own| own.name == *name));
    figures.extend(model.into_iter().flat_map(of_model));
    let published = PUBLISHED.iter().filter(|it| it.workload == workload.name);
    figures.extend(published.map(|it| Figure {
        voice: Voice::Published,
        what: it.what.to_owned(),
        percent: it.percent,
        source: it.source.to_owned(),
    }));
    Group { workload: workload.name.clone(), figures }
}

fn of_model(workload: &Workload) -> Vec<Figure> {
    let figure = |(mechanism, state, what): &(&str, Option<&str>, &str)| {
        let is = |kernel: &&super::schema::WorkloadKernel| {
            kernel.mechanism.as_deref() == Some(mechanism) && kernel.state.as_deref() == *state
        };
        let overhead = workload.kernels.iter().find(is)?.overhead_percent?;
        Some(Figure {
            voice: Voice::Model,
            what: (*what).to_owned(),
            percent: overhead.estimate,
            source: format!("{}, {:.2} to {:.2}%, against inline", workload.name, overhead.low, overhead.high),
        })
    };
    MODEL.iter().filter_map(figure).collect()
}
