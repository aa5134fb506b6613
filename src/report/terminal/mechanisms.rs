//! Mechanisms over the ops, a table per regime.

use super::fixed;
use super::width::{Columns, Lines, Overflow};
use crate::regime::Regime;
use crate::report::Report;
use crate::report::over_ops::{MEDIAN_OVER_OPS, OverOps, unresolved_text};
use crate::report::plots::grid::{Column, Grid};
use crate::report::subject;
use crate::report::verdict::unresolved;

const HEADER: [&str; 6] = ["mechanism", "median", "middle half", "range", "resolved", "bimodal"];

/// Adds a table for each regime, in the order of the page.
pub(super) fn add(report: &Report, grid: &Grid, lines: &mut Lines) {
    for regime in Regime::ALL {
        if report.cells.iter().all(|cell| cell.regime != regime) {
            continue;
        }
        lines.skip();
        lines.say(&format!("{}: {}", regime.name(), regime.summary()));
        lines.say(&format!(
            "overhead over inline, core cycles per op: {MEDIAN_OVER_OPS}; <: not resolved, less than that"
        ));
        let rows = rows(grid, regime);
        let columns = Columns { header: &HEADER, rows: &rows, names: 1, numbers: 5, overflow: Overflow::Split };
        lines.tabulate(&columns);
        for (limit, cells) in unresolved(report, regime) {
            lines.say(&format!("not resolved: {cells} by {}: {}", limit.word(), limit.meaning()));
        }
    }
}

fn rows<'a>(grid: &Grid<'a>, regime: Regime) -> Vec<Vec<String>> {
    let row = |column: &Column<'a>| {
        let over = OverOps::of(grid.cells_of(column, regime))?;
        let [low, q1, middle, q3, high] = over.five;
        let bimodal = over.cells.iter().filter(|cell| !cell.modes.is_empty()).count();
        Some(vec![
            subject::mechanism(column.mechanism, column.state),
            match over.median_is_resolved() {
                true => fixed(middle),
                false => unresolved_text(over.median_interval(), over.typical_floor()).replace(' ', ""),
            },
            format!("{} .. {}", fixed(q1), fixed(q3)),
            format!("{} .. {}", fixed(low), fixed(high)),
            format!("{} of {}", over.resolved, over.cells.len()),
            format!("{bimodal}"),
        ])
    };
    grid.columns.iter().filter_map(row).collect()
}
