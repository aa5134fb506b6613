//! Tests that a quantity has the same value everywhere, and that captions agree with their plots.

use std::collections::BTreeMap;

use crate::support::{self, full::full};
use pvbench::regime::Regime;
use pvbench::report::over_ops::OverOps;
use pvbench::report::plots::{Plot, all};
use pvbench::report::read::check;
use pvbench::report::schema::{Cell, Limit};
use pvbench::report::{Report, html, terminal};

fn page(report: &Report) -> String {
    html::page(report).expect("a page")
}

fn plot(report: &Report, id: &str) -> Plot {
    all(report).expect("plots").into_iter().find(|plot| plot.id == id).unwrap_or_else(|| panic!("no {id}"))
}

/// The part of a text between `from` and `to`.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let after = text.split_once(from).unwrap_or_else(|| panic!("no {from}")).1;
    after.split_once(to).unwrap_or_else(|| panic!("no {to} behind {from}")).0
}

/// The texts in a plot.
fn texts(svg: &str) -> Vec<&str> {
    let texts = svg.split("<text").skip(1).map(|rest| between(rest, ">", "</text>").trim());
    texts.collect()
}

/// The median of each mechanism in the description of a plot: `3.75` in `table: 3.75 cycles (middle half ..`.
fn medians(description: &str) -> BTreeMap<String, String> {
    let of = |words: &str| {
        let (name, rest) = words.split_once(": ")?;
        let median = rest.split_once(" (middle half")?.0.trim_end_matches(" cycles");
        Some((name.rsplit(". ").next()?.to_owned(), median.to_owned()))
    };
    description.split("; ").filter_map(of).collect()
}

fn name(cell: &Cell) -> String {
    cell.state.as_ref().map_or_else(|| cell.mechanism.clone(), |state| format!("{} ({state})", cell.mechanism))
}

fn over_ops<'a>(report: &'a Report, of: &str, regime: Regime) -> OverOps<'a> {
    OverOps::of(report.cells.iter().filter(|cell| cell.regime == regime && name(cell) == of)).expect("measured")
}

/// Sets the overhead and the limit of some cells.
fn set(report: &mut Report, of: impl Fn(&Cell) -> bool, value: f64, limit: Option<Limit>) {
    for cell in report.cells.iter_mut().filter(|cell| of(cell)) {
        let Some(overhead) = &mut cell.overhead else { continue };
        overhead.cycles = support::around(value, 0.01);
        (cell.resolved, cell.limit) = (limit.is_none(), limit);
    }
}

#[test]
fn a_mechanism_has_the_same_median_in_every_plot_and_table_of_the_page() {
    let report = full();
    let ladder = medians(&plot(&report, "ladder").description);
    let throughput = medians(&plot(&report, "regime-throughput").description);
    assert_eq!(ladder, throughput);
    assert!(ladder.len() > 20, "{ladder:?}");
    let page = page(&report);
    let steps = between(&page, "<table class=\"data wrapped steps\">", "</table>");
    for regime in Regime::ALL {
        let regimes = medians(&plot(&report, &format!("regime-{}", regime.name())).description);
        for (step, median) in medians(&plot(&report, &format!("history-{}", regime.name())).description) {
            let mechanism = step.split_once(' ').expect("a year and a name").1;
            assert_eq!(regimes[mechanism], median, "{mechanism} in {}", regime.name());
            let column = Regime::ALL.iter().position(|it| *it == regime).expect("it is one");
            let median = median.replace('<', "&#60;");
            let row = between(steps, &format!(">{mechanism}</a>"), "</tr>");
            let cell = row.split("<td").nth(column + 1).expect("a column");
            assert!(
                cell.contains(&format!(">{median}<")) || cell.contains(&format!(">{median} <")),
                "{median}: {cell}"
            );
        }
    }
    // The findings are about the pv_ops table.
    let median = &ladder["table"];
    assert!(page.contains(&format!("through the pv_ops table costs {median} core cycles")), "{median}");
    let costs = between(&page, "aria-label=\"Table: mechanism by regime\">", "</table>");
    let row = between(costs, "#way-table\">table</a>", "</tr>").split_once("</th>").expect("a name").1;
    assert!(row.trim_start().starts_with(&format!("<td>{median} <small>")), "{median}: {row}");
    assert!(texts(&plot(&report, "ladder").svg).iter().any(|text| text.starts_with(&format!("{median} ["))));
}

