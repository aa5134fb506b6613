//! `pvbench gate`: verdicts that pass, fail or are inconclusive, and malformed budget files.

mod support;

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use pvbench::host::{Machine, Root};
use pvbench::regime::Regime;
use pvbench::report::Report;
use pvbench::report::schema::{Cell, Estimate, Instructions, LayoutEstimate, ModeShare, Overhead};
use serde_json::Value;

/// A folder with a report of this machine: `pte_val` and `set_pte` in throughput. `inline` takes 1 cycle; `table` takes
/// 3 cycles and 2 instructions more.
struct GateInput {
    folder: tempfile::TempDir,
    report: Report,
}

fn around(estimate: f64, half: f64) -> Estimate {
    let standard_error = half / 2.093_024_1;
    Estimate { estimate, standard_error, degrees_of_freedom: 19.0, low: estimate - half, high: estimate + half }
}

fn measured(cell: &mut Cell, cycles: f64, half: f64) {
    cell.overhead = Some(Overhead {
        cycles: around(cycles, half),
        ns: around(cycles / 4.0, half / 4.0),
        ratio: around(1.0 + cycles, half),
    });
    cell.absent = None;
    cell.native_cycles = Some(1.0);
    let layout = |offset| LayoutEstimate { offset, cycles: around(cycles, half), workers: 20 };
    cell.layouts = [0, 29, 64].map(layout).to_vec();
    cell.layout_range = Some(0.0);
    (cell.noise_cycles, cell.floor_cycles) = (Some(0.01), Some(0.01));
    cell.modes = Vec::new();
    cell.instructions = Some(Instructions { per_op: 4.0, extra: 2.0 });
}

impl GateInput {
    fn new() -> Self {
        let mut report = support::synthetic();
        report.cells.retain(|cell| {
            ["pte_val", "set_pte"].contains(&cell.op.as_str())
                && ["inline", "table"].contains(&cell.mechanism.as_str())
                && cell.regime == Regime::Throughput
        });
        for cell in &mut report.cells {
            let (cycles, half) = if cell.mechanism == "table" { (3.0, 0.02) } else { (0.0, 0.001) };
            measured(cell, cycles, half);
        }
        report.machine = Machine::read(&Root::default());
        report.tool.version = env!("CARGO_PKG_VERSION").to_owned();
        GateInput { folder: tempfile::tempdir().unwrap(), report }
    }

    /// The cell of `pte_val` with `table`.
    fn cell(&mut self) -> &mut Cell {
        self.report.cells.iter_mut().find(|cell| cell.op == "pte_val" && cell.mechanism == "table").unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, pvbench::report::write::json(&self.report).unwrap()).unwrap();
        path
    }

    fn gate_with(&self, budgets: &str, options: &[&str]) -> Output {
        let (report, file) = (self.write("report.json"), self.path("budgets.toml"));
        std::fs::write(&file, budgets).unwrap();
        let mut command = pvbench();
        command.arg("gate").arg(report).arg("--budget").arg(file).args(options);
        command.output().unwrap()
    }

    fn gate(&self, budgets: &str) -> Output {
        self.gate_with(budgets, &[])
    }

    /// The exit code and the verdicts as JSON.
    fn verdicts(&self, budgets: &str, options: &[&str]) -> (i32, Value) {
        let output = self.gate_with(budgets, &[options, &["--json", "-"]].concat());
        let code = output.status.code().unwrap();
        (code, serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output))))
    }
}

fn pvbench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pvbench"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// A rule on the overhead of `table`.
fn table(bound: &str) -> String {
    format!("[[budget]]\nmechanism = \"table\"\noverhead = \"{bound}\"\n")
}

