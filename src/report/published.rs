//! Published figures, and the values of a report to compare them with.

use serde::Deserialize;

use super::schema::{Cell, Estimate, Report, WorkloadKernel, WorkloadResult};
use crate::op::BodyKind;
use crate::regime::Regime;
use crate::stats::Interval;

/// The published figures in TOML, in the order of the page.
const FIGURES: &str = include_str!("published.toml");

/// A published figure.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Permanent identifier.
    pub id: String,
    /// The claim that the figure supports.
    pub claim: String,
    /// The mail, paper or commit that holds the figure.
    pub source: String,
    /// The numbers of the figure.
    pub rows: Vec<Row>,
}

/// One number of a published figure.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The quantity that the number measures.
    pub metric: String,
    value: Option<f64>,
    range: Option<[f64; 2]>,
    without: Option<f64>,
    with: Option<f64>,
    /// Unit of the number.
    pub unit: Unit,
    here: Option<StandIn>,
    /// Label in the plot that compares the number with a real kernel; `None` if it is not in that plot.
    pub beside: Option<String>,
    /// Reasons why a report's value differs from the number, as far as they are known.
    #[serde(default)]
    pub(crate) differs_because: Reasons,
    why: Option<String>,
}

/// Reasons why a value is higher or lower than a published number.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reasons {
    pub(crate) higher: Option<String>,
    pub(crate) lower: Option<String>,
}

/// Unit of a published number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Percent above the time or count without the feature.
    Percent,
    /// Core cycles.
    Cycles,
    /// Nanoseconds.
    Ns,
}

impl Unit {
    /// The symbol of the unit behind a number.
    #[must_use]
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Unit::Percent => "%",
            Unit::Cycles => "cycles",
            Unit::Ns => "ns",
        }
    }
}

/// The part of a report that is compared with a published number: a workload on a kernel, or a cell.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StandIn {
    workload: Option<String>,
    option: Option<String>,
    op: Option<String>,
    mechanism: Option<String>,
    state: Option<String>,
    #[serde(default)]
    measure: Measure,
    /// What the stand-in executes, where its name does not say it.
    means: Option<String>,
}

/// The value that is taken from a workload or cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Measure {
    /// Time of a workload above `inline`.
    #[default]
    Time,
    /// Instructions of a workload above `inline`.
    Instructions,
    /// Placement range of a workload.
    Placement,
    /// Overhead of a cell plus the time of the op itself.
    Call,
}

/// The value of a report to compare with a published number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OwnValue {
    /// A measured number with its interval.
    Measured(Interval),
    /// A number without an interval: a count or a placement range.
    Counted(f64),
    /// No value, with the reason.
    Absent(String),
}

/// The published figures.
///
/// # Errors
/// When the built-in file does not parse. A test checks that it does.
pub fn figures() -> Result<Vec<Figure>, toml::de::Error> {
    #[derive(Deserialize)]
    struct File {
        figure: Vec<Figure>,
    }
    toml::from_str::<File>(FIGURES).map(|file| file.figure)
}

impl Row {
    /// Lowest and highest published number. If two numbers were published, without and with the feature, their
    /// difference in percent. `None` if the file holds no number.
    #[must_use]
    pub fn published(&self) -> Option<[f64; 2]> {
        let percent = self.without.zip(self.with).map(|(without, with)| (with / without - 1.0) * 100.0);
        self.range.or(self.value.or(percent).map(|value| [value; 2]))
    }

    /// The measured part of a report that stands for the number, in words: `mmap_perf, site (inline)`.
    #[must_use]
    pub(crate) fn stand_in(&self) -> String {
        let Some(here) = &self.here else { return String::new() };
        let mechanism = here.mechanism.as_ref().map(|mechanism| match &here.state {
            Some(state) => format!("{mechanism} ({state})"),
            None => mechanism.clone(),
        });
        let what = match here.measure {
            Measure::Time => None,
            Measure::Call => Some("the call with the op's own time".to_owned()),
            Measure::Instructions => Some("instructions".to_owned()),
            Measure::Placement => Some("placement range".to_owned()),
        };
        let parts = [here.workload.clone(), here.op.clone(), here.option.clone(), mechanism, what];
        let means = here.means.as_ref().map_or_else(String::new, |means| format!(": {means}"));
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ") + &means
    }

    /// The workload of the model kernel that stands for the number.
    #[must_use]
    pub fn workload(&self) -> Option<&str> {
        self.here.as_ref()?.workload.as_deref()
    }

    /// The value of a report to compare with the number.
    #[must_use]
    pub(crate) fn own_value(&self, report: &Report) -> OwnValue {
        let nothing = || "pvbench measures nothing like it".to_owned();
        let Some(here) = &self.here else {
            return OwnValue::Absent(self.why.clone().unwrap_or_else(nothing));
        };
        match (&here.workload, &here.op) {
            (Some(name), _) => match report.workloads.iter().find(|workload| workload.name == *name) {
                Some(workload) => here.read_workload(workload),
                None => OwnValue::Absent(format!("{name} was not measured")),
            },
            (None, Some(op)) => here.read_cell(op, self.unit, report),
            (None, None) => OwnValue::Absent(nothing()),
        }
    }
}

