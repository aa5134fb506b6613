//! The rows of the table of all cells.
//!
//! What rows next to each other share (the op, the regime) is one cell over all of them: a page of thousands of rows
//! stays small, and reads as a table of ops even where no script takes the shared cells apart to sort.

use std::collections::HashMap;

use super::anchor::Anchors;
use crate::dispatch::Platform;
use crate::op::{Group, Kind};
use crate::report::Report;
use crate::report::plots::grid::{finite, group_name};
use crate::report::plots::number::{NOTHING, clipped, fixed, interval, plain, plural};
use crate::report::schema::{Cell, Estimate, LayoutEstimate, Limit};

/// The longest name of an op or a mechanism that is shown whole.
const NAME: usize = 60;
/// The most rows that share a cell; browsers take no more than 65,534 (HTML, 4.9.11).
const MOST_SHARED: usize = 1000;
/// The most modes of a cell that are shown.
const MOST_MODES: usize = 3;

/// One row: the text of each column.
pub struct Line {
    /// In the first row of an op.
    pub op: Option<OpHead>,
    /// In the first row of a regime of an op.
    pub regime: Option<RegimeHead>,
    pub mechanism: String,
    pub state: String,
    pub cycles: String,
    /// The number of the reason in [`Lines::reasons`], from 1.
    pub reason: Option<usize>,
    pub ns: String,
    pub ratio: String,
    pub range: String,
    /// The estimate at each layout, where moving the loop is what keeps the cell from being resolved.
    pub layouts: Vec<String>,
    /// Whether it is resolved, and if not, what keeps it from that.
    pub verdict: &'static str,
    pub modes: String,
}

/// What the rows of an op share.
pub struct OpHead {
    pub rows: usize,
    /// Where it is described.
    pub id: Option<String>,
    pub name: String,
    pub group: &'static str,
    pub kind: &'static str,
    pub body: &'static str,
}

/// What the rows of a regime of an op share.
pub struct RegimeHead {
    pub rows: usize,
    pub name: &'static str,
    pub native: String,
}

/// All rows, and what they share.
pub struct Lines {
    pub lines: Vec<Line>,
    /// Why cells have no overhead, each reason once.
    pub reasons: Vec<Reason>,
    /// Whether bodies differ, so that they need a column.
    pub bodies: bool,
    /// Whether mechanisms have states, so that they need a column.
    pub states: bool,
}

/// Why cells have no overhead.
pub struct Reason {
    pub text: String,
    pub cells: usize,
}

/// The rows of a report in its own order.
pub fn lines(report: &Report, ops: &Anchors) -> Lines {
    let groups: HashMap<&str, Group> = report.catalogue.ops.iter().map(|op| (op.name.as_str(), op.group)).collect();
    let mut reasons: Vec<Reason> = Vec::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut number = |text: &str| {
        let text = clipped(text, 400);
        let place = *numbers.entry(text.clone()).or_insert_with(|| {
            reasons.push(Reason { text, cells: 0 });
            reasons.len()
        });
        if let Some(reason) = reasons.get_mut(place - 1) {
            reason.cells += 1;
        }
        place
    };
    let of_op = |a: &Cell, b: &Cell| a.op == b.op && a.body == b.body && a.kind == b.kind;
    let of_regime = |a: &Cell, b: &Cell| a.regime == b.regime && a.native_cycles == b.native_cycles;
    let mut lines = Vec::with_capacity(report.cells.len());
    for cells in report.cells.chunk_by(of_op).flat_map(|cells| cells.chunks(MOST_SHARED)) {
        let mut op = cells.first().map(|cell| OpHead {
            rows: cells.len(),
            id: ops.to(&cell.op),
            name: clipped(&cell.op, NAME),
            group: groups.get(cell.op.as_str()).map_or(NOTHING, |g| group_name(*g)),
            kind: match cell.kind {
                Kind::Real => "real",
                Kind::Modelled => "modelled",
            },
            body: cell.body.name(),
        });
        for cells in cells.chunk_by(of_regime) {
            let mut regime = cells.first().map(|cell| RegimeHead {
                rows: cells.len(),
                name: cell.regime.name(),
                native: plain_or_nothing(cell.native_cycles),
            });
            lines.extend(cells.iter().map(|cell| line(cell, op.take(), regime.take(), &mut number)));
        }
    }
    let bodies = report.cells.iter().any(|c| c.body != Platform::Native);
    let states = report.cells.iter().any(|c| c.state.is_some());
    Lines { lines, reasons, bodies, states }
}

