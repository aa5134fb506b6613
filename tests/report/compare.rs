//! Tests of `pvbench compare` and `pvbench ab`: changes are reported, and nothing is left out without a reason.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use pvbench::report::Report;
use pvbench::report::schema::{Cell, Estimate, Failure, Unavailable};
use serde_json::Value;

use crate::support;

fn pvbench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pvbench"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A report of a complete run.
fn report(folder: &Path, name: &str, change: impl FnOnce(&mut Report)) -> PathBuf {
    let mut report = support::everything();
    report.workloads.push(support::workload());
    (report.run.complete, report.failures) = (true, Vec::new());
    change(&mut report);
    let path = folder.join(name);
    std::fs::write(&path, pvbench::report::write::json(&report).unwrap()).unwrap();
    path
}

fn compare(before: &Path, after: &Path, options: &[&str]) -> (i32, String) {
    let output = pvbench().arg("compare").args([before, after]).args(options).output().unwrap();
    (output.status.code().unwrap(), said(&output))
}

/// The subjects that were not compared, from the JSON output: subject, report that measured it, and reason.
fn left_out(before: &Path, after: &Path) -> Vec<(String, String, String)> {
    let output = pvbench().arg("compare").args([before, after]).args(["--json", "-"]).output().unwrap();
    let comparison: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |left: &Value, key: &str| left[key].as_str().unwrap().to_owned();
    let left = comparison["not_compared"].as_array().unwrap().iter();
    left.map(|left| (text(left, "subject"), text(left, "measured_in"), text(left, "reason"))).collect()
}

/// Removes the overheads of an op.
fn remove_overheads(report: &mut Report, op: &str, reason: &str) {
    let of = |cell: &&mut Cell| cell.op == op && cell.overhead.is_some();
    for cell in report.cells.iter_mut().filter(of) {
        (cell.overhead, cell.absent) = (None, Some(reason.to_owned()));
        (cell.layouts, cell.modes, cell.resolved, cell.limit) = (Vec::new(), Vec::new(), false, None);
    }
}

#[test]
fn a_comparison_lists_regressions_and_improvements_and_exits_with_1_on_a_regression() {
    let folder = tempfile::tempdir().unwrap();
    let moved = |by: f64| {
        move |report: &mut pvbench::report::Report| {
            let cells = report.cells.iter_mut().filter(|cell| cell.op == "set_pte" && cell.mechanism == "table");
            for cell in cells {
                let shift =
                    |it: Estimate| Estimate { estimate: it.estimate + by, low: it.low + by, high: it.high + by, ..it };
                cell.modes = Vec::new();
                cell.layouts.iter_mut().for_each(|layout| layout.cycles = shift(layout.cycles));
                let overhead = cell.overhead.as_mut().unwrap();
                overhead.cycles = shift(overhead.cycles);
            }
        }
    };
    let same = report(folder.path(), "same.json", moved(0.0));
    let slower = report(folder.path(), "slower.json", moved(2.0));
    let compare = |before: &Path, after: &Path| pvbench().arg("compare").args([before, after]).output().unwrap();
    let output = compare(&same, &same);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("\n0 regressed, 0 improved, 0 inconclusive"), "{}", said(&output));
    let output = compare(&same, &slower);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("3 regressed, 0 improved"), "{}", said(&output));
    assert!(said(&output).contains("set_pte/native/table (unpatched)/latency"), "{}", said(&output));
    let output = compare(&slower, &same);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("0 regressed, 3 improved"), "{}", said(&output));
    // Cycles of another machine are not comparable.
    let elsewhere = report(folder.path(), "elsewhere.json", |report| {
        moved(2.0)(report);
        report.machine.cpu_model = Some("another".to_owned());
    });
    let output = compare(&same, &elsewhere);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("CPU model: another, not"), "{}", said(&output));
}

#[test]
fn a_call_that_becomes_indirect_is_a_regression_whatever_the_times_say() {
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str, direct: f64, machine: &str| {
        report(folder.path(), name, |report| {
            report.machine.cpu_model = Some(machine.to_owned());
            let is_it = |cell: &&mut Cell| cell.op == "set_pte" && cell.mechanism == "direct";
            for mix in report.cells.iter_mut().filter(is_it).filter_map(|cell| cell.mix.as_mut()) {
                (mix.direct_calls, mix.indirect_calls) = (direct, 1.0 - direct);
            }
        })
    };
    let (direct, indirect) = (with("direct.json", 1.0, "one"), with("indirect.json", 0.0, "one"));
    let (code, text) = compare(&direct, &indirect, &[]);
    assert!(code == 1 && text.contains("3 regressed, 0 improved"), "{text}");
    assert!(text.contains("set_pte/native/direct/throughput: -1 direct_calls, +1 indirect_calls"), "{text}");
    let (code, text) = compare(&indirect, &direct, &[]);
    assert!(code == 0 && text.contains("0 regressed, 3 improved"), "{text}");
    let (code, text) = compare(&direct, &with("elsewhere.json", 0.0, "two"), &[]);
    assert!(code == 1 && text.contains("3 regressed"), "counts are the same on all machines: {text}");
}

