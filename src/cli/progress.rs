//! Progress of a run: a bar with the remaining time on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::run::plan::{Plan, Workers};
use crate::run::session::Progress;

/// Number of plain lines over the whole run.
const MAX_LINES: usize = 5;

/// Progress through a known number of steps or a known time, on standard error.
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    total: Total,
    done: usize,
    /// Plain lines written so far.
    lines: usize,
    began: Instant,
}

#[derive(Clone, Copy)]
enum Total {
    Steps(usize),
    Time(Duration),
    /// Another instance shows the progress.
    Hidden,
}

impl ProgressLine {
    /// Begins the progress of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        match plan.workers() {
            Workers::Exactly(workers) => {
                Self::with_steps((plan.matrix.comparisons.len() + plan.work.workloads.len()) * workers)
            }
            Workers::Within(time) => Self::with_time(time),
        }
    }

    /// Begins the progress of a known number of steps.
    #[must_use]
    pub fn with_steps(steps: usize) -> Self {
        Self::new(Total::Steps(steps))
    }

    /// Begins the progress of a known time; the run may end earlier.
    #[must_use]
    pub fn with_time(time: Duration) -> Self {
        Self::new(Total::Time(time))
    }

    /// Begins without display; only notes are shown.
    #[must_use]
    pub fn hidden() -> Self {
        ProgressLine { bar: None, total: Total::Hidden, done: 0, lines: 0, began: Instant::now() }
    }

    /// indicatif itself respects `NO_COLOR` and dumb terminals.
    fn new(total: Total) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {percent:>3}% measured, {msg}");
            ProgressBar::new(100).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        ProgressLine { bar, total, done: 0, lines: 0, began: Instant::now() }
    }

    /// Estimates the finished share (0 to 1) and the remaining time.
    fn estimate(&self) -> (f64, Duration) {
        let elapsed = self.began.elapsed();
        match self.total {
            // Steps run in random order, so finished ones are a fair sample of all.
            Total::Steps(steps) => {
                let share = self.done.min(steps) as f64 / steps.max(1) as f64;
                (share, elapsed.mul_f64((1.0 / share.max(1e-9) - 1.0).min(1e6)))
            }
            Total::Hidden => (0.0, Duration::ZERO),
            Total::Time(time) => {
                let share = elapsed.as_secs_f64() / time.as_secs_f64().max(1e-9);
                (share.min(1.0), time.saturating_sub(elapsed))
            }
        }
    }
}

impl Progress for ProgressLine {
    fn step(&mut self) {
        self.done += 1;
        let (share, left) = self.estimate();
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} s left", left.as_secs()));
            bar.set_position((share * 100.0) as u64);
            return;
        }
        let lines = (share * MAX_LINES as f64) as usize;
        if lines > self.lines {
            self.lines = lines;
            // A closed standard error must not stop the measurement.
            let _ = writeln!(std::io::stderr(), "{:3.0}% measured, {} s left", share * 100.0, left.as_secs());
        }
    }

    fn note(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| super::error::warn(line)),
            None => super::error::warn(line),
        }
    }

    fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
