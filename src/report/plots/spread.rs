//! The distribution of a mechanism's overheads over the ops of a regime.

use super::grid::{Column, Grid};
use super::number::{clipped, plain, plural};
use crate::regime::Regime;
use crate::report::over_ops::{OverOps, unresolved_text};
use crate::report::schema::Cell;

/// Mark for values beyond the end of an axis.
pub const BEYOND: &str = "\u{25b8}";

/// The overheads of one mechanism over the ops of a regime.
#[derive(Clone, Debug)]
pub struct Spread<'a> {
    /// Name and state.
    pub label: String,
    /// The cells and their median.
    pub over: OverOps<'a>,
}

impl<'a> Spread<'a> {
    /// The distribution for a mechanism in a regime; `None` if nothing was measured, or if all ops trap.
    #[must_use]
    pub fn of(grid: &Grid<'a>, column: &Column<'a>, regime: Regime) -> Option<Self> {
        Some(Self { label: column.label(), over: OverOps::of(grid.cells_of(column, regime))? })
    }

    /// The distributions of all measured mechanisms, smallest median first. Equal medians keep the catalogue's order.
    #[must_use]
    pub fn all(grid: &Grid<'a>, regime: Regime) -> Vec<Self> {
        let mut spreads: Vec<Self> = grid.columns.iter().filter_map(|c| Self::of(grid, c, regime)).collect();
        // Medians below the floor count as equal, because their order is noise.
        let floor = grid.floor_of(regime).unwrap_or(0.0);
        spreads.sort_by(|a, b| a.over.median().max(floor).total_cmp(&b.over.median().max(floor)));
        spreads
    }

    /// The median over the ops as text, the same in every plot and table: `3.69`, or `< 0.13` if it is not resolved.
    #[must_use]
    pub fn median_text(&self) -> String {
        match self.over.median_is_resolved() {
            true => plain(self.over.median()),
            false => unresolved_text(self.over.median_interval(), self.over.typical_floor()),
        }
    }

    /// `120 of 130 ops resolved`
    #[must_use]
    pub fn resolved_text(&self) -> String {
        let all = self.over.cells.len();
        format!("{} of {all} {} resolved", self.over.resolved, plural(all, "op", "ops"))
    }

    /// Label, median, middle half and number of resolved ops in words.
    #[must_use]
    pub fn words(&self) -> String {
        let [_, low, _, high, _] = self.over.five;
        let (median, resolved) = (self.median_text(), self.resolved_text());
        let traps = match self.over.trapping.len() {
            0 => String::new(),
            n => format!("; {n} more {}", plural(n, "traps", "trap")),
        };
        format!("{}: {median} cycles (middle half {} to {}; {resolved}{traps})", self.label, plain(low), plain(high))
    }
}

/// The end of the axis in core cycles: the largest resolved overhead. Larger overheads that are not resolved would only
/// compress the rest of the plot. Without a resolved overhead the axis ends at the largest third quartile.
#[must_use]
pub fn axis_end<'a>(spreads: impl Iterator<Item = &'a Spread<'a>> + Clone) -> f64 {
    let resolved = spreads.clone().flat_map(|spread| &spread.over.cells).filter(|cell| cell.resolved);
    let largest = resolved.map(|cell| estimate(cell)).fold(f64::NEG_INFINITY, f64::max);
    let end = if largest.is_finite() { largest } else { spreads.map(|spread| spread.over.five[3]).fold(1.0, f64::max) };
    end.max(1.0)
}

/// The estimate of a cell of a [`Spread`] in core cycles. All cells of a spread have one.
#[must_use]
pub fn estimate(cell: &Cell) -> f64 {
    cell.overhead.map_or(0.0, |overhead| overhead.cycles.estimate)
}

/// Notes below the axis: ops that trap and are not drawn, and ops beyond the end of the axis.
#[must_use]
pub fn notes(grid: &Grid, regime: Regime, beyond: &[(&str, f64)]) -> Vec<String> {
    const MAX_NAMED: usize = 3;
    let rest = |all: usize| if all > MAX_NAMED { format!(" and {} more", all - MAX_NAMED) } else { String::new() };
    let mut lines = Vec::new();
    let trapping = grid.trapping_ops(regime);
    if !trapping.is_empty() {
        let named: Vec<String> = trapping.iter().take(MAX_NAMED).map(|op| clipped(op, 30)).collect();
        let verb = plural(trapping.len(), "traps", "trap");
        lines.push(format!("not drawn: {}{} {verb}", named.join(", "), rest(trapping.len())));
    }
    if !beyond.is_empty() {
        let mut furthest = beyond.to_vec();
        furthest.sort_by(|a, b| b.1.total_cmp(&a.1));
        furthest.dedup_by(|a, b| a.0 == b.0);
        let named: Vec<String> = furthest
            .iter()
            .take(MAX_NAMED)
            .map(|(op, cycles)| format!("{} {}", clipped(op, 30), plain(*cycles)))
            .collect();
        let more = rest(furthest.len());
        lines.push(format!("{BEYOND} beyond the axis, not resolved: {}{more}", named.join(", ")));
    }
    lines
}
