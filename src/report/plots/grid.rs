//! The cells of a report as a grid of ops by mechanisms by regimes, for one body.

use std::collections::{HashMap, HashSet};

use crate::op::BodyKind;
use crate::op::{Group, Kind};
use crate::regime::Regime;
use crate::report::Report;
use crate::report::schema::{Cell, Estimate};

/// A column of the grid: a mechanism, in one state if it is patchable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column<'a> {
    /// Name of the mechanism.
    pub mechanism: &'a str,
    /// State of a patchable mechanism.
    pub state: Option<&'a str>,
}

impl Column<'_> {
    /// `site (direct)`, or the name alone.
    #[must_use]
    pub fn label(&self) -> String {
        match self.state {
            Some(state) => format!("{} ({state})", self.mechanism),
            None => self.mechanism.to_owned(),
        }
    }
}

/// A row of the grid: an op.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Name of the op.
    pub op: &'a str,
    /// The structure within `pv_ops`; [`Group::User`] if the catalogue does not have the op.
    pub group: Group,
    /// Whether the body is real or modelled; `None` if no cell says so.
    pub kind: Option<Kind>,
}

/// The overhead that a cell holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading<'a> {
    /// No overhead, with the reason if it is known.
    Absent(Option<&'a str>),
    /// An overhead in core cycles that is not resolved.
    Unresolved(Estimate),
    /// A resolved overhead in core cycles.
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

/// The order of groups in all plots and lists.
pub const GROUPS: [Group; 6] = [Group::Cpu, Group::Irq, Group::Mmu, Group::Lock, Group::Time, Group::User];

/// The name of a group, as in `pv_ops`.
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

/// Maximum number of mechanisms in a grid. A report is untrusted, and plots and tables have room for every pair of op
/// and mechanism.
pub const MAX_COLUMNS: usize = 64;
/// Maximum number of ops in a grid, for the same reason as [`MAX_COLUMNS`].
pub const MAX_ROWS: usize = 400;

/// Cells by op, mechanism and regime.
pub struct Grid<'a> {
    /// The body of the cells: native if the report has it.
    pub body: BodyKind,
    /// Mechanisms in the order of the catalogue.
    pub columns: Vec<Column<'a>>,
    /// Ops in the order of the catalogue, group by group.
    pub rows: Vec<Row<'a>>,
    /// Numbers of mechanisms and of ops that the grid has no room for.
    pub left_out: (usize, usize),
    report: &'a Report,
    cells: HashMap<(&'a str, &'a str, Option<&'a str>, Regime), &'a Cell>,
}

impl<'a> Grid<'a> {
    /// The grid of a report's native cells, or of its Xen cells if it has no native ones.
    #[must_use]
    pub fn new(report: &'a Report) -> Self {
        let native = report.cells.is_empty() || report.cells.iter().any(|c| c.body == BodyKind::Native);
        let body = if native { BodyKind::Native } else { BodyKind::Xen };
        let body_cells = || report.cells.iter().filter(move |c| c.body == body);

        let mut columns: Vec<Column<'a>> = Vec::new();
        let mut rows: Vec<Row<'a>> = Vec::new();
        let groups: HashMap<&str, Group> = report.catalogue.ops.iter().map(|op| (op.name.as_str(), op.group)).collect();
        let (mut seen_columns, mut seen_rows) = (HashSet::new(), HashSet::new());
        for cell in body_cells() {
            let column = Column { mechanism: &cell.mechanism, state: cell.state.as_deref() };
            if seen_columns.insert(column.clone()) {
                columns.push(column);
            }
            if seen_rows.insert(cell.op.as_str()) {
                let group = groups.get(cell.op.as_str()).copied().unwrap_or(Group::User);
                rows.push(Row { op: &cell.op, group, kind: Some(cell.kind) });
            }
        }
        let index: HashMap<&str, usize> =
            report.catalogue.mechanisms.iter().enumerate().map(|(i, m)| (m.name.as_str(), i)).collect();
        columns.sort_by_key(|c| index.get(c.mechanism).copied().unwrap_or(usize::MAX));
        let order: HashMap<&str, usize> =
            report.catalogue.ops.iter().enumerate().map(|(i, op)| (op.name.as_str(), i)).collect();
        rows.sort_by_key(|r| {
            let group = GROUPS.iter().position(|g| *g == r.group);
            (group, order.get(r.op).copied().unwrap_or(usize::MAX))
        });
        let cells =
            body_cells().map(|c| ((c.op.as_str(), c.mechanism.as_str(), c.state.as_deref(), c.regime), c)).collect();
        let left_out = (columns.len().saturating_sub(MAX_COLUMNS), rows.len().saturating_sub(MAX_ROWS));
        columns.truncate(MAX_COLUMNS);
        rows.truncate(MAX_ROWS);
        Self { body, columns, rows, left_out, report, cells }
    }

    /// The overhead of an op with a mechanism in a regime.
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

    /// All ops with a measured overhead with a mechanism in a regime, in the order of the rows.
    pub fn readings(&self, column: &Column<'a>, regime: Regime) -> Vec<(&'a str, Reading<'a>)> {
        self.rows
            .iter()
            .map(|row| (row.op, self.reading(row.op, column, regime)))
            .filter(|(_, reading)| reading.estimate().is_some())
            .collect()
    }

    /// The cells of all ops with a mechanism in a regime, in the order of the rows.
    #[must_use]
    pub fn cells_of(&self, column: &Column<'a>, regime: Regime) -> Vec<&'a Cell> {
        let of = |row: &Row<'a>| self.cells.get(&(row.op, column.mechanism, column.state, regime)).copied();
        self.rows.iter().filter_map(of).collect()
    }

    /// The floor of a regime in core cycles; `None` if the report has none.
    #[must_use]
    pub fn floor_of(&self, regime: Regime) -> Option<f64> {
        self.report.floor_of(regime)
    }

    /// Whether an op traps with a mechanism in a regime, so that its time says nothing about the mechanism.
    #[must_use]
    pub fn traps(&self, op: &'a str, column: &Column<'a>, regime: Regime) -> bool {
        self.cells.get(&(op, column.mechanism, column.state, regime)).is_some_and(|cell| cell.traps())
    }

    /// The ops that trap in a regime with any mechanism.
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

/// The estimate, if its three numbers are finite and the ends of its interval are in order.
#[must_use]
pub fn finite(estimate: Estimate) -> Option<Estimate> {
    let Estimate { estimate: value, low, high, .. } = estimate;
    (value.is_finite() && low.is_finite() && high.is_finite() && low <= high).then_some(estimate)
}
