//! Tests of the text of a report: the answer of a run, and the tables of `pvbench show`.

use pvbench::host::{Check, Status};
use pvbench::regime::Regime;
use pvbench::report::Report;
use pvbench::report::schema::{Cell, Limit, Unavailable};
use pvbench::report::terminal::{Section, answer, show};

use crate::support;
use crate::support::full::full;

/// The lines of an answer; two more follow it.
const MAX_LINES: usize = 23;

fn widest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

/// A report whose every condition is bad.
fn doubtful() -> Report {
    let mut report = full();
    report.run.complete = false;
    report.tool.build = "debug".to_owned();
    report.environment.push(pvbench::host::optimised(3, 0, 3));
    let absence = |op: usize| Unavailable {
        what: format!("body of operation_with_a_long_name_{op} in place"),
        reason: "the compiler made a call of it: its body is in another crate and is not #[inline]".to_owned(),
    };
    report.absent.extend((0..20).map(absence));
    let warning = |id: &str| Check {
        id: id.to_owned(),
        status: Status::Warning,
        detail: "other processes took 1.10 of 2 CPUs, over 170.1 s, and one of them has a very long command line"
            .to_owned(),
        effect: Some("numbers are higher".to_owned()),
        advice: Some("`top` lists them".to_owned()),
    };
    report.environment.extend(["smt_sibling", "governor", "turbo", "aslr", "thp", "microcode"].map(warning));
    report.machine.cpu_model = Some("A CPU whose name is as long as vendors make them @ 3.00GHz (TM)".to_owned());
    report
}

#[test]
fn the_answer_fits_on_a_screen_of_25_lines_in_good_and_in_bad_conditions() {
    for report in [full(), doubtful(), support::synthetic(), support::empty()] {
        for width in [None, Some(80), Some(100), Some(132), Some(250)] {
            let text = answer(&report, width);
            assert!(text.lines().count() <= MAX_LINES, "{width:?}:\n{text}");
            assert!(widest(&text) <= width.unwrap_or(100), "{width:?}:\n{text}");
            assert!(text.is_ascii() && !text.contains('\u{1b}'), "{text}");
        }
    }
}

