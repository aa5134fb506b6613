//! A report as plain text: the answer that a run prints at its end, and the tables of `pvbench show`.

mod answer;
mod cells;
mod kernel_time;
mod mechanisms;
mod notes;
pub(crate) mod width;
mod workloads;

pub use answer::answer;

use super::plots::grid::Grid;
use super::plots::number::clipped;
use super::schema::{Report, Unavailable};
use crate::host::Check;
use width::Lines;

/// Longest reason that is shown, in characters: five lines of a wide terminal. Longer ones are cut.
const MAX_REASON_CHARS: usize = 600;

/// A part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The answer of a run.
    Answer,
    /// Mechanisms over the ops, a table per regime.
    Mechanisms,
    /// Workloads on kernels with each mechanism and option.
    Workloads,
    /// A real kernel's hooks in percent of the running kernel's time.
    KernelTime,
    /// Floors of the regimes, and the core.
    Floors,
    /// Seed, conditions, what the report lacks, and failures.
    Notes,
    /// A line per cell.
    Cells,
}

impl Section {
    /// All sections, in their order in the text.
    pub const ALL: [Section; 7] = [
        Section::Answer,
        Section::Mechanisms,
        Section::KernelTime,
        Section::Workloads,
        Section::Floors,
        Section::Notes,
        Section::Cells,
    ];
    /// The sections that are small enough to be read as a whole.
    pub const TABLES: [Section; 5] =
        [Section::Mechanisms, Section::KernelTime, Section::Workloads, Section::Floors, Section::Notes];
}

/// Some sections of a report, below its warnings. `width` is that of the terminal in columns; without it lines are as
/// long as they need to be.
#[must_use]
pub fn show(report: &Report, sections: &[Section], width: Option<usize>) -> String {
    let mut lines = Lines::new(width);
    let mut text = String::new();
    if sections != [Section::Answer] {
        warnings(report).iter().for_each(|warning| lines.say(warning));
    }
    let grid = Grid::new(report);
    for section in Section::ALL.into_iter().filter(|section| sections.contains(section)) {
        match section {
            Section::Answer => {
                text.push_str(&std::mem::replace(&mut lines, Lines::new(width)).into_text());
                text.push_str(&answer(report, width));
            }
            Section::Mechanisms => mechanisms::add(report, &grid, &mut lines),
            Section::KernelTime => kernel_time::add(report, &mut lines),
            Section::Workloads => workloads::add(report, &mut lines),
            Section::Floors => notes::add_floors(report, &mut lines),
            Section::Notes => notes::add(report, &mut lines),
            Section::Cells => cells::add(report, &mut lines),
        }
    }
    text + &lines.into_text()
}

/// The sections that are small enough to be read as a whole.
#[must_use]
pub fn summary(report: &Report) -> String {
    show(report, &Section::TABLES, None)
}

/// What makes all numbers of a report doubtful, in a line each. It comes above the numbers.
fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if !report.run.complete {
        warnings.push("INCOMPLETE: part of the plan was not measured".to_owned());
    }
    if report.tool.build == "debug" {
        warnings.push("DEBUG BUILD: all times include debug assertions and overflow checks".to_owned());
    }
    if let Some(Check { detail, advice, .. }) = report.unoptimised() {
        let advice = advice.as_deref().map_or_else(String::new, |advice| format!("; {}", reason(advice)));
        warnings.push(format!("UNOPTIMISED: {}{advice}", reason(detail)));
    }
    // `inline` is not a valid baseline for the ops in question.
    let baselines = report.absent.iter().filter(|absence| absence.is_of_baseline());
    warnings.extend(baselines.map(|absence| format!("WARNING: {}", describe_absence(absence))));
    warnings
}

fn describe_absence(absence: &Unavailable) -> String {
    format!("no {}: {}", clipped(&absence.what, MAX_REASON_CHARS), reason(&absence.reason))
}

/// A text of the report, safe to show.
fn reason(text: &str) -> String {
    clipped(text, MAX_REASON_CHARS)
}

/// A number with two digits after the point, scientific from a million on; never a negative zero.
fn fixed(value: f64) -> String {
    // A report may hold any finite number.
    let text = if value.abs() >= 1e6 { format!("{value:.2e}") } else { format!("{value:.2}") };
    if text.trim_start_matches('-').chars().all(|c| c == '0' || c == '.') { text.replace('-', "") } else { text }
}

/// A mark before a value that is not resolved.
fn mark(is_resolved: bool) -> &'static str {
    if is_resolved { "" } else { "~" }
}