#[test]
fn the_terminal_summary_has_the_medians_of_the_page() {
    let report = full();
    let ladder = medians(&plot(&report, "ladder").description);
    let summary = terminal::summary(&report);
    let throughput = between(&summary, "throughput:", "latency:");
    for (mechanism, median) in &ladder {
        let line = throughput.lines().find(|line| line.trim_start().starts_with(&format!("{mechanism} ")));
        let line = line.unwrap_or_else(|| panic!("no {mechanism} in {throughput}"));
        let shown = over_ops(&report, mechanism, Regime::Throughput).median();
        assert!(line.contains(&format!("{shown:.2}")), "{mechanism}: {median}, {shown:.2} in {line}");
    }
}

#[test]
fn ladder_table_and_heat_maps_count_the_same_resolved_cells() {
    let report = full();
    let cells = report.cells.iter().filter(|cell| cell.regime == Regime::Throughput);
    let resolved = cells.filter(|cell| cell.resolved).count();
    let ladder = plot(&report, "ladder").description;
    let of_ladder: usize = ladder
        .split("; ")
        .filter(|words| words.contains(" ops resolved"))
        .map(|words| words.split(' ').next().and_then(|count| count.parse::<usize>().ok()).expect("a count"))
        .sum();
    assert_eq!(of_ladder, resolved);
    let maps = all(&report).expect("plots").into_iter().filter(|plot| plot.id.starts_with("heatmap"));
    let of_maps: usize = maps
        .map(|map| between(&map.description, "mechanisms: ", " cells resolved").parse::<usize>().expect("one"))
        .sum();
    assert_eq!(of_maps, resolved);
    let page = page(&report);
    let rows = between(&page, "<section id=\"all\"", "</section>").split("<tr><th>").skip(1);
    let shown = rows.flat_map(|row| row.split("<td>").skip(1)).filter(|cell| cell.contains('\u{b1}')).count();
    assert_eq!(shown, report.cells.iter().filter(|cell| cell.resolved).count());
}

#[test]
fn a_resolved_median_has_a_number_and_an_unresolved_one_is_hollow() {
    let report = full();
    for plot in all(&report).expect("plots") {
        let median = match plot.id.as_str() {
            "ladder" => 6,
            id if id.starts_with("regime-") || id.starts_with("history-") => 5,
            _ => continue,
        };
        let open = medians(&plot.description).values().filter(|median| median.starts_with("< ")).count();
        let said = texts(&plot.svg).iter().filter(|text| text.starts_with("&lt; ")).count();
        assert_eq!(said, open, "{}", plot.id);
        // A hollow dot has a dot of the page's colour inside.
        let circle = |radius: u32, ink: &str| {
            let circles = plot.svg.split("<circle").skip(1).filter_map(|rest| rest.split_once('>'));
            circles.filter(|(tag, _)| tag.contains(&format!("r=\"{radius}\"")) && tag.contains(ink)).count()
        };
        let dots = medians(&plot.description).len();
        assert_eq!(circle(median, "--accent"), dots, "{}", plot.id);
        assert_eq!(circle(median - 2, "--paper"), open, "{}", plot.id);
    }
    // A median far above the floor can still be unresolved.
    let mut report = full();
    set(&mut report, |cell| cell.mechanism == "table", 3.75, Some(Limit::Interval));
    assert_eq!(medians(&plot(&report, "ladder").description)["table"], "< 3.76");
}