#[test]
fn ab_measures_two_builds_in_turn_and_finds_no_difference_between_equal_builds() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pvbench();
    command.args(["ab", "--baseline", env!("CARGO_BIN_EXE_pvbench"), "--op", "pte_val", "--mechanism", "table"]);
    command.args(["--regime", "throughput", "--workers", "6", "--layouts", "2", "--all", "--out"]).arg(folder.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("pte_val/native/table/throughput"), "{}", said(&output));
    for side in ["before", "after"] {
        let report = pvbench::report::read::report(&folder.path().join(side).join("report.json")).unwrap();
        assert_eq!((report.run.plan.workers, report.cells.len()), (6, 2));
    }
}

#[test]
fn ab_exits_with_2_if_the_baseline_is_not_a_pvbench() {
    for baseline in ["/bin/true", "/no/such/program"] {
        let output = pvbench().args(["ab", "--quick", "--baseline", baseline]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(baseline), "{}", said(&output));
    }
}

#[test]
fn a_cell_that_is_missing_after_is_listed_with_its_reason_and_makes_the_result_inconclusive() {
    let folder = tempfile::tempdir().unwrap();
    let whole = report(folder.path(), "whole.json", |_| {});
    let lost = report(folder.path(), "lost.json", |report| {
        remove_overheads(report, "set_pte", "the worker was killed by SIGSEGV");
        let (what, reason) = ("workload contended".to_owned(), "two CPUs contend".to_owned());
        report.absent.push(Unavailable { what, reason });
    });
    let (code, said) = compare(&whole, &lost, &[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("0 regressed"), "{said}");
    assert!(said.contains("measured before only") && said.contains("killed by SIGSEGV"), "{said}");
    assert!(said.contains("set_pte/native/"), "{said}");
    let listed = left_out(&whole, &lost);
    let of = |which: &str| listed.iter().filter(|(_, measured, _)| measured == which).count();
    assert!(of("before") > 1 && of("after") == 0, "{listed:?}");
    assert!(said.trim_end().ends_with(&format!("{} not compared", of("before"))), "{said}");
    // In the other order nothing is missing after: the cell is listed, and the others decide.
    let (code, said) = compare(&lost, &whole, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("measured after only") && said.contains("killed by SIGSEGV"), "{said}");
    // A cell that neither report measured does not decide, but is listed.
    let (code, said) = compare(&lost, &lost, &["--all"]);
    assert_eq!(code, 0, "{said}");
    let line = said.lines().find(|line| line.contains("measured in neither") && line.contains("SIGSEGV"));
    assert!(line.is_some_and(|line| line.contains("set_pte/native/table")), "{said}");
    assert!(said.contains("measured in neither: 1 (contended): not measured: two CPUs contend"), "{said}");
}

#[test]
fn a_cell_of_one_report_only_is_listed_with_the_part_that_the_other_report_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let whole = report(folder.path(), "whole.json", |_| {});
    let fewer = report(folder.path(), "fewer.json", |report| {
        report.cells.retain(|cell| cell.op != "set_pte" && cell.regime.name() != "latency");
        report.catalogue.ops.retain(|op| op.name != "set_pte");
        report.workloads.clear();
        let reason = "this suite has none".to_owned();
        report.absent.push(Unavailable { what: "workloads".to_owned(), reason });
    });
    let (code, said) = compare(&whole, &fewer, &[]);
    assert_eq!(code, 0, "the second plan was smaller: {said}");
    for reason in ["no such op after", "no such regime after", "no such workload after: this suite has none"] {
        assert!(said.contains(reason), "{reason}: {said}");
    }
    let listed = left_out(&fewer, &whole);
    assert!(listed.iter().any(|(_, measured, reason)| measured == "after" && reason == "no such op before"));
}

