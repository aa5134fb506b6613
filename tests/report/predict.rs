//! Tests of `pvbench predict`: predicted costs, and refused counts.

use std::path::Path;

use assert_cmd::Command;

use crate::support;

/// A report in which every overhead is 3 cycles.
fn report(folder: &Path) -> std::path::PathBuf {
    let mut report = support::synthetic();
    for cell in &mut report.cells {
        if let Some(overhead) = &mut cell.overhead {
            overhead.cycles = crate::support::around(3.0, 0.1);
        }
    }
    let path = folder.join("report.json");
    std::fs::write(&path, pvbench::report::write::json(&report).unwrap()).unwrap();
    path
}

fn predict(counts: &str) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let (report, file) = (report(folder.path()), folder.path().join("counts.toml"));
    std::fs::write(&file, counts).unwrap();
    Command::cargo_bin("pvbench").unwrap().arg("predict").arg(file).arg("--report").arg(report).output().unwrap()
}

#[test]
fn the_predicted_cost_is_calls_times_overheads() {
    let output = predict("time_ns = 1000000\n[calls]\nset_pte = 1000\n");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = text.lines().find(|line| line.trim_start().starts_with("table")).unwrap();
    assert!(table.contains("3000"), "{text}");
}

#[test]
fn an_invalid_count_is_refused_with_its_line() {
    for (counts, line, word) in [
        ("[calls]\nset_pte = 1\nset_ptf = 2\n", 3, "did you mean 'set_pte'"),
        ("[calls]\n\nset_pte = -1\n", 3, "set_pte = -1"),
        ("[calls]\nset_pte = 1e300\n", 2, "set_pte"),
        ("[calls]\nset_pte = nan\n", 2, "set_pte"),
        ("time_ns = 0\n[calls]\nset_pte = 1\n", 1, "time_ns"),
        ("[calls]\nset_pte = \"many\"\n", 2, "invalid type"),
        ("[calls\n", 1, ""),
        ("[calls]\n[more]\n", 2, "more"),
    ] {
        let output = predict(counts);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{counts}: {said}");
        assert!(said.contains(&format!("counts.toml:{line}:")) && said.contains(word), "{counts}: {said}");
    }
}