#[test]
fn times_of_unoptimised_code_are_inconclusive_without_the_option_and_counts_are_judged() {
    let mut case = GateInput::new();
    let optimised = pvbench::host::optimised(0, 0, 2);
    case.report.environment.push(optimised);
    assert_eq!(code(&case.gate(&table("3.2 cycles"))), 0);
    *case.report.environment.last_mut().unwrap() = pvbench::host::optimised(2, 0, 2);
    let output = case.gate(&table("3.2 cycles"));
    assert_eq!(code(&output), 3, "{}", said(&output));
    let text = said(&output);
    for word in ["warning", "2 of 2 ops is not optimised", "--unoptimised", "--release"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let with = |budgets: &str| code(&case.gate_with(budgets, &["--unoptimised"]));
    assert_eq!([with(&table("3.2 cycles")), with(&table("2.8 cycles"))], [0, 1]);
    // The cells have two instructions more than inline.
    let counted = |bound: u32| {
        let rule = format!("[[budget]]\nmechanism = \"table\"\nextra_instructions = \"{bound} instructions\"\n");
        code(&case.gate(&rule))
    };
    assert_eq!([counted(2), counted(1)], [0, 1]);
    let both = table("3.2 cycles") + "extra_instructions = \"1 instructions\"\n";
    assert_eq!(code(&case.gate(&both)), 1, "what is counted decides");
    // Coverage counters add to the time.
    *case.report.environment.last_mut().unwrap() = pvbench::host::optimised(0, 1, 2);
    assert_eq!(code(&case.gate(&table("3.2 cycles"))), 3);
}

#[test]
fn a_change_from_an_unoptimised_baseline_is_inconclusive_and_an_overhead_is_judged() {
    let mut case = GateInput::new();
    case.report.environment.push(pvbench::host::optimised(2, 0, 2));
    let baseline = case.write("baseline.json");
    case.report.environment.pop();
    let with = |budgets: &str, more: &[&str]| {
        let options = [&["--baseline", baseline.to_str().unwrap(), "--across-machines"], more].concat();
        code(&case.gate_with(budgets, &options))
    };
    let change = "[[budget]]\nmechanism = \"table\"\nchange = \"1 cycles\"\n";
    assert_eq!([with(change, &[]), with(change, &["--unoptimised"])], [3, 0]);
    assert_eq!(with(&table("3.2 cycles"), &[]), 0);
}

#[test]
fn an_interval_below_the_bound_ends_with_0_above_it_with_1_and_across_it_with_3() {
    let case = GateInput::new();
    for (bound, exit, word) in [
        ("3.2 cycles", 0, "2 pass"),
        ("2.8 cycles", 1, "2 fail"),
        ("3.01 cycles", 3, "2 inconclusive"),
        ("0.8 ns", 0, "2 pass"),
        ("0.7 ns", 1, "2 fail"),
        ("320 %", 0, "2 pass"),
        ("280 %", 1, "2 fail"),
    ] {
        let output = case.gate(&table(bound));
        assert_eq!(code(&output), exit, "{bound}: {}", said(&output));
        assert!(said(&output).contains(word), "{bound}: {}", said(&output));
    }
}

#[test]
fn a_verdict_has_rule_cell_interval_bound_and_floor() {
    let case = GateInput::new();
    let output = case.gate(&format!("# budgets\n{}", table("2.5 cycles")));
    let text = said(&output);
    let line = text.lines().find(|line| line.contains("pte_val/native/table/throughput")).unwrap();
    for part in ["fail", "3.0", "2.9", "2.5 cycles", "0.01", "budgets.toml:2"] {
        assert!(line.contains(part), "{part}: {text}");
    }
    let (exit, value) = case.verdicts(&format!("# budgets\n{}", table("2.5 cycles")), &[]);
    let verdict = &value["verdicts"][0];
    assert_eq!((exit, value["exit_code"].as_i64()), (1, Some(1)));
    assert_eq!(verdict["outcome"], "fail");
    assert_eq!(verdict["rule"]["line"], 2);
    assert_eq!(verdict["of"]["mechanism"], "table");
    let width = verdict["measured"]["high"].as_f64().unwrap() - verdict["measured"]["low"].as_f64().unwrap();
    assert!(width > 0.05 && width < 0.2, "all verdicts hold together: {width}");
}

#[test]
fn the_first_matching_rule_of_a_level_decides() {
    let case = GateInput::new();
    let first = "[[budget]]\nop = \"pte_val\"\nmechanism = \"table\"\noverhead = \"4 cycles\"\n";
    let (exit, value) = case.verdicts(&format!("{first}{}", table("2 cycles")), &[]);
    assert_eq!(exit, 1);
    let outcomes: Vec<(&str, &str)> = value["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| (v["of"]["op"].as_str().unwrap(), v["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(outcomes, [("set_pte", "fail"), ("pte_val", "pass")]);
    let output = case.gate(&format!("{}{first}", table("4 cycles")));
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("budgets.toml:4: earlier rules decide all"), "{}", said(&output));
}

#[test]
fn an_exceeded_soft_bound_warns_and_a_hard_one_fails() {
    let case = GateInput::new();
    let soft = |bound: &str| format!("{}level = \"soft\"\n", table(bound));
    let output = case.gate(&soft("2 cycles"));
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("fail (soft)"), "{}", said(&output));
    assert_eq!(code(&case.gate(&(soft("2 cycles") + &table("4 cycles")))), 0);
    assert_eq!(code(&case.gate(&(soft("1 cycles") + &table("2 cycles")))), 1);
}

