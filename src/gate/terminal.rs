//! Verdicts and comparisons as tables for a terminal.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};

use super::compare::{Change, ReportComparison};
use super::left_out::MeasuredIn;
use super::verdict::{Judged, Outcome, Verdict};
use crate::stats::Interval;

/// Number of lines in a table without `--all`; further ones are counted.
const MAX_LINES: usize = 40;
/// Number of subjects that a line with a shared reason names.
const MAX_NAMED: usize = 2;

/// Formats the verdicts that do not pass, each with rule, interval, bound and floor; with `all` also those that pass.
#[must_use]
pub fn verdicts(judged: &Judged, all: bool) -> String {
    let mut text = String::new();
    let is_shown = |verdict: &&Verdict| all || !matches!(verdict.outcome, Outcome::Pass | Outcome::Skipped);
    let shown: Vec<&Verdict> = judged.verdicts.iter().filter(is_shown).collect();
    if !shown.is_empty() {
        let most = if all { usize::MAX } else { MAX_LINES };
        let mut table = make_table(&["verdict", "of", "measured", "interval", "bound", "floor", "rule"], &[2, 3, 4, 5]);
        for verdict in shown.iter().take(most) {
            let [measured, interval, bound, floor] = format_numbers(verdict);
            table.add_row([
                format_outcome(verdict),
                verdict.subject.clone(),
                measured,
                interval,
                bound,
                floor,
                format_rule(judged, verdict),
            ]);
        }
        add_line(&mut text, &format_table(&table));
        if shown.len() > most {
            add_line(&mut text, &format!(".. and {} more; --all or --json shows them", shown.len() - most));
        }
        for verdict in shown.iter().take(most) {
            if let Some(said) = format_remarks(verdict) {
                add_line(&mut text, &format!("{}: {said}", verdict.subject));
            }
        }
        add_line(&mut text, "");
    }
    for difference in &judged.differences {
        add_line(&mut text, &format!("another machine or tool: {difference}"));
    }
    if !all {
        add_skipped(judged, &mut text);
    }
    for fault in &judged.faults {
        add_line(&mut text, fault);
    }
    add_line(&mut text, &format!("{}: {}", result(judged), judged.summary()));
    text
}

/// Adds a line per reason for skipped verdicts on changes.
fn add_skipped(judged: &Judged, text: &mut String) {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let changes = judged.verdicts.iter().filter(|v| v.outcome == Outcome::Skipped && v.quantity.is_change());
    for verdict in changes {
        by_reason.entry(verdict.reason.as_deref().unwrap_or_default()).or_default().push(&verdict.subject);
    }
    for (reason, subjects) in by_reason {
        let more = if subjects.len() > MAX_NAMED { ", .." } else { "" };
        let names = subjects.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
        add_line(text, &format!("skipped: {} ({names}{more}): {reason}", subjects.len()));
    }
}

/// Returns the meaning of the exit code.
#[must_use]
pub fn result(judged: &Judged) -> &'static str {
    match judged.exit_code {
        0 => "kept",
        1 => "EXCEEDED",
        3 => "INCONCLUSIVE",
        _ => "THE MEASUREMENT FAILED",
    }
}

/// Formats a comparison: the changes in descending order, and everything that was not compared.
#[must_use]
pub fn comparison(comparison: &ReportComparison, all: bool) -> String {
    let mut text = String::new();
    let differs = |changed: &&Change| all || matches!(changed.outcome, Outcome::Fail | Outcome::Improved);
    let shown: Vec<&Change> = comparison.changed.iter().filter(differs).collect();
    if !shown.is_empty() {
        let mut table = make_table(&["", "of", "before", "after", "change", "interval", "floor"], &[2, 3, 4, 5, 6]);
        let most = if all { usize::MAX } else { MAX_LINES };
        for changed in shown.iter().take(most) {
            let Interval { estimate, low, high } = changed.change;
            let unit = changed.unit.name();
            table.add_row([
                format_outcome_of_change(changed).to_owned(),
                changed.subject.clone(),
                format!("{} {unit}", format_number(changed.before)),
                format_number(changed.after),
                format!("{}{}", if estimate > 0.0 { "+" } else { "" }, format_number(estimate)),
                format!("{} .. {}", format_number(low), format_number(high)),
                format_number(changed.floor),
            ]);
        }
        add_line(&mut text, &format_table(&table));
        if shown.len() > most {
            add_line(&mut text, &format!(".. and {} more; --all or --json shows them", shown.len() - most));
        }
        for changed in shown.iter().take(most) {
            if let Some(reason) = &changed.reason {
                add_line(&mut text, &format!("{}: {reason}", changed.subject));
            }
        }
        add_line(&mut text, "");
    }
    for difference in &comparison.differences {
        add_line(&mut text, &format!("another machine or tool: {difference}; only instructions are compared"));
    }
    for fault in &comparison.faults {
        add_line(&mut text, fault);
    }
    add_left_out(comparison, all, &mut text);
    if comparison.compared() == 0 {
        add_line(&mut text, &explain_nothing_compared(comparison));
    }
    let count = |outcome| comparison.count(outcome);
    let not_compared = match comparison.left_out() {
        0 => String::new(),
        left_out => format!(", {left_out} not compared"),
    };
    add_line(
        &mut text,
        &format!(
            "{} regressed, {} improved, {} inconclusive, {} unchanged{not_compared}",
            count(Outcome::Fail),
            count(Outcome::Improved),
            count(Outcome::Inconclusive),
            count(Outcome::Pass),
        ),
    );
    text
}

