//! A line per cell: estimate, interval, floor, and whether it is resolved.

use super::reason;
use super::width::{Columns, Lines, Overflow};
use crate::report::Report;
use crate::report::plots::grid::finite;
use crate::report::plots::number;
use crate::report::schema::Cell;
use crate::report::subject;

/// The columns that name a cell. One that has the same text in all lines stands above them instead.
const NAMES: [&str; 4] = ["op", "body", "mechanism", "regime"];
/// The columns after the names.
const VALUES: [&str; 4] = ["cycles", "interval", "floor", "resolved"];
/// Longest reason for a cell that was not measured, in characters; `pvbench export --format csv` has all of it.
const MAX_REASON_CHARS: usize = 80;

/// Adds the cells, in the order of the report.
pub(super) fn add(report: &Report, lines: &mut Lines) {
    let Some(first) = report.cells.first() else { return };
    let first = names_of(first);
    let differs = |index: &usize| report.cells.iter().any(|cell| names_of(cell)[*index] != first[*index]);
    let (shown, common): (Vec<usize>, Vec<usize>) = (0..NAMES.len()).partition(differs);
    // A single cell has its op in its line.
    let shown = if shown.is_empty() { vec![0] } else { shown };
    let common: Vec<String> = common
        .into_iter()
        .filter(|index| !shown.contains(index))
        .map(|index| format!("{} {}", NAMES[index], first[index]))
        .collect();
    lines.skip();
    let of = if common.is_empty() { String::new() } else { format!(" ({})", common.join(", ")) };
    lines.say(&format!("cells{of}: overhead over inline, in core cycles per op"));
    let rows: Vec<Vec<String>> = report
        .cells
        .iter()
        .map(|cell| {
            let names = names_of(cell);
            shown.iter().map(|index| names[*index].clone()).chain(values_of(cell)).collect()
        })
        .collect();
    let header: Vec<&str> = shown.iter().map(|index| NAMES[*index]).chain(VALUES).collect();
    let columns = Columns { header: &header, rows: &rows, names: shown.len(), numbers: 3, overflow: Overflow::Stack };
    lines.tabulate(&columns);
}

fn names_of(cell: &Cell) -> [String; 4] {
    [
        subject::plain(&cell.op),
        cell.body.name().to_owned(),
        subject::mechanism(&cell.mechanism, cell.state.as_deref()),
        cell.regime.name().to_owned(),
    ]
}

fn values_of(cell: &Cell) -> [String; 4] {
    let none = || "-".to_owned();
    let floor = cell.floor_cycles.filter(|floor| floor.is_finite()).map_or_else(none, number::plain);
    let Some(cycles) = cell.overhead.and_then(|overhead| finite(overhead.cycles)) else {
        let absent = number::clipped(&reason(cell.absent.as_deref().unwrap_or("no reason")), MAX_REASON_CHARS);
        return [none(), none(), none(), format!("not measured: {absent}")];
    };
    // The estimate has the digits of its interval.
    let text = number::interval(cycles.interval());
    let (estimate, interval) = text.split_once(' ').unwrap_or((&text, "-"));
    let resolved = match cell.limit {
        _ if cell.resolved => "yes".to_owned(),
        Some(limit) => format!("no: {}", limit.word()),
        None => "no".to_owned(),
    };
    [estimate.to_owned(), interval.to_owned(), floor, resolved]
}
