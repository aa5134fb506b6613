//! The pairs in tango, which compares two executables: here the one with the first of each pair.

use pvbench_peers::{PAIRS, iterate, loop_of};
use tango_bench::{IntoBenchmarks, benchmark_fn, tango_benchmarks};

fn pairs() -> impl IntoBenchmarks {
    PAIRS.map(|(pair, op, from, _)| {
        benchmark_fn(pair, move |bencher| {
            let run = loop_of(op, from);
            bencher.iter(move || iterate(run))
        })
    })
}

tango_benchmarks!(pairs());
