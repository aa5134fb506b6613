//! Tests of real kernels in a report: the page, the schema, refused values and predictions.

use std::collections::BTreeMap;

use crate::support;
use assert_cmd::Command;
use pvbench::estimate::linux::predictions;
use pvbench::report::linux::{Linux, LinuxCount, LinuxKernel, LinuxWorkload};
use pvbench::report::{Report, html, plots, read, write};
use pvbench::stats::Interval;

fn kernel(name: &str) -> LinuxKernel {
    LinuxKernel {
        name: name.to_owned(),
        release: Some("Linux version 6.1.192".to_owned()),
        sha256: "00".repeat(32),
        variant: name.to_owned(),
        append: "mitigations=off".to_owned(),
        sites: Some(3679),
        layout: Some("Linux 5.16 to 6.2, PARAVIRT_XXL".to_owned()),
        reps_counted: None,
        reps_left: None,
        uncounted: None,
    }
}

fn count(kernel: &str, instructions: u64, percent: Option<f64>) -> LinuxCount {
    let exact = |value: f64| Interval { estimate: value, low: value, high: value };
    LinuxCount {
        kernel: kernel.to_owned(),
        units: 100,
        instructions: vec![instructions],
        per_unit: exact(instructions as f64 / 100.0),
        as_one: Some(instructions as f64 / 100.0 - 1.0),
        percent: percent.map(exact),
        percent_as_one: percent,
    }
}

fn linux() -> Linux {
    Linux {
        qemu: "7.2.22".to_owned(),
        cpu: "qemu64".to_owned(),
        parameters: "quiet".to_owned(),
        init_sha256: "11".repeat(32),
        reps: 3,
        scale_percent: 100,
        phases: 1,
        kernels: vec![kernel("stock"), kernel("noalt")],
        workloads: vec![LinuxWorkload {
            name: "mmap_perf".to_owned(),
            unit: "call".to_owned(),
            summary: "maps".to_owned(),
            model: Some("mmap_perf".to_owned()),
            calls: BTreeMap::from([("set_pte".to_owned(), 2.5), ("of_no_report".to_owned(), 1.0)]),
            counts: vec![count("stock", 1_342_800, None), count("noalt", 1_348_200, Some(0.402))],
        }],
        predictions: Vec::new(),
    }
}

/// A report in which every overhead is 3 cycles.
fn report() -> Report {
    let mut report = support::synthetic();
    for cell in &mut report.cells {
        if let Some(overhead) = &mut cell.overhead {
            overhead.cycles = support::around(3.0, 0.1);
        }
    }
    let mut linux = linux();
    linux.predictions = predictions(&linux, &report.cells);
    report.linux = Some(linux);
    report
}

#[test]
fn the_page_shows_real_kernels_with_published_figures() {
    let report = report();
    let page = html::page(&report).unwrap();
    for shown in ["Real kernels", "13,428", "0.40", "6.1.192", "2009: instructions", "1.62%", "set_pte 2.5"] {
        assert!(page.contains(shown), "no {shown}");
    }
    let plots = plots::all(&report).unwrap();
    let beside = plots.iter().find(|plot| plot.id == "beside").unwrap();
    assert!(beside.description.contains("Linux, noalt: instructions 0.40%"), "{}", beside.description);
}

#[test]
fn a_prediction_is_calls_times_overheads_and_names_the_ops() {
    let report = report();
    let linux = report.linux.unwrap();
    let table = linux.predictions.iter().find(|it| it.mechanism == "table").unwrap();
    assert!((table.cycles - 7.5).abs() < 1e-9);
    assert_eq!(table.from[0].op, "set_pte");
    assert_eq!(table.unknown, ["of_no_report"]);
}

