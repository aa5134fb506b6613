//! The rows of the table of all cells.
//!
//! Adjacent rows share one table cell for a common op or regime. So a page of thousands of rows stays small, and
//! without a script it still reads as a table of ops. The page's script splits the shared cells before it sorts.

use std::collections::HashMap;

use super::anchor::Anchors;
use crate::op::{BodyKind, Group, Kind};
use crate::report::Report;
use crate::report::plots::grid::{finite, group_name};
use crate::report::plots::number::{NOTHING, clipped, fixed, plain, plural};
use crate::report::schema::{Cell, Estimate, LayoutEstimate, Limit, ModeShare};

/// Maximum length in characters of the name of an op or mechanism. Longer names are cut.
const MAX_NAME_CHARS: usize = 60;
/// Maximum number of rows that share a table cell. Browsers allow at most 65,534 (HTML, 4.9.11).
const MAX_SHARED_ROWS: usize = 1000;
/// Maximum number of modes that are shown per cell.
const MAX_MODES: usize = 3;
/// Maximum number of digits after the point. A floor in throughput is some ten-thousandths of a cycle.
const MAX_DIGITS: f64 = 4.0;

/// One row: the text of each column.
pub struct Line {
    /// Heading of the op, in its first row.
    pub op: Option<OpHead>,
    /// Heading of the regime, in its first row within an op.
    pub regime: Option<RegimeHead>,
    pub mechanism: String,
    pub state: String,
    pub cycles: String,
    /// Number of the reason in [`Lines::reasons`], from 1; `None` if the cell has an overhead.
    pub reason: Option<usize>,
    pub ns: String,
    pub ratio: String,
    pub range: String,
    /// The smallest and largest estimate over the layouts, if the layout is the limit of the cell.
    pub layouts: Vec<String>,
    /// The floor: `±0.06`.
    pub floor: String,
    /// Whether the cell is resolved, and if not, the limit with its remedy: `no, interval: more time`.
    pub verdict: String,
    pub modes: String,
}

/// Heading that the rows of an op share.
pub struct OpHead {
    pub rows: usize,
    /// Identifier of the op's description in the page.
    pub id: Option<String>,
    pub name: String,
    pub group: &'static str,
    pub kind: &'static str,
    pub body: &'static str,
}

/// Heading that the rows of one regime of an op share.
pub struct RegimeHead {
    pub rows: usize,
    pub name: &'static str,
    pub native: String,
}

/// All rows, with the reasons and limits that they refer to.
pub struct Lines {
    pub lines: Vec<Line>,
    /// Reasons why cells have no overhead, each once.
    pub reasons: Vec<Reason>,
    /// Limits of cells that are not resolved, each once, with their meaning.
    pub limits: Vec<Reason>,
    /// Whether the table needs a column for bodies, because some are not native.
    pub bodies: bool,
    /// Whether the table needs a column for states.
    pub states: bool,
}

/// A text that applies to a number of cells.
pub struct Reason {
    pub text: String,
    pub cells: usize,
}

/// The rows of a report, in the order of its cells.
pub fn lines(report: &Report, ops: &Anchors) -> Lines {
    let groups: HashMap<&str, Group> = report.catalogue.ops.iter().map(|op| (op.name.as_str(), op.group)).collect();
    let mut reasons: Vec<Reason> = Vec::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut number = |text: &str| {
        let text = clipped(text, 400);
        let number = *numbers.entry(text.clone()).or_insert_with(|| {
            reasons.push(Reason { text, cells: 0 });
            reasons.len()
        });
        if let Some(reason) = reasons.get_mut(number - 1) {
            reason.cells += 1;
        }
        number
    };
    let same_op = |a: &Cell, b: &Cell| a.op == b.op && a.body == b.body && a.kind == b.kind;
    let same_regime = |a: &Cell, b: &Cell| a.regime == b.regime && a.native_cycles == b.native_cycles;
    let mut lines = Vec::with_capacity(report.cells.len());
    for cells in report.cells.chunk_by(same_op).flat_map(|cells| cells.chunks(MAX_SHARED_ROWS)) {
        let mut op = cells.first().map(|cell| OpHead {
            rows: cells.len(),
            id: ops.find(&cell.op),
            name: clipped(&cell.op, MAX_NAME_CHARS),
            group: groups.get(cell.op.as_str()).map_or(NOTHING, |g| group_name(*g)),
            kind: match cell.kind {
                Kind::Real => "real",
                Kind::Modelled => "modelled",
            },
            body: cell.body.name(),
        });
        for cells in cells.chunk_by(same_regime) {
            let mut regime = cells.first().map(|cell| RegimeHead {
                rows: cells.len(),
                name: cell.regime.name(),
                native: plain_or_nothing(cell.native_cycles),
            });
            lines.extend(cells.iter().map(|cell| line(cell, op.take(), regime.take(), &mut number)));
        }
    }
    let bodies = report.cells.iter().any(|c| c.body != BodyKind::Native);
    let states = report.cells.iter().any(|c| c.state.is_some());
    Lines { lines, reasons, limits: limits(report), bodies, states }
}

