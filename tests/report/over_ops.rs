//! Tests of medians over ops: which cells count, and when a median is resolved.

use crate::support;
use pvbench::regime::Regime;
use pvbench::report::Report;
use pvbench::report::over_ops::{OverOps, paired};
use pvbench::report::schema::{Cell, Limit};

/// Cells of a mechanism in throughput, one op for each of `overheads`: core cycles, and whether the cell is resolved.
fn cells(mechanism: &str, overheads: &[(f64, bool)]) -> Vec<Cell> {
    let report: Report = support::synthetic();
    let of = |cell: &&Cell| cell.mechanism == mechanism && cell.regime == Regime::Throughput && cell.overhead.is_some();
    let mut cells: Vec<Cell> = report.cells.iter().filter(of).take(overheads.len()).cloned().collect();
    for (cell, (cycles, resolved)) in cells.iter_mut().zip(overheads) {
        let overhead = cell.overhead.as_mut().unwrap();
        (overhead.cycles.estimate, overhead.cycles.low, overhead.cycles.high) = (*cycles, cycles - 0.1, cycles + 0.1);
        overhead.ns.estimate = cycles / 4.0;
        cell.resolved = *resolved;
        cell.limit = (!resolved).then_some(Limit::Interval);
    }
    cells
}

#[test]
fn the_median_includes_all_measured_ops_resolved_or_not() {
    let cells = cells("table", &[(4.0, true), (1.0, false), (3.0, true), (2.0, false), (5.0, true)]);
    let over = OverOps::of(&cells).unwrap();
    assert_eq!((over.five, over.resolved, over.median_ns()), ([1.0, 2.0, 3.0, 4.0, 5.0], 3, Some(0.75)));
    let [least, most] = over.resolved_ends().unwrap();
    assert_eq!((&least.op, &most.op), (&cells[2].op, &cells[4].op));
}

#[test]
fn a_trapping_op_is_in_no_median_and_no_range() {
    let mut cells = cells("table", &[(4.0, true), (-900.0, true), (3.0, true)]);
    (cells[1].resolved, cells[1].limit) = (false, Some(Limit::Traps));
    let over = OverOps::of(&cells).unwrap();
    assert_eq!((over.five[0], over.median(), over.five[4]), (3.0, 3.5, 4.0));
    assert_eq!(over.trapping.iter().map(|cell| &cell.op).collect::<Vec<_>>(), [&cells[1].op]);
    assert!(OverOps::of(&cells[1..2]).is_none(), "all ops trap");
}

#[test]
fn a_median_is_resolved_if_more_than_half_of_the_ops_are_resolved_on_its_side_of_zero() {
    let resolved = |overheads: &[(f64, bool)]| OverOps::of(&cells("table", overheads)).unwrap().median_is_resolved();
    assert!(resolved(&[(4.0, true), (3.0, true), (0.0, false)]));
    assert!(!resolved(&[(4.0, true), (3.0, true), (0.0, false), (0.1, false)]), "half of the ops are not enough");
    assert!(!resolved(&[(-4.0, true), (3.0, true), (4.0, true), (0.1, false)]), "one op is on the other side");
    assert!(resolved(&[(-4.0, true), (-3.0, true), (0.1, false)]), "negative overheads count, too");
}

#[test]
fn two_mechanisms_are_compared_over_the_ops_that_both_have() {
    let (direct, mut table) = (
        cells("direct", &[(1.0, true), (2.0, true), (3.0, true)]),
        cells("table", &[(1.5, true), (9.0, true), (4.0, true)]),
    );
    table.remove(1);
    let [direct, table] = [&direct, &table].map(|cells| OverOps::of(cells).unwrap());
    let pair = paired(&direct, &table).unwrap();
    assert_eq!((pair.ops, pair.first, pair.second, pair.difference), (2, 2.0, 2.75, 0.75));
    let none = OverOps { cells: Vec::new(), ..table };
    assert_eq!(paired(&direct, &none), None);
}
