//! The table of a history, for notebooks.

use crate::{Case, made, stderr};

#[test]
fn the_table_has_a_row_per_cell_and_per_workload_on_a_kernel_of_every_run() {
    let case = Case::new();
    (1..=2).for_each(|second| case.report(&format!("{second}/report.json"), second));
    case.done(&["history", "add", "1", "2", "--to", "h", "--commit", "0123456789abcdef"]);
    let text = case.done(&["history", "export", "--format", "csv", "--from", "h"]);
    let mut table = csv::Reader::from_reader(text.as_bytes());
    let columns = table.headers().unwrap().clone();
    let column = |name: &str| columns.iter().position(|column| column == name).unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let report = made(1);
    let kernels: usize = report.workloads.iter().map(|workload| workload.kernels.len()).sum();
    assert_eq!(rows.len(), 2 * (report.cells.len() + kernels));
    let cell = report.cells.iter().find(|cell| cell.mechanism == "table" && cell.overhead.is_some()).unwrap();
    let is_it = |row: &&csv::StringRecord| {
        [("op", cell.op.as_str()), ("mechanism", "table"), ("regime", cell.regime.name())]
            .iter()
            .all(|(name, value)| &row[column(name)] == *value)
    };
    let row = rows.iter().find(is_it).unwrap();
    let overhead = cell.overhead.unwrap().cycles;
    let read: f64 = row[column("overhead")].parse().unwrap();
    assert!((read - overhead.estimate).abs() <= overhead.standard_error / 30.0);
    assert_eq!((&row[column("unit")], &row[column("commit")]), ("cycles", "0123456789abcdef"));
    // A file has the same bytes as standard output.
    case.done(&["history", "export", "--format", "csv", "--from", "h", "--out", "runs.csv"]);
    assert_eq!(std::fs::read_to_string(case.path("runs.csv")).unwrap(), text);
    let output = case.run(&["history", "export", "--format", "xml", "--from", "h"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
