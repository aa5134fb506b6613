//! Tests of the tables of ops on the page, and of its size.

use crate::html::{page, part};
use crate::support;
use pvbench::regime::Regime;
use pvbench::report::schema::{Cell, Limit};

/// The texts of the table cells of all ops, without those of `inline` itself.
fn cells(page: &str) -> Vec<String> {
    let section = part(page, "<section id=\"all\"", "</section>");
    let rows = section.split("<tr>").skip(1).filter(|row| row.starts_with("<th>") && !row.contains("<tbody>"));
    let cell = |after: &str| {
        let text = after.split_once('>').expect("a tag").1.split("</table>").next().unwrap_or_default();
        text.split("<p>").next().unwrap_or_default().trim().to_owned()
    };
    rows.flat_map(|row| row.split("<td").skip(1).map(cell).collect::<Vec<_>>()).collect()
}

#[test]
fn every_cell_has_a_place_and_each_reason_of_an_absence_appears_once() {
    let report = support::synthetic();
    let page = page(&report);
    let shown = cells(&page);
    assert_eq!(shown.len(), report.cells.len());
    let absent = report.cells.iter().filter(|cell| cell.overhead.is_none()).count();
    assert_eq!(shown.iter().filter(|text| *text == "<a href=\"#why1\">reason 1</a>").count(), absent);
    assert!(shown.iter().all(|text| !text.is_empty()));
    let list = page.matches("(27 cells): fewer than two workers finished this group").count();
    assert_eq!(list, 1);
}

#[test]
fn a_second_cell_of_the_same_op_mechanism_and_regime_has_a_place_of_its_own() {
    let mut report = support::synthetic();
    let again = report.cells[3].clone();
    report.cells.push(again);
    assert_eq!(cells(&page(&report)).iter().filter(|text| !text.is_empty()).count(), report.cells.len());
}

/// The report holds all of Linux's hooks with 42 mechanisms in two regimes, as many cells as a default run.
#[test]
fn a_page_of_ten_thousand_cells_is_under_one_megabyte() {
    let mut report = support::synthetic_with(42, 2);
    report.cells.retain(|cell| cell.regime != Regime::Pressure);
    report.cells.truncate(128 * 42 * 2);
    assert_eq!(report.cells.len(), 10_752);
    let page = page(&report);
    println!("{} bytes", page.len());
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

/// A quick run has twenty ops with all mechanisms in all regimes.
#[test]
fn a_page_of_a_quick_run_is_under_300_kilobytes() {
    let mut report = support::synthetic_with(42, 1);
    let ops: Vec<String> = report.catalogue.ops.iter().take(20).map(|op| op.name.clone()).collect();
    report.catalogue.ops.truncate(20);
    report.cells.retain(|cell| ops.contains(&cell.op));
    let page = page(&report);
    assert!(page.len() < 300_000, "{} bytes", page.len());
}

#[test]
fn every_op_is_described_once_beside_its_cells() {
    let report = support::everything();
    let page = page(&report);
    for op in &report.catalogue.ops {
        assert_eq!(page.matches(&format!("id=\"op-{}\"", op.name)).count(), 1, "{}", op.name);
    }
    // The ten ops that matter lead to their descriptions.
    for op in ["save_fl", "pte_val", "queued_spin_unlock"] {
        assert!(page.matches(&format!("href=\"#op-{op}\"")).count() >= 1, "{op}");
    }
    let op = part(&page, "id=\"op-save_fl\"", "</details>");
    for said in [
        "unsigned long (*save_fl)(void)",
        "1 argument, a result; C convention",
        "the op&#39;s own instructions",
        "native real, Xen modelled",
        "Linux 6.1",
        "<code>9c 58</code>",
        "native body, real",
        "<th>table (unpatched)",
    ] {
        assert!(op.contains(said), "{said} in {op}");
    }
}

#[test]
fn an_op_with_special_characters_in_its_name_has_an_identifier() {
    let mut report = support::synthetic();
    let name = "\" onclick=alert(1)";
    report.catalogue.ops[0].name = name.to_owned();
    report.cells.iter_mut().filter(|c| c.op == "cpuid").for_each(|c| c.op.clone_from(&report.catalogue.ops[0].name));
    let mut workload = support::workload();
    workload.calls.insert(name.to_owned(), 1e6);
    report.workloads.push(workload);
    let page = page(&report);
    assert!(page.contains("id=\"op--0\"") && page.contains("href=\"#op--0\""));
}

#[test]
fn a_cell_that_the_layout_limits_shows_its_smallest_and_largest_layout() {
    let mut report = support::synthetic();
    report.cells.iter_mut().for_each(|cell| (cell.limit, cell.resolved) = (None, cell.overhead.is_some()));
    let cell: &mut Cell = &mut report.cells[12];
    (cell.resolved, cell.limit) = (false, Some(Limit::Layout));
    for (layout, value) in cell.layouts.iter_mut().zip([3.0, 1.5]) {
        layout.cycles.estimate = value;
    }
    // The figures of a cell have two significant digits of the width of its interval.
    let cycles = &mut cell.overhead.as_mut().expect("measured").cycles;
    (cycles.low, cycles.high) = (cycles.estimate - 0.1, cycles.estimate + 0.1);
    let shown = cells(&page(&report));
    let layouts: Vec<&String> = shown.iter().filter(|text| text.contains("by layout: ")).collect();
    assert_eq!(layouts.len(), 1);
    assert!(layouts[0].ends_with("\u{b1}0.10 by layout: 1.50 at 29, 3.00 at 0"), "{}", layouts[0]);
}

#[test]
fn floor_and_layout_range_of_every_cell_are_shown_on_demand() {
    let mut report = support::synthetic();
    let set = |cell: &mut Cell, floor: Option<f64>, range: Option<f64>| {
        (cell.floor_cycles, cell.layout_range) = (floor, range);
    };
    let measured: Vec<usize> = (0..report.cells.len()).filter(|at| report.cells[*at].overhead.is_some()).collect();
    for at in &measured {
        set(&mut report.cells[*at], Some(0.1271), Some(0.1268));
    }
    set(&mut report.cells[measured[0]], Some(1.26), Some(0.0042));
    set(&mut report.cells[measured[1]], Some(0.5), None);
    set(&mut report.cells[measured[2]], Some(f64::NAN), Some(f64::INFINITY));
    let page = page(&report);
    assert!(page.contains("<input type=\"checkbox\" id=\"floors\">"), "a control that needs no script");
    assert!(page.contains("#all:has(#floors:checked) .cells td p{display:block}"));
    let section = part(&page, "<section id=\"all\"", "</section>");
    let shown = |text: &str| {
        section.matches(&format!("<p>{text}\n")).count() + section.matches(&format!("<p>{text}<td")).count()
    };
    assert_eq!(shown("0.13"), measured.len() - 3, "one number if both are the same");
    assert_eq!((shown("1.3 0.004"), shown("0.5 \u{2013}")), (1, 1));
    assert!(!section.contains("<p>\n") && !section.contains("<p><td"), "a cell without usable numbers has none");
}
