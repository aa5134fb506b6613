//! How far a run is: a bar with the remaining time on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Plain lines come after each such share of the work.
const LINES: usize = 5;

/// Progress through a known number of steps or a known time, on standard error.
pub struct Progress {
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
    /// Somebody else shows it.
    Hidden,
}

impl Progress {
    /// Begins, with so many steps to go.
    #[must_use]
    pub fn of_steps(steps: usize) -> Self {
        Self::new(Total::Steps(steps))
    }

    /// Begins, with so much time to spend; it may end earlier.
    #[must_use]
    pub fn of_time(time: Duration) -> Self {
        Self::new(Total::Time(time))
    }

    /// Begins, and shows nothing but notes.
    #[must_use]
    pub fn hidden() -> Self {
        Progress { bar: None, total: Total::Hidden, done: 0, lines: 0, began: Instant::now() }
    }

    /// `NO_COLOR` and dumb terminals are indicatif's to respect.
    fn new(total: Total) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {percent:>3}% measured, {msg}");
            ProgressBar::new(100).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Progress { bar, total, done: 0, lines: 0, began: Instant::now() }
    }

    /// One step is done.
    pub fn step(&mut self) {
        self.done += 1;
        let (share, left) = self.state();
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} s left", left.as_secs()));
            bar.set_position((share * 100.0) as u64);
            return;
        }
        let lines = (share * LINES as f64) as usize;
        if lines > self.lines {
            self.lines = lines;
            // Progress that nobody can see is no reason to stop measuring.
            let _ = writeln!(std::io::stderr(), "{:3.0}% measured, {} s left", share * 100.0, left.as_secs());
        }
    }

    /// A line beside the progress.
    pub fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| super::error::warn(line)),
            None => super::error::warn(line),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// The share that is done, and what is left.
    fn state(&self) -> (f64, Duration) {
        let elapsed = self.began.elapsed();
        match self.total {
            // Steps are drawn in random order, so that those done are a fair sample.
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
