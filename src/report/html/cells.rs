//! The section on ops: each op with its description and a table of all its cells, mechanisms by regimes.
//!
//! A cell is one short text, because a report has thousands: the overhead with the half-width of its interval, and a
//! word if the cell is not resolved. Below it, shown on demand, are its floor and its layout range. `report.json` and
//! `pvbench show` have all other figures of a cell.

use std::collections::HashMap;

use super::anchor::Anchors;
use super::op_description::{Description, describe};
use crate::op::{BodyKind, Group, Kind};
use crate::regime::Regime;
use crate::report::Report;
use crate::report::plots::grid::{GROUPS, finite, group_name};
use crate::report::plots::number::{NOTHING, clipped, fixed, grouped, plain};
use crate::report::schema::{Cell, LayoutEstimate, Limit, ModeShare};
use crate::report::subject;

/// Maximum length in characters of the name of an op. Longer names are cut.
const MAX_NAME_CHARS: usize = 60;
/// Maximum number of modes that are shown per cell.
const MAX_MODES: usize = 3;
/// Maximum number of digits after the point of a floor or a layout range. A fourth one is 10 KB in a default report.
const MAX_FLOOR_DIGITS: f64 = 3.0;
/// Maximum number of digits after the point. A floor in throughput is some ten-thousandths of a cycle.
const MAX_DIGITS: f64 = 4.0;
const REGIMES: usize = Regime::ALL.len();

/// All ops with their cells, and what the texts of cells refer to.
pub struct Ops {
    pub groups: Vec<OpGroup>,
    pub regimes: Vec<&'static str>,
    /// Number of cells, in groups of three digits; empty without cells.
    pub cells: String,
    /// Reasons why cells have no overhead, each once.
    pub reasons: Vec<Counted>,
    /// Limits of cells that are not resolved, each once, with their meaning.
    pub limits: Vec<Counted>,
}

/// A structure of `pv_ops` with its ops.
pub struct OpGroup {
    pub name: &'static str,
    pub ops: Vec<OpEntry>,
}

/// An op.
pub struct OpEntry {
    /// Identifier; `None` if the catalogue does not have the op.
    pub id: Option<String>,
    pub name: String,
    pub description: Option<Description>,
    pub bodies: Vec<BodyTable>,
}

/// The cells of an op with one body.
pub struct BodyTable {
    /// `native body, real`
    pub body: String,
    /// The regimes that have a cell.
    pub regimes: Vec<&'static str>,
    /// Time of the op with `inline` in each regime, in core cycles.
    pub native: Vec<String>,
    pub rows: Vec<Row>,
}

/// A mechanism in one state.
pub struct Row {
    pub name: String,
    pub cells: Vec<Shown>,
}

/// The text of a cell.
pub struct Shown {
    pub text: String,
    /// The floor, and the layout range if it is another number; empty if the cell has none.
    pub floor: String,
    pub is_resolved: bool,
    /// Number of the reason in [`Ops::reasons`], from 1, if the cell has no overhead.
    pub reason: Option<usize>,
}

/// A text that applies to a number of cells.
pub struct Counted {
    pub text: String,
    pub cells: usize,
}

/// The cells of a mechanism in one state, by regime.
struct CollectedRow<'a> {
    mechanism: &'a str,
    state: Option<&'a str>,
    cells: [Option<&'a Cell>; REGIMES],
}

/// The cells of an op with one body.
struct Collected<'a> {
    body: BodyKind,
    kind: Kind,
    rows: Vec<CollectedRow<'a>>,
    /// The last row of a mechanism in a state.
    indices: HashMap<(&'a str, Option<&'a str>), usize>,
}

impl<'a> Collected<'a> {
    /// Adds a cell. A second cell of the same mechanism, state and regime begins a row of its own.
    fn add(&mut self, cell: &'a Cell) {
        let regime = Regime::ALL.iter().position(|it| *it == cell.regime).unwrap_or(0);
        let key = (cell.mechanism.as_str(), cell.state.as_deref());
        let row = self.indices.get(&key).and_then(|index| self.rows.get_mut(*index));
        match row.and_then(|row| row.cells.get_mut(regime)).filter(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(cell),
            None => {
                let mut cells = [None; REGIMES];
                cells[regime] = Some(cell);
                self.indices.insert(key, self.rows.len());
                self.rows.push(CollectedRow { mechanism: key.0, state: key.1, cells });
            }
        }
    }
}

/// Numbers the reasons why cells have no overhead.
#[derive(Default)]
struct Reasons {
    all: Vec<Counted>,
    numbers: HashMap<String, usize>,
}

impl Reasons {
    fn number(&mut self, text: &str) -> usize {
        let text = clipped(text, 400);
        let number = *self.numbers.entry(text.clone()).or_insert_with(|| {
            self.all.push(Counted { text, cells: 0 });
            self.all.len()
        });
        if let Some(reason) = self.all.get_mut(number - 1) {
            reason.cells += 1;
        }
        number
    }
}

