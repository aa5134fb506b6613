//! A history as a table for notebooks: a row per cell and run, and per workload, kernel and run.

#[cfg(feature = "history-parquet")]
pub mod parquet;
#[cfg(feature = "history-sqlite")]
pub mod sqlite;

use std::io::Write;

use super::kept::{Header, KeptRun, KeptValue};
use crate::report::schema::Limit;

/// A row of the table. Absent numbers and texts are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row<'a> {
    /// Start of the run, RFC 3339.
    pub started: &'a str,
    /// Full id of the commit.
    pub commit: Option<&'a str>,
    /// Place of the commit on its first-parent line.
    pub position: Option<u64>,
    /// Machine class.
    pub machine_class: &'a str,
    /// Identity of the boot.
    pub boot_id: Option<&'a str>,
    /// Name of the suite.
    pub suite: &'a str,
    /// Preset of the run.
    pub preset: &'a str,
    /// Name of the op; absent for workloads.
    pub op: Option<&'a str>,
    /// Name of the workload; absent for cells.
    pub workload: Option<&'a str>,
    /// Name of the body.
    pub body: Option<&'a str>,
    /// Name of the mechanism.
    pub mechanism: Option<&'a str>,
    /// State of a patchable mechanism.
    pub state: Option<&'a str>,
    /// Name of the regime.
    pub regime: Option<&'a str>,
    /// Name of the kernel option.
    pub option: Option<&'a str>,
    /// Unit of the overhead: `cycles` or `percent`.
    pub unit: &'static str,
    /// Overhead, and its error that differs between runs.
    pub overhead: Option<KeptValue>,
    /// Cycles of `inline`.
    pub inline_cycles: Option<f64>,
    /// The floor, in the unit of the overhead.
    pub floor: Option<f64>,
    /// Executed instructions per op or unit.
    pub instructions: Option<f64>,
    /// Identity of the code.
    pub code: Option<String>,
    /// Whether the overhead is resolved.
    pub resolved: bool,
    /// Why it is not.
    pub limit: Option<&'static str>,
}

/// The names of the columns.
pub const COLUMNS: [&str; 24] = [
    "started",
    "commit",
    "position",
    "machine_class",
    "boot_id",
    "suite",
    "preset",
    "op",
    "workload",
    "body",
    "mechanism",
    "state",
    "regime",
    "option",
    "unit",
    "overhead",
    "standard_error",
    "degrees_of_freedom",
    "inline_cycles",
    "floor",
    "instructions",
    "code",
    "resolved",
    "limit",
];

/// A value of a row, in the order of [`COLUMNS`].
#[derive(Clone, Debug, PartialEq)]
pub enum Field<'a> {
    /// A text.
    Text(Option<&'a str>),
    /// A whole number.
    Whole(Option<u64>),
    /// A number.
    Number(Option<f64>),
    /// Yes or no.
    Flag(bool),
}

impl Row<'_> {
    /// The values of the row, in the order of [`COLUMNS`].
    #[must_use]
    pub fn fields(&self) -> [Field<'_>; COLUMNS.len()] {
        let number = |part: fn(&KeptValue) -> f64| Field::Number(self.overhead.as_ref().map(part));
        [
            Field::Text(Some(self.started)),
            Field::Text(self.commit),
            Field::Whole(self.position),
            Field::Text(Some(self.machine_class)),
            Field::Text(self.boot_id),
            Field::Text(Some(self.suite)),
            Field::Text(Some(self.preset)),
            Field::Text(self.op),
            Field::Text(self.workload),
            Field::Text(self.body),
            Field::Text(self.mechanism),
            Field::Text(self.state),
            Field::Text(self.regime),
            Field::Text(self.option),
            Field::Text(Some(self.unit)),
            number(|overhead| overhead.value),
            number(|overhead| overhead.standard_error),
            number(|overhead| overhead.degrees_of_freedom),
            Field::Number(self.inline_cycles),
            Field::Number(self.floor),
            Field::Number(self.instructions),
            Field::Text(self.code.as_deref()),
            Field::Flag(self.resolved),
            Field::Text(self.limit),
        ]
    }
}