/// Explains why nothing was compared.
fn explain_nothing_compared(comparison: &ReportComparison) -> String {
    let why = match (comparison.count(Outcome::Skipped), comparison.not_compared.is_empty()) {
        (0, true) => "neither report has a cell or a workload",
        (0, false) => "nothing was measured in both reports that can be compared",
        _ => "machine or tool differ, and no instructions were counted in both; --across-machines compares times",
    };
    format!("nothing was compared: {why}")
}

/// Adds a line per reason for cells and kernels that were not compared; with `all` the line names all of them.
fn add_left_out(comparison: &ReportComparison, all: bool, text: &mut String) {
    let mut by_reason: BTreeMap<(MeasuredIn, &str), Vec<&str>> = BTreeMap::new();
    for left in &comparison.not_compared {
        by_reason.entry((left.measured_in, &left.reason)).or_default().push(&left.subject);
    }
    let most = if all { usize::MAX } else { MAX_LINES };
    for ((measured, reason), subjects) in by_reason.iter().take(most) {
        let measured = match measured {
            MeasuredIn::Before => "measured before only",
            MeasuredIn::After => "measured after only",
            MeasuredIn::Both => "measured in both",
            MeasuredIn::Neither => "measured in neither",
        };
        let named = if all { subjects.len() } else { MAX_NAMED };
        let more = if subjects.len() > named { ", .." } else { "" };
        let names = subjects.iter().take(named).copied().collect::<Vec<_>>().join(", ");
        add_line(text, &format!("not compared, {measured}: {} ({names}{more}): {reason}", subjects.len()));
    }
    if by_reason.len() > most {
        add_line(text, &format!(".. for {} more reasons; --all or --json shows them", by_reason.len() - most));
    }
}

fn format_outcome_of_change(changed: &Change) -> &'static str {
    match changed.outcome {
        Outcome::Fail => "regressed",
        Outcome::Improved => "improved",
        Outcome::Inconclusive => "inconclusive",
        Outcome::Pass => "unchanged",
        Outcome::Skipped => "not compared",
    }
}

/// Formats value, interval, bound and floor of a verdict; the bound has the unit.
pub(super) fn format_numbers(verdict: &Verdict) -> [String; 4] {
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), format_number);
    let interval = verdict.measured.map_or_else(
        || "-".to_owned(),
        |m| {
            if m.low == m.high {
                "counted".to_owned()
            } else {
                format!("{} .. {}", format_number(m.low), format_number(m.high))
            }
        },
    );
    [
        shown(verdict.measured.map(|measured| measured.estimate)),
        interval,
        format!("{} {}", verdict.bound, verdict.unit.name()),
        shown(verdict.floor),
    ]
}

/// Formats the outcome, marked `(soft)` if it only warns.
pub(super) fn format_outcome(verdict: &Verdict) -> String {
    use super::budget::Level;
    let warns = verdict.rule.level == Level::Soft && verdict.outcome <= Outcome::Inconclusive;
    format!("{}{}", verdict.outcome.name(), if warns { " (soft)" } else { "" })
}

/// Formats the reason of the outcome, earlier outcomes, and the reason of the rule.
pub(super) fn format_remarks(verdict: &Verdict) -> Option<String> {
    let mut parts: Vec<String> = verdict.reason.iter().cloned().collect();
    if !verdict.before.is_empty() {
        let before: Vec<&str> = verdict.before.iter().map(|outcome| outcome.name()).collect();
        parts.push(format!("measured again; before: {}", before.join(", ")));
    }
    parts.extend(verdict.rule.why.iter().map(|why| format!("why this bound: {why}")));
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Formats the quantity of a verdict and the position of its rule.
pub(super) fn format_rule(judged: &Judged, verdict: &Verdict) -> String {
    let file = std::path::Path::new(&judged.budget).file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("{} {file}:{}", verdict.quantity.name(), verdict.rule.line)
}

/// Formats a value with the significant digits of a measurement.
pub(super) fn format_number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e6 {
        return format!("{value:.0}");
    }
    match value.abs() {
        small if small < 10.0 => format!("{value:.4}"),
        middle if middle < 1000.0 => format!("{value:.2}"),
        large if large < 1e9 => format!("{value:.0}"),
        _ => format!("{value:.3e}"),
    }
}

fn make_table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for index in right {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn format_table(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn add_line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}
