//! The table of mechanisms by regimes, and the differences that people ask for.

use super::anchor::Anchors;
use crate::regime::Regime;
use crate::report::answer::{Answer, Cost, cost_of};
use crate::report::call_sites::CallSites;
use crate::report::over_ops::OverOps;
use crate::report::plots::grid::{Column, Grid};
use crate::report::plots::number::{NOTHING, clipped, interval_ends, plain, plural};
use crate::report::schema::Limit;

/// The two tables, each with the regimes that people ask for and, folded, with the others.
pub struct Costs {
    pub mechanisms: Table,
    pub more_mechanisms: Table,
    pub differences: Table,
    pub more_differences: Table,
}

/// Rows by regimes.
pub struct Table {
    pub regimes: Vec<Head>,
    /// The largest number of ops behind a median of each regime; the rows with fewer say so.
    pub ops: Vec<String>,
    pub rows: Vec<Row>,
}

/// The heading of a regime.
pub struct Head {
    /// What people call it: `hot`.
    pub word: &'static str,
    /// Its name, if people call it something else.
    pub name: &'static str,
    /// Its entry in the glossary.
    pub id: String,
}

/// A mechanism or a difference.
pub struct Row {
    /// Identifier of the mechanism's listings.
    pub id: Option<String>,
    pub name: String,
    /// What a call site holds; empty if it needs no words.
    pub words: String,
    pub values: Vec<Value>,
}

/// A cost.
#[derive(Clone)]
pub struct Value {
    /// The median; an upper bound of its size, `< 0.13`, if it is not resolved.
    pub median: String,
    /// `3.66 to 3.71`, or how many ops differ if the median is not resolved; empty without a value.
    pub interval: String,
    /// Number of ops if it is smaller than that of other rows; or why a median is not resolved whose interval excludes
    /// zero.
    pub ops: String,
    pub is_resolved: bool,
}

impl Value {
    /// The text of a cost, in a column whose other medians come from up to `of_column` ops.
    pub fn of(cost: Option<&Cost>, of_column: usize) -> Self {
        let Some(cost) = cost else {
            let (interval, ops) = (String::new(), String::new());
            return Value { median: NOTHING.to_owned(), interval, ops, is_resolved: false };
        };
        let ops = format!("{} {}", cost.ops, plural(cost.ops, "op", "ops"));
        if !cost.is_resolved {
            let differ = plural(cost.resolved, "differs", "differ");
            return Value {
                median: cost.bound_text(),
                interval: format!("{} of {ops} {differ}", cost.resolved),
                ops: state_limit(cost.limit).to_owned(),
                is_resolved: false,
            };
        }
        Value {
            median: plain(cost.median.estimate),
            interval: interval_ends(cost.median),
            ops: if cost.ops < of_column { ops } else { String::new() },
            is_resolved: true,
        }
    }
}

/// Why a median is not resolved although its interval excludes zero, in words; empty if the words need no place.
fn state_limit(limit: Option<Limit>) -> &'static str {
    match limit {
        Some(Limit::Layout) => "depends on the layout",
        Some(Limit::Interval) => "more time may resolve it",
        _ => "",
    }
}

/// The regime of hot code, of dependent calls, of cold sites and of targets that change.
const ASKED_FOR: [Regime; 4] = [Regime::Throughput, Regime::Latency, Regime::Cold, Regime::Random2];

/// What people call a regime.
pub fn word(regime: Regime) -> &'static str {
    match regime {
        Regime::Throughput => "hot",
        Regime::Random2 => "random",
        other => other.name(),
    }
}

fn head(regime: Regime) -> Head {
    let (word, name) = (word(regime), regime.name());
    let id = if regime.targets().is_some() { "g-random".to_owned() } else { format!("g-{}", regime.name()) };
    Head { word, name: if word == name { "" } else { name }, id }
}

