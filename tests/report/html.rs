//! Tests of the page, made from synthetic reports.

use crate::support;
use pvbench::report::plots::{Plot, all};
use pvbench::report::schema::Limit;
use pvbench::report::{Report, html};
use serde_json::Value;

pub fn page(report: &Report) -> String {
    html::page(report).expect("a page")
}

fn plots(report: &Report) -> Vec<Plot> {
    all(report).expect("plots")
}

/// The text of a page without tags, scripts and styles.
pub fn text(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        let skipped = ["script>", "style>"].iter().find(|tag| after.starts_with(*tag));
        let after = match skipped {
            Some(tag) => after.split_once(&format!("</{tag}")).map_or("", |it| it.1),
            None => after.split_once('>').map_or("", |it| it.1),
        };
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Applies `change` to every free text of a report.
fn change_strings(report: &Report, change: &dyn Fn(&str) -> String) -> Report {
    // Enumerations must keep their words; every other field takes any text.
    const FIXED: [&str; 14] = [
        "group",
        "since",
        "native_kind",
        "xen_kind",
        "bytes",
        "conventions",
        "body",
        "kind",
        "regime",
        "regimes",
        "bodies",
        "status",
        "limit",
        "type_",
    ];
    fn go(value: &mut Value, key: &str, change: &dyn Fn(&str) -> String) {
        match value {
            Value::String(text) if !FIXED.contains(&key) || text.contains('/') => *text = change(text),
            Value::Array(items) => items.iter_mut().for_each(|item| go(item, key, change)),
            Value::Object(fields) => {
                let old = std::mem::take(fields);
                for (name, mut item) in old {
                    let map = key == "mitigations" || key == "counters";
                    let renamed = if map { change(&name) } else { name.clone() };
                    go(&mut item, &name, change);
                    fields.insert(renamed, item);
                }
            }
            _ => {}
        }
    }
    let mut value = serde_json::to_value(report).expect("JSON");
    go(&mut value, "", change);
    serde_json::from_value(value).expect("the same shape")
}

const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)></title></style>{{ 1 }}&";

/// A report with every kind of content and with `prefix` before each string.
fn prefixed(prefix: &str) -> Report {
    let mut report = support::everything();
    // Three ops remain, one of them with machine code.
    report.cells.retain(|cell| ["cpuid", "get_debugreg", "save_fl"].contains(&cell.op.as_str()));
    for cell in &mut report.cells {
        cell.state = Some("unpatched".to_owned());
        cell.limit = cell.limit.map(|_| Limit::Layout);
    }
    report.cells[3].overhead = None;
    report.cells[3].absent = Some("none".to_owned());
    report.failures.push(support::failure());
    report.calibration.as_mut().expect("there").clock_reason = Some("because".to_owned());
    report.workloads.push(support::workload());
    let mut report = change_strings(&report, &|text| format!("{prefix}{text}"));
    for line in report.catalogue.mechanisms.iter_mut().flat_map(|m| &mut m.listings).flat_map(|l| &mut l.lines) {
        line.bytes = format!("{prefix}{}", line.bytes);
    }
    report
}

#[test]
fn workloads_are_shown_as_ranked_bars_with_published_figures() {
    let mut report = support::synthetic();
    let mut workload = support::workload();
    workload.name = "mmap_perf".to_owned();
    workload.kernels[0].state = Some("inline".to_owned());
    report.workloads.push(workload);
    let page = page(&report);
    for words in [
        // The answer, and that it is not Linux's.
        "mmap_perf, the benchmark of the 1% of 2009, takes 7.25% [7.15, 7.35] longer with patched",
        "an estimate by the ratio of the two, not a measurement.",
        // The published figure, and the value of this report.
        "mmap-perf, hooks of spinlocks off",
        "<td>instructions</td><td class=\"n\">1.62 %</td>",
        "7.25 [7.15, 7.35] %",
        "mmap_perf, site (inline)",
        "no workload handles that interrupt",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let plot = plots(&report).into_iter().find(|plot| plot.file_name == "workload-mmap-perf.svg").unwrap();
    let place = |name: &str| plot.svg.find(&format!(">{name}")).unwrap_or_else(|| panic!("{name}: {}", plot.svg));
    assert!(place("site (inline)") < place("audit"), "the most expensive kernel is first");
    assert!(!plot.svg.contains("retpoline"), "a kernel that was not measured has no bar");
}

#[test]
fn hostile_strings_do_not_become_markup() {
    let clean = page(&prefixed("harmless "));
    let page = page(&prefixed(HOSTILE));
    for tag in ["<script", "<img", "<style", "<title", "</style", "</script", "</title"] {
        assert_eq!(page.matches(tag).count(), clean.matches(tag).count(), "{tag}");
    }
    assert!(page.contains("alert(1)"), "the strings are shown");
    for tag in page.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|it| it.0) {
        assert!(!tag.contains("alert("), "in a tag: {tag}");
    }
}

