//! The workloads as criterion benchmarks: a group per workload, a line per mechanism, native bodies, unpatched sites.
//!
//! Criterion measures one kernel after the other. `pvbench run --workload '*'` interleaves them, and has the states of
//! patched sites and the kernel options. Use this bench with your own criterion benchmarks:
//! `cargo bench --bench macro -- mmap_perf/table`.
//!
//! It has the mechanisms that decide; `PVBENCH_BENCH=all` adds the rest.

mod selection;

use std::cell::LazyCell;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use pvbench::clock::Clock;
use pvbench::kernel::Machine;
use pvbench::pv_ops::workload_entries;
use pvbench::workload::PARTS;
use selection::Pairs;

/// Seed of the workloads.
const SEED: u64 = 1;

fn main() {
    let pairs = Pairs::from_env();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(300))
        .sample_size(20)
        // As in `micro`: criterion's default takes longer than the samples.
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    pairs.announce("macro", "the workloads with the mechanisms that decide");
    let mut machine = match Machine::new() {
        Ok(machine) => machine,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(4);
        }
    };
    let (clock, _) = Clock::choose(None);
    // Measured for the first benchmark that runs: `--list` and filters need no rate.
    let ticks_per_second = LazyCell::new(|| clock.ticks_per_second(Duration::from_millis(100)));
    for entry in workload_entries() {
        let mut group = criterion.benchmark_group(entry.meta.name);
        group.throughput(Throughput::Elements(1));
        for variant in entry.variants.iter().filter(|variant| pairs.has(variant.mechanism.name)) {
            group.bench_function(variant.mechanism.name, |bencher| {
                // An iteration is a unit; every part of a run times the same number of units.
                bencher.iter_custom(|iterations| {
                    let units = iterations.div_ceil(PARTS as u64);
                    match (variant.run)(&mut machine, SEED, units, clock) {
                        Ok(outcome) => {
                            let ticks = outcome.ticks.iter().sum::<u64>() as f64;
                            let share = iterations as f64 / (units * PARTS as u64) as f64;
                            Duration::from_secs_f64(ticks / *ticks_per_second * share)
                        }
                        Err(trouble) => {
                            eprintln!("{}: {trouble}", entry.meta.name);
                            std::process::exit(4);
                        }
                    }
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