#[test]
fn an_unresolved_outlier_does_not_stretch_the_axis_and_is_named_below_it() {
    let mut report = support::synthetic();
    let largest = |report: &Report| {
        let svg = plot(report, "ladder").svg;
        texts(&svg).into_iter().filter_map(|text| text.parse::<f64>().ok()).fold(0.0, f64::max)
    };
    let before = largest(&report);
    set(&mut report, |cell| cell.op == "cpuid" && cell.mechanism == "table", 512.0, Some(Limit::Interval));
    assert_eq!(largest(&report), before);
    let ladder = plot(&report, "ladder");
    let texts = texts(&ladder.svg);
    assert!(texts.contains(&"\u{25b8} beyond the axis, not resolved: cpuid 512"), "{texts:?}");
    assert_eq!(texts.iter().filter(|text| **text == "\u{25b8}").count(), 1);
    assert!(ladder.description.contains("beyond the axis"));
    // A resolved outlier is a finding, so the axis includes it.
    set(&mut report, |cell| cell.op == "cpuid" && cell.mechanism == "table", 512.0, None);
    assert!(largest(&report) >= 500.0);
}

#[test]
fn a_trapping_op_is_in_no_median_and_on_no_axis_and_is_named_as_trapping() {
    let mut report = support::synthetic();
    set(&mut report, |cell| cell.op == "cpuid", 70_000.0, Some(Limit::Traps));
    let ladder = plot(&report, "ladder");
    assert!(texts(&ladder.svg).contains(&"not drawn: cpuid traps"), "{:?}", texts(&ladder.svg));
    assert!(!ladder.svg.contains("\u{25b8}"));
    // One of the 74 ops traps, and one was not measured.
    assert!(ladder.description.contains("of 72 ops resolved; 1 more traps)"), "{}", ladder.description);
    let map = plot(&report, "heatmap-cpu");
    assert!(map.svg.contains("cpuid by table: traps") && map.description.contains("9 trapping"), "{}", map.description);
    assert!(!map.svg.contains("70000"));
    assert!(page(&report).contains("&times; traps") || page(&report).contains("\u{d7} traps"));
}

#[test]
fn steps_of_history_are_compared_with_the_table_over_the_ops_that_both_have() {
    let mut report = support::everything();
    // `direct` costs 3 cycles and has only two ops; the table costs 5 cycles for these ops and 1 for all others.
    let both = ["save_fl", "set_pte"];
    set(&mut report, |cell| cell.mechanism == "table", 1.0, None);
    set(&mut report, |cell| cell.mechanism == "table" && both.contains(&cell.op.as_str()), 5.0, None);
    set(&mut report, |cell| cell.mechanism == "direct", 3.0, None);
    report.cells.retain(|cell| cell.mechanism != "direct" || both.contains(&cell.op.as_str()));
    // The next step has no op in common with the table.
    report.cells.retain(|cell| cell.mechanism != "enum" || cell.op == "write_cr3");
    report.cells.retain(|cell| cell.mechanism != "table" || cell.op != "write_cr3");
    let history = plot(&report, "history-throughput");
    let texts = texts(&history.svg);
    // The medians are 1 and 3, although the ops that both have became cheaper.
    assert!(texts.contains(&"1.00") && texts.contains(&"3.00"), "{texts:?}");
    assert!(texts.contains(&"\u{2212}2.00 over 2 ops"), "{texts:?}");
    assert!(texts.contains(&"no op in common"), "{texts:?}");
    let page = page(&report);
    let table = between(&page, "<table class=\"data wrapped steps\">", "</table>");
    assert!(
        table.contains("<small>\u{2212}2.00 over 2 ops</small>") && table.contains("<small>no op in common</small>")
    );
    // Neighbours in time are not joined; all lines are marks of the axis.
    let slanted = history.svg.split("<path d=\"").skip(1).filter(|path| between(path, "M", "\"").contains('L')).count();
    assert_eq!(slanted, 0, "{}", history.svg);
}