#[test]
fn hostile_strings_do_not_become_markup_in_plots() {
    for plot in plots(&prefixed(HOSTILE)) {
        assert!(!plot.svg.contains("<script") && !plot.svg.contains("<img"), "{}", plot.id);
        assert_eq!(plot.svg.matches("<style>").count(), 1, "{}", plot.id);
        assert!(plot.file_name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)), "{}", plot.file_name);
    }
}

#[test]
fn numbers_that_are_not_finite_are_not_shown() {
    let mut report = support::synthetic();
    for (index, cell) in report.cells.iter_mut().enumerate() {
        let wrong = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e308][index % 5];
        if let Some(overhead) = &mut cell.overhead {
            match index % 4 {
                0 => overhead.cycles.estimate = wrong,
                1 => overhead.ns.high = wrong,
                2 => overhead.ratio.low = wrong,
                _ => (overhead.cycles.low, overhead.cycles.high) = (-wrong.abs(), wrong.abs()),
            }
        }
        cell.native_cycles = Some(wrong);
        cell.layout_range = Some(wrong);
        cell.modes.iter_mut().for_each(|mode| (mode.cycles, mode.share) = (wrong, wrong));
    }
    for floor in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
        let made = report.floor.as_mut().expect("there");
        (made.cycles, made.ratio, made.same_loop_cycles) = (floor, floor, floor);
        report.run.duration_seconds = floor;
        report.run.plan.confidence = floor;
        report.calibration.as_mut().expect("there").ticks_per_second = floor;
        let drawn: String = plots(&report).into_iter().map(|plot| plot.svg).collect();
        for made in [text(&page(&report)), drawn] {
            let mut words = made.split(|c: char| !c.is_alphanumeric());
            assert_eq!(words.find(|word| ["NaN", "inf", "infinity"].contains(word)), None);
        }
    }
}

#[test]
fn the_page_of_a_report_without_cells_says_so() {
    let report = support::empty();
    let page = page(&report);
    assert!(page.contains("Nothing was measured"));
    assert!(page.contains("The report holds no cells"));
    assert!(page.contains("none: no comparison was finished"));
    assert!(plots(&report).is_empty());
}

#[test]
fn warnings_of_an_incomplete_run_and_of_a_debug_or_unoptimised_build_come_first() {
    let mut report = support::synthetic();
    let clean = page(&report);
    assert!(!clean.contains("class=\"warning\""));
    report.run.complete = false;
    report.tool.build = "debug".to_owned();
    report.environment.push(pvbench::host::optimised(1, 0, 3));
    let page = page(&report);
    let found = page.find("id=\"found\"").expect("the section");
    for warning in ["This run is incomplete", "This is a debug build", "Unoptimised: the code of 1 of 3 ops"] {
        assert!(page.find(warning).is_some_and(|at| at < found), "{warning}");
    }
}

