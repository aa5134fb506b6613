//! The cells of a report as a grid of ops by mechanisms, for one body.

use std::collections::{HashMap, HashSet};

use crate::dispatch::Platform;
use crate::op::{Group, Kind};
use crate::regime::Regime;
use crate::report::Report;
use crate::report::schema::{Cell, Estimate};

/// A mechanism, in one state where it is patchable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column<'a> {
    /// Its mechanism.
    pub mechanism: &'a str,
    /// The state of a patchable mechanism.
    pub state: Option<&'a str>,
}

impl Column<'_> {
    /// `patched (direct)`, or the name alone.
    #[must_use]
    pub fn label(&self) -> String {
        match self.state {
            Some(state) => format!("{} ({state})", self.mechanism),
            None => self.mechanism.to_owned(),
        }
    }
}

/// An op of the grid.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Its name.
    pub op: &'a str,
    /// Its structure in pv_ops; [`Group::User`] where the catalogue does not have it.
    pub group: Group,
    /// Whether the body is real; absent where no cell tells.
    pub kind: Option<Kind>,
}

/// What a cell tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading<'a> {
    /// Nothing, and why if that is known.
    Absent(Option<&'a str>),
    /// A difference that does not stand clear of the floor, of the layout range or of a mode.
    Unresolved(Estimate),
    /// A difference, in core cycles.
    Resolved(Estimate),
}

impl Reading<'_> {
    /// The estimate in core cycles, resolved or not.
    #[must_use]
    pub fn estimate(&self) -> Option<f64> {
        match self {
            Reading::Absent(_) => None,
            Reading::Unresolved(it) | Reading::Resolved(it) => Some(it.estimate),
        }
    }
}

/// The order of groups in everything that is drawn or listed.
pub const GROUPS: [Group; 6] = [Group::Cpu, Group::Irq, Group::Mmu, Group::Lock, Group::Time, Group::User];

/// The name of a group as in pv_ops.
#[must_use]
pub fn group_name(group: Group) -> &'static str {
    match group {
        Group::Cpu => "cpu",
        Group::Irq => "irq",
        Group::Mmu => "mmu",
        Group::Lock => "lock",
        Group::Time => "time",
        Group::User => "user",
    }
}

/// The most mechanisms and ops that are drawn. A report is untrusted, and a grid has room for every pair.
pub const MOST_COLUMNS: usize = 64;
/// See [`MOST_COLUMNS`].
pub const MOST_ROWS: usize = 400;

/// Ops by mechanisms by regimes.
pub struct Grid<'a> {
    /// The body that is shown: native where the report has it.
    pub body: Platform,
    /// Mechanisms in the order of the catalogue.
    pub columns: Vec<Column<'a>>,
    /// Ops in the order of the catalogue, group by group.
    pub rows: Vec<Row<'a>>,
    /// How many mechanisms and ops the grid has no room for.
    pub left_out: (usize, usize),
    report: &'a Report,
    cells: HashMap<(&'a str, &'a str, Option<&'a str>, Regime), &'a Cell>,
}

