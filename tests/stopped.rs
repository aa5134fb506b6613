//! What becomes of a run whose workers are stopped, or lose their CPU, in the middle.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pvbench::clock::Clock;
use pvbench::host::pin;
use pvbench::measure::plan::{Comparison, Variant};
use pvbench::measure::wire::{Assignment, GroupSamples, Task, WorkerLine};
use pvbench::op::BodyKind;
use pvbench::regime::Regime;
use pvbench::report::Report;

/// They share a CPU: one after the other.
static TURN: Mutex<()> = Mutex::new(());

/// How often a quiet and a troubled run are made until both had as much of the core.
const TRIES: usize = 4;

/// As much of the core: the medians of what it gave differ by no more than this share.
const AS_MUCH: f64 = 0.02;

/// A run of all mechanisms for one op, by twelve workers.
fn run(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
    command.args(["run", "--op", "pte_val", "--regime", "throughput", "--workers", "12", "--seed", "7", "--out"]);
    command.arg(out).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The worker that a run has now, if it has one.
fn worker_of(run: &Child) -> Option<libc::pid_t> {
    let id = run.id();
    std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?.split_whitespace().next()?.parse().ok()
}

fn send(process: libc::pid_t, signal: libc::c_int) {
    // SAFETY: a signal to a process of this test; one that has ended meanwhile is an error without consequence, since
    // its parent, which runs as long as this, has not let its number go before.
    unsafe { libc::kill(process, signal) };
}

/// Lets time pass without taking part of the core that is measured on, whose other hyperthread this may be: how long a
/// process is stopped is what is tested.
fn pass(time: Duration) {
    std::thread::sleep(time);
}

fn dropped(report: &Report) -> usize {
    let calibration = report.calibration.as_ref().unwrap();
    calibration.dropped_rounds + calibration.dropped_values
}

/// Independent adds per cycle: the median over a run.
fn capacity(report: &Report) -> f64 {
    report.calibration.as_ref().unwrap().adds_per_cycle.unwrap().estimate
}

/// Makes a quiet run and one with trouble, until both had as much of the core; `told` looks at every troubled report
/// and at what the trouble returned.
///
/// Another hyperthread of the core, perhaps of another guest of the host, moves whole runs by a tenth: only two runs
/// that had as much of the core say what the trouble did to the numbers. Where no two did, standard error says so.
fn compared<T>(trouble: impl Fn(&Report, Command) -> T, told: impl Fn(&Report, T)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..TRIES {
        let folder = tempfile::tempdir().unwrap();
        let [quiet, troubled] = ["quiet", "troubled"].map(|name| folder.path().join(name));
        let report = |out: &Path| pvbench::report::read::report(&out.join("report.json")).unwrap();
        assert!(run(&quiet).status().unwrap().success());
        let quiet = report(&quiet);
        let found = trouble(&quiet, run(&troubled));
        let troubled = report(&troubled);
        assert!(troubled.run.complete && troubled.failures.is_empty(), "{:?}", troubled.failures);
        assert_eq!(quiet.cells.len(), troubled.cells.len());
        told(&troubled, found);
        let [a, b] = [&quiet, &troubled].map(capacity);
        if (a / b - 1.0).abs() <= AS_MUCH {
            return agree(&quiet, &troubled);
        }
        eprintln!("the core gave {a:.2} and {b:.2} adds per cycle to the two runs");
    }
    eprintln!("skipped: something else had part of the core in all of {TRIES} tries");
}

/// That no cell moved by more than its intervals and a hundredth of what the op takes.
fn agree(quiet: &Report, troubled: &Report) {
    let mut apart = Vec::new();
    for (a, b) in quiet.cells.iter().zip(&troubled.cells) {
        let (Some(x), Some(y)) = (a.overhead, b.overhead) else { continue };
        let widths = (x.cycles.high - x.cycles.low + y.cycles.high - y.cycles.low) / 2.0;
        let allowed = widths.max((1.0 + x.cycles.estimate.abs()) / 100.0);
        if (x.cycles.estimate - y.cycles.estimate).abs() > allowed && a.modes.is_empty() && b.modes.is_empty() {
            apart.push(format!("{} {:?}: {:?} and {:?}", a.mechanism, a.state, x.cycles, y.cycles));
        }
    }
    // What one process's placement does to one cell in 18.
    assert!(apart.len() * 10 <= quiet.cells.len(), "{}", apart.join("\n"));
}

#[test]
fn workers_that_are_stopped_for_seconds_lose_rounds_and_no_accuracy() {
    let trouble = |_: &Report, mut command: Command| {
        let mut child = command.spawn().unwrap();
        let mut stops = 0;
        while child.try_wait().unwrap().is_none() {
            let Some(worker) = worker_of(&child) else {
                pass(Duration::from_millis(1));
                continue;
            };
            send(worker, libc::SIGSTOP);
            stops += 1;
            pass(Duration::from_millis(if stops == 5 { 2000 } else { 20 }));
            send(worker, libc::SIGCONT);
            pass(Duration::from_millis(10));
        }
        stops
    };
    compared(trouble, |troubled, stops| {
        assert!(stops > 10, "stopped {stops} times only");
        // Not every stop falls into a window.
        assert!(4 * dropped(troubled) >= stops, "{} of {stops}", dropped(troubled));
    });
}

#[test]
fn bursts_in_which_another_process_takes_the_cpu_cost_rounds_and_no_accuracy() {
    let trouble = |quiet: &Report, mut command: Command| {
        let cpu = quiet.run.plan.cpu.unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(cpu).unwrap();
                while !over.load(Ordering::Relaxed) {
                    let burst = Instant::now();
                    while burst.elapsed() < Duration::from_millis(30) {
                        std::hint::spin_loop();
                    }
                    pass(Duration::from_millis(60));
                }
            });
            let ran = command.args(["--cpu", &cpu.to_string()]).status();
            over.store(true, Ordering::Relaxed);
            assert!(ran.unwrap().success());
        });
    };
    compared(trouble, |troubled, ()| assert!(dropped(troubled) > 0));
}