#[test]
fn failures_and_absences_are_shown_with_their_reasons() {
    let mut report = support::synthetic();
    report.failures.push(support::failure());
    let page = page(&report);
    for said in [
        "write_cr3/native/throughput@29",
        "the worker died of signal 11 (SIGSEGV)",
        "this machine shows no PMU",
        "fewer than two workers finished this group",
        "1 failure",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

/// The text of a page between `opening`, a part of a tag, and the next `closing`.
pub fn part<'a>(page: &'a str, opening: &str, closing: &str) -> &'a str {
    let after = page.split_once(opening).expect(opening).1;
    after.split_once(closing).expect(closing).0
}

#[test]
fn the_ladder_over_time_is_in_the_order_of_years_with_the_difference_of_each_step_from_the_table() {
    let mut report = support::everything();
    // Every op has the same overhead, so that the differences from the table are known: 1 and 3 cycles.
    for (mechanism, cycles) in [("table", 4.0), ("direct", 3.0), ("enum", 1.0)] {
        for cell in report.cells.iter_mut().filter(|cell| cell.mechanism == mechanism) {
            if let Some(overhead) = &mut cell.overhead {
                overhead.cycles.estimate = cycles;
                (overhead.cycles.low, overhead.cycles.high) = (cycles - 0.1, cycles + 0.1);
                (cell.resolved, cell.limit) = (true, None);
            }
        }
    }
    let page = page(&report);
    let table = part(&page, "<table class=\"data wrapped steps\">", "</table>");
    let text = text(table).split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = "2007 table (unpatched) every hook through a table 4.00 4.00 4.00 \
                2009 direct sites patched 3.00 \u{2212}1.00 3.00 \u{2212}1.00 3.00 \u{2212}1.00 \
                2022 enum as an alternative 1.00 \u{2212}3.00 1.00 \u{2212}3.00 1.00 \u{2212}3.00";
    assert!(text.ends_with(rows), "{text}");
    let names: Vec<String> = plots(&report).into_iter().map(|plot| plot.file_name).collect();
    for name in ["history-throughput.svg", "history-latency.svg", "history-pressure.svg"] {
        assert!(names.iter().any(|it| it == name), "{name} of {names:?}");
    }
}

#[test]
fn a_report_with_fewer_than_two_steps_has_no_ladder_over_time() {
    let mut report = support::everything();
    for mechanism in report.catalogue.mechanisms.iter_mut().filter(|m| m.name != "table") {
        mechanism.step = None;
    }
    assert!(!page(&report).contains("id=\"history\""));
    assert!(plots(&report).iter().all(|plot| !plot.id.starts_with("history")));
}

#[test]
fn counters_are_shown_as_tables_and_the_reason_of_their_absence_appears_once() {
    let with = page(&support::everything());
    let counters = part(&with, "id=\"counters\"", "</section>");
    for name in ["instructions, traced", "branch_misses", "l1i_misses"] {
        assert!(counters.contains(&format!("\">{name}</summary>")), "{name}");
    }
    assert!(counters.contains("<th scope=\"row\">save_fl</th><td>7.25<td>7.25"));
    let without = page(&support::synthetic());
    assert!(!without.contains("id=\"counters\""));
    assert_eq!(without.matches("this machine shows no PMU").count(), 1);
}

#[test]
fn counters_that_do_not_fit_into_the_page_are_named() {
    let mut report = support::everything();
    for cell in &mut report.cells {
        cell.counters = Some((0..100).map(|index| (format!("counter_{index:03}"), 1.0)).collect());
    }
    let page = page(&report);
    let counters = part(&page, "id=\"counters\"", "</section>");
    assert!(counters.contains("\">counter_000</summary>") && !counters.contains("\">counter_099</summary>"));
    assert!(counters.contains("for lack of room") && counters.contains(" more."), "the other counters are named");
}

