//! Runs whose workers are stopped, or lose their CPU, in the middle.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pvbench::clock::Clock;
use pvbench::host::pin;
use pvbench::measure::comparison::Comparison;
use pvbench::measure::samples::LoopSamples;
use pvbench::measure::variant::{MechanismState, Treatments};
use pvbench::op::BodyKind;
use pvbench::regime::Regime;
use pvbench::report::Report;
use pvbench::run::protocol::{Assignment, Job, Samples, Target, WorkerLine};

/// A lock, since the tests measure on the same CPU.
static CPU_LOCK: Mutex<()> = Mutex::new(());

/// Largest number of pairs of an uncontended and a disturbed run, until both had the same core throughput.
const MAX_TRIES: usize = 4;

/// Largest difference between the median core throughputs of two runs that counts as the same, as a share.
const MAX_THROUGHPUT_DIFFERENCE: f64 = 0.02;

/// A run of all mechanisms for one op, by twelve workers.
fn run(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
    command.args(["run", "--op", "pte_val", "--regime", "throughput", "--workers", "12", "--seed", "7", "--out"]);
    command.arg(out).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Returns the current worker of a run, if there is one.
fn find_worker(run: &Child) -> Option<libc::pid_t> {
    let id = run.id();
    std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?.split_whitespace().next()?.parse().ok()
}

fn send(process: libc::pid_t, signal: libc::c_int) {
    // SAFETY: a signal to a process of this test. An ended one is an error without consequence: its parent lives as
    // long as this test and has not released its number.
    unsafe { libc::kill(process, signal) };
}

/// Lets time pass without taking part of the measured core, of which this may be the other hyperthread. The length of
/// the stop is what the test is about.
fn wait(time: Duration) {
    std::thread::sleep(time);
}

fn dropped(report: &Report) -> usize {
    let calibration = report.calibration.as_ref().unwrap();
    calibration.dropped_rounds + calibration.dropped_values
}

/// Median of the independent adds per cycle over a run.
fn median_throughput(report: &Report) -> f64 {
    report.calibration.as_ref().unwrap().adds_per_cycle.unwrap().median
}

/// Makes an uncontended run and a disturbed one, until both had the same core throughput. `check` examines every
/// disturbed report, with the result of `disturb`.
///
/// Another hyperthread of the core, perhaps of another guest, moves whole runs by a tenth. So only two runs with the
/// same core throughput show the effect of the disturbance. Standard error says where no two had it.
fn compare_with_uncontended<T>(disturb: impl Fn(&Report, Command) -> T, check: impl Fn(&Report, T)) {
    let _lock = CPU_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..MAX_TRIES {
        let folder = tempfile::tempdir().unwrap();
        let [uncontended, disturbed] = ["uncontended", "disturbed"].map(|name| folder.path().join(name));
        let report = |out: &Path| pvbench::report::read::report(&out.join("report.json")).unwrap();
        assert!(run(&uncontended).status().unwrap().success());
        let uncontended = report(&uncontended);
        let found = disturb(&uncontended, run(&disturbed));
        let disturbed = report(&disturbed);
        assert!(disturbed.run.complete && disturbed.failures.is_empty(), "{:?}", disturbed.failures);
        assert_eq!(uncontended.cells.len(), disturbed.cells.len());
        check(&disturbed, found);
        let [a, b] = [&uncontended, &disturbed].map(median_throughput);
        if (a / b - 1.0).abs() <= MAX_THROUGHPUT_DIFFERENCE {
            return assert_agreement(&uncontended, &disturbed);
        }
        eprintln!("the core throughput of the two runs was {a:.2} and {b:.2} adds per cycle");
    }
    eprintln!("skipped: the core was contended in all {MAX_TRIES} tries");
}

/// Asserts that no cell moved by more than its intervals and a hundredth of the op's cycles.
fn assert_agreement(uncontended: &Report, disturbed: &Report) {
    let mut moved = Vec::new();
    for (a, b) in uncontended.cells.iter().zip(&disturbed.cells) {
        let (Some(x), Some(y)) = (a.overhead, b.overhead) else { continue };
        let widths = (x.cycles.high - x.cycles.low + y.cycles.high - y.cycles.low) / 2.0;
        let allowed = widths.max((1.0 + x.cycles.estimate.abs()) / 100.0);
        if (x.cycles.estimate - y.cycles.estimate).abs() > allowed && a.modes.is_empty() && b.modes.is_empty() {
            moved.push(format!("{} {:?}: {:?} and {:?}", a.mechanism, a.state, x.cycles, y.cycles));
        }
    }
    // One process's placement moves one cell in 18.
    assert!(moved.len() * 10 <= uncontended.cells.len(), "{}", moved.join("\n"));
}

#[test]
fn workers_that_are_stopped_for_seconds_lose_rounds_but_no_accuracy() {
    let disturb = |_: &Report, mut command: Command| {
        let mut child = command.spawn().unwrap();
        let mut stops = 0;
        while child.try_wait().unwrap().is_none() {
            let Some(worker) = find_worker(&child) else {
                wait(Duration::from_millis(1));
                continue;
            };
            send(worker, libc::SIGSTOP);
            stops += 1;
            wait(Duration::from_millis(if stops == 5 { 2000 } else { 20 }));
            send(worker, libc::SIGCONT);
            wait(Duration::from_millis(10));
        }
        stops
    };
    compare_with_uncontended(disturb, |disturbed, stops| {
        assert!(stops > 10, "stopped only {stops} times");
        // Not every stop falls into a window.
        assert!(4 * dropped(disturbed) >= stops, "{} of {stops}", dropped(disturbed));
    });
}

#[test]
fn bursts_of_another_process_on_the_cpu_cost_rounds_but_no_accuracy() {
    let disturb = |uncontended: &Report, mut command: Command| {
        let cpu = uncontended.run.plan.cpu.unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(cpu).unwrap();
                while !over.load(Ordering::Relaxed) {
                    let burst = Instant::now();
                    while burst.elapsed() < Duration::from_millis(30) {
                        std::hint::spin_loop();
                    }
                    wait(Duration::from_millis(60));
                }
            });
            let ran = command.args(["--cpu", &cpu.to_string()]).status();
            over.store(true, Ordering::Relaxed);
            assert!(ran.unwrap().success());
        });
    };
    compare_with_uncontended(disturb, |disturbed, ()| assert!(dropped(disturbed) > 0));
}

