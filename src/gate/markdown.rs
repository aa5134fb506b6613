//! Verdicts as Markdown, for the summary of a pull request.

use super::terminal::{number, numbers, outcome, remarks, result, rule};
use super::verdict::{Judged, Outcome, Verdict};
use crate::report::export::markdown::escaped;

/// A summary has a limit of a mebibyte on GitHub; so many verdicts are far from it.
const MOST: usize = 200;

/// What does not pass as a table, all else as numbers.
#[must_use]
pub fn summary(judged: &Judged) -> String {
    let mut text = format!("### pvbench gate: {}\n\n{}\n", escaped(result(judged)), judged.summary());
    let speaks = |verdict: &&Verdict| !matches!(verdict.outcome, Outcome::Pass | Outcome::Skipped);
    let shown: Vec<&Verdict> = judged.verdicts.iter().filter(speaks).collect();
    if !shown.is_empty() {
        text.push_str(
            "\n| verdict | of | measured | interval | bound | floor | rule |\n|---|---|---:|---:|---:|---:|---|\n",
        );
        for verdict in shown.iter().take(MOST) {
            let [measured, interval, bound, floor] = numbers(verdict);
            let cells =
                [outcome(verdict), verdict.subject.clone(), measured, interval, bound, floor, rule(judged, verdict)];
            text.push_str(&format!("| {} |\n", cells.map(|cell| escaped(&cell)).join(" | ")));
        }
        if shown.len() > MOST {
            text.push_str(&format!("\n.. and {} more.\n", shown.len() - MOST));
        }
        let said: Vec<String> = shown
            .iter()
            .take(MOST)
            .filter_map(|verdict| Some(format!("* {}: {}\n", escaped(&verdict.subject), escaped(&remarks(verdict)?))))
            .collect();
        if !said.is_empty() {
            text.push_str(&format!("\n{}", said.concat()));
        }
    }
    for difference in &judged.differences {
        text.push_str(&format!("\nAnother machine or tool: {}.\n", escaped(difference)));
    }
    for trouble in &judged.trouble {
        text.push_str(&format!("\n**{}**\n", escaped(trouble)));
    }
    text.push_str(&format!(
        "\n<sub>{}seed {}; intervals of {}% each, so that chance alone fails one run in {} at most</sub>\n",
        judged.cpu_model.as_ref().map(|cpu| format!("{}; ", escaped(cpu))).unwrap_or_default(),
        judged.seed,
        number(judged.confidence * 100.0),
        number(1.0 / judged.error),
    ));
    text
}