/// The tables of a report; `None` if nothing was measured besides `inline`.
pub fn costs(grid: &Grid, answer: &Answer, anchors: &Anchors, words: &CallSites) -> Option<Costs> {
    let columns = list_columns(grid);
    if columns.is_empty() {
        return None;
    }
    let measured = |wanted: bool| -> Vec<Regime> {
        let is_wanted = |regime: &Regime| ASKED_FOR.contains(regime) == wanted && grid.has(*regime);
        Regime::ALL.into_iter().filter(is_wanted).collect()
    };
    let (shown, folded) = (measured(true), measured(false));
    let mechanisms = |regimes: &[Regime]| {
        let row = |column: &&Column| Unformatted {
            id: anchors.find(column.mechanism),
            name: clipped(&column.label(), 60),
            words: words.words(column.mechanism, column.state).to_owned(),
            costs: regimes.iter().map(|regime| cost_of(grid, column, *regime)).collect(),
        };
        table(regimes, columns.iter().map(row).collect())
    };
    let differences = |regimes: &[Regime]| {
        let rows = answer.differences.iter().map(|difference| Unformatted {
            id: None,
            name: difference.name.to_owned(),
            words: String::new(),
            costs: regimes.iter().map(|regime| find(&difference.costs, *regime).copied()).collect(),
        });
        table(regimes, rows.collect())
    };
    Some(Costs {
        mechanisms: mechanisms(&shown),
        more_mechanisms: mechanisms(&folded),
        differences: differences(&shown),
        more_differences: differences(&folded),
    })
}

/// A row whose costs are not yet text.
struct Unformatted {
    id: Option<String>,
    name: String,
    words: String,
    costs: Vec<Option<Cost>>,
}

fn table(regimes: &[Regime], rows: Vec<Unformatted>) -> Table {
    let most = |index: usize| {
        let costs = rows.iter().filter_map(|row| row.costs.get(index)?.as_ref());
        costs.map(|cost| cost.ops).max().unwrap_or(0)
    };
    let ops: Vec<usize> = (0..regimes.len()).map(most).collect();
    let shown = |row: Unformatted| Row {
        values: row.costs.iter().zip(&ops).map(|(cost, ops)| Value::of(cost.as_ref(), *ops)).collect(),
        id: row.id,
        name: row.name,
        words: row.words,
    };
    Table {
        regimes: regimes.iter().copied().map(head).collect(),
        rows: rows.into_iter().map(shown).collect(),
        ops: ops.into_iter().map(|ops| format!("{ops} {}", plural(ops, "op", "ops"))).collect(),
    }
}

/// The cost in a regime.
pub fn find(costs: &[(Regime, Cost)], regime: Regime) -> Option<&Cost> {
    costs.iter().find(|it| it.0 == regime).map(|it| &it.1)
}

/// The measured mechanisms besides `inline`, cheapest first where the code is hot. Those without such a cost come last.
pub fn list_columns<'g, 'a>(grid: &'g Grid<'a>) -> Vec<&'g Column<'a>> {
    let median = |column: &Column<'a>| {
        let over = OverOps::of(grid.cells_of(column, Regime::Throughput));
        // Medians below the floor count as equal, because their order is noise.
        over.map_or(f64::INFINITY, |over| over.median().max(grid.floor_of(Regime::Throughput).unwrap_or(0.0)))
    };
    let is_measured = |column: &Column<'a>| {
        Regime::ALL.into_iter().any(|regime| OverOps::of(grid.cells_of(column, regime)).is_some())
    };
    let wanted = grid.columns.iter().filter(|column| column.mechanism != "inline" && is_measured(column));
    let mut columns: Vec<(f64, &Column<'a>)> = wanted.map(|it| (median(it), it)).collect();
    columns.sort_by(|a, b| a.0.total_cmp(&b.0));
    columns.into_iter().map(|it| it.1).collect()
}

/// The number of ops behind the medians, in words.
pub fn count_ops(grid: &Grid) -> String {
    let trapping = grid.trapping_ops(Regime::Throughput).len();
    let all = grid.rows.len().saturating_sub(trapping);
    let traps = match trapping {
        0 => String::new(),
        n => format!(" ({n} more {} and {} left out)", plural(n, "traps", "trap"), plural(n, "is", "are")),
    };
    format!("{all} {}{traps}", plural(all, "op", "ops"))
}
