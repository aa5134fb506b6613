//! Verdicts as Markdown, for the summary of a pull request.

use super::terminal::{format_number, format_numbers, format_outcome, format_remarks, format_rule, result};
use super::verdict::{Judged, Outcome, Verdict};
use crate::report::export::markdown::escaped;

/// Number of verdicts in the table. GitHub limits a summary to 1 MiB; this many verdicts are far below.
const MAX_VERDICTS: usize = 200;

/// Formats a summary: a table of the verdicts that do not pass, and the numbers of all others.
#[must_use]
pub fn summary(judged: &Judged) -> String {
    let mut text = format!("### pvbench gate: {}\n\n{}\n", escaped(result(judged)), judged.summary());
    let is_shown = |verdict: &&Verdict| !matches!(verdict.outcome, Outcome::Pass | Outcome::Skipped);
    let shown: Vec<&Verdict> = judged.verdicts.iter().filter(is_shown).collect();
    if !shown.is_empty() {
        text.push_str(
            "\n| verdict | of | measured | interval | bound | floor | rule |\n|---|---|---:|---:|---:|---:|---|\n",
        );
        for verdict in shown.iter().take(MAX_VERDICTS) {
            let [measured, interval, bound, floor] = format_numbers(verdict);
            let cells = [
                format_outcome(verdict),
                verdict.subject.clone(),
                measured,
                interval,
                bound,
                floor,
                format_rule(judged, verdict),
            ];
            text.push_str(&format!("| {} |\n", cells.map(|cell| escaped(&cell)).join(" | ")));
        }
        if shown.len() > MAX_VERDICTS {
            text.push_str(&format!("\n.. and {} more.\n", shown.len() - MAX_VERDICTS));
        }
        let said: Vec<String> = shown
            .iter()
            .take(MAX_VERDICTS)
            .filter_map(|verdict| {
                Some(format!("* {}: {}\n", escaped(&verdict.subject), escaped(&format_remarks(verdict)?)))
            })
            .collect();
        if !said.is_empty() {
            text.push_str(&format!("\n{}", said.concat()));
        }
    }
    for difference in &judged.differences {
        text.push_str(&format!("\nAnother machine or tool: {}.\n", escaped(difference)));
    }
    for fault in &judged.faults {
        text.push_str(&format!("\n**{}**\n", escaped(fault)));
    }
    // Verdicts on binaries alone are certain.
    let Some(seed) = judged.seed else { return text };
    text.push_str(&format!(
        "\n<sub>{}seed {}; each interval has {}%, so that chance alone fails at most one run in {}</sub>\n",
        judged.cpu_model.as_ref().map(|cpu| format!("{}; ", escaped(cpu))).unwrap_or_default(),
        seed,
        format_number(judged.confidence * 100.0),
        format_number(1.0 / judged.error),
    ));
    text
}