#[test]
fn modes_on_both_sides_of_the_bound_are_inconclusive() {
    let mut case = GateInput::new();
    let mode = |cycles| ModeShare { offset: 0, cycles, share: 0.5 };
    case.cell().modes = vec![mode(2.5), mode(3.5)];
    assert_eq!(code(&case.gate(&table("3.2 cycles"))), 3);
    assert_eq!(code(&case.gate(&table("2.8 cycles"))), 1, "set_pte fails all the same");
    case.report.cells.retain(|cell| cell.op == "pte_val");
    assert_eq!(code(&case.gate(&table("2.8 cycles"))), 3);
    assert_eq!(code(&case.gate(&table("2.4 cycles"))), 1, "every mode is above");
    assert_eq!(code(&case.gate(&table("3.6 cycles"))), 0, "every mode is below");
}

#[test]
fn an_excess_within_floor_or_layout_range_does_not_fail() {
    let mut case = GateInput::new();
    case.report.cells.retain(|cell| cell.op == "pte_val");
    case.cell().noise_cycles = Some(0.3);
    assert_eq!(code(&case.gate(&table("2.8 cycles"))), 3);
    assert_eq!(code(&case.gate(&table("2.6 cycles"))), 1);
    case.cell().noise_cycles = Some(0.01);
    for (layout, cycles) in case.cell().layouts.iter_mut().zip([1.0, 3.0, 4.5]) {
        layout.cycles = around(cycles, 0.02);
    }
    assert_eq!(code(&case.gate(&table("0.5 cycles"))), 3, "the loop's offset moves it by more than its size");
    case.cell().layouts[0].cycles = around(2.5, 0.02);
    assert_eq!(code(&case.gate(&table("2.8 cycles"))), 3, "elsewhere the bound is kept");
    assert_eq!(code(&case.gate(&table("2.4 cycles"))), 1);
}

#[test]
fn a_count_of_instructions_may_equal_its_bound() {
    let case = GateInput::new();
    let rule = |bound: &str| format!("[[budget]]\nmechanism = \"table\"\nextra_instructions = \"{bound}\"\n");
    assert_eq!(code(&case.gate(&rule("2 instructions"))), 0);
    let output = case.gate(&rule("1 instruction"));
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("counted"), "{}", said(&output));
    let mut uncounted = GateInput::new();
    uncounted.cell().instructions = None;
    uncounted.cell().instructions_absent = Some("the loop could not be traced".to_owned());
    let output = uncounted.gate(&rule("2 instructions"));
    assert_eq!(code(&output), 3, "what was not counted is not kept: {}", said(&output));
    assert!(said(&output).contains("could not be traced"), "{}", said(&output));
}

#[test]
fn the_bytes_of_a_call_site_are_bounded() {
    let mut report = support::everything();
    report.machine = Machine::read(&Root::default());
    report.cells.retain(|cell| cell.op == "save_fl" && cell.mechanism == "table");
    let case = GateInput { folder: tempfile::tempdir().unwrap(), report };
    // `call [rip+disp32]` of save_fl is six bytes.
    let rule = |bound: &str| format!("[[budget]]\nmechanism = \"table\"\nsite_bytes = \"{bound}\"\n");
    assert_eq!(code(&case.gate(&rule("6 bytes"))), 0, "{}", said(&case.gate(&rule("6 bytes"))));
    assert_eq!(code(&case.gate(&rule("5 bytes"))), 1);
    let mut without = GateInput::new();
    without.report.cells.truncate(4);
    assert_eq!(code(&without.gate(&rule("6 bytes"))), 3, "no machine code is no small machine code");
}