impl<'a> Grid<'a> {
    /// The grid of a report's native cells, or of its Xen cells where it has no native ones.
    #[must_use]
    pub fn new(report: &'a Report) -> Self {
        let native = report.cells.is_empty() || report.cells.iter().any(|c| c.body == Platform::Native);
        let body = if native { Platform::Native } else { Platform::Xen };
        let of_body = || report.cells.iter().filter(move |c| c.body == body);

        let mut columns: Vec<Column<'a>> = Vec::new();
        let mut rows: Vec<Row<'a>> = Vec::new();
        let groups: HashMap<&str, Group> = report.catalogue.ops.iter().map(|op| (op.name.as_str(), op.group)).collect();
        let (mut seen_columns, mut seen_rows) = (HashSet::new(), HashSet::new());
        for cell in of_body() {
            let column = Column { mechanism: &cell.mechanism, state: cell.state.as_deref() };
            if seen_columns.insert(column.clone()) {
                columns.push(column);
            }
            if seen_rows.insert(cell.op.as_str()) {
                let group = groups.get(cell.op.as_str()).copied().unwrap_or(Group::User);
                rows.push(Row { op: &cell.op, group, kind: Some(cell.kind) });
            }
        }
        let place: HashMap<&str, usize> =
            report.catalogue.mechanisms.iter().enumerate().map(|(i, m)| (m.name.as_str(), i)).collect();
        columns.sort_by_key(|c| place.get(c.mechanism).copied().unwrap_or(usize::MAX));
        let order: HashMap<&str, usize> =
            report.catalogue.ops.iter().enumerate().map(|(i, op)| (op.name.as_str(), i)).collect();
        rows.sort_by_key(|r| {
            let group = GROUPS.iter().position(|g| *g == r.group);
            (group, order.get(r.op).copied().unwrap_or(usize::MAX))
        });
        let cells =
            of_body().map(|c| ((c.op.as_str(), c.mechanism.as_str(), c.state.as_deref(), c.regime), c)).collect();
        let left_out = (columns.len().saturating_sub(MOST_COLUMNS), rows.len().saturating_sub(MOST_ROWS));
        columns.truncate(MOST_COLUMNS);
        rows.truncate(MOST_ROWS);
        Self { body, columns, rows, left_out, report, cells }
    }

    /// What is known of an op by a mechanism in a regime.
    #[must_use]
    pub fn reading(&self, op: &'a str, column: &Column<'a>, regime: Regime) -> Reading<'a> {
        let Some(cell) = self.cells.get(&(op, column.mechanism, column.state, regime)) else {
            return Reading::Absent(None);
        };
        match cell.overhead.map(|o| o.cycles).and_then(finite) {
            None => Reading::Absent(cell.absent.as_deref()),
            Some(cycles) if cell.resolved => Reading::Resolved(cycles),
            Some(cycles) => Reading::Unresolved(cycles),
        }
    }

    /// The estimates of all ops by a mechanism in a regime, in core cycles, with the op and whether it is resolved.
    pub fn readings(&self, column: &Column<'a>, regime: Regime) -> Vec<(&'a str, Reading<'a>)> {
        self.rows
            .iter()
            .map(|row| (row.op, self.reading(row.op, column, regime)))
            .filter(|(_, reading)| reading.estimate().is_some())
            .collect()
    }

    /// The cells of all ops by a mechanism in a regime, in the order of the rows.
    #[must_use]
    pub fn cells_of(&self, column: &Column<'a>, regime: Regime) -> Vec<&'a Cell> {
        let of = |row: &Row<'a>| self.cells.get(&(row.op, column.mechanism, column.state, regime)).copied();
        self.rows.iter().filter_map(of).collect()
    }

    /// The floor of a regime in core cycles; absent where the report has none.
    #[must_use]
    pub fn floor_of(&self, regime: Regime) -> Option<f64> {
        self.report.floor_of(regime)
    }

    /// Whether an op traps here: then its time says nothing of the mechanism.
    #[must_use]
    pub fn traps(&self, op: &'a str, column: &Column<'a>, regime: Regime) -> bool {
        self.cells.get(&(op, column.mechanism, column.state, regime)).is_some_and(|cell| cell.traps())
    }

    /// The ops that trap in a regime, by some mechanism.
    #[must_use]
    pub fn trapping_ops(&self, regime: Regime) -> Vec<&'a str> {
        let traps = |op| self.columns.iter().any(|column| self.traps(op, column, regime));
        self.rows.iter().map(|row| row.op).filter(|op| traps(op)).collect()
    }

    /// Whether anything was measured in a regime.
    #[must_use]
    pub fn has(&self, regime: Regime) -> bool {
        self.cells.iter().any(|((_, _, _, r), c)| *r == regime && c.overhead.and_then(|o| finite(o.cycles)).is_some())
    }
}

/// An estimate whose three numbers are numbers, ends in order.
#[must_use]
pub fn finite(estimate: Estimate) -> Option<Estimate> {
    let Estimate { estimate: value, low, high } = estimate;
    (value.is_finite() && low.is_finite() && high.is_finite() && low <= high).then_some(estimate)
}