#[test]
fn a_report_with_kernels_is_valid_by_the_schema_and_reads_back() {
    let report = report();
    let text = write::json(&report).unwrap();
    let schema = serde_json::from_str(&std::fs::read_to_string("reports/schema/report-2.json").unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let value = serde_json::from_slice(&text).unwrap();
    let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    std::fs::write(&path, text).unwrap();
    assert_eq!(read::report(&path).unwrap().linux.unwrap().workloads.len(), 1);
}

#[test]
fn hostile_text_is_escaped_and_numbers_that_are_not_finite_are_refused() {
    let mut report = report();
    let it = report.linux.as_mut().unwrap();
    it.qemu = "<script>a()</script>".to_owned();
    it.kernels[0].release = Some("<script>b()</script>".to_owned());
    it.workloads[0].name = "<script>c()</script>".to_owned();
    it.predictions[0].from[0].op = "<script>d()</script>".to_owned();
    let page = html::page(&report).unwrap();
    for call in ["a()", "b()", "c()", "d()"] {
        assert!(!page.contains(&format!("<script>{call}")), "{call}");
    }
    report.linux.as_mut().unwrap().workloads[0].counts[0].as_one = Some(f64::NAN);
    assert!(read::check(&report).is_err());
}

fn predict(file: &str, options: &[&str]) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let (own, counts) = (folder.path().join("report.json"), folder.path().join("counts.json"));
    std::fs::write(&own, write::json(&report()).unwrap()).unwrap();
    std::fs::write(&counts, file).unwrap();
    let mut command = Command::cargo_bin("pvbench").unwrap();
    command.arg("predict").arg(counts).arg("--report").arg(own).args(options).output().unwrap()
}

#[test]
fn predict_reads_counts_of_kernels_and_names_the_ops_that_cost_most() {
    let output = predict(&serde_json::to_string(&linux()).unwrap(), &["--workload", "mmap*"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("cycles by op") && text.contains("left out, as the report lacks these ops: of_no_report"));
    let line = text.lines().find(|line| line.trim_start().starts_with("set_pte")).unwrap();
    assert!(line.contains("2.5") && line.contains("7.5"), "{text}");
    let op = r#"{"op":"set_pte","slot":58,"rule":"call","sites":91,"bytes":546}"#;
    let sites = format!(r#"{{"release":null,"sites":91,"bytes":546,"ops":[{op}]}}"#);
    let output = predict(&sites, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("every site once") && text.contains("273"), "{text}");
}

#[test]
fn predict_refuses_json_without_counts() {
    for (file, options, word) in [
        ("{}", &[][..], "no workload"),
        ("{\"workloads\":[{\"name\":\"a\",\"calls\":{\"set_pte\":-1}}]}", &[][..], "set_pte = -1"),
        ("{\"workloads\":[", &[][..], "counts.json:1"),
        (
            "{\"workloads\":[{\"name\":\"a\",\"calls\":{\"set_pte\":1}}]}",
            &["--workload", "b"][..],
            "no workload matches",
        ),
    ] {
        let output = predict(file, options);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{file}: {said}");
        assert!(said.contains(word), "{file}: {said}");
    }
}

/// The first screen compares the density of hooks with that of the real kernel in the report, where it has one.
#[test]
fn the_first_screen_names_the_reports_own_real_kernel() {
    let mut report = report();
    let mut workload = support::workload();
    workload.name = "mmap_perf".to_owned();
    workload.kernels[0].state = Some("inline".to_owned());
    report.workloads.push(workload);
    let found = |report: &Report| {
        let page = html::page(report).unwrap();
        let section = page.split_once("<section id=\"found\"").unwrap().1.split_once("</section>").unwrap().0;
        section.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    // 3.5 calls in 13,428 instructions.
    let with = found(&report);
    assert!(with.contains("the real kernel of this report calls 0.3"), "{with}");
    report.linux = None;
    let without = found(&report);
    assert!(
        !without.contains("the real kernel of this report") && without.contains("Linux 6.1 calls 6.9"),
        "{without}"
    );
}