#[test]
fn a_malformed_budget_file_ends_with_2_and_names_line_and_column() {
    let case = GateInput::new();
    for (budgets, place, word) in [
        ("[[budget]]\nmechanism = \"table\"\noverhaed = \"1 ns\"\n", "3:1", "overhaed"),
        ("[[budget]]\nmechanism = \"table\"\noverhead = \"1\"\n", "3:12", "has no unit"),
        ("[[budget]]\nmechanism = \"table\"\noverhead = 1\n", "3:12", "has no unit"),
        ("[[budget]]\nmechanism = \"tabel\"\noverhead = \"1 ns\"\n", "2:13", "did you mean 'table'?"),
        ("[[budget]]\nworkload = \"mmap_perf\"\noverhead = \"1 %\"\n", "2:12", "no workload matches"),
        ("[[budget]]\nop = \"[a\"\noverhead = \"1 ns\"\n", "2:6", "malformed glob"),
        ("[[budget]]\nmechanism = \"inline\"\nstate = \"nop\"\noverhead = \"1 ns\"\n", "3:9", "no state matches"),
        ("[[budget]]\noverhead = \"1 ns\"\n", "1:1", "selects nothing"),
        ("[budget\n", "1:8", ""),
    ] {
        let output = case.gate(budgets);
        assert_eq!(code(&output), 2, "{budgets}: {}", said(&output));
        assert!(said(&output).contains(&format!("budgets.toml:{place}: ")), "{budgets}: {}", said(&output));
        assert!(said(&output).contains(word), "{budgets}: {}", said(&output));
    }
    let twice = table("1 cycles") + &table("2 cycles");
    let output = case.gate(&twice);
    assert_eq!(code(&output), 2);
    assert!(said(&output).contains("budgets.toml:4:1: the rule of line 1 selects the same"), "{}", said(&output));
    let output = pvbench().args(["gate", "--budget", "no/such.toml", "report.json"]).output().unwrap();
    assert_eq!(code(&output), 2, "{}", said(&output));
}

#[test]
fn the_budget_files_of_this_project_and_of_its_examples_are_valid() {
    for folder in ["reports", "examples/uart_hal", "examples/allocator_hooks", "examples/trace_hook"] {
        let budgets = pvbench::gate::Budgets::read(&Path::new(folder).join("budgets.toml")).unwrap();
        assert!(budgets.rules.len() > 1 && budgets.rules.iter().all(|rule| rule.why.is_some()), "{folder}");
    }
}

#[test]
fn a_rule_that_matches_no_cell_ends_with_2() {
    let mut case = GateInput::new();
    case.report.cells.retain(|cell| cell.op == "pte_val" || cell.mechanism == "inline");
    let output = case.gate("[[budget]]\nop = \"set_pte\"\nmechanism = \"table\"\noverhead = \"1 ns\"\n");
    assert_eq!(code(&output), 2, "{}", said(&output));
    assert!(said(&output).contains("budgets.toml:1:1: the rule matches nothing"), "{}", said(&output));
}

#[test]
fn a_report_that_is_incomplete_or_has_failures_does_not_end_with_0() {
    let mut case = GateInput::new();
    case.report.run.complete = false;
    assert_eq!(code(&case.gate(&table("4 cycles"))), 4);
    let mut case = GateInput::new();
    case.report.failures.push(support::failure());
    let output = case.gate(&table("4 cycles"));
    assert_eq!(code(&output), 3);
    assert!(said(&output).contains("write_cr3/native/throughput@29"), "{}", said(&output));
}

#[test]
fn a_cell_that_was_not_measured_is_inconclusive() {
    let mut case = GateInput::new();
    (case.cell().overhead, case.cell().absent) = (None, Some("fewer than two workers finished this group".to_owned()));
    let output = case.gate(&table("4 cycles"));
    assert_eq!(code(&output), 3);
    assert!(said(&output).contains("fewer than two workers"), "{}", said(&output));
}

