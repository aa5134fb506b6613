//! Progress of a run: phase, what is measured, and the remaining time. A terminal has one line, which is rewritten; a
//! log gets a line every ten seconds. Plain ASCII, for terminals and logs of any locale.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::run::plan::{Plan, Workers};
use crate::run::session::{Phase, Progress};

/// Interval between lines of a log. At half of it a run of three minutes has 36 lines; at twice the time a reader
/// wonders whether the run hangs.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Interval between updates on a terminal: the remaining time is in seconds.
const TERMINAL_INTERVAL: Duration = Duration::from_secs(1);

/// Time for which a phase is shown after its last job, if another phase has a later one. Jobs of workloads take up to
/// this time; at half of it the phase would vanish between them.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// Width of a terminal from which there is room for a bar.
const MIN_COLUMNS_FOR_BAR: u16 = 90;

/// Progress through a known number of steps or a known time, on standard error. It has no thread of its own: where the
/// system allows two processes only, the worker is the second.
pub(crate) struct ProgressLine {
    bar: Option<ProgressBar>,
    total: Total,
    began: Instant,
    /// Time of the last line.
    shown: Option<Instant>,
    done: usize,
    /// The phases that have begun, each with its last job.
    phases: Vec<Running>,
}

#[derive(Clone, Copy)]
enum Total {
    Steps(usize),
    Time(Duration),
    /// Another instance shows the progress.
    Hidden,
}

/// A phase, and its last job.
struct Running {
    phase: String,
    job: String,
    at: Instant,
}

impl ProgressLine {
    /// The progress of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self::new(match plan.workers() {
            Workers::Exactly(workers) => {
                Total::Steps((plan.matrix.comparisons.len() + plan.work.workloads.len()) * workers)
            }
            Workers::Within(time) => Total::Time(time),
        })
    }

    /// The progress of a known number of steps.
    #[must_use]
    pub(crate) fn with_steps(steps: usize) -> Self {
        Self::new(Total::Steps(steps))
    }

    /// No display; only notes are shown.
    #[must_use]
    pub fn hidden() -> Self {
        Self::new(Total::Hidden)
    }

    fn new(total: Total) -> Self {
        let is_bar = !matches!(total, Total::Hidden) && std::io::stderr().is_terminal();
        let bar = is_bar.then(make_bar);
        ProgressLine { bar, total, began: Instant::now(), shown: None, done: 0, phases: Vec::new() }
    }

    /// Counts a finished job, and shows it with its phase.
    pub(crate) fn advance(&mut self, phase: String, job: String) {
        self.done += 1;
        let running = Running { phase, job, at: Instant::now() };
        // The number in a phase may change.
        let kind = |phase: &str| phase.split(" (").next().map(str::to_owned);
        match self.phases.iter_mut().find(|other| kind(&other.phase) == kind(&running.phase)) {
            Some(same) => *same = running,
            None => self.phases.push(running),
        }
        self.tick();
    }

    fn show(&mut self, now: Instant) {
        self.shown = Some(now);
        let Some((percent, line)) = self.describe(now) else { return };
        match &self.bar {
            Some(bar) => {
                bar.set_position(percent);
                bar.set_message(line);
            }
            // A closed standard error must not stop the measurement.
            None => drop(std::io::stderr().write_all(format!("{line}\n").as_bytes())),
        }
    }

    /// Returns the finished share in percent, and the line; nothing if another instance shows the progress.
    fn describe(&self, now: Instant) -> Option<(u64, String)> {
        let elapsed = now.saturating_duration_since(self.began);
        let (share, left) = match self.total {
            Total::Hidden => return None,
            // Steps run in random order, so finished ones are a fair sample of all.
            Total::Steps(steps) => {
                let share = self.done.min(steps) as f64 / steps.max(1) as f64;
                (share, (self.done > 0).then(|| elapsed.mul_f64((1.0 / share.max(1e-9) - 1.0).clamp(0.0, 1e6))))
            }
            Total::Time(time) => {
                let share = elapsed.as_secs_f64() / time.as_secs_f64().max(1e-9);
                (share.min(1.0), Some(time.saturating_sub(elapsed)))
            }
        };
        let left = left.map_or_else(|| "time unknown".to_owned(), |left| format!("{} left", format_time(left)));
        let percent = (share * 100.0) as u64;
        Some((percent, format!("{percent}% measured, {left}; {}", self.describe_phases(now))))
    }

    /// Names the phases that run, each with its last job. Two CPUs may have a phase each.
    fn describe_phases(&self, now: Instant) -> String {
        let latest = self.phases.iter().map(|running| running.at).max();
        let is_shown =
            |running: &&Running| Some(running.at) == latest || now.saturating_duration_since(running.at) < MAX_SILENCE;
        let name = |running: &Running| match running.job.as_str() {
            "" => running.phase.clone(),
            job => format!("{}: {job}", running.phase),
        };
        let shown: Vec<String> = self.phases.iter().filter(is_shown).map(name).collect();
        if shown.is_empty() { "starting".to_owned() } else { shown.join("; ") }
    }
}

