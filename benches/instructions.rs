//! Exact instructions per op and per unit of a workload, counted by callgrind through iai-callgrind: the difference of
//! two lengths of every loop.
//!
//! Needs valgrind and iai-callgrind-runner (`scripts/setup.sh` installs both). If one is missing, this bench prints a
//! line and succeeds, so that `cargo bench` continues.

use std::hint::black_box;
use std::path::Path;

use iai_callgrind::{LibraryBenchmarkConfig, library_benchmark, library_benchmark_group};
use pvbench::clock::Clock;
use pvbench::kernel::Machine;
use pvbench::op::{BodyKind, CpuModel};
use pvbench::pv_ops::workload_entries;
use pvbench::regime::{Loop, Regime, SITES};
use pvbench::suite;
use pvbench::workload::{PARTS, Run};

/// Passes of the short and the long run.
const LENGTHS: [u64; 2] = [10, 110];

/// Ops of four shapes: a real instruction, a modelled one, an identity, a store.
const OPS: [&str; 4] = ["save_fl", "irq_disable", "pte_val", "set_pte"];

/// A loop, prepared outside of the counted part.
struct PreparedLoop {
    measured: Loop,
    args: [u64; 4],
    passes: u64,
    // Dropped after the run of the loop.
    _cpu: pvbench::op::model::Installed,
}

/// Finds and binds the loop of an (op, mechanism) in throughput. Panics on a wrong name.
fn prepare_loop(op: &str, mechanism: &str, passes: u64) -> PreparedLoop {
    let mut cpu = CpuModel::install().unwrap_or_else(|error| panic!("{error}"));
    let ops = pvbench::pv_ops::op_entries();
    let op = ops.iter().find(|o| o.meta.name == op).unwrap_or_else(|| panic!("unknown op {op}"));
    let pair = op.pairs.iter().find(|p| p.mechanism.name == mechanism);
    let pair = pair.unwrap_or_else(|| panic!("unknown mechanism {mechanism}"));
    (pair.bind)(BodyKind::Native);
    let args = (op.arguments)(&mut cpu);
    let measured = pair.loop_of(Regime::Throughput).unwrap_or_else(|| panic!("no loop in throughput"));
    PreparedLoop { measured, args, passes, _cpu: cpu }
}

/// Declares one benchmark function per op, since iai-callgrind names benchmarks by functions:
/// `benchmarks! { save_fl, pte_val }` makes the functions and their group.
macro_rules! benchmarks {
    ($($op:ident),*) => {
        $(
            #[library_benchmark(setup = prepare_loop)]
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
            fn $op(prepared: PreparedLoop) -> PreparedLoop {
                // SAFETY: the op's own arguments, for the CPU model installed on this thread; passes >= 1.
                black_box(unsafe { (prepared.measured)(&raw const prepared.args, prepared.passes) });
                prepared
            }
        )*
        library_benchmark_group!(name = throughput; benchmarks = $($op),*);
    };
}

benchmarks! { save_fl, irq_disable, pte_val, set_pte }

/// Units per part of a short and of a long run.
const UNITS: [u64; 2] = [8, 16];

/// A workload, prepared on a machine as after boot.
struct PreparedWorkload {
    run: Run,
    machine: Machine,
    units: u64,
}

/// Finds a workload with a mechanism. Panics on a wrong name.
fn prepare_workload(workload: &str, mechanism: &str, units: u64) -> PreparedWorkload {
    let mut machine = Machine::new().unwrap_or_else(|error| panic!("{error}"));
    let entries = workload_entries();
    let entry =
        entries.iter().find(|e| e.meta.name == workload).unwrap_or_else(|| panic!("unknown workload {workload}"));
    let variant = entry.variants.iter().find(|v| v.mechanism.name == mechanism);
    let run = variant.unwrap_or_else(|| panic!("unknown mechanism {mechanism}")).run;
    // A first run, for work that happens once per process.
    run(&mut machine, SEED, units, Clock::Tsc).unwrap_or_else(|trouble| panic!("{workload}: {trouble}"));
    PreparedWorkload { run, machine, units }
}

