//! A real kernel's hooks in the running kernel's time: prices, the answer on page and terminal, refused values.

use std::collections::BTreeMap;

use pvbench::estimate::kernel_time::{HIGH_FACTOR, LOW_SHARE, bound_predictions, price_kernel};
use pvbench::op::BodyKind;
use pvbench::regime::Regime;
use pvbench::report::kernel_time::{KernelTime, Range};
use pvbench::report::native::{Denominator, Native, NativeKernel};
use pvbench::report::recorded::{Recorded, RecordedCalls, RecordedWorkload};
use pvbench::report::schema::{Cell, Instructions, Report};
use pvbench::report::terminal::{self, Section};
use pvbench::report::{html, read, write};
use pvbench::stats::Interval;
use pvbench::stats::surroundings::Surroundings;

use crate::support;

const SURROUNDINGS: Surroundings = Surroundings {
    instructions: 100_000,
    hooks_per_1000: 6.9,
    distance_p10: 5.0,
    distance_median: 30.0,
    distance_p90: 377.0,
    cold_share: 0.157,
};

fn recorded(workload: &str, calls: &[(&str, f64, f64)]) -> RecordedWorkload {
    let calls = calls.iter().map(|(op, hot, cold)| ((*op).to_owned(), RecordedCalls { hot: *hot, cold: *cold }));
    RecordedWorkload {
        workload: workload.to_owned(),
        unit: "call".to_owned(),
        model: Some(workload.to_owned()),
        instructions: 1000.0,
        never_patched_percent: None,
        surroundings: Some(SURROUNDINGS),
        calls: calls.collect(),
    }
}

fn denominator(workload: &str, cycles: f64) -> Denominator {
    Denominator {
        workload: workload.to_owned(),
        unit: "call".to_owned(),
        cycles: support::around(cycles, cycles / 100.0),
        ns: cycles / 4.0,
        processes: 5,
        blocks: 100,
        units: 50,
        kernel_share: None,
        inflated: None,
    }
}

/// A report whose table and patched sites cost 4 cycles hot and 16 cold, with two more instructions.
fn report() -> Report {
    let mut report = support::synthetic();
    let template = report.cells.iter().find(|cell| cell.overhead.is_some()).unwrap().clone();
    let cell = |mechanism: &str, state: Option<&str>, regime: Regime, cycles: f64| {
        let mut cell = Cell {
            op: "set_pte".to_owned(),
            body: BodyKind::Native,
            mechanism: mechanism.to_owned(),
            state: state.map(str::to_owned),
            regime,
            instructions: Some(Instructions { per_op: 8.0, extra: 2.0 }),
            ..template.clone()
        };
        cell.overhead.as_mut().unwrap().cycles = support::around(cycles, 0.0);
        cell
    };
    let mut site = report.catalogue.mechanisms[0].clone();
    site.name = "site".to_owned();
    site.states = ["unpatched", "direct", "inline"].map(str::to_owned).to_vec();
    report.catalogue.mechanisms.push(site);
    report.cells = vec![
        cell("site", Some("inline"), Regime::Throughput, 0.1),
        cell("site", Some("inline"), Regime::Cold, 0.2),
        cell("site", Some("unpatched"), Regime::Throughput, 3.0),
        cell("site", Some("unpatched"), Regime::Latency, 4.0),
        cell("site", Some("unpatched"), Regime::Cold, 16.0),
    ];
    report
}

fn priced() -> Report {
    let mut report = report();
    let workloads = vec![
        recorded("mmap_perf", &[("set_pte", 8.0, 2.0)]),
        recorded("fault", &[("set_pte", 1.0, 0.0), ("of_no_report", 1.0, 0.0)]),
        recorded("getppid", &[("set_pte", 1.0, 0.0)]),
    ];
    let recorded =
        Recorded { kernel: "Linux version 6.1.0-made".to_owned(), parameters: "mitigations=off".to_owned(), workloads };
    let native = Native {
        kernel: NativeKernel { release: Some("6.18.1".to_owned()), ..NativeKernel::default() },
        workloads: vec![denominator("mmap_perf", 2000.0), denominator("fault", 500.0)],
        absent: Vec::new(),
    };
    report.kernel_time = Some(price_kernel(&report, recorded, native));
    report
}