/// The overhead of `pte_val` is 0.5 cycles greater than in the baseline.
#[test]
fn changes_are_judged_against_a_baseline_and_improvements_like_regressions() {
    let mut case = GateInput::new();
    let old = case.write("old.json");
    measured(case.cell(), 3.5, 0.02);
    let new = case.write("new.json");
    let rule = |bound: &str| format!("[[budget]]\nmechanism = \"table\"\nchange = \"{bound}\"\n");
    let budgets = case.path("budgets.toml");
    let gate = |report: &Path, baseline: &Path, bound: &str| {
        std::fs::write(&budgets, rule(bound)).unwrap();
        let mut command = pvbench();
        command.arg("gate").arg(report).arg("--baseline").arg(baseline).arg("--budget").arg(&budgets);
        command.output().unwrap()
    };
    // Half a cycle of four is 12.5%.
    for (bound, exit) in
        [("0.4 cycles", 1), ("0.6 cycles", 0), ("11 %", 1), ("14 %", 0), ("0.1 ns", 1), ("0.51 cycles", 3)]
    {
        let output = gate(&new, &old, bound);
        assert_eq!(code(&output), exit, "{bound}: {}", said(&output));
    }
    let output = gate(&old, &new, "0.4 cycles");
    assert_eq!(code(&output), 0);
    assert!(said(&output).contains("1 improved, 1 pass"), "{}", said(&output));
    let output = case.gate(&rule("1 cycles"));
    assert_eq!(code(&output), 2, "a change without a baseline: {}", said(&output));
}

#[test]
fn with_a_baseline_of_another_machine_only_instructions_fail_the_gate() {
    let mut case = GateInput::new();
    let old = case.write("old.json");
    measured(case.cell(), 9.0, 0.02);
    case.report.machine.microcode = Some("0xfeed".to_owned());
    let old = old.to_str().unwrap();
    let slower = "change = \"0.1 cycles\"\n";
    let rule = format!("{}{slower}", table("4 cycles"));
    let counted = format!("{rule}instructions_change = \"0 instructions\"\n");
    let output = case.gate_with(&rule, &["--baseline", old]);
    assert_eq!(code(&output), 3, "nothing can be judged: {}", said(&output));
    assert!(said(&output).contains("microcode: 0xfeed, not"), "{}", said(&output));
    assert_eq!(code(&case.gate_with(&counted, &["--baseline", old])), 0);
    assert_eq!(code(&case.gate_with(&rule, &["--baseline", old, "--across-machines"])), 1);
    case.cell().instructions = Some(Instructions { per_op: 5.0, extra: 3.0 });
    let output = case.gate_with(&counted, &["--baseline", old]);
    assert_eq!(code(&output), 1, "{}", said(&output));
}

#[test]
fn a_report_of_another_machine_does_not_fail_the_gate_on_cycles() {
    for change in [
        |report: &mut Report| report.machine.cpu_model = Some("another".to_owned()),
        |report: &mut Report| drop(report.machine.mitigations.insert("new_flaw".to_owned(), "Vulnerable".to_owned())),
        |report: &mut Report| report.tool.version = "0.0.1".to_owned(),
    ] {
        let mut case = GateInput::new();
        change(&mut case.report);
        let rule = format!("{}extra_instructions = \"2 instructions\"\n", table("1 cycles"));
        let output = case.gate(&rule);
        assert_eq!(code(&output), 0, "{}", said(&output));
        assert!(said(&output).contains("another machine or tool"), "{}", said(&output));
        assert_eq!(code(&case.gate_with(&rule, &["--across-machines"])), 1);
        let less = rule.replace("2 instructions", "1 instructions");
        assert_eq!(code(&case.gate(&less)), 1, "instructions are the same everywhere");
    }
}

#[test]
fn a_baseline_of_another_schema_ends_with_2() {
    let case = GateInput::new();
    let old = case.write("old.json");
    let text = std::fs::read_to_string(&old).unwrap().replace("pvbench.report/2", "pvbench.report/1");
    std::fs::write(&old, text).unwrap();
    let output = case.gate_with(&table("4 cycles"), &["--baseline", old.to_str().unwrap()]);
    assert_eq!(code(&output), 2);
    let said = said(&output);
    assert!(said.contains("made by pvbench ") && said.contains("pvbench.report/1"), "{said}");
    assert!(said.contains("measure again, or open its own index.html"), "{said}");
}