/// Declares one benchmark function per workload: `workloads! { mmap_perf, fork_exit }` makes the functions and their
/// group.
macro_rules! workloads {
    ($($workload:ident),*) => {
        $(
            #[library_benchmark(setup = prepare_workload)]
            #[bench::inline_short(stringify!($workload), "inline", UNITS[0])]
            #[bench::inline_long(stringify!($workload), "inline", UNITS[1])]
            #[bench::flag_short(stringify!($workload), "flag", UNITS[0])]
            #[bench::flag_long(stringify!($workload), "flag", UNITS[1])]
            #[bench::table_short(stringify!($workload), "table", UNITS[0])]
            #[bench::table_long(stringify!($workload), "table", UNITS[1])]
            #[bench::dyn_short(stringify!($workload), "dyn", UNITS[0])]
            #[bench::dyn_long(stringify!($workload), "dyn", UNITS[1])]
            fn $workload(mut work: PreparedWorkload) -> PreparedWorkload {
                // Ignored: the set-up ran the same units on the same machine without an error.
                let _ = black_box((work.run)(&mut work.machine, SEED, work.units, Clock::Tsc));
                work
            }
        )*
        library_benchmark_group!(name = units; benchmarks = $($workload),*);
    };
}

workloads! { mmap_perf, fork_exit, context_switch, null_syscall }

/// The names of these workloads.
const WORKLOADS: [&str; 4] = ["mmap_perf", "fork_exit", "context_switch", "null_syscall"];

/// Seed of the workloads.
const SEED: u64 = 1;

/// iai-callgrind's own `main`, in a module of its own, since this file has another one.
mod runner {
    use super::{throughput, units};
    iai_callgrind::main!(
        config = super::LibraryBenchmarkConfig::default();
        library_benchmark_groups = throughput, units
    );
    pub fn run() {
        main();
    }
}

fn main() {
    // `cargo test --benches` starts benches, too; this one has nothing to test.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let inside = std::env::args().any(|arg| arg.starts_with("--iai-run"));
    if !inside && let Some(missing) = ["valgrind", "iai-callgrind-runner"].into_iter().find(|tool| !on_path(tool)) {
        eprintln!("instructions: skipped, since {missing} is not on the PATH; run scripts/setup.sh");
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

/// Prints instructions per op and per unit: the difference of the counts at two lengths, by that of the lengths.
fn print_differences() {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new("target").to_owned(), Into::into);
    let folder = target.join("iai").join(env!("CARGO_PKG_NAME")).join("instructions").join("runner");
    println!("\ninstructions per op (loop included), regime throughput, and above inline:");
    print_group(&folder.join("throughput"), &OPS, (LENGTHS[1] - LENGTHS[0]) * SITES);
    println!("\ninstructions per unit of a workload, and above inline:");
    print_group(&folder.join("units"), &WORKLOADS, (UNITS[1] - UNITS[0]) * (1 + PARTS as u64));
}

fn print_group(folder: &Path, names: &[&str], between: u64) {
    for name in names {
        let mut inline = None;
        for mechanism in suite::mechanisms() {
            let counted = |length: &str| read_instructions(folder, name, &format!("{}_{length}", mechanism.name));
            let (Some(short), Some(long)) = (counted("short"), counted("long")) else { continue };
            let each = (long as f64 - short as f64) / between as f64;
            let inline = *inline.get_or_insert(each);
            println!("{name:16} {:14} {each:10.3} {:+10.3}", mechanism.name, each - inline);
        }
        if inline.is_none() {
            println!("{name:16} not counted: there is no callgrind output in {}", folder.display());
        }
    }
}

/// Total instructions of one benchmark, from the `summary:` or `totals:` line of its callgrind output.
fn read_instructions(folder: &Path, op: &str, bench: &str) -> Option<u64> {
    let path = folder.join(format!("{op}.{bench}")).join(format!("callgrind.{op}.{bench}.out"));
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")))?;
    line.split_whitespace().next()?.parse().ok()
}
