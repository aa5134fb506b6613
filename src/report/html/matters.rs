//! The ten ops that matter: those whose hooks the workloads call most, by all mechanisms.

use std::collections::HashMap;

use super::anchor::Anchors;
use super::costs::list_columns;
use crate::regime::Regime;
use crate::report::Report;
use crate::report::plots::grid::{Column, Grid, Reading};
use crate::report::plots::number::{NOTHING, clipped, estimate_of, plain};

/// Number of ops that are shown.
const MAX_OPS: usize = 10;

/// The hooks that Linux calls most, for a report without workloads: saving and restoring flags, page table entries, and
/// the unlock of a spin lock.
const USUAL: [&str; 10] = [
    "pte_val",
    "make_pte",
    "set_pte",
    "save_fl",
    "irq_disable",
    "irq_enable",
    "queued_spin_unlock",
    "pmd_val",
    "read_cr2",
    "write_cr3",
];

/// The ops with their overheads in some regimes.
pub struct Matters {
    pub ops: Vec<Op>,
    /// How the ops were chosen.
    pub chosen: &'static str,
    pub tables: Vec<Table>,
}

/// An op.
pub struct Op {
    /// Identifier of its description.
    pub id: Option<String>,
    pub name: String,
}

/// The overheads in one regime.
pub struct Table {
    pub word: &'static str,
    pub rows: Vec<Row>,
}

/// A mechanism.
pub struct Row {
    pub id: Option<String>,
    pub name: String,
    /// Text and whether it is resolved, for each op.
    pub values: Vec<(String, bool)>,
}

/// The table of a report; `None` if nothing was measured besides `inline`.
pub fn matters(report: &Report, grid: &Grid, ops: &Anchors, ways: &Anchors) -> Option<Matters> {
    let columns = list_columns(grid);
    let (names, is_by_calls) = choose(report, grid);
    if columns.is_empty() || names.is_empty() {
        return None;
    }
    let table = |regime: Regime| {
        let row = |column: &&Column| Row {
            id: ways.find(column.mechanism),
            name: clipped(&column.label(), 60),
            values: names.iter().map(|op| value(grid, op, column, regime)).collect(),
        };
        let mut rows: Vec<Row> = columns.iter().map(row).collect();
        rows.retain(|row| row.values.iter().any(|value| value.0 != NOTHING));
        Table { word: super::costs::word(regime), rows }
    };
    let regimes = [Regime::Throughput, Regime::Cold].into_iter().filter(|regime| grid.has(*regime));
    Some(Matters {
        chosen: match is_by_calls {
            true => "the ops that the workloads of this run call most, per cycle of the workload",
            false => "ops that kernels call most, or else the first ones of the report",
        },
        tables: regimes.map(table).collect(),
        ops: names.iter().map(|op| Op { id: ops.find(op), name: clipped(op, 60) }).collect(),
    })
}

/// The ops, and whether the calls of workloads decided.
fn choose<'a>(report: &Report, grid: &Grid<'a>) -> (Vec<&'a str>, bool) {
    let mut calls: HashMap<&str, f64> = HashMap::new();
    for workload in &report.workloads {
        let Some(cycles) = workload.inline_cycles.map(|it| it.estimate).filter(|it| *it > 0.0) else { continue };
        for (op, count) in &workload.calls {
            *calls.entry(op).or_default() += count / cycles;
        }
    }
    let mut rows: Vec<(f64, usize, &str)> = grid
        .rows
        .iter()
        .map(|row| {
            let usual = USUAL.iter().position(|op| *op == row.op).unwrap_or(USUAL.len());
            (calls.get(row.op).copied().filter(|it| it.is_finite()).unwrap_or(0.0), usual, row.op)
        })
        .collect();
    // A stable sort keeps the order of the catalogue.
    rows.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    rows.truncate(MAX_OPS);
    let is_by_calls = rows.last().is_some_and(|row| row.0 > 0.0);
    (rows.into_iter().map(|row| row.2).collect(), is_by_calls)
}

fn value<'a>(grid: &Grid<'a>, op: &'a str, column: &Column<'a>, regime: Regime) -> (String, bool) {
    match grid.reading(op, column, regime) {
        Reading::Absent(_) => (NOTHING.to_owned(), false),
        Reading::Unresolved(_) if grid.traps(op, column, regime) => ("\u{d7}".to_owned(), false),
        Reading::Unresolved(it) => (format!("~{}", estimate_of(it.interval())), false),
        Reading::Resolved(it) => (plain(it.estimate), true),
    }
}