#[test]
fn rules_on_workloads_select_by_workload_mechanism_and_option() {
    let mut case = GateInput::new();
    case.report.workloads.push(support::workload());
    let rule =
        |fields: &str, bound: &str| format!("[[budget]]\nworkload = \"fork_*\"\n{fields}overhead = \"{bound}\"\n");
    for (fields, bound, exit) in [
        ("mechanism = \"site\"\n", "9 %", 0),
        ("mechanism = \"site\"\n", "5 %", 1),
        ("mechanism = \"site\"\n", "7.3 %", 3),
        ("option = \"audit\"\n", "2 %", 0),
        ("option = \"audit\"\n", "1 %", 1),
        // An unavailable kernel does not keep its bound.
        ("", "90 %", 3),
    ] {
        let output = case.gate(&rule(fields, bound));
        assert_eq!(code(&output), exit, "{fields}{bound}: {}", said(&output));
    }
    // The floor of workloads is what kernel placements of the same kernel differ by.
    case.report.workloads[0].floor_percent = 0.6;
    assert_eq!(code(&case.gate(&rule("option = \"audit\"\n", "1 %"))), 3);
}

#[test]
fn names_of_a_report_are_escaped_in_markup_and_on_the_terminal() {
    let mut case = GateInput::new();
    let name = "<b>\u{1b}[31m|`x`|";
    for op in &mut case.report.catalogue.ops {
        op.name = if op.name == "pte_val" { name.to_owned() } else { op.name.clone() };
    }
    case.report.cells.iter_mut().filter(|cell| cell.op == "pte_val").for_each(|cell| cell.op = name.to_owned());
    let (markdown, junit) = (case.path("summary.md"), case.path("gate.xml"));
    let options = ["--markdown", markdown.to_str().unwrap(), "--junit", junit.to_str().unwrap()];
    let output = case.gate_with(&table("1 cycles"), &options);
    assert_eq!(code(&output), 1);
    assert!(!said(&output).contains('\u{1b}'), "{}", said(&output));
    let summary = std::fs::read_to_string(markdown).unwrap();
    assert!(summary.contains("&lt;b&gt;") && !summary.contains("<b>") && !summary.contains('\u{1b}'), "{summary}");
    let row = summary.lines().find(|line| line.contains("&lt;b&gt;")).unwrap();
    assert_eq!(row.replace("\\|", "").matches('|').count(), 8, "{row}");
    let xml = std::fs::read_to_string(junit).unwrap();
    let report = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (2, 2, 0));
}

#[test]
fn junit_has_a_suite_per_rule_a_failure_per_exceeded_hard_bound_and_an_error_per_inconclusive_one() {
    let mut case = GateInput::new();
    case.report.cells.iter_mut().filter(|cell| cell.mechanism == "inline").for_each(|cell| measured(cell, 0.0, 0.2));
    let budgets = table("2 cycles") + "[[budget]]\nmechanism = \"inline\"\noverhead = \"0.1 cycles\"\n";
    let junit = case.path("gate.xml");
    case.gate_with(&budgets, &["--junit", junit.to_str().unwrap()]);
    let xml = std::fs::read_to_string(junit).unwrap();
    let report = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    assert_eq!((report.test_suites.len(), report.tests, report.failures, report.errors), (2, 4, 2, 2), "{xml}");
    assert!(xml.contains("pte_val/native/table/throughput overhead") && xml.contains("bound 2 cycles"), "{xml}");
}

#[test]
fn files_are_written_in_addition_to_the_table_and_folders_that_cannot_be_made_end_with_2() {
    let case = GateInput::new();
    let deep = case.path("a/b/verdict.json");
    let output = case.gate_with(&table("4 cycles"), &["--json", deep.to_str().unwrap()]);
    assert_eq!(code(&output), 0);
    assert!(said(&output).contains("kept: 2 pass"), "{}", said(&output));
    let value: Value = serde_json::from_slice(&std::fs::read(deep).unwrap()).unwrap();
    assert_eq!(value["schema"], "pvbench.gate/2");
    assert_eq!(value["counts"]["pass"], serde_json::json!([2, 0]));
    let output = case.gate_with(&table("4 cycles"), &["--json", "/dev/null/verdict.json"]);
    assert_eq!(code(&output), 2, "{}", said(&output));
}

