//! Published figures, and what a report has beside each.

use serde::Deserialize;

use super::schema::{Cell, Estimate, Report, Workload, WorkloadKernel};
use crate::dispatch::Platform;
use crate::regime::Regime;

/// The figures, in the order of the page.
const FIGURES: &str = include_str!("published.toml");

/// A published figure.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Names it for good.
    pub id: String,
    /// What it says.
    pub claim: String,
    /// Where it was read.
    pub source: String,
    /// Its numbers.
    pub rows: Vec<Row>,
}

/// A number of a figure.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Of what.
    pub metric: String,
    value: Option<f64>,
    range: Option<[f64; 2]>,
    without: Option<f64>,
    with: Option<f64>,
    /// What it is in.
    pub unit: Unit,
    here: Option<Here>,
    /// What it is called beside a real kernel.
    pub beside: Option<String>,
    why: Option<String>,
}

/// What a number is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Percent of what it takes without.
    Percent,
    /// Core cycles.
    Cycles,
    /// Nanoseconds.
    Ns,
}

impl Unit {
    /// As it is written behind a number.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Unit::Percent => "%",
            Unit::Cycles => "cycles",
            Unit::Ns => "ns",
        }
    }
}

/// What of a report stands beside a published number.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Here {
    workload: Option<String>,
    option: Option<String>,
    op: Option<String>,
    mechanism: Option<String>,
    state: Option<String>,
    #[serde(default)]
    measure: Measure,
}

/// What of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Measure {
    /// A workload's time above `inline`.
    #[default]
    Time,
    /// A workload's instructions above `inline`.
    Instructions,
    /// A workload's placement range.
    Placement,
    /// A cell, with what the op itself takes.
    Call,
}

/// What a report says to a published number.
#[derive(Clone, Debug, PartialEq)]
pub enum Today {
    /// A measured number.
    Measured(Estimate),
    /// A number that has no interval: counted, or the largest of several.
    Counted(f64),
    /// None, and why.
    Absent(String),
}

/// The published figures.
///
/// # Errors
/// Never with the file that is built in, which a test reads.
pub fn figures() -> Result<Vec<Figure>, toml::de::Error> {
    #[derive(Deserialize)]
    struct File {
        figure: Vec<Figure>,
    }
    toml::from_str::<File>(FIGURES).map(|file| file.figure)
}

impl Row {
    /// The published number, lowest and highest; percent where it was published as two numbers. `None` where the file names
    /// none.
    #[must_use]
    pub fn published(&self) -> Option<[f64; 2]> {
        let percent = self.without.zip(self.with).map(|(without, with)| (with / without - 1.0) * 100.0);
        self.range.or(self.value.or(percent).map(|value| [value; 2]))
    }

    /// What is measured beside it, in words: `mmap_perf, site (inline)`.
    #[must_use]
    pub fn stand_in(&self) -> String {
        let Some(here) = &self.here else { return String::new() };
        let mechanism = here.mechanism.as_ref().map(|mechanism| match &here.state {
            Some(state) => format!("{mechanism} ({state})"),
            None => mechanism.clone(),
        });
        let what = match here.measure {
            Measure::Time | Measure::Call => None,
            Measure::Instructions => Some("instructions".to_owned()),
            Measure::Placement => Some("placement range".to_owned()),
        };
        let parts = [here.workload.clone(), here.op.clone(), here.option.clone(), mechanism, what];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// The model kernel's workload beside which it stands.
    #[must_use]
    pub fn workload(&self) -> Option<&str> {
        self.here.as_ref()?.workload.as_deref()
    }

    /// What a report has beside it.
    #[must_use]
    pub fn today(&self, report: &Report) -> Today {
        let Some(here) = &self.here else {
            return Today::Absent(self.why.clone().unwrap_or_else(|| "nothing stands for it".to_owned()));
        };
        match (&here.workload, &here.op) {
            (Some(name), _) => match report.workloads.iter().find(|workload| workload.name == *name) {
                Some(workload) => here.of_workload(workload),
                None => Today::Absent(format!("{name} was not measured")),
            },
            (None, Some(op)) => here.of_cell(op, self.unit, report),
            (None, None) => Today::Absent("nothing stands for it".to_owned()),
        }
    }
}

impl Here {
    fn of_workload(&self, workload: &Workload) -> Today {
        if self.measure == Measure::Placement {
            let unplaced = || "kernels were not placed anew".to_owned();
            return workload.placement_range().map_or_else(|| Today::Absent(unplaced()), Today::Counted);
        }
        let wanted = |kernel: &&WorkloadKernel| {
            kernel.mechanism == self.mechanism && kernel.state == self.state && kernel.option == self.option
        };
        let Some(kernel) = workload.kernels.iter().find(wanted) else {
            return Today::Absent("not measured on that kernel".to_owned());
        };
        let found = match self.measure {
            Measure::Instructions => kernel.instructions.map(|counted| Today::Counted(counted.extra_percent)),
            _ => kernel.overhead_percent.map(Today::Measured),
        };
        let reason = || kernel.absent.clone().or(kernel.instructions_absent.clone());
        found.unwrap_or_else(|| Today::Absent(reason().unwrap_or_else(|| "not counted".to_owned())))
    }