/// indicatif itself respects `NO_COLOR` and dumb terminals. A message wider than the terminal is cut.
fn make_bar() -> ProgressBar {
    let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| size.ws_col);
    let template = if columns < MIN_COLUMNS_FOR_BAR { "{wide_msg}" } else { "[{bar:20}] {wide_msg}" };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(100).with_style(style.progress_chars("=> "))
}

impl Progress for ProgressLine {
    fn begin(&mut self) {
        self.began = Instant::now();
        self.show(self.began);
    }

    fn tick(&mut self) {
        let interval = if self.bar.is_some() { TERMINAL_INTERVAL } else { LOG_INTERVAL };
        let now = Instant::now();
        if self.shown.is_none_or(|shown| now.saturating_duration_since(shown) >= interval) {
            self.show(now);
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phases = vec![Running { phase: phase.to_string(), job: String::new(), at: Instant::now() }];
        if self.bar.is_some() {
            self.show(Instant::now());
        }
    }

    fn step(&mut self, phase: Phase, job: String) {
        self.advance(phase.to_string(), job);
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

/// Formats a time as `95 s`, or `3 min 20 s` from two minutes on.
fn format_time(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(total: Total, done: usize, phases: &[(&str, &str, u64)], now: Instant) -> ProgressLine {
        let running = |(phase, job, ago): &(&str, &str, u64)| Running {
            phase: (*phase).to_owned(),
            job: (*job).to_owned(),
            at: now - Duration::from_secs(*ago),
        };
        let phases = phases.iter().map(running).collect();
        ProgressLine { bar: None, total, began: now - Duration::from_secs(30), shown: None, done, phases }
    }

    #[test]
    fn the_line_has_the_remaining_time_and_the_phases_with_a_recent_job() {
        let now = Instant::now() + Duration::from_secs(60);
        let line = |done, total, phases: &[_]| progress(total, done, phases, now).describe(now).unwrap().1;
        let time = Total::Time(Duration::from_secs(180));
        assert_eq!(line(0, time, &[]), "16% measured, 2 min 30 s left; starting");
        let both = [("cells", "pte_val latency", 4), ("workloads", "mmap_perf", 1)];
        let shown = "16% measured, 2 min 30 s left; cells: pte_val latency; workloads: mmap_perf";
        assert_eq!(line(0, time, &both), shown);
        let one = [("cells", "pte_val latency", 20), ("workloads", "mmap_perf", 19)];
        assert_eq!(line(0, time, &one), "16% measured, 2 min 30 s left; workloads: mmap_perf");
        assert_eq!(line(0, Total::Steps(4), &[]), "0% measured, time unknown; starting");
        assert_eq!(line(1, Total::Steps(4), &[("report", "", 0)]), "25% measured, 90 s left; report");
        assert_eq!(line(9, Total::Steps(4), &[]), "100% measured, 0 s left; starting");
        // The percentage and the time are in the first 40 columns.
        assert!(shown.find(';').is_some_and(|end| end < 40));
        assert!(shown.is_ascii());
    }
}