#[test]
fn the_gate_measures_only_what_its_rules_bind() {
    let folder = tempfile::tempdir().unwrap();
    let (budgets, out) = (folder.path().join("budgets.toml"), folder.path().join("out"));
    let rules = "[[budget]]\nop = \"pte_val\"\nmechanism = \"table\"\nregime = \"latency\"\noverhead = \"500 cycles\"\n\
                 [[budget]]\nop = \"save_fl\"\nmechanism = \"site_callee_save\"\nstate = \"inline\"\n\
                 extra_instructions = \"2 instructions\"\n";
    std::fs::write(&budgets, rules).unwrap();
    let mut command = pvbench();
    command.args(["gate", "--run", "--time", "1", "--seed", "7"]).arg("--budget").arg(&budgets).arg("--out").arg(&out);
    let output = command.output().unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
    let report = pvbench::report::read::report(&out.join("report.json")).unwrap();
    let cells: Vec<(&str, &str, Option<&str>)> =
        report.cells.iter().map(|c| (c.op.as_str(), c.mechanism.as_str(), c.state.as_deref())).collect();
    assert_eq!(
        cells,
        [
            ("save_fl", "inline", None),
            ("save_fl", "site_callee_save", Some("inline")),
            ("pte_val", "inline", None),
            ("pte_val", "table", None),
        ]
    );
    assert_eq!(report.run.seed, 7);
}

#[test]
fn a_failed_verdict_is_measured_again() {
    let folder = tempfile::tempdir().unwrap();
    let (budgets, json) = (folder.path().join("budgets.toml"), folder.path().join("verdict.json"));
    std::fs::write(&budgets, "[[budget]]\nop = \"pte_val\"\nmechanism = \"table\"\noverhead = \"0 cycles\"\n").unwrap();
    let run = |confirm: &str| {
        let mut command = pvbench();
        command.args(["gate", "--run", "--time", "1", "--confirm", confirm, "--budget"]).arg(&budgets);
        let output = command.arg("--json").arg(&json).output().unwrap();
        let value: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        (code(&output), value["verdicts"][0].clone())
    };
    let (exit, verdict) = run("2");
    assert_ne!(exit, 0, "a call costs something: {verdict}");
    let before = verdict["before"].as_array().unwrap();
    assert_eq!(before.len(), 2, "{verdict}");
    let (_, verdict) = run("0");
    assert!(verdict.get("before").is_none(), "{verdict}");
}

#[test]
fn the_gate_needs_a_report_or_run() {
    let neither = pvbench().arg("gate").output().unwrap();
    assert_eq!(code(&neither), 2);
    assert!(said(&neither).contains("--run"), "{}", said(&neither));
    assert_eq!(code(&pvbench().args(["gate", "x.json", "--run"]).output().unwrap()), 2);
    assert_eq!(code(&pvbench().args(["gate", "x.json", "--confirm", "1"]).output().unwrap()), 2);
}

#[test]
fn the_summary_of_a_job_is_appended_to_and_another_file_is_replaced() {
    let case = GateInput::new();
    for (is_summary, kept) in [(true, true), (false, false)] {
        let (report, budgets, summary) =
            (case.write("report.json"), case.path("budgets.toml"), case.path("summary.md"));
        std::fs::write(&budgets, format!("{}why = \"a call\"\n", table("2 cycles"))).unwrap();
        std::fs::write(&summary, "of an earlier command\n").unwrap();
        let mut command = pvbench();
        command.env_remove("GITHUB_STEP_SUMMARY").arg("gate").arg(report).arg("--budget").arg(budgets);
        command.arg("--markdown").arg(&summary);
        if is_summary {
            command.env("GITHUB_STEP_SUMMARY", &summary);
        }
        assert_eq!(code(&command.output().unwrap()), 1);
        let text = std::fs::read_to_string(&summary).unwrap();
        assert!(text.contains("EXCEEDED") && text.contains("why this bound: a call"), "{text}");
        assert_eq!(text.starts_with("of an earlier command\n"), kept, "{text}");
    }
}