/// The ops of a report by group, in the order of the catalogue. Ops that only cells name come last in their group.
pub fn ops(report: &Report, anchors: &Anchors) -> Ops {
    let mut collected: HashMap<&str, Vec<Collected>> = HashMap::new();
    let mut uncatalogued: Vec<&str> = Vec::new();
    for cell in &report.cells {
        let bodies = collected.entry(&cell.op).or_insert_with(|| {
            if anchors.find(&cell.op).is_none() {
                uncatalogued.push(&cell.op);
            }
            Vec::new()
        });
        let index = bodies.iter().position(|it| it.body == cell.body && it.kind == cell.kind).unwrap_or_else(|| {
            let (body, kind) = (cell.body, cell.kind);
            bodies.push(Collected { body, kind, rows: Vec::new(), indices: HashMap::new() });
            bodies.len() - 1
        });
        bodies[index].add(cell);
    }
    let regimes = Regime::ALL.into_iter().filter(|regime| report.cells.iter().any(|cell| cell.regime == *regime));
    let mut reasons = Reasons::default();
    let mut entries: Vec<(Group, OpEntry)> = Vec::new();
    for (index, op) in report.catalogue.ops.iter().enumerate() {
        // Of two ops with one name the first has the cells.
        let bodies = collected.remove(op.name.as_str()).unwrap_or_default();
        let entry = OpEntry {
            id: Some(anchors.id(index, &op.name)),
            name: clipped(&op.name, MAX_NAME_CHARS),
            description: Some(describe(op)),
            bodies: bodies.iter().map(|body| table(body, &mut reasons)).collect(),
        };
        entries.push((op.group, entry));
    }
    for op in uncatalogued {
        let bodies = collected.remove(op).unwrap_or_default();
        let bodies = bodies.iter().map(|body| table(body, &mut reasons)).collect();
        let entry = OpEntry { id: None, name: clipped(op, MAX_NAME_CHARS), description: None, bodies };
        entries.push((Group::User, entry));
    }
    let mut groups: Vec<OpGroup> =
        GROUPS.map(|group| OpGroup { name: group_name(group), ops: Vec::new() }).into_iter().collect();
    for (group, entry) in entries {
        if let Some(found) = groups.iter_mut().find(|it| it.name == group_name(group)) {
            found.ops.push(entry);
        }
    }
    groups.retain(|group| !group.ops.is_empty());
    Ops {
        groups,
        regimes: regimes.map(Regime::name).collect(),
        cells: match report.cells.len() {
            0 => String::new(),
            count => grouped(&count.to_string()),
        },
        reasons: reasons.all,
        limits: limits(report),
    }
}

/// The limits of all cells, in the order of [`Limit::ALL`].
fn limits(report: &Report) -> Vec<Counted> {
    let count = |limit| report.cells.iter().filter(|cell| cell.overhead.is_some() && cell.limit == Some(limit)).count();
    let mark = |limit| match limit {
        Limit::Floor => "~ alone",
        Limit::Interval => "~ and more time",
        Limit::Layout => "~ and by layout",
        Limit::Modes => "~ and modes",
        Limit::Traps => "\u{d7}",
    };
    let counted = |limit: Limit| Counted { text: format!("{}: {}", mark(limit), limit.meaning()), cells: count(limit) };
    Limit::ALL.into_iter().map(counted).filter(|it| it.cells > 0).collect()
}

fn table(collected: &Collected, reasons: &mut Reasons) -> BodyTable {
    let kind = match collected.kind {
        Kind::Real => "real",
        Kind::Modelled => "modelled",
    };
    let has = |index: &usize| collected.rows.iter().any(|row| row.cells[*index].is_some());
    let regimes: Vec<usize> = (0..REGIMES).filter(has).collect();
    let native = |index: &usize| {
        let cycles = collected.rows.iter().find_map(|row| row.cells[*index]?.native_cycles);
        cycles.map_or_else(|| NOTHING.to_owned(), plain)
    };
    let mut rows = Vec::with_capacity(collected.rows.len());
    for CollectedRow { mechanism, state, cells } in &collected.rows {
        let shown = regimes.iter().map(|index| cells[*index].map_or_else(Shown::nothing, |it| Shown::of(it, reasons)));
        rows.push(Row { name: subject::mechanism(mechanism, *state), cells: shown.collect() });
    }
    BodyTable {
        body: format!("{} body, {kind}", collected.body.name()),
        native: regimes.iter().map(native).collect(),
        regimes: regimes.iter().map(|index| Regime::ALL[*index].name()).collect(),
        rows,
    }
}

