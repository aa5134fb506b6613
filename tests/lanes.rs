//! Workers of workloads on two CPUs at a time.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pvbench::measure::clock::Clock;
use pvbench::measure::parent::{Mishap, Observer, ParentError};
use pvbench::measure::plan::{Column, Group, Plan, Preset, Workers};
use pvbench::measure::wire::{GroupSamples, Task};
use pvbench::measure::work::{KernelColumn, WorkSamples};
use pvbench::measure::work_parent::{WorkPlan, run_workloads};

const WORKERS: usize = 5;

/// What came in.
#[derive(Default)]
struct Seen {
    /// Numbers of the workers, and the units they made a part of.
    worked: Vec<(usize, u64)>,
    mishaps: Vec<Mishap>,
    through: usize,
}

impl Observer for Seen {
    fn samples(&mut self, _: usize, _: &Group, _: GroupSamples) {}

    fn worked(&mut self, worker: usize, _: &str, samples: WorkSamples) {
        self.worked.push((worker, samples.units));
    }

    fn mishap(&mut self, mishap: Mishap) {
        self.mishaps.push(mishap);
    }

    fn through(&mut self) {
        self.through += 1;
    }

    fn wanting(&mut self) -> Vec<Task> {
        Vec::new()
    }

    fn again(&mut self, _: usize) {}
}

/// Five workers in two lanes, on whichever CPUs there are, started by `command`.
fn run(command: &(dyn Fn() -> Command + Sync), stop: bool) -> (Result<bool, ParentError>, Seen) {
    let table = Column { mechanism: "table".to_owned(), state: None };
    let plan = Plan {
        preset: Preset::Quick,
        seed: 7,
        groups: Vec::new(),
        columns: Vec::new(),
        only: Vec::new(),
        workers: Workers::Exactly(WORKERS),
        rounds: 1,
        window_cycles: 100_000,
        cpu: None,
        clock: Clock::Tsc,
    };
    let work = WorkPlan {
        workloads: vec!["mmap_perf".to_owned()],
        kernels: vec![KernelColumn::Mechanism(table)],
        workers: Workers::Exactly(WORKERS),
        rounds: 2,
        beside: pvbench::host::another_cpu().or(Some(0)),
    };
    let mut seen = Seen::default();
    let whole = run_workloads(&plan, &work, command, &AtomicBool::new(stop), &mut seen);
    (whole, seen)
}

fn worker() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
    command.arg("worker");
    command
}

#[test]
fn every_worker_does_as_much_as_the_first_whichever_lane_it_is_in() {
    let (whole, mut seen) = run(&worker, false);
    assert!(whole.unwrap() && seen.mishaps.is_empty(), "{:?}", seen.mishaps);
    seen.worked.sort_unstable();
    let numbers: Vec<usize> = seen.worked.iter().map(|(number, _)| *number).collect();
    assert_eq!((numbers, seen.through), ((0..WORKERS).collect(), WORKERS));
    assert!(seen.worked.iter().all(|(_, units)| *units == seen.worked[0].1), "{:?}", seen.worked);
}

#[test]
fn a_worker_that_dies_in_one_lane_is_noted_and_the_others_go_on() {
    let started = AtomicUsize::new(0);
    let (whole, mut seen) = run(
        &|| match started.fetch_add(1, Ordering::Relaxed) {
            2 => Command::new("false"),
            _ => worker(),
        },
        false,
    );
    assert!(whole.unwrap());
    let [mishap] = &seen.mishaps[..] else { panic!("{:?}", seen.mishaps) };
    assert!(mishap.message.contains("exit code 1"), "{mishap:?}");
    seen.worked.sort_unstable();
    let numbers: Vec<usize> = seen.worked.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..WORKERS).collect::<Vec<_>>(), "it had another life");
}

#[test]
fn a_run_that_is_stopped_or_cannot_start_workers_ends_in_both_lanes() {
    let (whole, seen) = run(&worker, true);
    assert!(!whole.unwrap() && seen.worked.is_empty());
    let started = AtomicUsize::new(0);
    let (failed, seen) = run(
        &|| match started.fetch_add(1, Ordering::Relaxed) {
            0 => worker(),
            _ => Command::new("/nonexistent/worker"),
        },
        false,
    );
    assert!(matches!(failed, Err(ParentError::Spawn { .. })), "{failed:?}");
    assert_eq!(seen.worked.len(), 1);
}
