//! Verdicts and comparisons as tables for a terminal.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};

use super::compare::{Changed, ReportComparison};
use super::left_out::Measured;
use super::verdict::{Judged, Outcome, Verdict};
use crate::report::schema::Estimate;

/// More lines than this of one outcome are counted, not shown.
const MOST: usize = 40;
/// Of what shares a reason so many are named.
const NAMED: usize = 2;

/// The gate's verdicts: what does not pass, each with rule, interval, bound and floor; with `all` what passes, too.
#[must_use]
pub fn verdicts(judged: &Judged, all: bool) -> String {
    let mut text = String::new();
    let quiet = |verdict: &&Verdict| all || !matches!(verdict.outcome, Outcome::Pass | Outcome::Skipped);
    let shown: Vec<&Verdict> = judged.verdicts.iter().filter(quiet).collect();
    if !shown.is_empty() {
        let most = if all { usize::MAX } else { MOST };
        let mut table = table(&["verdict", "of", "measured", "interval", "bound", "floor", "rule"], &[2, 3, 4, 5]);
        for verdict in shown.iter().take(most) {
            let [measured, interval, bound, floor] = numbers(verdict);
            table.add_row([
                outcome(verdict),
                verdict.subject.clone(),
                measured,
                interval,
                bound,
                floor,
                rule(judged, verdict),
            ]);
        }
        line(&mut text, &lines(&table));
        if shown.len() > most {
            line(&mut text, &format!(".. and {} more; --all or --json shows them", shown.len() - most));
        }
        for verdict in shown.iter().take(most) {
            if let Some(said) = remarks(verdict) {
                line(&mut text, &format!("{}: {said}", verdict.subject));
            }
        }
        line(&mut text, "");
    }
    for difference in &judged.differences {
        line(&mut text, &format!("another machine or tool: {difference}"));
    }
    if !all {
        skipped(judged, &mut text);
    }
    for trouble in &judged.trouble {
        line(&mut text, trouble);
    }
    line(&mut text, &format!("{}: {}", result(judged), judged.summary()));
    text
}

/// What was not judged against the baseline: a line for each reason.
fn skipped(judged: &Judged, text: &mut String) {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let of_changes = judged.verdicts.iter().filter(|v| v.outcome == Outcome::Skipped && v.quantity.is_change());
    for verdict in of_changes {
        by_reason.entry(verdict.reason.as_deref().unwrap_or_default()).or_default().push(&verdict.subject);
    }
    for (reason, subjects) in by_reason {
        let more = if subjects.len() > NAMED { ", .." } else { "" };
        let names = subjects.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        line(text, &format!("skipped: {} ({names}{more}): {reason}", subjects.len()));
    }
}

/// What the exit code means, in a word.
#[must_use]
pub fn result(judged: &Judged) -> &'static str {
    match judged.exit_code {
        0 => "kept",
        1 => "EXCEEDED",
        3 => "INCONCLUSIVE",
        _ => "THE MEASUREMENT FAILED",
    }
}

/// A comparison: what changed, the greatest first.
#[must_use]
pub fn comparison(comparison: &ReportComparison, all: bool) -> String {
    let mut text = String::new();
    let differs = |changed: &&Changed| all || matches!(changed.outcome, Outcome::Fail | Outcome::Improved);
    let shown: Vec<&Changed> = comparison.changed.iter().filter(differs).collect();
    if !shown.is_empty() {
        let mut table = table(&["", "of", "before", "after", "change", "interval", "floor"], &[2, 3, 4, 5, 6]);
        let most = if all { usize::MAX } else { MOST };
        for changed in shown.iter().take(most) {
            let Estimate { estimate, low, high } = changed.change;
            let unit = changed.unit.name();
            table.add_row([
                word(changed).to_owned(),
                changed.subject.clone(),
                format!("{} {unit}", number(changed.before)),
                number(changed.after),
                format!("{}{}", if estimate > 0.0 { "+" } else { "" }, number(estimate)),
                format!("{} .. {}", number(low), number(high)),
                number(changed.floor),
            ]);
        }
        line(&mut text, &lines(&table));
        if shown.len() > most {
            line(&mut text, &format!(".. and {} more; --all or --json shows them", shown.len() - most));
        }
        for changed in shown.iter().take(most) {
            if let Some(reason) = &changed.reason {
                line(&mut text, &format!("{}: {reason}", changed.subject));
            }
        }
        line(&mut text, "");
    }
    for difference in &comparison.differences {
        line(&mut text, &format!("another machine or tool: {difference}; instructions alone are compared"));
    }
    for trouble in &comparison.trouble {
        line(&mut text, trouble);
    }
    left_out(comparison, all, &mut text);
    if comparison.compared() == 0 {
        line(&mut text, &nothing_compared(comparison));
    }
    let count = |outcome| comparison.count(outcome);
    let not_compared = match comparison.left_out() {
        0 => String::new(),
        left_out => format!(", {left_out} not compared"),
    };
    line(
        &mut text,
        &format!(
            "{} regressed, {} improved, {} cannot be told, {} unchanged{not_compared}",
            count(Outcome::Fail),
            count(Outcome::Improved),
            count(Outcome::Inconclusive),
            count(Outcome::Pass),
        ),
    );
    text
}