fn plain_or_nothing(it: Option<f64>) -> String {
    it.map_or_else(|| NOTHING.to_owned(), plain)
}

fn line(cell: &Cell, op: Option<OpHead>, regime: Option<RegimeHead>, number: &mut impl FnMut(&str) -> usize) -> Line {
    let show = |it: Option<Estimate>| it.map_or_else(|| NOTHING.to_owned(), interval);
    let cycles = cell.overhead.map(|o| o.cycles).and_then(finite);
    let reason = match cycles {
        Some(_) => None,
        None => Some(number(cell.absent.as_deref().unwrap_or(match cell.overhead {
            Some(_) => "the report's value is no usable number",
            None => "the report does not say why",
        }))),
    };
    Line {
        op,
        regime,
        mechanism: clipped(&cell.mechanism, NAME),
        state: cell.state.as_deref().map_or_else(|| NOTHING.to_owned(), |s| clipped(s, NAME)),
        cycles: show(cycles),
        reason,
        // Cycles by the one core frequency of the run: its interval tells nothing more.
        ns: plain_or_nothing(cell.overhead.and_then(|o| finite(o.ns)).map(|it| it.estimate)),
        // The same comparison in other units; the report has its interval.
        ratio: plain_or_nothing(cell.overhead.and_then(|o| finite(o.ratio)).map(|it| it.estimate)),
        range: plain_or_nothing(cell.layout_range),
        layouts: if cell.limit == Some(Limit::Layout) { layouts(cell) } else { Vec::new() },
        verdict: match (cycles, cell.resolved, cell.limit) {
            (None, ..) => "absent",
            (Some(_), true, _) => "yes",
            (Some(_), false, None) => "no",
            (Some(_), false, Some(Limit::Floor)) => "no, floor",
            (Some(_), false, Some(Limit::Interval)) => "no, interval",
            (Some(_), false, Some(Limit::Modes)) => "no, modes",
            (Some(_), false, Some(Limit::Layout)) => "no, layout",
            (Some(_), false, Some(Limit::Traps)) => "no, traps",
        },
        modes: modes(cell),
    }
}

/// The least and the greatest: `at 29: 3.88 [3.80, 3.95], 20 workers`
fn layouts(cell: &Cell) -> Vec<String> {
    let at = |layout: &LayoutEstimate| {
        let value = finite(layout.cycles).map_or_else(|| NOTHING.to_owned(), interval);
        format!("at {}: {value}, {} {}", layout.offset, layout.workers, plural(layout.workers, "worker", "workers"))
    };
    let by_value = |a: &&LayoutEstimate, b: &&LayoutEstimate| a.cycles.estimate.total_cmp(&b.cycles.estimate);
    let ends = [cell.layouts.iter().min_by(by_value), cell.layouts.iter().max_by(by_value)];
    ends.into_iter().flatten().map(at).collect()
}

/// `3.88 (60%) at 29, 4.91 (40%) at 29`; empty where workers agree.
fn modes(cell: &Cell) -> String {
    let mut text = String::new();
    for (index, mode) in cell.modes.iter().take(MOST_MODES).enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&format!("{} ({}%) at {}", plain(mode.cycles), fixed(mode.share * 100.0, 0), mode.offset));
    }
    if cell.modes.len() > MOST_MODES {
        text.push_str(", \u{2026}");
    }
    text
}
