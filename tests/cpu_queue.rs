//! Workers of workloads on two CPUs at a time; one CPU also has workers of ops.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pvbench::clock::Clock;
use pvbench::measure::comparison::{Comparison, Matrix};
use pvbench::measure::variant::MechanismState;
use pvbench::op::BodyKind;
use pvbench::regime::Regime;
use pvbench::run::plan::{Effort, Plan, Preset, Workers, WorkloadPlan};
use pvbench::run::process::{ParentError, Processes};
use pvbench::run::protocol::{Samples, Target};
use pvbench::run::scheduler;
use pvbench::run::sink::{Sink, WorkerFailure};

const WORKERS: usize = 5;

/// The results that arrived.
#[derive(Default)]
struct Seen {
    /// Numbers of the workers, with their units per part of a run.
    worked: Vec<(usize, u64)>,
    failures: Vec<WorkerFailure>,
    /// Number of workers that measured the comparison.
    comparisons: usize,
}

impl Sink for Seen {
    fn samples(&mut self, worker: usize, _: &Target, samples: Samples, _: &[u8]) {
        match samples {
            Samples::Loops(_) => self.comparisons += 1,
            Samples::Workload(samples) => self.worked.push((worker, samples.units)),
        }
    }

    fn failed(&mut self, failure: WorkerFailure) {
        self.failures.push(failure);
    }
}

/// Runs five workers for `comparisons`, and five for a workload on up to two CPUs, started by `command`.
fn run(
    comparisons: Vec<Comparison>,
    command: &(dyn Fn() -> Command + Sync),
    stop: bool,
) -> (Result<bool, ParentError>, Seen) {
    let mut matrix = Matrix::default();
    let kernels = matrix.treatments.add_mechanisms([MechanismState::plain("table")]);
    matrix.plan(comparisons, &kernels);
    let effort = |blocks| Effort { workers: Workers::Exactly(WORKERS), blocks };
    let plan = Plan {
        preset: Preset::Quick,
        seed: 7,
        matrix,
        effort: effort(1),
        work: WorkloadPlan { workloads: vec!["mmap_perf".to_owned()], kernels, effort: effort(2) },
        window_cycles: 100_000,
        cpu: None,
        second_cpu: pvbench::host::another_cpu().or(Some(0)),
        clock: Clock::Tsc,
    };
    let mut seen = Seen::default();
    let whole = scheduler::run(&plan, Processes { command, stop: &AtomicBool::new(stop) }, false, &mut seen);
    (whole, seen)
}

fn worker() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
    command.arg("worker");
    command
}

#[test]
fn every_worker_measures_the_units_of_the_first_on_either_cpu() {
    let (whole, mut seen) = run(Vec::new(), &worker, false);
    assert!(whole.unwrap() && seen.failures.is_empty(), "{:?}", seen.failures);
    seen.worked.sort_unstable();
    let numbers: Vec<usize> = seen.worked.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..WORKERS).collect::<Vec<_>>());
    assert!(seen.worked.iter().all(|(_, units)| *units == seen.worked[0].1), "{:?}", seen.worked);
}

#[test]
fn ops_and_workloads_at_the_same_time_are_measured_by_all_of_their_workers() {
    let comparison =
        Comparison { op: "pte_val".to_owned(), body: BodyKind::Native, regime: Regime::Throughput, offset: 0 };
    let (whole, seen) = run(vec![comparison], &worker, false);
    assert!(whole.unwrap() && seen.failures.is_empty(), "{:?}", seen.failures);
    assert_eq!((seen.comparisons, seen.worked.len()), (WORKERS, WORKERS));
}

#[test]
fn a_worker_that_dies_on_one_cpu_is_reported_and_the_others_continue() {
    let started = AtomicUsize::new(0);
    let (whole, mut seen) = run(
        Vec::new(),
        &|| match started.fetch_add(1, Ordering::Relaxed) {
            2 => Command::new("false"),
            _ => worker(),
        },
        false,
    );
    assert!(whole.unwrap());
    let [failure] = &seen.failures[..] else { panic!("{:?}", seen.failures) };
    assert!(failure.failure.message.contains("exit code 1"), "{failure:?}");
    seen.worked.sort_unstable();
    let numbers: Vec<usize> = seen.worked.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..WORKERS).collect::<Vec<_>>(), "the worker was restarted");
}

#[test]
fn a_run_that_is_stopped_or_cannot_start_workers_ends_on_both_cpus() {
    let (whole, seen) = run(Vec::new(), &worker, true);
    assert!(!whole.unwrap() && seen.worked.is_empty());
    let started = AtomicUsize::new(0);
    let (failed, seen) = run(
        Vec::new(),
        &|| match started.fetch_add(1, Ordering::Relaxed) {
            0 => worker(),
            _ => Command::new("/nonexistent/worker"),
        },
        false,
    );
    assert!(matches!(failed, Err(ParentError::Spawn { .. })), "{failed:?}");
    assert_eq!(seen.worked.len(), 1);
}