impl Shown {
    fn nothing() -> Self {
        Shown { text: String::new(), floor: String::new(), is_resolved: true, reason: None }
    }

    /// `3.897±0.002`, or `~0.01±0.02` with a word unless the floor is the limit.
    fn of(cell: &Cell, reasons: &mut Reasons) -> Self {
        let Some(cycles) = cell.overhead.map(|it| it.cycles).and_then(finite) else {
            let reason = cell.absent.as_deref().unwrap_or(match cell.overhead {
                Some(_) => "the value in the report is not usable",
                None => "the report gives no reason",
            });
            let reason = Some(reasons.number(reason));
            return Shown { text: String::new(), floor: String::new(), is_resolved: false, reason };
        };
        let digits = digits(cell);
        let half_width = cycles.interval().half_width();
        let value = format!("{}\u{b1}{}", fixed(cycles.estimate, digits), fixed(half_width, digits));
        let several = if cell.modes.is_empty() { "" } else { "*" };
        let text = match (cell.resolved, cell.limit) {
            (true, _) => format!("{value}{several}"),
            (false, None | Some(Limit::Floor)) => format!("~{value}{several}"),
            (false, Some(Limit::Interval)) => format!("~{value}{several} more time"),
            (false, Some(Limit::Layout)) => {
                format!("~{value}{several} by layout: {}", layouts(cell, digits))
            }
            (false, Some(Limit::Modes)) => format!("~{value}* modes: {}", modes(cell, digits)),
            (false, Some(Limit::Traps)) => format!("\u{d7}\u{a0}{value}{several}"),
        };
        Shown { text, floor: floors(cell), is_resolved: cell.resolved, reason: None }
    }
}

/// `0.13 0.05`: the floor and the layout range of a cell in core cycles; one number if both are the same to a tenth.
fn floors(cell: &Cell) -> String {
    let shown = |value: f64| {
        let digits = if value > 0.0 { (1.0 - value.log10().floor()).clamp(0.0, MAX_FLOOR_DIGITS) as usize } else { 0 };
        let text = fixed(value, digits);
        let trimmed = text.trim_end_matches('0').trim_end_matches('.');
        if digits > 0 && !text.contains('e') && !trimmed.is_empty() { trimmed.to_owned() } else { text }
    };
    let usable = |value: Option<f64>| value.filter(|it| it.is_finite() && *it >= 0.0);
    match (usable(cell.floor_cycles), usable(cell.layout_range)) {
        (Some(floor), Some(range)) if (0.9 * floor..=floor).contains(&range) => shown(floor),
        (Some(floor), Some(range)) => format!("{} {}", shown(floor), shown(range)),
        // A single number would read as both.
        (Some(floor), None) => format!("{} {NOTHING}", shown(floor)),
        (None, Some(range)) => format!("{NOTHING} {}", shown(range)),
        (None, None) => String::new(),
    }
}

/// Number of digits after the point that shows two significant digits of the width of a cell's interval, at most four.
fn digits(cell: &Cell) -> usize {
    let width = cell.overhead.and_then(|overhead| finite(overhead.cycles)).map_or(0.0, |it| it.high - it.low);
    if width > 0.0 { (1.0 - width.log10().floor()).clamp(0.0, MAX_DIGITS) as usize } else { 3 }
}

/// The smallest and the largest estimate over the layouts: `3.88 at 29, 4.91 at 0`
fn layouts(cell: &Cell, digits: usize) -> String {
    let by_value = |a: &&LayoutEstimate, b: &&LayoutEstimate| a.cycles.estimate.total_cmp(&b.cycles.estimate);
    let ends = [cell.layouts.iter().min_by(by_value), cell.layouts.iter().max_by(by_value)];
    let at = |it: &LayoutEstimate| format!("{} at {}", fixed(it.cycles.estimate, digits), it.offset);
    ends.into_iter().flatten().map(at).collect::<Vec<_>>().join(", ")
}

/// `3.88 (60%) at 29, 4.91 (40%) at 29`
fn modes(cell: &Cell, digits: usize) -> String {
    // The mode closest to zero is always shown, because it decides.
    let size = |mode: &&ModeShare| mode.cycles * cell.overhead.map_or(1.0, |it| it.cycles.estimate.signum());
    let least = cell.modes.iter().min_by(|a, b| size(a).total_cmp(&size(b)));
    let others = cell.modes.iter().filter(|mode| Some(*mode) != least);
    let shown = least.into_iter().chain(others).take(MAX_MODES);
    let one = |mode: &ModeShare| {
        format!("{} ({}%) at {}", fixed(mode.cycles, digits), fixed(mode.share * 100.0, 0), mode.offset)
    };
    let more = if cell.modes.len() > MAX_MODES { ", \u{2026}" } else { "" };
    format!("{}{more}", shown.map(one).collect::<Vec<_>>().join(", "))
}
