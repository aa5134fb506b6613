//! The section on the limits of intervals: the scatter at each level, by regime and for the least certain cells.

use crate::report::Report;
use crate::report::plots::number::{NOTHING, clipped, fixed, interval, plain};
use crate::report::schema::{Cell, Spread, SpreadSource};
use crate::stats::location::median;

/// Maximum number of least certain cells that are shown.
const MAX_WIDEST: usize = 8;

/// The two tables of the section.
pub struct Scatter {
    pub regimes: Vec<Row>,
    pub widest: Vec<Widest>,
}

/// Medians over the cells of a regime in core cycles, and shares of the cells by the level that limits them.
pub struct Row {
    pub regime: &'static str,
    pub cells: usize,
    pub width: String,
    pub levels: [String; 4],
    /// Shares of the cells that are limited by blocks, by workers and by layouts.
    pub limited: [String; 3],
}

/// One of the least certain cells.
pub struct Widest {
    pub name: String,
    pub cycles: String,
    pub levels: [String; 4],
    pub largest: &'static str,
    pub more_time: &'static str,
}

/// The tables of a report; `None` if no cell has a usable spread.
pub fn scatter(report: &Report) -> Option<Scatter> {
    let known: Vec<(&Cell, &Spread, f64)> = report.cells.iter().filter_map(read_spread).collect();
    let regimes: Vec<Row> = report
        .run
        .plan
        .regimes
        .iter()
        .filter_map(|regime| {
            let cells: Vec<_> = known.iter().filter(|(cell, ..)| cell.regime == *regime).collect();
            let middle = |of: &dyn Fn(&Spread) -> Option<f64>| {
                let values: Vec<f64> = cells.iter().filter_map(|(_, spread, _)| of(spread)).collect();
                median(&values).map_or_else(|| NOTHING.to_owned(), plain)
            };
            let width = median(&cells.iter().map(|(.., width)| *width).collect::<Vec<_>>())?;
            let share = |source| {
                let limited = cells.iter().filter(|(_, spread, _)| spread.largest == source).count();
                format!("{}%", fixed(100.0 * limited as f64 / cells.len() as f64, 0))
            };
            Some(Row {
                regime: regime.name(),
                cells: cells.len(),
                width: plain(width),
                levels: [
                    middle(&|spread| Some(spread.within_round)),
                    middle(&|spread| spread.between_rounds),
                    middle(&|spread| Some(spread.between_workers)),
                    middle(&|spread| spread.between_layouts),
                ],
                limited: [SpreadSource::Rounds, SpreadSource::Workers, SpreadSource::Layouts].map(share),
            })
        })
        .collect();
    let mut by_width: Vec<_> = known.iter().filter(|(cell, ..)| !cell.resolved && cell.mechanism != "inline").collect();
    // Among cells that are not resolved, the least certain have the widest interval relative to the time of the op.
    let relative = |cell: &Cell, width: f64| width / cell.native_cycles.unwrap_or(1.0).max(1.0);
    by_width.sort_by(|a, b| relative(b.0, b.2).total_cmp(&relative(a.0, a.2)));
    let widest = by_width.into_iter().take(MAX_WIDEST).map(|(cell, spread, _)| describe(cell, spread)).collect();
    (!regimes.is_empty()).then_some(Scatter { regimes, widest })
}

/// A cell with its spread and the width of its interval, if all are usable.
fn read_spread(cell: &Cell) -> Option<(&Cell, &Spread, f64)> {
    // The scatter of a trapping op is the hypervisor's.
    let spread = cell.spread.as_ref().filter(|_| !cell.traps())?;
    let cycles = cell.overhead?.cycles;
    let width = cycles.high - cycles.low;
    let finite = spread.within_round.is_finite() && spread.between_workers.is_finite() && width.is_finite();
    finite.then_some((cell, spread, width))
}

fn describe(cell: &Cell, spread: &Spread) -> Widest {
    let state = cell.state.as_deref().map_or_else(String::new, |state| format!(" ({state})"));
    let optional =
        |value: Option<f64>| value.filter(|value| value.is_finite()).map_or_else(|| NOTHING.to_owned(), plain);
    let (largest, more_time) = match spread.largest {
        SpreadSource::Rounds => ("blocks", "half the width for four times the time"),
        SpreadSource::Workers => ("workers", "half the width for four times the workers"),
        SpreadSource::Layouts => ("layouts", "none: it depends on the address of the code"),
    };
    Widest {
        name: clipped(&format!("{} {}{state}, {}", cell.op, cell.mechanism, cell.regime.name()), 120),
        cycles: cell.overhead.map_or_else(|| NOTHING.to_owned(), |overhead| interval(overhead.cycles.interval())),
        levels: [
            plain(spread.within_round),
            optional(spread.between_rounds),
            plain(spread.between_workers),
            optional(spread.between_layouts),
        ],
        largest,
        more_time,
    }
}