#[test]
fn every_plot_has_a_role_a_title_and_a_description() {
    let report = support::everything();
    let plots = plots(&report);
    let page = page(&report);
    // The page has a second, narrow answer, and leaves out plots whose values are in its tables.
    for id in ["answer", "answer-narrow", "ladder", "heatmap-mmu", "history-throughput"] {
        assert_eq!(page.matches(&format!("<title id=\"{id}-t\">")).count(), 1, "{id}");
    }
    for svg in page.split("<svg").skip(1).chain(plots.iter().filter_map(|p| p.svg.strip_prefix("<svg"))) {
        let (tag, rest) = svg.split_once('>').expect("a tag");
        assert!(tag.contains("role=\"img\"") && tag.contains("aria-labelledby="), "{tag}");
        assert!(rest.starts_with("<title id="), "{tag}");
        let description = rest.split_once("<desc id=").and_then(|it| it.1.split_once("</desc>")).expect("one").0;
        assert!(description.chars().any(|c| c.is_ascii_digit()), "no key numbers: {description}");
    }
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), unique.len(), "ids are unique");
}

#[test]
fn plots_follow_light_and_dark_mode_and_have_no_fixed_colour() {
    for plot in plots(&support::everything()) {
        assert!(plot.svg.contains("prefers-color-scheme:dark"), "{}", plot.id);
        let drawn = plot.svg.split_once("</style>").expect("a style").1;
        assert!(!drawn.contains("=\"#"), "{}: a colour that is not of the theme", plot.id);
        assert!(drawn.contains("var(--accent)") || plot.id.starts_with("heatmap"), "{}", plot.id);
    }
}

#[test]
fn the_page_loads_nothing() {
    let page = page(&support::everything());
    for word in ["http://", "https://", "src=", "@import", "url(h", "url(/", "\"//"] {
        assert!(!page.contains(word), "{word}");
    }
    let links: Vec<&str> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(links.iter().all(|to| to.starts_with('#') || *to == "data:,"), "{links:?}");
    assert!(page.contains("default-src 'none'"));
    assert!(!page.contains("script-src 'unsafe-inline'"));
}

#[test]
fn the_page_has_room_for_thirty_mechanisms_and_a_hundred_ops() {
    let report = support::synthetic_with(30, 2);
    let page = page(&report);
    assert!(page.contains("synthetic_29"));
    assert!(page.contains("The values are in the section"));
}

#[test]
fn the_page_does_not_grow_with_the_product_of_ops_and_mechanisms() {
    let mut report = support::synthetic();
    for (index, cell) in report.cells.iter_mut().enumerate() {
        cell.op = format!("op_{index}");
        cell.mechanism = format!("mechanism_{index}");
    }
    let page = page(&report);
    assert!(page.contains("The sentences and plots leave out 1934 mechanisms and 1598 ops for lack of room"));
    assert!(page.contains("mechanism_1997"), "the table has it");
    assert!(page.len() < 12_000_000, "{} bytes", page.len());
}

#[test]
fn a_mechanism_whose_median_is_not_resolved_has_no_cost_in_the_headline() {
    let mut report = support::synthetic();
    for cell in report.cells.iter_mut().filter(|c| c.mechanism == "table") {
        cell.resolved = false;
        if let Some(overhead) = &mut cell.overhead {
            overhead.cycles = support::around(0.01, 0.1);
        }
    }
    let page = page(&report);
    assert!(page.contains("no overhead of the pv_ops table over inline is resolved (the median of 73 ops)"));
    let row = part(part(&page, "<section id=\"costs\"", "</section>"), "#way-table\">table</a>", "</tr>");
    // An interval of 0.01 and 0.1 around it, and floors below that.
    assert!(row.contains("<td class=u>&#60; 0.11 <small>0 of 73 ops differ</small>"), "{row}");
}

#[test]
fn the_page_of_a_suite_without_linux_ops_does_not_mention_linux() {
    let mut report = support::synthetic();
    assert!(text(&page(&report)).contains("body through the pv_ops table"));
    for op in &mut report.catalogue.ops {
        op.since = pvbench::op::Since::NotLinux;
    }
    let page = text(&page(&report));
    assert!(page.contains("body through the table"));
    for word in
        ["history of paravirt calls", "body through the pv_ops table", "hook of", "the structure of pv_ops", "1%"]
    {
        assert!(!page.contains(word), "{word}");
    }
    assert!(plots(&report).iter().all(|plot| !plot.id.starts_with("history")));
}