#[test]
fn reports_with_nothing_in_common_exit_with_3_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let only = |name: &str, op: &str| {
        report(folder.path(), name, |report| {
            report.cells.retain(|cell| cell.op == op);
            report.workloads.clear();
        })
    };
    let (one, other) = (only("one.json", "set_pte"), only("other.json", "pte_val"));
    let (code, said) = compare(&one, &other, &[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("nothing was compared: nothing was measured in both reports"), "{said}");
    let empty = report(folder.path(), "empty.json", |report| {
        report.cells.clear();
        report.workloads.clear();
    });
    let (code, said) = compare(&empty, &empty, &[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("neither report has a cell or a workload"), "{said}");
    // Cells with different bodies or regimes are different cells.
    for change in [
        |cell: &mut Cell| cell.body = pvbench::op::BodyKind::Xen,
        |cell: &mut Cell| cell.regime = pvbench::regime::Regime::Cold,
    ] {
        let one = report(folder.path(), "one.json", |report| {
            report.cells.retain(|cell| cell.regime.name() == "throughput");
            report.workloads.clear();
        });
        let other = report(folder.path(), "other.json", |report| {
            report.cells.retain(|cell| cell.regime.name() == "throughput");
            report.cells.iter_mut().for_each(change);
            report.workloads.clear();
        });
        assert_eq!(compare(&one, &other, &[]).0, 3);
    }
    // Only instructions are compared with another machine, and this report has none.
    let elsewhere = report(folder.path(), "elsewhere.json", |report| {
        report.machine.cpu_model = Some("another".to_owned());
        report.cells.iter_mut().for_each(|cell| cell.instructions = None);
    });
    let (code, said) = compare(&report(folder.path(), "here.json", |_| {}), &elsewhere, &[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("--across-machines compares times"), "{said}");
}

#[test]
fn a_comparison_with_an_incomplete_report_is_inconclusive() {
    let folder = tempfile::tempdir().unwrap();
    let whole = report(folder.path(), "whole.json", |_| {});
    let cut = report(folder.path(), "cut.json", |report| report.run.complete = false);
    let message = "the worker was killed by SIGKILL".to_owned();
    let failed = report(folder.path(), "failed.json", |report| {
        report.failures.push(Failure { worker: 3, comparison: None, message });
    });
    for (before, after, sentence) in [
        (&whole, &cut, "the second report is incomplete"),
        (&cut, &whole, "the first report is incomplete"),
        (&whole, &failed, "1 failures in the second report, the first between comparisons: the worker was killed"),
    ] {
        let (code, said) = compare(before, after, &[]);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
fn cells_with_other_layouts_or_vast_numbers_are_listed_as_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let whole = report(folder.path(), "whole.json", |_| {});
    let change = |of: fn(&mut Cell)| {
        report(folder.path(), "changed.json", |report| {
            report.cells.iter_mut().filter(|cell| cell.op == "set_pte" && cell.overhead.is_some()).for_each(of);
        })
    };
    type Change = fn(&mut Cell);
    let cases: [(Change, &str); 2] = [
        (|cell| cell.layouts.iter_mut().for_each(|layout| layout.offset += 3), "no code offset in common"),
        (
            |cell| {
                let overhead = cell.overhead.as_mut().unwrap();
                (overhead.cycles.estimate, overhead.cycles.high) = (1.7e308, 1.7e308);
                overhead.cycles.standard_error = 1e307;
            },
            "too large for an interval",
        ),
    ];
    for (of, reason) in cases {
        let changed = change(of);
        let (code, said) = compare(&whole, &changed, &[]);
        assert!(said.contains("measured in both") && said.contains(reason), "{code}: {said}");
        assert!(left_out(&whole, &changed).iter().any(|(_, measured, why)| measured == "both" && why.contains(reason)));
    }
}

#[test]
fn a_report_with_another_schema_is_refused_with_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let whole = report(folder.path(), "whole.json", |_| {});
    let other = folder.path().join("other.json");
    let text = std::fs::read_to_string(&whole).unwrap().replace("pvbench.report/2", "pvbench.report/3");
    std::fs::write(&other, text).unwrap();
    let (code, said) = compare(&whole, &other, &[]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("pvbench.report/3"), "{said}");
}

/// A program that pretends to be this build but runs `worker` in place of a worker.
fn impostor(folder: &Path, worker: &str) -> PathBuf {
    let path = folder.join("before");
    let this = env!("CARGO_BIN_EXE_pvbench");
    let script = format!(
        "#!/bin/sh\nthis='{this}' folder='{}'\n[ \"$1\" = worker ] || exec \"$this\" \"$@\"\n{worker}\n",
        folder.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn ab(baseline: &Path) -> Output {
    let mut command = pvbench();
    command.args(["ab", "--op", "pte_val", "--mechanism", "table", "--regime", "throughput", "--workers", "2"]);
    command.args(["--layouts", "1", "--seed", "7", "--baseline"]).arg(baseline).output().unwrap()
}

#[test]
fn ab_exits_with_4_if_all_workers_of_the_baseline_die_and_lists_the_cells() {
    let folder = tempfile::tempdir().unwrap();
    let output = ab(&impostor(folder.path(), "kill -SEGV $$"));
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    let said = said(&output);
    assert!(said.contains("measured nothing: the worker was killed by SIGSEGV"), "{said}");
    assert!(said.contains("the baseline's report is incomplete") && said.contains("nothing was compared"), "{said}");
    assert!(said.contains("pte_val/native/table/throughput"), "{said}");
}

#[test]
fn ab_is_inconclusive_if_a_worker_of_the_baseline_dies() {
    let folder = tempfile::tempdir().unwrap();
    // The first worker does its work; the others die.
    let output =
        ab(&impostor(folder.path(), "mkdir \"$folder/first\" 2>/dev/null && exec \"$this\" worker\nkill -SEGV $$"));
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let said = said(&output);
    assert!(said.contains("failures in the baseline's report") && said.contains("0 regressed"), "{said}");
    assert!(said.contains("fewer than two workers") || said.contains("not measured before"), "{said}");
}

#[test]
fn ab_exits_with_2_if_the_baseline_lacks_an_op() {
    let folder = tempfile::tempdir().unwrap();
    let output = ab(&impostor(folder.path(), "sed 's/\"pte_val\"/\"no_such_op\"/g' | \"$this\" worker"));
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("cannot measure this: there is no op 'no_such_op'"), "{}", said(&output));
}