/// What a worker finds that takes rounds with fewer adds per cycle than `min_adds_per_cycle` for disturbed.
fn worked(min_adds_per_cycle: f64) -> Vec<GroupSamples> {
    let task = |offset| Task {
        comparison: Comparison { op: "pte_val".to_owned(), body: BodyKind::Native, regime: Regime::Throughput, offset },
        rounds: 2,
        variants: None,
        count: false,
    };
    let assignment = Assignment {
        seed: 1,
        tasks: vec![task(0), task(29)],
        variants: vec![Variant { mechanism: "table".to_owned(), state: None }],
        work: Vec::new(),
        kernels: Vec::new(),
        window_cycles: 10_000,
        cpu: None,
        clock: Clock::Tsc,
        min_adds_per_cycle,
        counters: false,
        instructions: false,
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
    let mut worker = command.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let line = serde_json::to_string(&assignment).unwrap() + "\n";
    worker.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    let output = worker.wait_with_output().unwrap();
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let samples = lines.filter_map(|line| match serde_json::from_slice(line).unwrap() {
        WorkerLine::Done(samples) => Some(*samples),
        _ => None,
    });
    samples.collect()
}

#[test]
fn a_worker_waits_for_a_core_of_its_own_and_measures_in_the_end_what_it_is_asked_for() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // No core gives so many adds.
    let found = worked(1e9);
    // Short ones may have been made of what was interrupted.
    assert!(found.len() == 2 && found.iter().all(|samples| samples.rounds.len() >= 2), "{found:?}");
    let dropped: Vec<usize> = found.iter().map(|samples| samples.dropped).collect();
    assert!(dropped[0] > 8 && dropped[1] <= 8, "its patience ends: {dropped:?} dropped");
    // Any core does.
    let found = worked(0.0);
    assert!(found.len() == 2 && found.iter().all(|samples| samples.dropped <= 8), "no reason to wait");
}
