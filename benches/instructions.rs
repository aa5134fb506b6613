//! Exact instructions per op and per unit of a workload, counted by callgrind through iai-callgrind: the difference of
//! two lengths of every loop.
//!
//! Needs valgrind and iai-callgrind-runner (`scripts/setup.sh` installs both). If one is missing, this bench prints a
//! line and succeeds, so that `cargo bench` continues.
//!
//! It counts with a few mechanisms that decide; `PVBENCH_BENCH=all` adds the rest. Its options are those of every bench
//! target: filters, `--list`, `--test`. Criterion's other options have no effect. iai-callgrind's own options pass if
//! their value follows `=` (`--tools=dhat`) and criterion has none of that name.

#[path = "instructions/arguments.rs"]
mod arguments;
#[expect(dead_code, reason = "the mechanisms of each group are listed below, for the attributes of iai-callgrind")]
mod selection;
#[path = "instructions/tools.rs"]
mod tools;
#[path = "instructions/totals.rs"]
mod totals;

use std::hint::black_box;
use std::process::ExitCode;

use iai_callgrind::{library_benchmark, library_benchmark_group};
use pvbench::clock::Clock;
use pvbench::kernel::Machine;
use pvbench::op::{BodyKind, CpuModel};
use pvbench::pv_ops::workload_entries;
use pvbench::regime::{Loop, Regime, SITES};
use pvbench::workload::{PARTS, Run};

/// Passes of the short and the long run.
const PASSES: [u64; 2] = [10, 110];
/// Units per part of a short and of a long run.
const UNITS: [u64; 2] = [8, 16];
/// Seed of the workloads.
const SEED: u64 = 1;

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

/// Runs a prepared loop. It is inlined into the function that callgrind counts.
#[inline(always)]
fn run_loop(prepared: PreparedLoop) -> PreparedLoop {
    // SAFETY: the op's own arguments, for the CPU model installed on this thread; passes >= 1.
    black_box(unsafe { (prepared.measured)(&raw const prepared.args, prepared.passes) });
    prepared
}

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

/// Runs a prepared workload. It is inlined into the function that callgrind counts.
#[inline(always)]
fn run_workload(mut work: PreparedWorkload) -> PreparedWorkload {
    // Ignored: the set-up ran the same units on the same machine without an error.
    let _ = black_box((work.run)(&mut work.machine, SEED, work.units, Clock::Tsc));
    work
}

/// An op in throughput, or a workload.
struct Subject {
    name: &'static str,
    /// The mechanisms that decide, then the others.
    mechanisms: [&'static [&'static str]; 2],
    /// Ops or units between a short and a long run.
    between: u64,
    /// Counts under callgrind with the mechanisms that decide. It ends the process if that fails.
    count_deciding: fn(),
    /// The same with all mechanisms.
    count_all: fn(),
    /// Prepares and runs the subject once with a mechanism, without callgrind.
    run_once: fn(&str, &str),
}

/// Declares the benchmark function of a subject with some mechanisms, and its group. Every mechanism has two
/// benchmarks: a short and a long run.
macro_rules! counted {
    ($group:ident, $function:ident, $subject:ident, $setup:ident, $run:ident, $Prepared:ident, $lengths:ident,
     ($($mechanism:ident $short:ident $long:ident),*)) => {
        #[library_benchmark(setup = $setup)]
        $(
            #[bench::$short(stringify!($subject), stringify!($mechanism), $lengths[0])]
            #[bench::$long(stringify!($subject), stringify!($mechanism), $lengths[1])]
        )*
        fn $function(prepared: $Prepared) -> $Prepared {
            $run(prepared)
        }
        library_benchmark_group!(name = $group; benchmarks = $function);
    };
}

/// The names in a list of mechanisms.
macro_rules! names {
    (($($mechanism:ident $short:ident $long:ident),*)) => {
        &[$(stringify!($mechanism)),*]
    };
}

/// Declares subjects of one kind: a module each, with a group of the mechanisms that decide and a group of the others,
/// and with iai-callgrind's own `main` for the first group and for both.
macro_rules! subjects {
    ($table:ident: $setup:ident, $run:ident, $Prepared:ident, $lengths:ident by $ops:expr;
     $deciding:tt; $others:tt; $($subject:ident),*) => {
        $(
            mod $subject {
                use super::{
                    $Prepared, $lengths, $run, $setup, Subject, black_box, library_benchmark, library_benchmark_group,
                };

                counted!(deciding, count, $subject, $setup, $run, $Prepared, $lengths, $deciding);
                counted!(others, count_others, $subject, $setup, $run, $Prepared, $lengths, $others);

                mod some {
                    use super::deciding;
                    iai_callgrind::main!(library_benchmark_groups = deciding);
                    pub fn run() {
                        main();
                    }
                }

                mod all {
                    use super::{deciding, others};
                    iai_callgrind::main!(library_benchmark_groups = deciding, others);
                    pub fn run() {
                        main();
                    }
                }

                pub const SUBJECT: Subject = Subject {
                    name: stringify!($subject),
                    mechanisms: [names!($deciding), names!($others)],
                    between: ($lengths[1] - $lengths[0]) * $ops,
                    count_deciding: some::run,
                    count_all: all::run,
                    run_once: |subject, mechanism| {
                        black_box($run($setup(subject, mechanism, 1)));
                    },
                };
            }
        )*
        /// The subjects in the order of the output.
        const $table: &[Subject] = &[$($subject::SUBJECT),*];
    };
}

// Ops of four shapes: a real instruction, a modelled one, an identity, a store.
subjects! {
    LOOPS: prepare_loop, run_loop, PreparedLoop, PASSES by super::SITES;
    (inline inline_short inline_long, flag flag_short flag_long, direct direct_short direct_long,
     table table_short table_long, dyn dyn_short dyn_long);
    (inline_clobber inline_clobber_short inline_clobber_long, enum enum_short enum_long,
     fn_pointer fn_pointer_short fn_pointer_long, once_lock once_lock_short once_lock_long,
     once_lock_dyn once_lock_dyn_short once_lock_dyn_long);
    save_fl, irq_disable, pte_val, set_pte
}

subjects! {
    WORKLOADS: prepare_workload, run_workload, PreparedWorkload, UNITS by (1 + super::PARTS as u64);
    (inline inline_short inline_long, table table_short table_long);
    (flag flag_short flag_long, dyn dyn_short dyn_long);
    mmap_perf, fork_exit, context_switch, null_syscall
}

fn main() -> ExitCode {
    let mut subjects = LOOPS.iter().chain(WORKLOADS);
    if let Some(counted) = arguments::counted_subject() {
        // This process runs under callgrind, or starts the runner.
        return match subjects.find(|subject| subject.name == counted.name) {
            Some(subject) => {
                let count = if counted.is_all { subject.count_all } else { subject.count_deciding };
                count();
                ExitCode::SUCCESS
            }
            None => {
                eprintln!("instructions: there is no benchmark '{}'; `--list` shows all", counted.name);
                ExitCode::from(2)
            }
        };
    }
    let workloads = workload_entries();
    let is_built = |subject: &&Subject| {
        !WORKLOADS.iter().any(|workload| workload.name == subject.name)
            || workloads.iter().any(|entry| entry.meta.name == subject.name)
    };
    arguments::run(&subjects.filter(is_built).collect::<Vec<_>>())
}
