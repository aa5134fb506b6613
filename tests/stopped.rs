//! What becomes of a run whose workers are stopped, or lose their CPU, in the middle.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pvbench::measure::worker::pin;
use pvbench::report::Report;

/// They share a CPU: one after the other.
static TURN: Mutex<()> = Mutex::new(());

/// A run of all mechanisms for one op, by twelve workers.
fn run(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
    command.args(["run", "--op", "pte_val", "--regime", "throughput", "--workers", "12", "--seed", "7", "--out"]);
    command.arg(out).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn report(out: &Path) -> Report {
    pvbench::report::read::report(&out.join("report.json")).unwrap()
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

/// That no cell moved by more than another hyperthread of the core moves it, which may come and go with the host: by a
/// third. A window with a stop in it would be off by a factor of hundreds.
fn agree(quiet: &Report, troubled: &Report) {
    assert!(troubled.run.complete && troubled.failures.is_empty(), "{:?}", troubled.failures);
    assert_eq!(quiet.cells.len(), troubled.cells.len());
    let mut apart = Vec::new();
    for (a, b) in quiet.cells.iter().zip(&troubled.cells) {
        let (Some(x), Some(y)) = (a.overhead, b.overhead) else { continue };
        let widths = (x.cycles.high - x.cycles.low + y.cycles.high - y.cycles.low) / 2.0;
        let allowed = widths.max((1.0 + x.cycles.estimate.abs()) / 3.0);
        if (x.cycles.estimate - y.cycles.estimate).abs() > allowed && a.modes.is_empty() && b.modes.is_empty() {
            apart.push(format!("{} {:?}: {:?} and {:?}", a.mechanism, a.state, x.cycles, y.cycles));
        }
    }
    // What one process's placement does to one cell in 18.
    assert!(apart.len() * 10 <= quiet.cells.len(), "{}", apart.join("\n"));
}

#[test]
fn workers_that_are_stopped_for_seconds_lose_rounds_and_no_accuracy() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let (quiet, troubled) = (folder.path().join("quiet"), folder.path().join("troubled"));
    assert!(run(&quiet).status().unwrap().success());
    let mut child = run(&troubled).spawn().unwrap();
    let mut stops = 0;
    while child.try_wait().unwrap().is_none() {
        let Some(worker) = worker_of(&child) else {
            pass(Duration::from_millis(1));
            continue;
        };
        send(worker, libc::SIGSTOP);
        stops += 1;
        pass(Duration::from_millis(if stops == 2 { 2000 } else { 20 }));
        send(worker, libc::SIGCONT);
        pass(Duration::from_millis(15));
    }
    assert!(stops >= 3, "stopped {stops} times only");
    agree(&report(&quiet), &report(&troubled));
    // Not every stop falls into a window.
    assert!(4 * dropped(&report(&troubled)) >= stops, "{} of {stops}", dropped(&report(&troubled)));
}

#[test]
fn bursts_in_which_another_process_takes_the_cpu_cost_rounds_and_no_accuracy() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let (quiet, troubled) = (folder.path().join("quiet"), folder.path().join("troubled"));
    assert!(run(&quiet).status().unwrap().success());
    let cpu = report(&quiet).run.plan.cpu.unwrap();
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
        let ran = run(&troubled).args(["--cpu", &cpu.to_string()]).status();
        over.store(true, Ordering::Relaxed);
        assert!(ran.unwrap().success());
    });
    agree(&report(&quiet), &report(&troubled));
    assert!(dropped(&report(&troubled)) > 0);
}
