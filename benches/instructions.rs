//! Exact instructions per op, counted by callgrind through iai-callgrind: every loop at two lengths, and the difference.
//!
//! Needs valgrind and iai-callgrind-runner (`scripts/setup.sh` installs both). Where one is missing this says so in one
//! line and ends well, so that `cargo bench` goes on.

use std::hint::black_box;
use std::path::Path;

use iai_callgrind::{LibraryBenchmarkConfig, library_benchmark, library_benchmark_group};
use pvbench::dispatch::Platform;
use pvbench::op::CpuModel;
use pvbench::regime::{Loop, Regime, SITES};
use pvbench::suite;

/// Passes of the short and the long run.
const LENGTHS: [u64; 2] = [10, 110];

/// Ops of four shapes: a real instruction, a modelled one, an identity, a store.
const OPS: [&str; 4] = ["save_fl", "irq_disable", "pte_val", "set_pte"];

/// A loop made ready outside of what is counted.
struct Ready {
    measured: Loop,
    args: [u64; 4],
    passes: u64,
    // Dropped after the loop ran.
    _cpu: pvbench::op::model::Installed,
}

/// Finds and binds the loop of an (op, mechanism) in throughput. A wrong name ends the benchmark, loudly.
fn ready(op: &str, mechanism: &str, passes: u64) -> Ready {
    let mut cpu = CpuModel::install().unwrap_or_else(|error| panic!("{error}"));
    let ops = suite::builtin();
    let op = ops.iter().find(|o| o.meta.name == op).unwrap_or_else(|| panic!("no op {op}"));
    let pair = op.pairs.iter().find(|p| p.mechanism.name == mechanism);
    let pair = pair.unwrap_or_else(|| panic!("no mechanism {mechanism}"));
    (pair.bind)(Platform::Native);
    let args = (op.arguments)(&mut cpu);
    let measured = pair.loop_of(Regime::Throughput).unwrap_or_else(|| panic!("no such loop"));
    Ready { measured, args, passes, _cpu: cpu }
}

/// Declares one benchmark function per op, for iai-callgrind names benchmarks by functions:
/// `benchmarks! { save_fl, pte_val }` makes the functions and their group.
macro_rules! benchmarks {
    ($($op:ident),*) => {
        $(
            #[library_benchmark(setup = ready)]
            #[bench::inline_short(stringify!($op), "inline", LENGTHS[0])]
            #[bench::inline_long(stringify!($op), "inline", LENGTHS[1])]
            #[bench::inline_clobber_short(stringify!($op), "inline_clobber", LENGTHS[0])]
            #[bench::inline_clobber_long(stringify!($op), "inline_clobber", LENGTHS[1])]
            #[bench::flag_short(stringify!($op), "flag", LENGTHS[0])]
            #[bench::flag_long(stringify!($op), "flag", LENGTHS[1])]
            #[bench::enum_short(stringify!($op), "enum", LENGTHS[0])]
            #[bench::enum_long(stringify!($op), "enum", LENGTHS[1])]
            #[bench::direct_short(stringify!($op), "direct", LENGTHS[0])]
            #[bench::direct_long(stringify!($op), "direct", LENGTHS[1])]
            #[bench::table_short(stringify!($op), "table", LENGTHS[0])]
            #[bench::table_long(stringify!($op), "table", LENGTHS[1])]
            #[bench::fn_pointer_short(stringify!($op), "fn_pointer", LENGTHS[0])]
            #[bench::fn_pointer_long(stringify!($op), "fn_pointer", LENGTHS[1])]
            #[bench::dyn_short(stringify!($op), "dyn", LENGTHS[0])]
            #[bench::dyn_long(stringify!($op), "dyn", LENGTHS[1])]
            #[bench::once_lock_short(stringify!($op), "once_lock", LENGTHS[0])]
            #[bench::once_lock_long(stringify!($op), "once_lock", LENGTHS[1])]
            fn $op(ready: Ready) -> Ready {
                // SAFETY: the op's own arguments, for the CPU model installed on this thread; passes >= 1.
                black_box(unsafe { (ready.measured)(&raw const ready.args, ready.passes) });
                ready
            }
        )*
        library_benchmark_group!(name = throughput; benchmarks = $($op),*);
    };
}

benchmarks! { save_fl, irq_disable, pte_val, set_pte }

/// iai-callgrind's own `main`, in a module so that this file can have another around it.
mod runner {
    use super::throughput;
    iai_callgrind::main!(
        config = super::LibraryBenchmarkConfig::default();
        library_benchmark_groups = throughput
    );
    pub fn run() {
        main();
    }
}

fn main() {
    // Cargo also starts benches in `cargo test --benches`; there is nothing to test here then.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let inside = std::env::args().any(|arg| arg.starts_with("--iai-run"));
    if !inside && let Some(missing) = ["valgrind", "iai-callgrind-runner"].into_iter().find(|tool| !on_path(tool)) {
        eprintln!("instructions: skipped, {missing} is not on the PATH: run scripts/setup.sh");
        return;
    }
    runner::run();
    if !inside {
        print_differences();
    }
}

fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

/// Prints instructions per op: the difference of two lengths over the number of calls between them.
fn print_differences() {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new("target").to_owned(), Into::into);
    let folder = target.join("iai").join(env!("CARGO_PKG_NAME")).join("instructions").join("runner/throughput");
    println!("\ninstructions per op (loop included), regime throughput, and above inline:");
    for op in OPS {
        let mut inline = None;
        for mechanism in suite::mechanisms() {
            let counted = |length: &str| instructions(&folder, op, &format!("{}_{length}", mechanism.name));
            let (Some(short), Some(long)) = (counted("short"), counted("long")) else {
                println!("{op:12} {:14} not counted: no callgrind output below {}", mechanism.name, folder.display());
                continue;
            };
            let per_op = (long - short) as f64 / ((LENGTHS[1] - LENGTHS[0]) * SITES) as f64;
            let inline = *inline.get_or_insert(per_op);
            println!("{op:12} {:14} {per_op:8.3} {:+8.3}", mechanism.name, per_op - inline);
        }
    }
}

/// Total instructions of one benchmark, from the `summary:` or `totals:` line of its callgrind output.
fn instructions(folder: &Path, op: &str, bench: &str) -> Option<u64> {
    let path = folder.join(format!("{op}.{bench}")).join(format!("callgrind.{op}.{bench}.out"));
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")))?;
    line.split_whitespace().next()?.parse().ok()
}
