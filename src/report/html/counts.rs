//! What hardware counters and instruction traces counted: ops by mechanisms in throughput.

use std::collections::{BTreeMap, BTreeSet};

use crate::regime::Regime;
use crate::report::Report;
use crate::report::plots::grid::Grid;
use crate::report::plots::number::{NOTHING, clipped, exact, plain};
use crate::report::schema::Cell;

/// The most numbers that are shown: a page has room for some, `report.json` has all.
const MOST_NUMBERS: usize = 8000;

/// What is shown first, where there is not room for all.
const FIRST: [&str; 3] = [TRACED, "instructions", "branch_misses"];

/// What an instruction trace counted, beside the counters' own names.
const TRACED: &str = "instructions, traced";

/// All counters, and what there was no room for.
pub struct Counts {
    pub mechanisms: Vec<String>,
    pub tables: Vec<Table>,
    /// Names of what was counted and is not shown.
    pub left_out: Vec<String>,
}

/// One counter.
pub struct Table {
    pub name: String,
    pub rows: Vec<Row>,
}

/// An op.
pub struct Row {
    pub op: String,
    /// Per op, by mechanism.
    pub values: Vec<String>,
}

/// The tables of a report; none where nothing was counted in throughput.
pub fn counts(report: &Report, grid: &Grid) -> Option<Counts> {
    let cells = report.cells.iter().filter(|c| c.body == grid.body && c.regime == Regime::Throughput);
    let mut counted: BTreeMap<(&str, &str, Option<&str>), &Cell> = BTreeMap::new();
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for cell in cells {
        counted.insert((&cell.op, &cell.mechanism, cell.state.as_deref()), cell);
        names.extend(cell.counters.iter().flat_map(|c| c.keys().map(String::as_str)));
        names.extend(cell.instructions.map(|_| TRACED));
    }
    if names.is_empty() {
        return None;
    }
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by_key(|name| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()));
    let (mut tables, mut left_out, mut room) = (Vec::new(), Vec::new(), MOST_NUMBERS);
    for name in names {
        let rows: Vec<Row> = grid
            .rows
            .iter()
            .filter_map(|row| {
                let values: Vec<Option<f64>> = grid
                    .columns
                    .iter()
                    .map(|column| value(counted.get(&(row.op, column.mechanism, column.state))?, name))
                    .collect();
                // A trace counts instruction by instruction; a hardware counter counts what else the CPU did, too.
                let digits = if name == TRACED { exact } else { plain };
                let shown = |value: &Option<f64>| value.map_or_else(|| NOTHING.to_owned(), digits);
                values
                    .iter()
                    .any(Option::is_some)
                    .then(|| Row { op: clipped(row.op, 60), values: values.iter().map(shown).collect() })
            })
            .collect();
        let size = rows.len() * grid.columns.len();
        if size > room {
            left_out.push(clipped(name, 60));
            continue;
        }
        room -= size;
        tables.push(Table { name: clipped(name, 60), rows });
    }
    // A report may name more counters than a CPU has.
    let unnamed = left_out.len().saturating_sub(20);
    left_out.truncate(20);
    if unnamed > 0 {
        left_out.push(format!("{unnamed} more"));
    }
    Some(Counts { mechanisms: grid.columns.iter().map(|c| clipped(&c.label(), 60)).collect(), tables, left_out })
}

fn value(cell: &Cell, name: &str) -> Option<f64> {
    let counter = cell.counters.as_ref().and_then(|counters| counters.get(name).copied());
    let traced = || cell.instructions.filter(|_| name == TRACED).map(|it| it.per_op);
    counter.or_else(traced).filter(|value| value.is_finite())
}