/// The rows of a run.
pub fn rows(run: &KeptRun) -> impl Iterator<Item = Row<'_>> {
    let base = base(&run.header);
    let cells = {
        let base = base.clone();
        run.cells.iter().map(move |cell| Row {
            op: Some(&cell.name.op),
            body: Some(&cell.name.body),
            mechanism: Some(&cell.name.mechanism),
            state: cell.name.state.as_deref(),
            regime: Some(&cell.name.regime),
            unit: "cycles",
            overhead: cell.overhead,
            inline_cycles: cell.native_cycles,
            floor: cell.floor_cycles,
            instructions: cell.instructions,
            code: cell.code.map(|code| code.to_string()),
            resolved: cell.resolved,
            limit: cell.limit.map(limit_name),
            ..base.clone()
        })
    };
    let workloads = run.workloads.iter().flat_map(move |workload| {
        let base = Row {
            workload: Some(&workload.name),
            inline_cycles: workload.inline_cycles.map(|inline| inline.value),
            unit: "percent",
            ..base.clone()
        };
        workload.kernels.iter().map(move |kernel| Row {
            mechanism: kernel.name.mechanism.as_deref(),
            state: kernel.name.state.as_deref(),
            option: kernel.name.option.as_deref(),
            overhead: kernel.overhead_percent,
            floor: kernel.floor_percent,
            instructions: kernel.instructions,
            resolved: kernel.resolved,
            limit: kernel.limit.map(limit_name),
            ..base.clone()
        })
    });
    cells.chain(workloads)
}

fn base(header: &Header) -> Row<'_> {
    let commit = header.commit.as_ref();
    Row {
        started: &header.started,
        commit: commit.map(|commit| commit.id.as_str()),
        position: commit.and_then(|commit| commit.position),
        machine_class: &header.machine_class,
        boot_id: header.boot_id.as_deref(),
        suite: &header.suite,
        preset: &header.preset,
        ..Row::default()
    }
}

fn limit_name(limit: Limit) -> &'static str {
    match limit {
        Limit::Floor => "floor",
        Limit::Interval => "interval",
        Limit::Modes => "modes",
        Limit::Layout => "layout",
        Limit::Traps => "traps",
    }
}

/// Writes the names of the columns, and then runs, as CSV.
pub struct CsvTable<W: Write> {
    writer: csv::Writer<W>,
}

impl<W: Write> CsvTable<W> {
    /// Writes the names of the columns.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn new(to: W) -> Result<Self, csv::Error> {
        let mut writer = csv::Writer::from_writer(to);
        writer.write_record(COLUMNS)?;
        Ok(CsvTable { writer })
    }

    /// Writes the rows of a run.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn add(&mut self, run: &KeptRun) -> Result<(), csv::Error> {
        for row in rows(run) {
            self.writer.write_record(row.fields().map(|field| match field {
                Field::Text(text) => text.unwrap_or_default().to_owned(),
                Field::Whole(number) => number.map_or_else(String::new, |number| number.to_string()),
                Field::Number(number) => number.map_or_else(String::new, |number| number.to_string()),
                Field::Flag(flag) => flag.to_string(),
            }))?;
        }
        Ok(())
    }

    /// Writes the rows that are still in memory.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn finish(mut self) -> Result<(), csv::Error> {
        Ok(self.writer.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::kept::{CellName, KeptCell};

    /// A run with a cell.
    pub(super) fn run() -> KeptRun {
        let header = serde_json::json!({
            "suite": "pvbench", "preset": "quick", "machine_class": "amd-25-17-1-kvm-smt2", "machine": {},
            "tool": { "version": "0", "build": "release" }, "commit": { "id": "0123456789ab", "position": 7 },
            "started": "2026-11-30T19:17:39Z", "started_seconds": 1, "duration_seconds": 1.0, "seed": 1,
            "complete": true, "layouts": [], "workers": 1,
        });
        let cell = KeptCell {
            name: std::sync::Arc::new(CellName {
                op: "save_fl".into(),
                body: "native".into(),
                mechanism: "table".into(),
                state: None,
                regime: "throughput".into(),
            }),
            overhead: Some(KeptValue { value: 1.5, standard_error: 0.25, degrees_of_freedom: 8.0 }),
            native_cycles: None,
            floor_cycles: Some(0.5),
            modes: Vec::new(),
            instructions: Some(4.0),
            mix: None,
            code: Some(crate::op::CodeIdentity { site: 1, body: 2 }),
            resolved: true,
            limit: None,
            absent: None,
        };
        KeptRun { header: serde_json::from_value(header).unwrap(), cells: vec![cell], workloads: Vec::new() }
    }

    #[test]
    fn a_row_has_a_field_per_column_and_absent_numbers_are_empty() {
        let mut text = Vec::new();
        let mut table = CsvTable::new(&mut text).unwrap();
        table.add(&run()).unwrap();
        table.finish().unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(
            text.lines().last().unwrap(),
            "2026-11-30T19:17:39Z,0123456789ab,7,amd-25-17-1-kvm-smt2,,pvbench,quick,save_fl,,native,table,,\
             throughput,,\
             cycles,1.5,0.25,8,,0.5,4,00000001-00000002,true,"
        );
    }
}