fn kernel_time(report: &Report) -> &KernelTime {
    report.kernel_time.as_ref().unwrap()
}

#[test]
fn a_price_is_hooks_times_bounds_over_the_running_kernels_time() {
    let report = priced();
    let price = kernel_time(&report).price("mmap_perf", "site", Some("unpatched")).unwrap();
    // 3.6 adds per cycle: two more instructions take 2 / 3.6 of a cycle.
    assert!((price.cycles.low - LOW_SHARE * 10.0 * 2.0 / 3.6).abs() < 1e-9, "{price:?}");
    assert!((price.cycles.high - HIGH_FACTOR * (8.0 * 4.0 + 2.0 * 16.0)).abs() < 1e-9, "{price:?}");
    assert_eq!((price.hooks, price.cold_share), (10.0, 0.2));
    let percent = price.percent.unwrap();
    assert!((percent.high - 100.0 * price.cycles.high / 1980.0).abs() < 1e-9, "by the low end of the time");
    assert!((percent.low - 100.0 * price.cycles.low / 2020.0).abs() < 1e-9, "by its high end");
}

#[test]
fn a_workload_without_a_time_has_no_price_and_an_op_without_a_cell_has_the_median() {
    let report = priced();
    assert!(kernel_time(&report).price("getppid", "site", Some("unpatched")).is_none());
    let price = kernel_time(&report).price("fault", "site", Some("unpatched")).unwrap();
    assert_eq!(price.unmeasured_share, 0.5);
    assert!((price.cycles.high - HIGH_FACTOR * 2.0 * 4.0).abs() < 1e-9, "{price:?}");
}

#[test]
fn without_cold_cells_cold_calls_are_priced_hot_and_the_page_says_so() {
    let mut report = report();
    report.cells.retain(|cell| cell.regime != Regime::Cold);
    let full = priced();
    let KernelTime { recorded, native, .. } = kernel_time(&full).clone();
    report.kernel_time = Some(price_kernel(&report, recorded, native));
    let price = kernel_time(&report).price("mmap_perf", "site", Some("unpatched")).unwrap();
    assert!((price.cycles.high - HIGH_FACTOR * 10.0 * 4.0).abs() < 1e-9, "{price:?}");
    assert_eq!(price.cold_as_hot_share, 0.2);
    assert!(html::page(&report).unwrap().contains("This run has no cold cells: up to 20% of the hooks are cold"));
    let answer = terminal::answer(&report, Some(100)).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(answer.contains("this run has no cells in pressure, cold"), "{answer}");
}

#[test]
fn the_first_sentence_of_page_and_terminal_is_the_answer_with_its_bounds() {
    let report = priced();
    let unpatched = kernel_time(&report).price("mmap_perf", "site", Some("unpatched")).unwrap().percent.unwrap();
    let page = html::page(&report).unwrap();
    let first = page.split("<p class=\"found\">").nth(1).unwrap().split("</p>").next().unwrap();
    let bounds = format!("{:.1} to {:.1}% if they never are", unpatched.low, unpatched.high);
    assert!(first.starts_with("In mmap_perf, the benchmark of the 1% of 2009, the hooks of Linux 6.1 take"), "{first}");
    assert!(first.contains(&bounds), "{first}");
    let limits = page.split("What limits these answers").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(
        limits.contains("10 such hooks, 20% of them in cold code") && limits.contains("2,000 core cycles"),
        "{limits}"
    );
    assert!(page.contains("id=\"kernel-time\"") && page.contains("href=\"#kernel-time\""));
    let text = terminal::answer(&report, Some(100));
    let line = text.lines().next().unwrap();
    assert!(line.starts_with("In mmap_perf, the benchmark of the 1% of 2009"), "{text}");
    assert!(text.lines().count() <= 23, "{text}");
    let table = terminal::show(&report, &[Section::KernelTime], None);
    assert!(table.contains("Linux 6.18.1") && table.lines().any(|it| it.trim_start().starts_with("fault")), "{table}");
}

