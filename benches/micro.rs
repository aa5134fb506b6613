//! The cells as criterion benchmarks: a group per op, a line per mechanism, in throughput, with native bodies.
//!
//! Criterion measures one mechanism after the other and reports time per call. `pvbench run` interleaves mechanisms,
//! measures in core cycles and judges differences. Use this bench with your own criterion benchmarks;
//! `--save-baseline` and filters work as usual: `cargo bench --bench micro -- pte_val/table`.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use pvbench::op::{BodyKind, CpuModel};
use pvbench::pv_ops::QUICK_OPS;
use pvbench::regime::{Regime, SITES};

fn main() {
    let mut criterion = Criterion::default()
        // About four hundred benchmarks should end within minutes.
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200))
        .sample_size(20)
        .without_plots()
        .configure_from_args();
    let mut cpu = match CpuModel::install() {
        Ok(cpu) => cpu,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(4);
        }
    };
    for op in pvbench::pv_ops::op_entries().iter().filter(|op| QUICK_OPS.contains(&op.meta.name)) {
        let mut group = criterion.benchmark_group(op.meta.name);
        group.throughput(Throughput::Elements(1));
        for pair in &op.pairs {
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