    fn of_cell(&self, op: &str, unit: Unit, report: &Report) -> Today {
        let wanted = |cell: &&Cell| {
            cell.op == op
                && Some(&cell.mechanism) == self.mechanism.as_ref()
                && cell.state == self.state
                && cell.regime == Regime::Throughput
                && cell.body == Platform::Native
        };
        let Some(cell) = report.cells.iter().find(wanted) else {
            return Today::Absent(format!("the cell of {op} was not measured"));
        };
        let Some(overhead) = cell.overhead else {
            return Today::Absent(cell.absent.clone().unwrap_or_else(|| "not measured".to_owned()));
        };
        let ghz = report.calibration.as_ref().map(|calibration| calibration.core_ghz.estimate);
        let Some(native) = cell.native_cycles else {
            return Today::Absent("what the op itself takes was not measured".to_owned());
        };
        let of = |e: Estimate, native: f64| Estimate {
            estimate: e.estimate + native,
            low: e.low + native,
            high: e.high + native,
        };
        match (unit, ghz) {
            (Unit::Cycles, _) => Today::Measured(of(overhead.cycles, native)),
            (Unit::Ns, Some(ghz)) => Today::Measured(of(overhead.ns, native / ghz)),
            (Unit::Ns, None) => Today::Absent("the clock was not calibrated".to_owned()),
            (Unit::Percent, _) => Today::Absent("a cell has no percent".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Unit, figures};
    use crate::kernel::options;
    use crate::report::assemble::Options;
    use crate::suite;
    use crate::workload::{self, Measured, Workloads as _};

    /// The names alone: to compile the workloads with every mechanism would take longer than all other tests here.
    struct Names(Vec<&'static str>);

    impl workload::Visitor for Names {
        fn visit<W: Measured>(&mut self) {
            self.0.push(W::NAME);
        }
    }

    #[test]
    fn every_published_number_has_one_value_and_one_stand_in_that_exists_or_a_reason() {
        let figures = figures().unwrap();
        let mut workloads = Names(Vec::new());
        workload::All::visit(&mut workloads);
        let workloads = workloads.0;
        let mechanisms: Vec<&str> = suite::mechanisms().iter().map(|mechanism| mechanism.name).collect();
        let mut known = Vec::new();
        options::for_each(&mut Options(&mut known));
        for figure in &figures {
            assert_eq!(figures.iter().filter(|other| other.id == figure.id).count(), 1, "{}", figure.id);
            for row in &figure.rows {
                let place = format!("{}, {}", figure.id, row.metric);
                let given = [row.value.is_some(), row.range.is_some(), row.without.is_some() && row.with.is_some()];
                assert_eq!(given.into_iter().filter(|given| *given).count(), 1, "{place}");
                assert_eq!(row.here.is_some(), row.why.is_none(), "{place}");
                let one_percentage = row.unit == Unit::Percent && row.published().is_some_and(|it| it[0] == it[1]);
                assert!(row.beside.is_none() || (row.workload().is_some() && one_percentage), "{place}");
                let Some(here) = &row.here else { continue };
                assert!(here.workload.is_some() != here.op.is_some(), "{place}");
                assert!(here.workload.as_deref().is_none_or(|name| workloads.contains(&name)), "{place}");
                assert!(here.mechanism.as_deref().is_none_or(|name| mechanisms.contains(&name)), "{place}");
                assert!(here.option.as_deref().is_none_or(|name| known.iter().any(|o| o.name == name)), "{place}");
                assert_eq!(here.workload.is_some(), row.unit == Unit::Percent, "{place}");
            }
        }
    }

    #[test]
    fn two_published_numbers_make_a_percentage() {
        let figures = figures().unwrap();
        let first =
            figures.iter().find(|figure| figure.id == "mmap-perf-2009-01").unwrap().rows[0].published().unwrap();
        assert!((first[0] - 3.7414).abs() < 1e-3 && first[0] == first[1], "{first:?}");
    }
}