#[test]
fn exact_instructions_stand_beside_the_time_where_they_were_counted() {
    let mut report = priced();
    let counted = Interval { estimate: 0.53, low: 0.49, high: 0.6 };
    report.kernel_time.as_mut().unwrap().recorded.workloads[0].never_patched_percent = Some(counted);
    let page = html::page(&report).unwrap();
    assert_eq!(page.matches("% instructions if never patched").count(), 1);
    assert!(page.contains("+0.53% instructions if never patched"));
    let table = terminal::show(&report, &[Section::KernelTime], None);
    let row = |name: &str| table.lines().find(|it| it.trim_start().starts_with(name)).unwrap().to_owned();
    assert!(row("mmap_perf").contains("+0.53%") && !row("fault").contains('+'), "{table}");
}

#[test]
fn the_model_kernels_hooks_stand_beside_linuxs() {
    let mut report = priced();
    let mut workload = support::workload();
    workload.name = "mmap_perf".to_owned();
    workload.surroundings = Some(Surroundings { hooks_per_1000: 12.4, cold_share: 0.01, ..SURROUNDINGS });
    report.workloads = vec![workload];
    let page = html::page(&report).unwrap();
    let table = page.split("id=\"beside-linux\"").nth(1).unwrap().split("</table>").next().unwrap();
    assert!(table.contains("12.4") && table.contains("6.9") && table.contains("15.7%"), "{table}");
    report.kernel_time = None;
    assert!(!html::page(&report).unwrap().contains("beside-linux"));
}

#[test]
fn a_time_that_a_hypervisor_inflates_is_called_inflated() {
    let mut report = priced();
    let time = report.kernel_time.as_mut().unwrap();
    time.native.workloads[0].inflated = Some("9.0 cycles for each instruction".to_owned());
    let page = html::page(&report).unwrap();
    assert!(page.contains("That time is inflated, so the percentages are too low: 9.0 cycles"), "{page}");
}

