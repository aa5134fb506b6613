//! What the page holds, made from synthetic reports.

mod support;

use pvbench::report::plots::{Plot, all};
use pvbench::report::{Report, html};
use serde_json::Value;

fn page(report: &Report) -> String {
    html::page(report).expect("a page")
}

fn plots(report: &Report) -> Vec<Plot> {
    all(report).expect("plots")
}

/// Everything between tags, script and style left out.
fn text(page: &str) -> String {
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

/// The report with `change` done to every string that is free text.
fn with_every_string(report: &Report, change: &dyn Fn(&str) -> String) -> Report {
    // Enumerations must keep their words; all else takes any text.
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

/// A report that has something of everything, each string with `prefix` before it.
fn prefixed(prefix: &str) -> Report {
    let mut report = support::synthetic();
    report.cells.truncate(60);
    for cell in &mut report.cells {
        cell.state = Some("unpatched".to_owned());
    }
    report.cells[3].overhead = None;
    report.cells[3].absent = Some("none".to_owned());
    report.failures.push(support::failure());
    report.calibration.as_mut().expect("there").clock_reason = Some("because".to_owned());
    report.workloads.push(pvbench::report::schema::Workload {
        name: "fork_exit".to_owned(),
        mechanism: "table".to_owned(),
        state: Some("unpatched".to_owned()),
        overhead_percent: None,
    });
    with_every_string(&report, &|text| format!("{prefix}{text}"))
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
fn numbers_that_are_none_do_not_show() {
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
fn a_report_without_cells_is_a_page_that_says_so() {
    let report = support::empty();
    let page = page(&report);
    assert!(page.contains("Nothing was measured"));
    assert!(page.contains("The report holds no cells"));
    assert!(page.contains("none: no group was finished"));
    assert!(plots(&report).is_empty());
}

#[test]
fn an_incomplete_run_and_a_debug_build_come_before_all_else() {
    let mut report = support::synthetic();
    let clean = page(&report);
    assert!(!clean.contains("class=\"warning\""));
    report.run.complete = false;
    report.tool.build = "debug".to_owned();
    let page = page(&report);
    let found = page.find("id=\"found\"").expect("the section");
    for warning in ["This run is incomplete", "This is a debug build"] {
        assert!(page.find(warning).is_some_and(|at| at < found), "{warning}");
    }
}

#[test]
fn failures_and_absences_stand_with_their_reasons() {
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

#[test]
fn every_cell_is_a_row_and_the_reason_of_an_absence_is_said_once() {
    let report = support::synthetic();
    let page = page(&report);
    let rows = page.split("<tbody>").last().map_or(0, |body| body.matches("<tr").count());
    assert_eq!(rows, report.cells.len());
    assert!(page.contains("<a href=\"#why1\">why 1</a>"));
    let list = page.matches("(27 cells): fewer than two workers finished this group").count();
    assert_eq!(list, 1);
}

#[test]
fn a_page_of_2400_cells_is_under_two_megabytes() {
    let mut report = support::synthetic_with(11, 1);
    report.cells.truncate(2400);
    assert_eq!(report.cells.len(), 2400);
    let size = page(&report).len();
    assert!(size < 2_000_000, "{size} bytes");
}

#[test]
fn every_drawing_has_a_role_a_title_and_a_description() {
    let report = support::synthetic();
    let plots = plots(&report);
    let page = page(&report);
    assert_eq!(page.matches("<svg").count(), plots.len());
    for svg in page.split("<svg").skip(1).chain(plots.iter().filter_map(|p| p.svg.strip_prefix("<svg"))) {
        let (tag, rest) = svg.split_once('>').expect("a tag");
        assert!(tag.contains("role=\"img\"") && tag.contains("aria-labelledby="), "{tag}");
        assert!(rest.starts_with("<title id="), "{tag}");
        let description = rest.split_once("<desc id=").and_then(|it| it.1.split_once("</desc>")).expect("one").0;
        assert!(description.chars().any(|c| c.is_ascii_digit()), "key numbers: {description}");
    }
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), unique.len(), "ids are unique");
}

#[test]
fn plots_follow_light_and_dark_and_keep_no_fixed_colour() {
    for plot in plots(&support::synthetic()) {
        assert!(plot.svg.contains("prefers-color-scheme:dark"), "{}", plot.id);
        let drawn = plot.svg.split_once("</style>").expect("a style").1;
        assert!(!drawn.contains("=\"#"), "{}: a colour that is not of the theme", plot.id);
        assert!(drawn.contains("var(--accent)") || plot.id.starts_with("heatmap"), "{}", plot.id);
    }
}

#[test]
fn nothing_is_loaded_from_anywhere() {
    let page = page(&support::synthetic());
    for word in ["http://", "https://", "src=", "@import", "url(h", "url(/", "\"//"] {
        assert!(!page.contains(word), "{word}");
    }
    let links: Vec<&str> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(links.iter().all(|to| to.starts_with('#') || *to == "data:,"), "{links:?}");
    assert!(page.contains("default-src 'none'"));
    assert!(!page.contains("script-src 'unsafe-inline'"));
}

#[test]
fn thirty_mechanisms_and_a_hundred_ops_fit() {
    let report = support::synthetic_with(30, 2);
    let page = page(&report);
    assert!(page.contains("synthetic_29"));
    assert!(page.contains("Point at a cell for its value and interval."));
}

#[test]
fn as_many_ops_as_mechanisms_do_not_make_a_page_of_their_product() {
    let mut report = support::synthetic();
    for (index, cell) in report.cells.iter_mut().enumerate() {
        cell.op = format!("op_{index}");
        cell.mechanism = format!("mechanism_{index}");
    }
    let page = page(&report);
    assert!(page.contains("There is no room for 1934 mechanisms and 1598 ops in sentences and plots"));
    assert!(page.contains("mechanism_1997"), "the table has it");
    assert!(page.len() < 12_000_000, "{} bytes", page.len());
}

#[test]
fn a_mechanism_below_the_floor_is_not_given_a_price() {
    let mut report = support::synthetic();
    for cell in report.cells.iter_mut().filter(|c| c.mechanism == "table") {
        cell.resolved = false;
    }
    let page = page(&report);
    assert!(page.contains("no overhead of the pv_ops table over inline is resolved, of 73 ops measured"));
}
