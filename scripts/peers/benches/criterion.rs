//! The pairs in criterion: a group per pair, a function per mechanism.

use criterion::Criterion;
use pvbench_peers::{PAIRS, iterate, loop_of};

fn main() {
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    for (pair, op, from, to) in PAIRS {
        let mut group = criterion.benchmark_group(pair);
        for mechanism in [from, to] {
            let run = loop_of(op, mechanism);
            group.bench_function(mechanism, |bencher| bencher.iter(|| iterate(run)));
        }
        group.finish();
    }
    criterion.final_summary();
}