#[test]
fn impossible_prices_are_refused_by_name() {
    let good = priced();
    assert!(read::check(&good).is_ok());
    type Spoil = fn(&mut KernelTime);
    let spoiled: [(Spoil, &str); 7] = [
        (|it| it.prices[0].cycles.low = f64::NAN, "kernel_time.prices[0]"),
        (|it| it.prices[0].cycles.high = -1.0, "is not a range"),
        (|it| it.prices[0].cold_share = 1.5, "is not a share"),
        (|it| it.native.workloads[0].cycles.low = 1e9, "kernel_time.native.workloads[0].cycles"),
        (|it| it.native.workloads[0].ns = -1.0, "at least 0"),
        (
            |it| it.recorded.workloads[0].never_patched_percent = Some(Interval { estimate: 0.5, low: 0.6, high: 0.4 }),
            "kernel_time.recorded.workloads[0].never_patched_percent",
        ),
        (|it| it.recorded.workloads[0].instructions = f64::INFINITY, "kernel_time.recorded.workloads[0]"),
    ];
    for (spoil, word) in spoiled {
        let mut report = good.clone();
        spoil(report.kernel_time.as_mut().unwrap());
        let error = read::check(&report).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn names_in_the_section_are_escaped() {
    let mut report = priced();
    let time = report.kernel_time.as_mut().unwrap();
    time.recorded.kernel = "<script>k()</script>".to_owned();
    time.native.kernel.release = Some("<script>r()</script>".to_owned());
    time.native.workloads[1].unit = "<script>u()</script>".to_owned();
    let page = html::page(&report).unwrap();
    assert!(!page.contains("<script>k") && !page.contains("<script>r") && !page.contains("<script>u"));
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let report = priced();
    std::fs::write(&path, write::json(&report).unwrap()).unwrap();
    // Writing rounds to six digits, once.
    let once = read::report(&path).unwrap();
    std::fs::write(&path, write::json(&once).unwrap()).unwrap();
    assert_eq!(read::report(&path).unwrap().kernel_time, once.kernel_time);
    assert_eq!(kernel_time(&once).prices.len(), kernel_time(&report).prices.len());
}

#[test]
fn calls_without_any_hook_cost_nothing() {
    let report = report();
    let recorded = Recorded {
        kernel: String::new(),
        parameters: String::new(),
        workloads: vec![RecordedWorkload { calls: BTreeMap::new(), ..recorded("mmap_perf", &[]) }],
    };
    let native = Native {
        kernel: NativeKernel::default(),
        workloads: vec![denominator("mmap_perf", 100.0)],
        absent: Vec::new(),
    };
    let time = price_kernel(&report, recorded, native);
    let price = time.price("mmap_perf", "site", Some("unpatched")).unwrap();
    assert_eq!((price.hooks, price.cycles_per_hook.high, price.percent.unwrap().high), (0.0, 0.0, 0.0));
}

#[test]
fn predictions_of_workloads_have_bounds_and_those_that_miss_are_marked() {
    let mut report = report();
    let mut workload = support::workload();
    workload.calls = BTreeMap::from([("set_pte".to_owned(), 100.0)]);
    workload.inline_cycles = Some(support::around(10_000.0, 10.0));
    let mut kernel = workload.kernels.iter().find(|kernel| kernel.mechanism.is_some()).unwrap().clone();
    (kernel.mechanism, kernel.state) = (Some("site".to_owned()), Some("unpatched".to_owned()));
    kernel.predicted_percent = Some(3.0);
    let mut outside = kernel.clone();
    outside.state = Some("inline".to_owned());
    kernel.overhead_percent = Some(support::around(2.0, 0.1));
    outside.overhead_percent = Some(support::around(9.0, 0.1));
    workload.kernels = vec![kernel, outside];
    report.workloads = vec![workload];
    bound_predictions(&mut report);
    let range = report.workloads[0].kernels[0].predicted_range_percent.unwrap();
    // Hot calls only: 100 calls of at most 1.5 times 4 cycles, in at least 9,990.
    assert!((range.high - 100.0 * 100.0 * HIGH_FACTOR * 4.0 / 9_990.0).abs() < 1e-9, "{range:?}");
    let page = html::page(&report).unwrap();
    assert!(
        page.contains("In this report, the measured overhead lies within the bounds of 1 of 2 predictions."),
        "{page}"
    );
    assert_eq!(page.matches(", outside</small>").count(), 1);
}

#[test]
fn the_likely_value_lies_as_far_between_the_bounds_as_the_model_kernels_overhead_does() {
    let mut report = priced();
    let mut workload = support::workload();
    let mut kernel = workload.kernels.iter().find(|kernel| kernel.mechanism.is_some()).unwrap().clone();
    (kernel.mechanism, kernel.state) = (Some("site".to_owned()), Some("unpatched".to_owned()));
    kernel.predicted_range_percent = Some(Range { low: 1.0, high: 9.0 });
    kernel.overhead_percent = Some(support::around(3.0, 0.1));
    workload.kernels = vec![kernel];
    report.workloads = vec![workload];
    let KernelTime { recorded, native, .. } = kernel_time(&report).clone();
    report.kernel_time = Some(price_kernel(&report, recorded, native));
    let price = kernel_time(&report).price("mmap_perf", "site", Some("unpatched")).unwrap();
    let quarter = price.cycles.low + 0.25 * (price.cycles.high - price.cycles.low);
    assert_eq!(price.likely_cycles, Some(quarter));
    assert!((price.likely_percent.unwrap() - 100.0 * quarter / 2000.0).abs() < 1e-9);
    let page = html::page(&report).unwrap();
    assert!(page.contains(&format!("about {:.1}% (", price.likely_percent.unwrap())), "{page}");
    assert!(kernel_time(&report).price("mmap_perf", "site", Some("inline")).unwrap().likely_cycles.is_none());
}