/// Returns the samples of a worker that drops blocks with fewer adds per cycle than `min_adds_per_cycle`.
fn measure(min_adds_per_cycle: f64) -> Vec<LoopSamples> {
    let mut treatments = Treatments::default();
    let table = treatments.add_mechanisms([MechanismState::plain("table")]);
    let job = |offset| {
        let (op, body, regime) = ("pte_val".to_owned(), BodyKind::Native, Regime::Throughput);
        let target = Target::Comparison(Comparison { op, body, regime, offset });
        Job { target, treatments: table.clone(), blocks: 2, count: false }
    };
    let jobs = vec![job(0), job(29)];
    let assignment = Assignment {
        treatments,
        jobs,
        seed: 1,
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
        WorkerLine::Done(Samples::Loops(samples)) => Some(*samples),
        _ => None,
    });
    samples.collect()
}

#[test]
fn a_worker_waits_for_an_uncontended_core_and_then_measures_all_its_blocks() {
    let _lock = CPU_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    // No core reaches this throughput.
    let found = measure(1e9);
    // Interrupted loops may have added short blocks.
    assert!(found.len() == 2 && found.iter().all(|samples| samples.table.blocks.len() >= 2), "{found:?}");
    let dropped: Vec<usize> = found.iter().map(|samples| samples.dropped).collect();
    assert!(dropped[0] > 8 && dropped[1] <= 8, "its time to wait ends: {dropped:?} dropped");
    // Every core reaches this one.
    let found = measure(0.0);
    assert!(found.len() == 2 && found.iter().all(|samples| samples.dropped <= 8), "the worker has no reason to wait");
}
