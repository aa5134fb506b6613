//! The floor of each regime, and ops that trap.

use pvbench::estimate::{Estimates, Estimator, traps};
use pvbench::measure::comparison::Comparison;
use pvbench::measure::samples::LoopSamples;
use pvbench::measure::variant::Variant;
use pvbench::op::BodyKind;
use pvbench::op::{Op, OpMeta, mmu::PteVal};
use pvbench::regime::Regime;
use pvbench::report::schema::{Cell, Limit, RegimeFloor};

use crate::loops;

const WORKERS: usize = 12;
/// The overhead of `table`, in core cycles.
const OVERHEAD: f64 = 0.05;

/// Estimates of `throughput` ops in throughput, where a copy of inline differs by ten-thousandths of a cycle, and of
/// `flushed` ops in `flushed`, where it differs by up to a cycle. The first op has the greatest difference.
fn estimates(throughput: usize, flushed: usize) -> Estimates {
    let ops = throughput.max(flushed);
    let metas: Vec<OpMeta> = (0..ops).map(|op| OpMeta { name: format!("op_{op}").leak(), ..PteVal::META }).collect();
    let mut estimator = Estimator::default();
    let mut groups = Vec::new();
    let (_, table) = loops::with_table([]);
    for (regime, count, aa) in [(Regime::Throughput, throughput, 1e-4), (Regime::Flushed, flushed, 1.0)] {
        for (index, meta) in metas.iter().take(count).enumerate() {
            let group = Comparison { op: meta.name.to_owned(), body: BodyKind::Native, regime, offset: 0 };
            let copy = aa * (count - index) as f64 / count as f64 * if index % 2 == 0 { 1.0 } else { -1.0 };
            (0..WORKERS).for_each(|worker| estimator.add(worker, &group, samples(table, copy, worker)));
            groups.push(group);
        }
    }
    estimator.finish(&loops::settings(&loops::with_table(groups).0), &metas, 2.6e9)
}

fn samples(table: Variant, copy: f64, worker: usize) -> LoopSamples {
    let own = 1e-6 * worker as f64;
    let block = loops::block(1.0, 4.0, &[[1.0; 2], [1.0; 2], [1.0 + copy; 2], [1.0 + OVERHEAD + own; 2]]);
    loops::samples(table, vec![block; 3], 1)
}

fn floor(estimates: &Estimates, regime: Regime) -> RegimeFloor {
    *estimates.floors.iter().find(|floor| floor.regime == regime).unwrap()
}

/// The number of resolved cells of `table` in a regime.
fn resolved(estimates: &Estimates, regime: Regime) -> usize {
    let is_counted = |cell: &&Cell| cell.mechanism == "table" && cell.regime == regime && cell.resolved;
    estimates.cells.iter().filter(is_counted).count()
}

#[test]
fn a_regime_with_much_noise_and_one_with_little_have_floors_of_their_own() {
    let estimates = estimates(30, 30);
    let (low, high) = (floor(&estimates, Regime::Throughput), floor(&estimates, Regime::Flushed));
    assert!(low.cycles <= 1e-4 && low.comparisons == 30, "{low:?}");
    assert!((0.9..=1.0).contains(&high.cycles), "{high:?}");
    assert!(estimates.floor.as_ref().unwrap().cycles > OVERHEAD, "one floor for both regimes would hide the overhead");
    assert_eq!((resolved(&estimates, Regime::Throughput), resolved(&estimates, Regime::Flushed)), (30, 0));
    let table_cells =
        |regime| estimates.cells.iter().filter(move |cell| cell.regime == regime && cell.mechanism == "table");
    assert!(table_cells(Regime::Flushed).all(|cell| cell.limit == Some(Limit::Floor)));
    assert!(
        table_cells(Regime::Throughput).all(|cell| cell.floor_cycles.unwrap() < 2e-4),
        "cells have the floor of their regime"
    );
}

#[test]
fn a_regime_with_few_comparisons_has_at_least_the_floor_of_the_run_and_its_own_greatest_difference() {
    let few_noisy = estimates(30, 4);
    let noisy = floor(&few_noisy, Regime::Flushed);
    assert!((noisy.cycles - 1.0).abs() < 1e-9 && noisy.comparisons == 4, "its own greatest difference: {noisy:?}");
    assert_eq!(resolved(&few_noisy, Regime::Throughput), 30);
    let nine = estimates(9, 30);
    let (low, run) = (floor(&nine, Regime::Throughput), nine.floor.as_ref().unwrap().cycles);
    assert_eq!((low.cycles, low.comparisons), (run, 9));
    assert_eq!(resolved(&nine, Regime::Throughput), 0);
    let ten = estimates(10, 30);
    assert!(floor(&ten, Regime::Throughput).cycles <= 1e-4);
    assert_eq!(resolved(&ten, Regime::Throughput), 10);
}

#[test]
fn a_run_of_one_regime_has_the_floor_of_that_regime() {
    for ops in [3, 12, 40] {
        let estimates = estimates(ops, 0);
        let (run, own) = (estimates.floor.as_ref().unwrap(), floor(&estimates, Regime::Throughput));
        assert_eq!((own.cycles, own.ratio, own.comparisons), (run.cycles, run.ratio, run.comparisons));
        assert_eq!(estimates.floors.len(), 1);
    }
}

#[test]
fn an_op_as_slow_as_a_trap_in_every_regime_is_marked_where_its_code_may_trap() {
    let mut cells = estimates(4, 4).cells;
    for (op, throughput, flushed) in [("op_0", 25_000.0, 25_400.0), ("op_1", 40.0, 700.0), ("op_2", 900.0, 1_300.0)] {
        for cell in cells.iter_mut().filter(|cell| cell.op == op) {
            cell.native_cycles = Some(if cell.regime == Regime::Throughput { throughput } else { flushed });
        }
    }
    cells.iter_mut().filter(|cell| cell.op == "op_3").for_each(|cell| cell.native_cycles = None);
    let before = cells.clone();
    // op_2 has a long body that cannot trap.
    let marked = traps::mark(&mut cells, |op| op != "op_2");
    for (cell, before) in cells.iter().zip(&before) {
        if cell.op == "op_0" {
            assert_eq!((cell.resolved, cell.limit), (false, Some(Limit::Traps)));
        } else {
            assert_eq!((cell.resolved, cell.limit), (before.resolved, before.limit), "{}", cell.op);
        }
        assert_eq!(
            (cell.overhead, cell.native_cycles),
            (before.overhead, before.native_cycles),
            "the figures do not change"
        );
    }
    let [marked] = &marked[..] else { panic!("{marked:?}") };
    assert_eq!(marked.what, "overhead of op_0");
    assert!(marked.reason.starts_with("op_0 traps: the hypervisor answers it in 25000 cycles"), "{}", marked.reason);
}