/// Why there is no comparison at all.
fn nothing_compared(comparison: &ReportComparison) -> String {
    let why = match (comparison.count(Outcome::Skipped), comparison.not_compared.is_empty()) {
        (0, true) => "neither report has a cell or a workload",
        (0, false) => "nothing was measured in both reports that can be compared",
        _ => "machine or tool differ, and no instructions were counted in both; --across-machines compares times",
    };
    format!("nothing was compared: {why}")
}

/// What was not compared: a line for each reason; with `all` a line for each cell and kernel.
fn left_out(comparison: &ReportComparison, all: bool, text: &mut String) {
    let mut by_reason: BTreeMap<(Measured, &str), Vec<&str>> = BTreeMap::new();
    for left in &comparison.not_compared {
        by_reason.entry((left.measured_in, &left.reason)).or_default().push(&left.subject);
    }
    let most = if all { usize::MAX } else { MOST };
    for ((measured, reason), subjects) in by_reason.iter().take(most) {
        let measured = match measured {
            Measured::Before => "measured before alone",
            Measured::After => "measured after alone",
            Measured::Both => "measured in both",
            Measured::Neither => "measured in neither",
        };
        let named = if all { subjects.len() } else { NAMED };
        let more = if subjects.len() > named { ", .." } else { "" };
        let names = subjects.iter().take(named).copied().collect::<Vec<_>>().join(", ");
        line(text, &format!("not compared, {measured}: {} ({names}{more}): {reason}", subjects.len()));
    }
    if by_reason.len() > most {
        line(text, &format!(".. for {} more reasons; --all or --json shows them", by_reason.len() - most));
    }
}

fn word(changed: &Changed) -> &'static str {
    match changed.outcome {
        Outcome::Fail => "regressed",
        Outcome::Improved => "improved",
        Outcome::Inconclusive => "cannot be told",
        Outcome::Pass => "unchanged",
        Outcome::Skipped => "not compared",
    }
}

/// Measured, interval, bound and floor of a verdict, with the unit at the bound.
pub(super) fn numbers(verdict: &Verdict) -> [String; 4] {
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
    let interval = verdict.measured.map_or_else(
        || "-".to_owned(),
        |m| if m.low == m.high { "counted".to_owned() } else { format!("{} .. {}", number(m.low), number(m.high)) },
    );
    [
        shown(verdict.measured.map(|measured| measured.estimate)),
        interval,
        format!("{} {}", verdict.bound, verdict.unit.name()),
        shown(verdict.floor),
    ]
}

/// The outcome, with what was said before and whether it only warns.
pub(super) fn outcome(verdict: &Verdict) -> String {
    use super::budget::Level;
    let warns = verdict.rule.level == Level::Soft && verdict.outcome <= Outcome::Inconclusive;
    format!("{}{}", verdict.outcome.name(), if warns { " (soft)" } else { "" })
}

/// Why it cannot be told, what was said before, why the rule is there.
pub(super) fn remarks(verdict: &Verdict) -> Option<String> {
    let mut parts: Vec<String> = verdict.reason.iter().cloned().collect();
    if !verdict.before.is_empty() {
        let before: Vec<&str> = verdict.before.iter().map(|outcome| outcome.name()).collect();
        parts.push(format!("measured again; before: {}", before.join(", ")));
    }
    parts.extend(verdict.rule.why.iter().map(|why| format!("why this bound: {why}")));
    (!parts.is_empty()).then(|| parts.join("; "))
}

pub(super) fn rule(judged: &Judged, verdict: &Verdict) -> String {
    let file = std::path::Path::new(&judged.budget).file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("{} {file}:{}", verdict.quantity.name(), verdict.rule.line)
}

/// With as many digits as a measurement here has.
pub(super) fn number(value: f64) -> String {
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

fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for index in right {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}
