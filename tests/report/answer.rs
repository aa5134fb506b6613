//! Tests of the answer of a report: what the ways cost, their differences, what the model kernel pays.

use pvbench::regime::Regime;
use pvbench::report::Report;
use pvbench::report::answer::{Answer, Cost};
use pvbench::report::over_ops::OverOps;
use pvbench::report::schema::Cell;

use crate::support;
use crate::support::full::full;

/// The costs of a way or of a difference, by its name.
fn cost(report: &Report, name: &str, regime: Regime) -> Option<Cost> {
    let answer = Answer::from_report(report);
    let ways = answer.ways.into_iter().map(|way| (way.name, way.costs));
    let mut all = ways.chain(answer.differences.into_iter().map(|difference| (difference.name, difference.costs)));
    let costs = all.find(|(own, _)| *own == name)?.1;
    costs.into_iter().find(|(own, _)| *own == regime).map(|(_, cost)| cost)
}

/// Sets the overheads of a mechanism in throughput: by op, with half of the interval and the floor.
fn set(report: &mut Report, mechanism: &str, cycles: impl Fn(usize) -> f64, half: f64, floor: f64) {
    let of = |cell: &&mut Cell| cell.mechanism == mechanism && cell.state.is_none() && cell.op != "cpuid";
    let cells = report.cells.iter_mut().filter(|cell| cell.regime == Regime::Throughput).filter(of);
    for (index, cell) in cells.enumerate() {
        let it = &mut cell.overhead.as_mut().unwrap().cycles;
        it.estimate = cycles(index);
        (it.low, it.high) = (it.estimate - half, it.estimate + half);
        cell.floor_cycles = Some(floor);
    }
}

#[test]
fn the_answer_has_the_ways_that_were_measured_and_names_the_table_of_linux() {
    let mut report = full();
    let names = |report: &Report| Answer::from_report(report).ways.iter().map(|way| way.name).collect::<Vec<_>>();
    assert_eq!(names(&report), ["the pv_ops table", "a direct call", "a patched site", "a retpoline"]);
    for op in &mut report.catalogue.ops {
        op.since = pvbench::op::Since::NotLinux;
    }
    assert_eq!(names(&report)[0], "the table");
    report.cells.retain(|cell| ["inline", "kcfi"].contains(&cell.mechanism.as_str()));
    assert_eq!(names(&report), [""; 0]);
}

#[test]
fn the_cost_of_a_way_is_the_median_over_the_ops_that_do_not_trap() {
    let report = full();
    for (name, mechanism) in [("the pv_ops table", "table"), ("a direct call", "direct"), ("a retpoline", "retpoline")]
    {
        for regime in Regime::ALL {
            let of = |cell: &&Cell| cell.mechanism == mechanism && cell.regime == regime;
            let over = OverOps::of(report.cells.iter().filter(of)).unwrap();
            let cost = cost(&report, name, regime).unwrap();
            assert_eq!((cost.median.estimate, cost.ops), (over.median(), 5));
            assert_eq!(cost.range, [over.five[0], over.five[4]]);
            assert_eq!(cost.is_resolved, over.median_is_resolved());
            assert!(cost.median.low < cost.median.estimate && cost.median.estimate < cost.median.high);
        }
    }
}

#[test]
fn a_difference_is_taken_op_by_op_and_resolved_beyond_the_floors_of_both_cells() {
    let mut report = full();
    // The ops differ by cycles; each costs 0.2 more behind the table than by a direct call.
    set(&mut report, "direct", |index| index as f64, 0.03, 0.1);
    set(&mut report, "table", |index| index as f64 + 0.2, 0.04, 0.1);
    let found = cost(&report, "table - direct", Regime::Throughput).unwrap();
    let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(near(found.median.estimate, 0.2) && near(found.median.low, 0.15), "{found:?}");
    assert!(near(found.range[0], 0.2) && near(found.range[1], 0.2) && found.ops == 5 && found.is_resolved, "{found:?}");
    // The larger floor of the two cells counts.
    set(&mut report, "direct", |index| index as f64, 0.03, 0.16);
    assert!(!cost(&report, "table - direct", Regime::Throughput).unwrap().is_resolved);
    // A difference below zero is resolved on its side.
    set(&mut report, "direct", |index| index as f64 + 0.4, 0.03, 0.1);
    let found = cost(&report, "table - direct", Regime::Throughput).unwrap();
    assert!(near(found.median.estimate, -0.2) && found.is_resolved, "{found:?}");
    // Of five ops, two differ.
    set(&mut report, "direct", |index| index as f64 + if index < 3 { 0.2 } else { 0.0 }, 0.03, 0.1);
    assert!(!cost(&report, "table - direct", Regime::Throughput).unwrap().is_resolved);
}

#[test]
fn a_difference_leaves_out_ops_that_only_one_of_the_ways_has() {
    let mut report = full();
    report.cells.retain(|cell| cell.mechanism != "direct" || cell.op == "set_pte");
    assert_eq!(cost(&report, "table - direct", Regime::Throughput).map(|cost| cost.ops), Some(1));
    report.cells.retain(|cell| cell.mechanism != "direct");
    assert_eq!(cost(&report, "table - direct", Regime::Throughput), None);
    assert!(cost(&report, "patched - inline", Regime::Throughput).is_some());
}

#[test]
fn the_ends_over_workloads_are_those_of_resolved_overheads() {
    let mut report = full();
    let ends = |report: &Report| {
        let answer = Answer::from_report(report);
        assert_eq!(answer.kernels.iter().map(|kernel| kernel.workloads.len()).collect::<Vec<_>>(), [11, 11]);
        let named = answer.kernels[0].resolved_ends().map(|ends| ends.map(|(name, _)| name.to_owned()));
        (named, answer.kernels[0].on("mmap_perf").map(|(it, resolved)| (it.estimate, resolved)))
    };
    let (named, first) = ends(&report);
    assert_eq!(named, Some(["mmap_perf".to_owned(), "kernel_build".to_owned()]));
    assert_eq!(first, Some((8.71, true)));
    report.workloads[0].kernels[0].resolved = false;
    assert_eq!(ends(&report).0, Some(["lat_mmap".to_owned(), "kernel_build".to_owned()]));
    for workload in &mut report.workloads {
        workload.kernels[0].resolved = false;
    }
    assert_eq!(ends(&report).0, None);
}

#[test]
fn an_answer_without_numbers_or_with_impossible_ones_is_empty() {
    let empty = support::empty();
    let answer = Answer::from_report(&empty);
    assert!(answer.ways.is_empty() && answer.differences.is_empty() && answer.kernels.is_empty());
    let mut report = full();
    for cell in &mut report.cells {
        let it = &mut cell.overhead.as_mut().unwrap().cycles;
        (it.estimate, it.low, it.high) = (f64::MAX, -f64::MAX, f64::MAX);
    }
    for workload in &mut report.workloads {
        workload.kernels[0].overhead_percent.as_mut().unwrap().high = f64::NAN;
    }
    let answer = Answer::from_report(&report);
    assert!(answer.differences.iter().all(|difference| difference.costs.iter().all(|(_, it)| it.range[0].is_finite())));
    assert_eq!(answer.kernels.len(), 1, "no workload has a finite overhead with the table");
}
