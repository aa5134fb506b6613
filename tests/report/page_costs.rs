//! Tests of the table of mechanisms on the page: the number of ops, medians that are not resolved, and plain words.

use crate::html::{page, part, text};
use crate::support;
use pvbench::regime::Regime;
use pvbench::report::Report;
use pvbench::report::schema::{Cell, Limit};

fn costs(report: &Report) -> String {
    part(&page(report), "aria-label=\"Table: mechanism by regime\">", "</table>").to_owned()
}

/// The row of a mechanism behind its name, with white space between tags made even.
fn row(table: &str, mechanism: &str) -> String {
    let row = part(table, &format!("#way-{mechanism}\">"), "</tr>");
    text(row).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Gives the measured cells of a mechanism in throughput one overhead. The first `resolved` ones are resolved.
fn set(report: &mut Report, mechanism: &str, cycles: f64, half: f64, floor: f64, resolved: usize) {
    let is_set =
        |cell: &&mut Cell| cell.mechanism == mechanism && cell.regime == Regime::Throughput && cell.overhead.is_some();
    for (index, cell) in report.cells.iter_mut().filter(is_set).enumerate() {
        cell.overhead.as_mut().expect("measured").cycles = support::around(cycles, half);
        cell.floor_cycles = Some(floor);
        cell.resolved = index < resolved;
        cell.limit = (!cell.resolved).then_some(Limit::Floor);
    }
}

#[test]
fn a_median_that_is_not_resolved_is_an_upper_bound_with_the_number_of_ops_that_differ() {
    let mut report = support::synthetic();
    // Half of the ops are not more than half, however narrow the interval is.
    set(&mut report, "direct", 0.125, 0.0, 0.001, 36);
    // Nothing differs, and the floor is larger than the interval.
    set(&mut report, "dyn", -0.02, 0.1, 3.111, 0);
    let table = costs(&report);
    assert!(row(&table, "direct").contains(" &#60; 0.13 36 of 73 ops differ"), "{}", row(&table, "direct"));
    assert!(row(&table, "dyn").contains(" &#60; 3.12 0 of 73 ops differ"), "{}", row(&table, "dyn"));
    assert!(!table.contains('~'), "no other mark");
    set(&mut report, "direct", 0.125, 0.0, 0.001, 37);
    let table = costs(&report);
    assert!(row(&table, "direct").contains(" 0.12 0.125 to 0.125"), "{}", row(&table, "direct"));
}

#[test]
fn the_table_says_how_many_ops_are_behind_each_median() {
    let mut report = support::synthetic();
    report.cells.retain(|cell| cell.mechanism != "dyn" || cell.op == "set_pte" || cell.regime != Regime::Latency);
    let is_latency = |cell: &Cell| cell.regime == Regime::Latency;
    report.cells.retain(|cell| !is_latency(cell) || ["set_pte", "pte_val", "set_pmd"].contains(&cell.op.as_str()));
    for cell in report.cells.iter_mut().filter(|cell| is_latency(cell)) {
        cell.overhead.as_mut().expect("measured").cycles = support::around(4.0, 0.01);
        (cell.resolved, cell.limit) = (true, None);
    }
    let table = costs(&report);
    let ops = text(part(&table, "<tr class=own>", "</tr>"));
    assert!(ops.split_whitespace().collect::<Vec<_>>().join(" ").ends_with("up to 73 ops 3 ops"), "{ops}");
    assert!(row(&table, "dyn").ends_with("3.990 to 4.010 1 op"), "{}", row(&table, "dyn"));
    assert!(row(&table, "table").ends_with("3.990 to 4.010"), "{}", row(&table, "table"));
}

#[test]
fn patched_sites_have_the_same_plain_words_in_table_finder_and_readme() {
    let page = page(&support::full::full());
    let table = part(&page, "aria-label=\"Table: mechanism by regime\">", "</table>");
    let finder = part(&page, "<section id=\"finder\"", "</section>");
    let readme = std::fs::read_to_string("README.md").expect("README");
    for (state, words) in [
        ("inline", "a patched pv_ops site: native instructions and NOPs"),
        ("direct", "a pv_ops site, patched to a direct call"),
    ] {
        let named = format!(">site ({state})</a> <small>{words}</small>");
        assert!(table.contains(&named) && finder.contains(&named), "{named}");
        assert!(readme.contains(&format!("| `site` ({state}) | {words} |")), "README: {words}");
    }
    assert!(table.contains(">site (unpatched)</a> <small>an unpatched pv_ops site: the indirect call</small>"));
    assert!(!support::synthetic_with(30, 1).cells.is_empty());
    let own = costs(&support::synthetic_with(30, 1));
    assert!(own.contains(">synthetic_<wbr>29</a></th>"), "a mechanism of a suite's own has no words");
}

#[test]
fn a_floor_over_all_regimes_is_shown_only_where_regimes_have_none_of_their_own() {
    let mut report = support::synthetic();
    let facts = |report: &Report| text(part(&page(report), "Noise and clock</summary>", "</details>"));
    let of_regimes = facts(&report);
    assert!(of_regimes.contains("noise, throughput"), "{of_regimes}");
    assert!(!of_regimes.contains("over all regimes"));
    assert_eq!(of_regimes.matches("noise, ").count(), report.floors.len());
    report.floors.clear();
    assert_eq!(facts(&report).matches("noise").count(), 1);
}