#[test]
fn at_40_columns_every_way_has_a_line_of_its_own_and_no_line_is_wider() {
    for report in [full(), support::synthetic()] {
        let text = answer(&report, Some(40));
        assert!(widest(&text) <= 40 && text.lines().count() <= MAX_LINES, "{text}");
        assert!(text.contains("above inline"), "{text}");
        for way in ["the pv_ops table", "a direct call"] {
            let line = text.lines().find(|line| line.trim_start().starts_with(way)).unwrap_or_else(|| panic!("{text}"));
            assert!(line.split_whitespace().last().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
}

#[test]
fn the_answer_has_hot_and_cold_costs_workloads_trust_and_the_seed() {
    let text = answer(&full(), None);
    let line = |start: &str| {
        let found = text.lines().find(|line| line.trim_start().starts_with(start));
        found.unwrap_or_else(|| panic!("no line {start}:\n{text}")).to_owned()
    };
    // The middle op shows 90% of 3.75 cycles, the others 2% to 100%.
    let words: Vec<String> = line("the pv_ops table").split_whitespace().map(str::to_owned).collect();
    assert_eq!(words[3..], ["3.38", "0.08", "0.07", "..", "3.75", "5", "3.38", "0.08", "0.07", "..", "3.75", "5"]);
    assert!(line("a patched site").contains(" 0.13 "), "{text}");
    assert!(line("table - direct").contains(" 5 "), "{text}");
    assert!(text.contains("+-: half the width of the 95%"), "{text}");
    assert!(line("table: ").contains("mmap_perf 8.71% +-0.12, from mmap_perf 8.71% to kernel_build 10.0%"), "{text}");
    assert!(line("patched: ").contains("mmap_perf 2.01% +-0.12"), "{text}");
    for said in ["over 11 workloads", "hot, 0.080 cold", "10% of the blocks were contended", "1 failure"] {
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(words.join(" ").contains(said), "{said}:\n{text}");
    }
    assert!(line("Warning: pmu: ").contains("(and load)"), "{text}");
    assert!(line("Run: ").ends_with("4.09 GHz, 57 s, seed 24301"), "{text}");
}

#[test]
fn what_makes_numbers_doubtful_stands_above_them() {
    let text = answer(&doubtful(), None);
    let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("no {words}:\n{text}"));
    assert_eq!(at("INCOMPLETE: "), 0);
    assert!(at("DEBUG BUILD: ") < at("21 more warnings stand") && at("21 more warnings") < at("above inline"));
    let whole = show(&doubtful(), &Section::TABLES, None);
    for op in 0..20 {
        assert!(whole.contains(&format!("no body of operation_with_a_long_name_{op} in place")), "{op}");
    }
}

#[test]
fn an_answer_has_only_what_was_measured() {
    let mut quick = full();
    quick.cells.retain(|cell| cell.regime == Regime::Throughput);
    quick.workloads.truncate(1);
    let text = answer(&quick, None);
    assert!(text.contains(" hot ") && !text.contains("cold") && text.contains("over 1 workload ("), "{text}");
    assert!(!text.contains(", from "), "one workload has no ends: {text}");
    let mut latency = full();
    latency.cells.retain(|cell| cell.regime == Regime::Latency);
    assert!(answer(&latency, None).contains(" latency "), "{}", answer(&latency, None));
    let mut workloads = full();
    workloads.cells.clear();
    let text = answer(&workloads, None);
    assert!(text.starts_with("The model kernel"), "{text}");
    let mut others = full();
    others.cells.retain(|cell| ["inline", "kcfi", "box_dyn"].contains(&cell.mechanism.as_str()));
    let text = answer(&others, None);
    assert!(text.contains("\n kcfi ") && text.contains("\n box_dyn "), "{text}");
    assert!(answer(&support::empty(), None).contains("Nothing was measured."));
}

#[test]
fn every_cell_has_a_line_with_estimate_interval_floor_and_verdict() {
    let report = full();
    let text = show(&report, &[Section::Cells], None);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(' ')).collect();
    assert_eq!(lines.len(), report.cells.len() + 1, "a header and a line per cell");
    let line = |words: [&str; 3]| lines.iter().find(|line| line.split_whitespace().take(3).eq(words)).unwrap();
    let cell = line(["save_fl", "table", "throughput"]).split_whitespace().collect::<Vec<_>>();
    assert_eq!(cell[3..], ["3.75", "[3.67,", "3.83]", "0.001", "yes"]);
    assert!(line(["cpuid", "table", "throughput"]).ends_with("no: traps"));
    assert!(text.contains("(body native)"), "a name that all cells share stands above them");
    let narrow = show(&report, &[Section::Cells], Some(40));
    assert!(narrow.contains("save_fl table throughput\n  cycles 3.75, interval"), "{}", &narrow[..400]);
    let mut report = support::synthetic();
    report.cells.retain(|cell| cell.op == "swapgs");
    assert!(show(&report, &[Section::Cells], None).contains("not measured: fewer than two workers finished"));
}

#[test]
fn tables_fit_into_the_terminal_without_loss() {
    let report = full();
    for width in [40, 60, 80, 120] {
        let text = show(&report, &Section::ALL, Some(width));
        let wide = text.lines().find(|line| line.chars().count() > width);
        assert_eq!(wide, None, "{width}");
    }
    let sections = [Section::Mechanisms, Section::Workloads];
    let numbers = |width| {
        let text = show(&report, &sections, width);
        let mut numbers: Vec<String> =
            text.split_whitespace().filter(|word| word.parse::<f64>().is_ok()).map(str::to_owned).collect();
        numbers.sort();
        numbers
    };
    assert_eq!(numbers(Some(80)), numbers(None), "no number is lost");
}

#[test]
fn one_workload_has_a_line_per_kernel_with_its_interval() {
    let mut report = full();
    report.workloads.truncate(1);
    let text = show(&report, &[Section::Workloads], None);
    let line = text.lines().find(|line| line.starts_with(" page_poison ")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("155.78") && line.contains("155.66 .. 155.90"), "{line}");
    assert!(text.contains("floor 0.18%, placement range 1.38%"), "{text}");
}

#[test]
fn texts_of_a_report_cannot_move_the_cursor_or_fill_the_screen() {
    let mut report = doubtful();
    let evil = format!("\u{1b}[2J\r\n{}", "x".repeat(5_000));
    report.environment.iter_mut().for_each(|check| check.detail.clone_from(&evil));
    report.absent.iter_mut().for_each(|absence| absence.reason.clone_from(&evil));
    report.failures.iter_mut().for_each(|failure| failure.message.clone_from(&evil));
    report.cells.iter_mut().take(40).for_each(|cell| cell.op.clone_from(&evil));
    report.cells.iter_mut().skip(40).take(40).for_each(|cell| {
        (cell.overhead, cell.absent) = (None, Some(evil.clone()));
    });
    for workload in &mut report.workloads {
        workload.name.clone_from(&evil);
        workload.kernels[0].mechanism = Some(evil.clone());
    }
    report.machine.cpu_model = Some(evil.clone());
    report.calibration.as_mut().unwrap().clock.clone_from(&evil);
    report.run.plan.confidence = 1e300;
    for width in [None, Some(20), Some(40), Some(80)] {
        let text = show(&report, &Section::ALL, width);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{width:?}");
        assert!(!text.contains(&"x".repeat(700)), "{width:?}");
    }
}

#[test]
fn a_median_that_is_not_resolved_is_a_bound_with_the_reason_and_unresolved_workloads_are_counted() {
    let mut report = full();
    // Each interval excludes zero, and each overhead is as large as what layouts do.
    let of = |cell: &&mut Cell| cell.mechanism == "direct" && cell.regime == Regime::Throughput;
    for cell in report.cells.iter_mut().filter(of) {
        let Some(overhead) = &mut cell.overhead else { continue };
        overhead.cycles = support::around(0.5, 0.1);
        (cell.resolved, cell.floor_cycles) = (false, Some(0.7));
        if cell.limit != Some(Limit::Traps) {
            cell.limit = Some(Limit::Layout);
        }
    }
    let line = |text: &str, start: &str| {
        let found = text.lines().find(|line| line.trim_start().starts_with(start));
        found.unwrap_or_else(|| panic!("no line {start}:\n{text}")).to_owned()
    };
    let text = answer(&report, None);
    let direct = line(&text, "a direct call").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(direct[3..5], ["<0.70", "layout"], "{text}");
    assert!(text.contains("<: not resolved, less than that") && text.contains("layout: depends on it"), "{text}");
    for cell in report.cells.iter_mut().filter(|cell| cell.limit == Some(Limit::Layout)) {
        cell.limit = Some(Limit::Interval);
    }
    let text = answer(&report, None);
    assert!(line(&text, "a direct call").contains("<0.70  time"), "{text}");
    assert!(!line(&text, "table: ").contains("not resolved"), "{text}");
    report.workloads[1].kernels[0].resolved = false;
    assert!(line(&answer(&report, None), "table: ").ends_with(", 1 not resolved"), "{}", answer(&report, None));
}
