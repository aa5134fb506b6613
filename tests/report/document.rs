//! Tests of the document: its schema, its files and its summary in the terminal.

use std::path::PathBuf;

use pvbench::report::schema::Unavailable;
use pvbench::report::{terminal, write};

use crate::support;

#[test]
fn files_replace_older_ones_and_their_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let files = [(PathBuf::from("plots/a.svg"), b"<svg/>".to_vec()), (PathBuf::from("report.json"), b"{}".to_vec())];
    let place = folder.path().join("new");
    write::files(&place, &files).unwrap();
    write::files(&place, &[(PathBuf::from("report.json"), b"[]".to_vec())]).unwrap();
    assert_eq!(std::fs::read(place.join("report.json")).unwrap(), b"[]");
    assert_eq!(std::fs::read(place.join("plots/a.svg")).unwrap(), b"<svg/>");
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 2, "nothing temporary is left");
}

#[test]
fn no_file_is_replaced_if_one_of_them_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("report.json"), "old").unwrap();
    std::fs::write(folder.path().join("plots"), "a file where a folder should be").unwrap();
    let files = [(PathBuf::from("report.json"), b"new".to_vec()), (PathBuf::from("plots/a.svg"), b"<svg/>".to_vec())];
    let error = write::files(folder.path(), &files).unwrap_err().to_string();
    assert!(error.contains("plots"), "{error}");
    assert_eq!(std::fs::read_to_string(folder.path().join("report.json")).unwrap(), "old");
}

/// `PVBENCH_REPORT` names a report that a run wrote. Without it the test is skipped.
#[test]
fn a_report_named_by_the_environment_is_valid_and_reads_back() {
    let Some(path) = std::env::var_os("PVBENCH_REPORT") else {
        eprintln!("skipped: PVBENCH_REPORT names no report");
        return;
    };
    let published = std::fs::read_to_string("reports/schema/report-2.json").unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&published).unwrap()).unwrap();
    let written: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&written).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let report = pvbench::report::read::report(path.as_ref()).unwrap();
    assert!(report.cells.iter().any(|cell| cell.overhead.is_some()));
}

#[test]
fn a_warning_of_a_body_that_is_not_inlined_stands_above_the_tables() {
    let mut report = support::synthetic();
    let absence = |what: &str| Unavailable { what: what.to_owned(), reason: "a reason".to_owned() };
    report.absent = vec![absence("hardware counters"), absence("body of uart_read in place")];
    let text = terminal::summary(&report);
    let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("no {words}: {text}"));
    assert!(at("WARNING: no body of uart_read in place: a reason") < at("overhead over inline"));
    assert!(at("no hardware counters") > at("overhead over inline"));
    assert_eq!(text.matches("uart_read").count(), 1);
}

#[test]
fn a_warning_of_unoptimised_code_stands_above_the_tables() {
    let mut report = support::synthetic();
    assert!(report.unoptimised().is_none() && !terminal::summary(&report).contains("UNOPTIMISED"));
    report.environment.push(pvbench::host::optimised(0, 0, 3));
    assert!(report.unoptimised().is_none(), "all code is optimised");
    for (unoptimised, instrumented, words) in [(3, 0, "3 of 3 ops is not optimised"), (0, 2, "instrument-coverage")] {
        report.environment.push(pvbench::host::optimised(unoptimised, instrumented, 3));
        let text = terminal::summary(&report);
        let at = text.find("UNOPTIMISED: ").unwrap_or_else(|| panic!("{text}"));
        assert!(text[at..].contains(words) && at < text.find("overhead over inline").unwrap(), "{text}");
        report.environment.pop();
    }
}

#[test]
fn counts_are_written_with_all_digits_and_measurements_with_six() {
    let mut report = support::synthetic();
    let mut workload = support::workload();
    workload.inline_instructions = Some(1_234_567.25);
    workload.inline_ns = Some(1.0 / 3.0);
    report.workloads.push(workload);
    let text = String::from_utf8(write::json(&report).expect("JSON")).expect("text");
    for written in ["\"inline_instructions\":1234567.25", "\"inline_ns\":0.333333,"] {
        assert!(text.contains(written), "{written}");
    }
}
