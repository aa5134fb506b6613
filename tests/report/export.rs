//! Tests of `pvbench export` against the documentation of the formats.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support;
use assert_cmd::Command;
use serde_json::{Value, json};

fn pvbench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pvbench"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn report(folder: &Path, name: &str, change: impl FnOnce(&mut pvbench::report::Report)) -> PathBuf {
    let mut report = support::everything();
    report.workloads.push(support::workload());
    change(&mut report);
    let path = folder.join(name);
    std::fs::write(&path, pvbench::report::write::json(&report).unwrap()).unwrap();
    path
}

fn export(format: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = report(folder.path(), "report.json", |_| {});
    let output = pvbench().arg("export").arg(path).args(["--format", format]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    output.stdout
}

/// The schema of <https://bencher.dev/docs/reference/bencher-metric-format/>: benchmarks have measures, and measures
/// have a value with optional lower and upper values. This schema is stricter: it allows nothing else, because nobody
/// would read it.
fn bmf() -> jsonschema::Validator {
    let number = json!({"type": "number"});
    let metric = json!({
        "type": "object", "required": ["value"], "additionalProperties": false,
        "properties": {"value": number, "lower_value": number, "upper_value": number},
    });
    let measures = json!({"type": "object", "minProperties": 1, "patternProperties": {"^[a-z0-9-]{1,64}$": metric},
        "additionalProperties": false});
    let benchmarks = json!({"type": "object", "propertyNames": {"maxLength": 1024}, "additionalProperties": measures});
    jsonschema::validator_for(&benchmarks).unwrap()
}

#[test]
fn bmf_is_valid_by_the_documentation_of_bencher() {
    let schema = bmf();
    // This is the documentation's own example; one of its numbers looks like pi.
    #[allow(clippy::approx_constant)]
    let example = json!({
        "benchmark_name": {
            "latency": {"value": 88.0, "lower_value": 87.42, "upper_value": 88.88},
            "throughput": {"value": 5.55, "lower_value": 3.14, "upper_value": 6.30},
        },
        "my_binary": {"file-size": {"value": 42.0}},
    });
    assert!(schema.is_valid(&example));
    assert!(!schema.is_valid(&json!({"x": {"latency": {"lower_value": 1.0}}})));
    let exported: Value = serde_json::from_slice(&export("bmf")).unwrap();
    let errors: Vec<String> = schema.iter_errors(&exported).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let cell = &exported["pte_val/native/table (unpatched)/throughput"];
    let cycles = &cell["overhead-cycles"];
    assert!(cycles["lower_value"].as_f64() <= cycles["value"].as_f64(), "{cell}");
    assert_eq!(cell["extra-instructions"], json!({"value": 2.0}));
    assert_eq!(exported["fork_exit/audit"]["overhead-percent"]["value"], 1.5);
    assert!(exported.get("swapgs/native/table (unpatched)/throughput").is_none_or(|c| c.get("overhead-ns").is_none()));
}

/// The schema of the README of benchmark-action/github-action-benchmark: a list of objects with name, unit and value,
/// and optionally range and extra, both text.
fn gab() -> jsonschema::Validator {
    let text = json!({"type": "string"});
    let properties = json!({"name": text, "unit": text, "value": {"type": "number"}, "range": text, "extra": text});
    let item = json!({"type": "object", "required": ["name", "unit", "value"], "additionalProperties": false,
        "properties": properties});
    jsonschema::validator_for(&json!({"type": "array", "items": item})).unwrap()
}

#[test]
fn gab_is_valid_by_the_documentation_of_github_action_benchmark() {
    let schema = gab();
    let example = json!([
        {"name": "My Custom Smaller Is Better Benchmark - CPU Load", "unit": "Percent", "value": 50},
        {"name": "My Custom Smaller Is Better Benchmark - Memory Used", "unit": "Megabytes", "value": 100, "range": "3",
         "extra": "Value for Tooltip: 25\nOptional Num #2: 100\nAnything Else!"},
    ]);
    assert!(schema.is_valid(&example));
    assert!(!schema.is_valid(&json!([{"name": "x", "value": 1}])));
    let exported: Value = serde_json::from_slice(&export("gab")).unwrap();
    let errors: Vec<String> = schema.iter_errors(&exported).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let items = exported.as_array().unwrap();
    let names: std::collections::HashSet<&str> = items.iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), items.len(), "names are unique, because each is one line of a chart");
    assert!(
        items.iter().all(|item| item["value"].as_f64().unwrap() > 0.0),
        "values are positive, because alerts compare ratios"
    );
}

#[test]
fn csv_has_a_line_per_cell_and_kernel_with_as_many_fields_as_the_header() {
    let text = export("csv");
    let mut reader = csv::Reader::from_reader(&text[..]);
    let header = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let mut report = support::everything();
    report.workloads.push(support::workload());
    assert_eq!(rows.len(), report.cells.len() + 3);
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let first = report.cells.iter().position(|cell| cell.overhead.is_some()).unwrap();
    let cycles: f64 = rows[first][column("overhead_cycles")].parse().unwrap();
    assert!((cycles - report.cells[first].overhead.unwrap().cycles.estimate).abs() < 1e-4);
    let absent = rows.iter().find(|row| &row[column("op")] == "swapgs").unwrap();
    assert_eq!(&absent[column("overhead_cycles")], "", "a missing value is an empty field");
    assert!(!absent[column("absent")].is_empty());
}

#[test]
fn markdown_has_a_table_of_mechanisms_and_one_of_workloads() {
    let text = String::from_utf8(export("markdown")).unwrap();
    for line in ["| mechanism | throughput |", "| table (unpatched) |", "| fork\\_exit/audit | 1.50 |"] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn an_export_is_written_to_the_named_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (report(folder.path(), "report.json", |_| {}), folder.path().join("new/out.csv"));
    pvbench().arg("export").arg(&path).args(["--format", "csv", "--out"]).arg(&out).assert().code(0);
    assert!(std::fs::read_to_string(out).unwrap().starts_with("op,body,kind,"));
    pvbench().arg("export").arg(&path).args(["--format", "xml"]).assert().code(2);
    pvbench().args(["export", "no/such.json", "--format", "csv"]).assert().code(2);
}

#[test]
fn an_export_warns_of_cells_that_it_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = report(folder.path(), "report.json", |report| {
        for cell in report.cells.iter_mut().filter(|cell| cell.op == "set_pte") {
            (cell.overhead, cell.absent) = (None, Some("a worker died".to_owned()));
            (cell.instructions, cell.layouts, cell.resolved) = (None, Vec::new(), false);
        }
    });
    for (format, left_out) in [("bmf", true), ("gab", true), ("csv", false), ("markdown", false)] {
        let output = pvbench().arg("export").arg(&path).args(["--format", format]).output().unwrap();
        let warning = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(warning.contains("are left out"), left_out, "{format}: {warning}");
    }
    let output = pvbench().arg("export").arg(&path).args(["--format", "markdown"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("cells were not measured"));
}
