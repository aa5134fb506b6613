//! The cells as criterion benchmarks: a group per op, a line per mechanism, in throughput, with native bodies.
//!
//! Criterion measures one mechanism after the other and reports time per call. `pvbench run` interleaves mechanisms,
//! measures in core cycles and judges differences. Use this bench with your own criterion benchmarks;
//! `--save-baseline` and filters work as usual: `cargo bench --bench micro -- pte_val/table`.
//!
//! It has the ops of `run --quick` with the mechanisms that decide; `PVBENCH_BENCH=all` adds the rest.

mod selection;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use pvbench::op::{BodyKind, CpuModel};
use pvbench::pv_ops::QUICK_OPS;
use pvbench::regime::{Regime, SITES};
use pvbench::suite::OpEntry;
use selection::Pairs;

/// Bootstrap samples of each benchmark. Criterion's default is ten times as many: it takes longer than the samples of a
/// benchmark, and moves the ends of its interval by less than a percent of its width.
const RESAMPLES: usize = 10_000;

fn main() {
    let pairs = Pairs::from_env();
    let mut criterion = Criterion::default()
        // The default selection should end within half a minute.
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200))
        .sample_size(20)
        .nresamples(RESAMPLES)
        .without_plots()
        .configure_from_args();
    pairs.announce("micro", "the ops of a quick run with the mechanisms that decide");
    let mut cpu = match CpuModel::install() {
        Ok(cpu) => cpu,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(4);
        }
    };
    let is_selected = |op: &&OpEntry| pairs == Pairs::All || QUICK_OPS.contains(&op.meta.name);
    for op in pvbench::pv_ops::op_entries().iter().filter(is_selected) {
        let mut group = criterion.benchmark_group(op.meta.name);
        group.throughput(Throughput::Elements(1));
        for pair in op.pairs.iter().filter(|pair| pairs.has(pair.mechanism.name)) {
            let Some(measured) = pair.loop_of(Regime::Throughput) else { continue };
            (pair.bind)(BodyKind::Native);
            let args = (op.arguments)(&mut cpu);
            group.bench_function(pair.mechanism.name, |bencher| {
                // An iteration is one call; the loop makes eight per pass.
                bencher.iter_custom(|calls| {
                    let passes = calls.div_ceil(SITES);
                    let start = Instant::now();
                    // SAFETY: the op's own arguments, for the CPU model installed on this thread; passes >= 1, since
                    // criterion asks for at least one iteration.
                    std::hint::black_box(unsafe { measured(&raw const args, passes) });
                    start.elapsed().mul_f64(calls as f64 / (passes * SITES) as f64)
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
