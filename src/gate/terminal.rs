//! Verdicts and comparisons as tables for a terminal.

use comfy_table::{CellAlignment, Table, presets};

use super::compare::{Changed, Comparison};
use super::verdict::{Judged, Outcome, Verdict};
use crate::report::schema::Estimate;

/// More lines than this of one outcome are counted, not shown.
const MOST: usize = 40;

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
    for trouble in &judged.trouble {
        line(&mut text, trouble);
    }
    line(&mut text, &format!("{}: {}", result(judged), judged.summary()));
    text
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
pub fn comparison(comparison: &Comparison, all: bool) -> String {
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
    for (what, names) in [("only before", &comparison.gone), ("only after", &comparison.new)] {
        if let Some(first) = names.first() {
            line(&mut text, &format!("{what}: {} ({first}, ..)", names.len()));
        }
    }
    let count = |outcome| comparison.count(outcome);
    line(
        &mut text,
        &format!(
            "{} regressed, {} improved, {} cannot be told, {} unchanged{}",
            count(Outcome::Fail),
            count(Outcome::Improved),
            count(Outcome::Inconclusive),
            count(Outcome::Pass),
            if count(Outcome::Skipped) > 0 {
                format!(", {} not compared", count(Outcome::Skipped))
            } else {
                String::new()
            }
        ),
    );
    text
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
        _ => format!("{value:.0}"),
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