/// The limits of all cells, in the order of [`Limit::ALL`].
fn limits(report: &Report) -> Vec<Reason> {
    let count = |limit| report.cells.iter().filter(|cell| cell.overhead.is_some() && cell.limit == Some(limit)).count();
    let reason = |limit: Limit| Reason { text: format!("{}: {}", limit.word(), limit.meaning()), cells: count(limit) };
    Limit::ALL.into_iter().map(reason).filter(|reason| reason.cells > 0).collect()
}

fn plain_or_nothing(it: Option<f64>) -> String {
    it.map_or_else(|| NOTHING.to_owned(), plain)
}

fn line(cell: &Cell, op: Option<OpHead>, regime: Option<RegimeHead>, number: &mut impl FnMut(&str) -> usize) -> Line {
    let cycles = cell.overhead.map(|o| o.cycles).and_then(finite);
    let reason = match cycles {
        Some(_) => None,
        None => Some(number(cell.absent.as_deref().unwrap_or(match cell.overhead {
            Some(_) => "the value in the report is not usable",
            None => "the report gives no reason",
        }))),
    };
    // All numbers behind the verdict have the same number of digits, so their order on the page is that of the report.
    let digits = digits(cell);
    Line {
        op,
        regime,
        mechanism: clipped(&cell.mechanism, MAX_NAME_CHARS),
        state: cell.state.as_deref().map_or_else(|| NOTHING.to_owned(), |s| clipped(s, MAX_NAME_CHARS)),
        cycles: cycles.map_or_else(|| NOTHING.to_owned(), |it| with_interval(it, digits)),
        reason,
        // Without an interval: all nanoseconds are cycles divided by the one core frequency of the run.
        ns: plain_or_nothing(cell.overhead.and_then(|o| finite(o.ns)).map(|it| it.estimate)),
        // Without an interval: the ratio is the same difference in another unit, and the report holds its interval.
        ratio: plain_or_nothing(cell.overhead.and_then(|o| finite(o.ratio)).map(|it| it.estimate)),
        range: cell.layout_range.map_or_else(|| NOTHING.to_owned(), |range| fixed(range, digits)),
        layouts: if cell.limit == Some(Limit::Layout) { layouts(cell, digits) } else { Vec::new() },
        floor: cycles.map_or_else(String::new, |_| floor(cell, digits)),
        verdict: match (cycles, cell.resolved, cell.limit) {
            (None, ..) => "absent".to_owned(),
            (Some(_), true, _) => "yes".to_owned(),
            (Some(_), false, None) => "no".to_owned(),
            (Some(_), false, Some(limit)) => format!("no, {}: {}", limit.word(), limit.remedy()),
        },
        modes: modes(cell, digits),
    }
}

/// Number of digits after the point that shows two significant digits of the width of a cell's interval, at most four.
fn digits(cell: &Cell) -> usize {
    let width = cell.overhead.and_then(|overhead| finite(overhead.cycles)).map_or(0.0, |it| it.high - it.low);
    if width > 0.0 { (1.0 - width.log10().floor()).clamp(0.0, MAX_DIGITS) as usize } else { 3 }
}

/// `3.88 [3.80, 3.95]`
fn with_interval(it: Estimate, digits: usize) -> String {
    format!("{} [{}, {}]", fixed(it.estimate, digits), fixed(it.low, digits), fixed(it.high, digits))
}

/// `±0.06`
fn floor(cell: &Cell, digits: usize) -> String {
    let floor = cell.floor_cycles.filter(|floor| floor.is_finite());
    floor.map_or_else(String::new, |floor| format!("\u{b1}{}", fixed(floor, digits)))
}

/// The smallest and the largest estimate over the layouts: `at 29: 3.88 [3.80, 3.95], 20 workers`
fn layouts(cell: &Cell, digits: usize) -> Vec<String> {
    let at = |layout: &LayoutEstimate| {
        let value = finite(layout.cycles).map_or_else(|| NOTHING.to_owned(), |it| with_interval(it, digits));
        format!("at {}: {value}, {} {}", layout.offset, layout.workers, plural(layout.workers, "worker", "workers"))
    };
    let by_value = |a: &&LayoutEstimate, b: &&LayoutEstimate| a.cycles.estimate.total_cmp(&b.cycles.estimate);
    let ends = [cell.layouts.iter().min_by(by_value), cell.layouts.iter().max_by(by_value)];
    ends.into_iter().flatten().map(at).collect()
}

/// `3.88 (60%) at 29, 4.91 (40%) at 29`; empty if workers agree.
fn modes(cell: &Cell, digits: usize) -> String {
    let mut text = String::new();
    // The mode closest to zero is always shown, because it decides.
    let size = |mode: &&ModeShare| mode.cycles * cell.overhead.map_or(1.0, |it| it.cycles.estimate.signum());
    let least = cell.modes.iter().min_by(|a, b| size(a).total_cmp(&size(b)));
    let first = cell.modes.iter().take(MAX_MODES);
    let shown: Vec<&ModeShare> = match least {
        Some(least) if cell.limit == Some(Limit::Modes) && first.clone().all(|mode| mode != least) => {
            std::iter::once(least).chain(first.take(MAX_MODES - 1)).collect()
        }
        _ => first.collect(),
    };
    for (index, mode) in shown.into_iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&format!(
            "{} ({}%) at {}",
            fixed(mode.cycles, digits),
            fixed(mode.share * 100.0, 0),
            mode.offset
        ));
    }
    if cell.modes.len() > MAX_MODES {
        text.push_str(", \u{2026}");
    }
    text
}