#[test]
fn the_floor_and_the_placement_range_of_a_workload_have_one_name_and_one_value_each() {
    let report = full();
    let page = page(&report);
    assert!(texts(&plot(&report, "workload-0").svg).contains(&"floor \u{b1}0.18%"));
    assert!(plot(&report, "workload-0").description.contains("floor: the largest difference"));
    let table = between(&page, "aria-label=\"Table of workloads\">", "</table>");
    assert!(table.contains("floor, %") && table.contains("placement range, %"));
    assert_eq!(table.matches("<td class=\"n\">0.18</td><td class=\"n\">1.38</td>").count(), report.workloads.len());
    let published = between(&page, "aria-label=\"Table of published figures\">", "</table>");
    assert!(published.contains("<td class=\"n\">1.38 %</td><td><b>agrees</b></td><td>mmap_perf, placement range</td>"));
    let summary = terminal::summary(&report);
    for text in [&page, &summary] {
        for ambiguous in ["kernel at other places", "kernel at two places", "at two places", "differs as much"] {
            assert!(!text.contains(ambiguous), "{ambiguous}");
        }
    }
}

#[test]
fn exact_counts_are_printed_with_all_digits() {
    let page = page(&full());
    let counters = between(&page, "id=\"counters\"", "</section>");
    assert!(counters.contains("<td>18,380<td>18,380"), "counted by single steps");
    let linux = between(&page, "id=\"linux\"", "</section>");
    for exact in ["18,380</td>", "3,679", "set_pte 12.25", "ptep_modify_prot_commit 300", "312.25"] {
        assert!(linux.contains(exact), "{exact}");
    }
    let work = between(&page, "aria-label=\"Table of workloads\">", "</table>");
    assert!(work.contains("<td class=\"n\">18,380") && work.contains("<td class=\"n\">312.25</td>"));
    assert!(!page.contains("18.4k") && !page.contains(">12.2<"));
}

#[test]
fn allowed_cpus_are_counted_and_listed() {
    let page = page(&support::synthetic());
    assert!(page.contains("<th scope=\"row\">CPUs allowed</th><td>2 (CPU 0, 1)</td>"));
}

#[test]
fn every_regime_has_its_own_floor_in_plot_and_panel() {
    let report = full();
    let page = page(&report);
    let panel = between(&page, "<aside", "</aside>");
    for (regime, floor) in [("throughput", "0.00031"), ("latency", "0.020"), ("flushed", "0.90")] {
        assert!(panel.contains(&format!("<dt>noise, {regime}</dt><dd>{floor} cycles")), "{regime}: {panel}");
    }
    let ladder = plot(&report, "ladder");
    assert!(ladder.description.contains("The noise is 0.00031 cycles"));
    assert!(texts(&ladder.svg).contains(&"noise 0.00031; up to 0.010"), "{:?}", texts(&ladder.svg));
    // A regime with a larger floor has a wider band.
    let band = |id: &str| -> i32 {
        let svg = plot(&report, id).svg;
        let tag = svg.split("<rect").skip(1).find(|tag| tag.contains("--band")).expect("a band").to_owned();
        between(&tag, "width=\"", "\"").parse().expect("pixels")
    };
    assert!(band("regime-flushed") > 2 * band("regime-throughput"));
}

#[test]
fn the_full_report_is_valid() {
    assert_eq!(check(&full()), Ok(()));
}

#[test]
fn labels_of_built_in_names_are_not_cut() {
    for plot in all(&full()).expect("plots") {
        let cut: Vec<&str> = texts(&plot.svg).into_iter().filter(|text| text.contains('\u{2026}')).collect();
        assert_eq!(cut, Vec::<&str>::new(), "{}", plot.id);
    }
}