impl StandIn {
    fn read_workload(&self, workload: &WorkloadResult) -> OwnValue {
        if self.measure == Measure::Placement {
            let unplaced = || "kernels stayed at the addresses that the linker chose".to_owned();
            return workload.placement_range().map_or_else(|| OwnValue::Absent(unplaced()), OwnValue::Counted);
        }
        let wanted = |kernel: &&WorkloadKernel| {
            kernel.mechanism == self.mechanism && kernel.state == self.state && kernel.option == self.option
        };
        let Some(kernel) = workload.kernels.iter().find(wanted) else {
            return OwnValue::Absent("not measured on that kernel".to_owned());
        };
        let found = match self.measure {
            Measure::Instructions => kernel.instructions.map(|counted| OwnValue::Counted(counted.extra_percent)),
            _ => kernel.overhead_percent.map(|percent| OwnValue::Measured(percent.interval())),
        };
        let reason = || kernel.absent.clone().or(kernel.instructions_absent.clone());
        found.unwrap_or_else(|| OwnValue::Absent(reason().unwrap_or_else(|| "not counted".to_owned())))
    }

    fn read_cell(&self, op: &str, unit: Unit, report: &Report) -> OwnValue {
        let wanted = |cell: &&Cell| {
            cell.op == op
                && Some(&cell.mechanism) == self.mechanism.as_ref()
                && cell.state == self.state
                && cell.regime == Regime::Throughput
                && cell.body == BodyKind::Native
        };
        let Some(cell) = report.cells.iter().find(wanted) else {
            return OwnValue::Absent(format!("the cell of {op} was not measured"));
        };
        let Some(overhead) = cell.overhead else {
            return OwnValue::Absent(cell.absent.clone().unwrap_or_else(|| "not measured".to_owned()));
        };
        let ghz = report.calibration.as_ref().map(|calibration| calibration.core_ghz.median);
        let Some(native) = cell.native_cycles else {
            return OwnValue::Absent("the time of the op with inline was not measured".to_owned());
        };
        let add = |e: Estimate, native: f64| e.interval().map(|it| it + native);
        match (unit, ghz) {
            (Unit::Cycles, _) => OwnValue::Measured(add(overhead.cycles, native)),
            (Unit::Ns, Some(ghz)) => OwnValue::Measured(add(overhead.ns, native / ghz)),
            (Unit::Ns, None) => OwnValue::Absent("the clock was not calibrated".to_owned()),
            (Unit::Percent, _) => OwnValue::Absent("a cell has no value in percent".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Unit, figures};
    use crate::kernel::options;
    use crate::suite;
    use crate::workload::{self, Workload, Workloads as _};

    /// Collects the names of the workloads only, because compiling the workloads with every mechanism takes longer than
    /// all other tests here.
    struct Names(Vec<&'static str>);

    impl workload::WorkloadVisitor for Names {
        fn visit<W: Workload>(&mut self) {
            self.0.push(W::META.name);
        }
    }

    struct OptionNames<'a>(&'a mut Vec<&'static str>);

    impl options::OptionVisitor for OptionNames<'_> {
        fn visit<C: options::Optional>(&mut self) {
            self.0.push(C::META.name);
        }
    }

    #[test]
    fn every_published_number_has_one_value_and_either_an_existing_stand_in_or_a_reason() {
        let figures = figures().unwrap();
        let mut workloads = Names(Vec::new());
        workload::All::visit(&mut workloads);
        let workloads = workloads.0;
        let mechanisms: Vec<&str> = suite::mechanisms().iter().map(|mechanism| mechanism.name).collect();
        let mut known = Vec::new();
        options::for_each(&mut OptionNames(&mut known));
        for figure in &figures {
            assert_eq!(figures.iter().filter(|other| other.id == figure.id).count(), 1, "{}", figure.id);
            for row in &figure.rows {
                let row_name = format!("{}, {}", figure.id, row.metric);
                let given = [row.value.is_some(), row.range.is_some(), row.without.is_some() && row.with.is_some()];
                assert_eq!(given.into_iter().filter(|given| *given).count(), 1, "{row_name}");
                assert_eq!(row.here.is_some(), row.why.is_none(), "{row_name}");
                let reasons = [&row.differs_because.higher, &row.differs_because.lower];
                let explains = reasons.into_iter().flatten().all(|it| row.here.is_some() && it.len() > 20);
                assert!(explains, "{row_name}: a reason without a value, or without words");
                let one_percentage = row.unit == Unit::Percent && row.published().is_some_and(|it| it[0] == it[1]);
                assert!(row.beside.is_none() || (row.workload().is_some() && one_percentage), "{row_name}");
                let Some(here) = &row.here else { continue };
                assert!(here.workload.is_some() != here.op.is_some(), "{row_name}");
                assert!(here.workload.as_deref().is_none_or(|name| workloads.contains(&name)), "{row_name}");
                assert!(here.mechanism.as_deref().is_none_or(|name| mechanisms.contains(&name)), "{row_name}");
                assert!(here.option.as_deref().is_none_or(|name| known.contains(&name)), "{row_name}");
                assert_eq!(here.workload.is_some(), row.unit == Unit::Percent, "{row_name}");
            }
        }
    }

    #[test]
    fn two_published_numbers_give_their_difference_in_percent() {
        let figures = figures().unwrap();
        let first =
            figures.iter().find(|figure| figure.id == "mmap-perf-2009-01").unwrap().rows[0].published().unwrap();
        assert!((first[0] - 3.7414).abs() < 1e-3 && first[0] == first[1], "{first:?}");
    }
}
