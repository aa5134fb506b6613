//! How far a run is: a bar with the remaining time on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Plain lines come after each such share of the work.
const LINES: usize = 5;

/// Progress over a known number of steps, on standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    total: usize,
    done: usize,
    began: Instant,
    again: bool,
}

impl Progress {
    /// Begins. `NO_COLOR` and dumb terminals are indicatif's to respect.
    #[must_use]
    pub fn new(total: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {percent:>3}% measured, {msg}");
            ProgressBar::new(total as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Progress { bar, total, done: 0, began: Instant::now(), again: false }
    }

    /// One step is done.
    pub fn step(&mut self) {
        self.done += 1;
        if self.again {
            // How often is not known: until nothing is wanting, or the time is up.
            if let Some(bar) = &self.bar {
                bar.inc(1);
            }
            return;
        }
        let left = self.remaining();
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} s left", left.as_secs()));
            bar.inc(1);
            return;
        }
        let part = |done: usize| done * LINES / self.total.max(1);
        if part(self.done) > part(self.done - 1) {
            let percent = 100 * self.done / self.total.max(1);
            // Progress that nobody can see is no reason to stop measuring.
            let _ = writeln!(std::io::stderr(), "{percent:3}% measured, {} s left", left.as_secs());
        }
    }

    /// There are more steps than was said: disturbed groups are measured again.
    pub fn more(&mut self, steps: usize) {
        if let Some(bar) = &self.bar {
            bar.inc_length(steps as u64);
            bar.set_message("measuring again what was disturbed");
        } else if !self.again {
            // As with the other lines.
            let _ = writeln!(std::io::stderr(), "measuring again what was disturbed");
        }
        self.total += steps;
        self.again = true;
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

    /// What is left at the pace so far: steps are drawn in random order, so that those done are a fair sample.
    fn remaining(&self) -> Duration {
        let pace = self.began.elapsed().as_secs_f64() / self.done.max(1) as f64;
        Duration::from_secs_f64(pace * self.total.saturating_sub(self.done) as f64)
    }
}
