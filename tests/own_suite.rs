//! A crate that depends on this one by its path, built and run as a user would.

mod built_benches;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use built_benches::{build, cargo_bench, read_output};
use pvbench::report::Report;

const TARGETS: [&str; 4] = ["uart", "two_suites", "refused", "same_shape"];

/// Builds the fixture's bench targets once. Returns the path of a program.
fn built(name: &str) -> &'static Path {
    static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    &BUILT.get_or_init(|| build(&TARGETS))[name]
}

/// Runs a bench target of the fixture with arguments.
fn bench(name: &str, args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(built(name)).args(args).envs(env.iter().copied()).output().unwrap()
}

/// Makes a short run and returns its report.
fn report(name: &str, args: &[&str], env: &[(&str, &str)]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let given = [args, &["--workers", "2", "--layouts", "1", "--seed", "7", "--out", out]].concat();
    let output = bench(name, &given, env);
    assert_eq!(output.status.code(), Some(0), "{}", read_output(&output));
    pvbench::report::read::report(&folder.path().join("report.json")).unwrap()
}

#[test]
fn a_bench_target_of_three_lines_has_the_whole_command_line() {
    let help = read_output(&bench("uart", &["--help"], &[]));
    for command in ["run", "list", "report", "explain", "predict", "selftest", "doctor"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    assert!(help.contains("Usage: uart <COMMAND>"), "{help}");
    let ops = read_output(&bench("uart", &["list", "ops", "--bench"], &[]));
    for op in ["uart_read", "uart_write", "uart_ready", "uart_mask", "swap_bytes", "pte_val"] {
        assert!(ops.contains(op), "{ops}");
    }
}

#[test]
fn cargo_bench_with_a_filter_goes_through_all_bench_targets() {
    built("uart");
    let run = |args: &[&str]| {
        let output = cargo_bench(&["uart", "same_shape"]).arg("--").args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", read_output(&output));
        read_output(&output)
    };
    let filtered = run(&["nothing_like_it", "--save-baseline", "x"]);
    assert!(filtered.contains("uart: no op") && filtered.contains("same_shape: no op"), "{filtered}");
    let listed = run(&["--list", "--format", "terse"]);
    assert!(listed.contains("uart_read: benchmark") && listed.contains("alloc_pte: benchmark"), "{listed}");
    let tried = run(&["--test", "set_pte"]);
    assert!(tried.contains("Testing set_pte\nSuccess"), "{tried}");
}

#[test]
fn user_ops_are_measured_with_every_mechanism_that_supports_them_and_the_rest_have_a_reason() {
    let report = report("uart", &["run", "--op", "*", "--regime", "throughput"], &[]);
    let cells = |op: &str, measured: bool| -> Vec<String> {
        let cells = report.cells.iter().filter(|cell| cell.op == op && cell.overhead.is_some() == measured);
        cells.map(|cell| format!("{} {}", cell.mechanism, cell.state.as_deref().unwrap_or("-"))).collect()
    };
    for op in ["uart_mask", "pte_val"] {
        assert!(cells(op, true).iter().any(|cell| cell == "kcfi -"), "{:?}", cells(op, true));
    }
    assert!(cells("swap_bytes", true).iter().any(|cell| cell == "site inline"), "by its instruction bytes");
    let read = cells("uart_read", true);
    for cell in ["table -", "traced -", "dyn -", "retpoline -", "site direct", "table_thunk -", "ifunc -"] {
        assert!(read.iter().any(|measured| measured == cell), "{cell}: {read:?}");
    }
    let without = cells("uart_read", false);
    assert!(without.iter().any(|cell| cell == "kcfi -"), "{without:?}");
    for cell in report.cells.iter().filter(|cell| cell.op == "uart_read" && cell.overhead.is_none()) {
        let reason = cell.absent.as_deref().unwrap_or_default();
        assert!(reason.contains("is a Rust function"), "{}: {reason}", cell.mechanism);
    }
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert!(report.absent.iter().all(|absence| !absence.what.contains("in place")), "{:?}", report.absent);
}

#[test]
fn the_alternative_body_is_measured_too() {
    let args = ["run", "--op", "uart_*", "--mechanism", "table,traced", "--regime", "throughput"];
    let report = report("uart", &[&args[..], &["--body", "alternative"]].concat(), &[]);
    let measured = report.cells.iter().filter(|cell| cell.overhead.is_some()).count();
    assert!(measured >= 8, "{measured} cells");
}

#[test]
fn a_user_workload_is_measured_and_its_calls_are_counted() {
    let report = report("uart", &["run", "--workload", "uart_line", "--mechanism", "table,traced,site"], &[]);
    let [workload] = &report.workloads[..] else { panic!("{} workloads", report.workloads.len()) };
    assert_eq!((workload.name.as_str(), workload.unit.as_str()), ("uart_line", "line"));
    let calls: Vec<&str> = workload.calls.keys().map(String::as_str).collect();
    assert_eq!(calls, ["swap_bytes", "uart_read", "uart_write"]);
    assert_eq!(workload.calls["uart_read"], workload.calls["uart_write"], "the chip is always ready");
    let measured = workload.kernels.iter().filter(|kernel| kernel.overhead_percent.is_some());
    let mechanisms: Vec<&str> = measured.filter_map(|kernel| kernel.mechanism.as_deref()).collect();
    assert!(mechanisms.contains(&"table") && mechanisms.contains(&"traced"), "{mechanisms:?}");
    assert!(report.failures.is_empty(), "{:?}", report.failures);
}

#[test]
fn two_suites_of_one_program_do_not_disturb_each_other() {
    let args = ["run", "--op", "*", "--mechanism", "table,site,static_call_inline", "--regime", "throughput"];
    for (suite, ops) in [("uart", 3), ("store", 1)] {
        let report = report("two_suites", &args, &[("SUITE", suite)]);
        assert_eq!(report.run.plan.ops, ops);
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        assert!(report.cells.iter().any(|cell| cell.overhead.is_some()));
    }
    let args = ["run", "--workload", "uart_line", "--mechanism", "site,static_call_inline"];
    let uart = report("two_suites", &args, &[("SUITE", "uart")]);
    assert!(uart.failures.is_empty(), "{:?}", uart.failures);
    let store = report("two_suites", &["run", "--op", "*", "--mechanism", "table"], &[("SUITE", "store")]);
    let listed = read_output(&bench("two_suites", &["list", "ops"], &[("SUITE", "store")]));
    assert!(listed.contains("store_get") && !listed.contains("xen"), "{listed}");
    let absence = store.absent.iter().find(|absence| absence.what == "workloads").unwrap();
    assert!(absence.reason.contains("suite store has no workloads"), "{}", absence.reason);
    let both = bench("two_suites", &["list"], &[]);
    assert_eq!(both.status.code(), Some(2), "{}", read_output(&both));
    let text = read_output(&both);
    assert!(text.contains("uart_read of suite uart") && text.contains("store_get of suite store"), "{text}");
}

#[test]
fn a_malformed_suite_is_refused_at_its_start_and_the_error_names_the_op() {
    let cases: [(&str, &[&str]); 12] = [
        ("name_twice", &["'uart_read' is defined twice", "SameName"]),
        ("slot_twice", &["uart_read and other", "same slot, 192"]),
        ("no_slot", &["op beyond", "no slot 512"]),
        ("name", &["op 'a name, with a comma'"]),
        ("too_long", &["op too_long", "7 bytes", "a site of 6"]),
        ("undecodable", &["op undecodable", "at byte 1", "90 06"]),
        ("positioned", &["op positioned", "position-independent"]),
        ("no_bytes", &["op no_bytes", "give INSTRUCTIONS"]),
        ("no_baseline", &["the first mechanism is table", "inline"]),
        ("unknown_op", &["workload uart_line calls swap_bytes"]),
        ("mechanism_twice", &["mechanism 'table' is listed twice"]),
        ("empty", &["suite empty", "nothing to measure"]),
    ];
    for (wrong, expected) in cases {
        let output = bench("refused", &["list"], &[("WRONG", wrong)]);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", read_output(&output));
        let text = read_output(&output);
        assert!(expected.iter().all(|words| text.contains(words)), "{wrong}: {text}");
    }
    assert_eq!(bench("refused", &["list"], &[]).status.code(), Some(0));
}
