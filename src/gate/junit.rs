//! Verdicts as JUnit XML: a suite per rule, a case per verdict.
//!
//! A hard bound that is exceeded is a failure. What cannot be told is an error, which CI systems count apart. What only
//! warns has no word in the format: it is a skipped case that says what it is.

use std::fmt::Write;

use super::budget::Level;
use super::terminal::{numbers, remarks};
use super::verdict::{Judged, Outcome, Verdict};

/// What a case came to, by the format's names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Passed,
    Failure,
    Error,
    Skipped,
}

struct JunitCase {
    name: String,
    class: Option<&'static str>,
    status: Status,
    kind: Option<&'static str>,
    message: Option<String>,
}

/// The document.
#[must_use]
pub fn xml(judged: &Judged) -> String {
    let mut lines: Vec<usize> = judged.verdicts.iter().map(|verdict| verdict.rule.line).collect();
    lines.sort_unstable();
    lines.dedup();
    let mut suites: Vec<(String, Vec<JunitCase>)> = Vec::with_capacity(lines.len() + 1);
    for line in lines {
        let of_rule: Vec<&Verdict> = judged.verdicts.iter().filter(|verdict| verdict.rule.line == line).collect();
        let Some(first) = of_rule.first() else { continue };
        let name = format!("{}:{line} {}", judged.budget, first.rule.selects);
        suites.push((name, of_rule.into_iter().map(case).collect()));
    }
    // What is wrong with the report is wrong with no rule.
    if !judged.trouble.is_empty() {
        let case = |trouble: &String| JunitCase {
            name: "complete and without failures".to_owned(),
            class: None,
            status: Status::Error,
            kind: None,
            message: Some(trouble.clone()),
        };
        suites.push(("the report".to_owned(), judged.trouble.iter().map(case).collect()));
    }
    let all = suites.iter().flat_map(|(_, cases)| cases);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    push(&mut text, format_args!("<testsuites name=\"pvbench gate\" {}>\n", counts(all, false)));
    for (name, cases) in &suites {
        push(&mut text, format_args!("  <testsuite name=\"{}\" {}>\n", escaped(name), counts(cases, true)));
        for case in cases {
            written(&mut text, case);
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn case(verdict: &Verdict) -> JunitCase {
    let [measured, interval, bound, floor] = numbers(verdict);
    let mut message = format!("{measured} [{interval}], bound {bound}, floor {floor}");
    if let Some(remarks) = remarks(verdict) {
        message = format!("{message}: {remarks}");
    }
    let status = match (verdict.outcome, verdict.rule.level) {
        (Outcome::Pass | Outcome::Improved, _) => Status::Passed,
        (Outcome::Fail, Level::Hard) => Status::Failure,
        (Outcome::Inconclusive, Level::Hard) => Status::Error,
        (Outcome::Fail | Outcome::Inconclusive, Level::Soft) | (Outcome::Skipped, _) => Status::Skipped,
    };
    JunitCase {
        name: format!("{} {}", verdict.subject, verdict.quantity.name()),
        class: Some("pvbench.gate"),
        status,
        kind: Some(verdict.outcome.name()),
        message: Some(message),
    }
}

/// The attributes that count.
fn counts<'a>(cases: impl IntoIterator<Item = &'a JunitCase> + Clone, of_suite: bool) -> String {
    let count = |status| cases.clone().into_iter().filter(|case| case.status == status).count();
    let all = cases.clone().into_iter().count();
    let (failures, errors) = (count(Status::Failure), count(Status::Error));
    // The whole has no attribute for what was skipped.
    let skipped = if of_suite { format!(" disabled=\"{}\"", count(Status::Skipped)) } else { String::new() };
    format!("tests=\"{all}\"{skipped} failures=\"{failures}\" errors=\"{errors}\"")
}

fn written(text: &mut String, case: &JunitCase) {
    push(text, format_args!("    <testcase name=\"{}\"", escaped(&case.name)));
    if let Some(class) = case.class {
        push(text, format_args!(" classname=\"{class}\""));
    }
    let element = match case.status {
        Status::Passed => return text.push_str("/>\n"),
        Status::Failure => "failure",
        Status::Error => "error",
        Status::Skipped => "skipped",
    };
    push(text, format_args!(">\n      <{element}"));
    if let Some(kind) = case.kind {
        push(text, format_args!(" type=\"{}\"", escaped(kind)));
    }
    if let Some(message) = &case.message {
        push(text, format_args!(" message=\"{}\"", escaped(message)));
    }
    text.push_str("/>\n    </testcase>\n");
}

fn push(text: &mut String, words: std::fmt::Arguments) {
    // A string takes all that is written to it.
    let _ = text.write_fmt(words);
}

/// As the value of an attribute; what XML 1.0 cannot hold is left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => push(&mut escaped, format_args!("&#{};", u32::from(c))),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {}
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn no_text_is_markup_and_what_xml_cannot_hold_is_left_out() {
        assert_eq!(escaped("<a b=\"c\">&\u{1b}[1m\n\u{ffff}é"), "&lt;a b=&quot;c&quot;&gt;&amp;[1m&#10;é");
    }
}
