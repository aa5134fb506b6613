//! The rows of the table of all cells.

use std::collections::HashMap;

use crate::dispatch::Platform;
use crate::op::{Group, Kind};
use crate::report::Report;
use crate::report::plots::grid::{finite, group_name};
use crate::report::plots::number::{NOTHING, clipped, fixed, interval, plain};
use crate::report::schema::{Cell, Estimate, Limit};

/// The longest name of an op or a mechanism that is shown whole.
const NAME: usize = 60;

/// One row: the text of each column.
pub struct Line {
    pub op: String,
    pub group: &'static str,
    pub kind: &'static str,
    pub body: &'static str,
    pub mechanism: String,
    pub state: String,
    pub regime: &'static str,
    pub cycles: String,
    /// The number of the reason in [`Lines::reasons`], from 1.
    pub reason: Option<usize>,
    pub ns: String,
    pub ratio: String,
    pub native: String,
    pub range: String,
    pub modes: String,
    pub verdict: &'static str,
    /// What keeps it from being resolved.
    pub limit: &'static str,
}

/// All rows, and what they share.
pub struct Lines {
    pub lines: Vec<Line>,
    /// Why cells have no overhead, each reason once.
    pub reasons: Vec<Reason>,
    /// Whether bodies differ, so that they need a column.
    pub bodies: bool,
}

/// Why cells have no overhead.
pub struct Reason {
    pub text: String,
    pub cells: usize,
}

/// The rows of a report in its own order.
pub fn lines(report: &Report) -> Lines {
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
    let lines = report.cells.iter().map(|cell| line(cell, &groups, &mut number)).collect();
    let bodies = report.cells.iter().any(|c| c.body != Platform::Native);
    Lines { lines, reasons, bodies }
}

fn line(cell: &Cell, groups: &HashMap<&str, Group>, number: &mut impl FnMut(&str) -> usize) -> Line {
    let show = |it: Option<Estimate>| it.and_then(finite).map_or_else(|| NOTHING.to_owned(), interval);
    let cycles = cell.overhead.map(|o| o.cycles).and_then(finite);
    let reason = match cycles {
        Some(_) => None,
        None => Some(number(cell.absent.as_deref().unwrap_or(match cell.overhead {
            Some(_) => "the report's value is no usable number",
            None => "the report does not say why",
        }))),
    };
    let plain_or_nothing = |it: Option<f64>| it.map_or_else(|| NOTHING.to_owned(), plain);
    Line {
        op: clipped(&cell.op, NAME),
        group: groups.get(cell.op.as_str()).map_or(NOTHING, |g| group_name(*g)),
        kind: match cell.kind {
            Kind::Real => "real",
            Kind::Modelled => "modelled",
        },
        body: cell.body.name(),
        mechanism: clipped(&cell.mechanism, NAME),
        state: cell.state.as_deref().map_or_else(|| NOTHING.to_owned(), |s| clipped(s, NAME)),
        regime: cell.regime.name(),
        cycles: show(cycles),
        reason,
        ns: show(cell.overhead.map(|o| o.ns)),
        ratio: show(cell.overhead.map(|o| o.ratio)),
        native: plain_or_nothing(cell.native_cycles),
        range: plain_or_nothing(cell.layout_range),
        modes: modes(cell),
        verdict: match (cycles, cell.resolved) {
            (None, _) => "absent",
            (Some(_), true) => "yes",
            (Some(_), false) => "no",
        },
        limit: match cell.limit {
            None => NOTHING,
            Some(Limit::Floor) => "floor",
            Some(Limit::Modes) => "modes",
            Some(Limit::Layout) => "layout",
        },
    }
}

/// `3.88 60%, 4.91 40% at 29`
fn modes(cell: &Cell) -> String {
    let mut text = String::new();
    for (index, mode) in cell.modes.iter().take(8).enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&format!("{} ({}%) at {}", plain(mode.cycles), fixed(mode.share * 100.0, 0), mode.offset));
    }
    if cell.modes.len() > 8 {
        text.push_str(", \u{2026}");
    }
    if text.is_empty() { NOTHING.to_owned() } else { text }
}