#[test]
fn a_first_budget_file_has_the_counts_of_the_report_and_the_report_keeps_it() {
    let mut case = GateInput::new();
    case.cell().instructions = Some(Instructions { per_op: 5.5, extra: 3.5 });
    let output = pvbench().arg("gate").arg(case.write("report.json")).arg("--init").output().unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
    let budgets = String::from_utf8(output.stdout).unwrap();
    for (op, most) in [("pte_val", 4), ("set_pte", 2)] {
        let rule = format!(
            "[[budget]]\nop = \"{op}\"\nmechanism = \"table\"\nregime = \"throughput\"\n\
             extra_instructions = \"{most} instructions\"\n"
        );
        assert!(budgets.contains(&rule), "{budgets}");
    }
    let of = |mechanism: &str| {
        let init = ["--init", "--mechanism", mechanism];
        pvbench().arg("gate").arg(case.write("report.json")).args(init).output().unwrap()
    };
    assert_eq!(of("t*e").stdout, budgets.as_bytes(), "the only one with a count");
    assert_eq!(code(&of("dny")), 2, "{}", said(&of("dny")));
    assert_eq!(code(&case.gate(&budgets)), 0, "{budgets}");
    case.cell().instructions = Some(Instructions { per_op: 7.0, extra: 5.0 });
    assert_eq!(code(&case.gate(&budgets)), 1, "one instruction more fails");
    for cell in &mut case.report.cells {
        cell.instructions = None;
    }
    let output = pvbench().arg("gate").arg(case.write("report.json")).arg("--init").output().unwrap();
    assert_eq!(code(&output), 2, "{}", said(&output));
}

#[test]
fn cells_missing_in_report_or_baseline_are_listed_and_a_rule_that_compares_nothing_is_inconclusive() {
    let mut case = GateInput::new();
    let old = case.write("old.json");
    let with = ["--baseline", old.to_str().unwrap()];
    let rule = "[[budget]]\nmechanism = \"table\"\nchange = \"1 cycles\"\n";
    let cells = case.report.cells.clone();
    // One of two cells is missing in the report: the other one decides.
    case.report.cells.retain(|cell| cell.op != "set_pte");
    let output = case.gate_with(rule, &with);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let reason = "skipped: 1 (set_pte/native/table/throughput): the baseline has it, but the report does not";
    assert!(said(&output).contains(reason) && said(&output).contains("1 pass, 1 skipped"), "{}", said(&output));
    let (_, judged) = case.verdicts(rule, &with);
    let verdicts = judged["verdicts"].as_array().unwrap();
    assert!(verdicts.iter().any(|v| v["outcome"] == "skipped" && v["of"]["op"] == "set_pte"), "{verdicts:?}");
    // One of two cells is missing in the baseline.
    let fewer = case.write("fewer.json");
    case.report.cells = cells;
    let output = case.gate_with(rule, &["--baseline", fewer.to_str().unwrap()]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("skipped: 1 (set_pte/native/table/throughput): the baseline lacks this cell"));
    // A rule that compares nothing is inconclusive even if other rules are kept.
    let one = |op: &str, bound: &str| format!("[[budget]]\nop = \"{op}\"\nmechanism = \"table\"\n{bound}\n");
    let two = one("pte_val", "overhead = \"4 cycles\"") + &one("set_pte", "change = \"1 cycles\"");
    let output = case.gate_with(&two, &["--baseline", fewer.to_str().unwrap()]);
    assert_eq!(code(&output), 3, "{}", said(&output));
    assert!(said(&output).contains("the baseline lacks this cell"), "{}", said(&output));
}

#[test]
fn the_reason_why_the_baseline_lacks_a_cell_is_printed() {
    let mut case = GateInput::new();
    (case.cell().overhead, case.cell().absent) = (None, Some("the worker was killed by SIGSEGV".to_owned()));
    let old = case.write("old.json");
    measured(case.cell(), 3.0, 0.02);
    let rule = "[[budget]]\nmechanism = \"table\"\nchange = \"1 cycles\"\n";
    let output = case.gate_with(rule, &["--baseline", old.to_str().unwrap()]);
    assert_eq!(code(&output), 3, "{}", said(&output));
    assert!(said(&output).contains("not measured before: the worker was killed by SIGSEGV"), "{}", said(&output));
}
