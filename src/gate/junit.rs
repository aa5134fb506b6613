//! Verdicts as JUnit XML: a suite per rule, a case per verdict.
//!
//! An exceeded hard bound is a failure. An inconclusive verdict is an error, which CI systems count separately. The
//! format has no warnings: an exceeded soft bound is a skipped case with a message.

use std::fmt::Write;

use super::budget::Level;
use super::terminal::{format_numbers, format_remarks};
use super::verdict::{Judged, Outcome, Verdict};

/// The result of a case, by the names of the format.
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

/// Formats the verdicts as a JUnit document.
#[must_use]
pub fn xml(judged: &Judged) -> String {
    let mut lines: Vec<usize> = judged.verdicts.iter().map(|verdict| verdict.rule.line).collect();
    lines.sort_unstable();
    lines.dedup();
    let mut suites: Vec<(String, Vec<JunitCase>)> = Vec::with_capacity(lines.len() + 1);
    for line in lines {
        let verdicts: Vec<&Verdict> = judged.verdicts.iter().filter(|verdict| verdict.rule.line == line).collect();
        let Some(first) = verdicts.first() else { continue };
        let name = format!("{}:{line} {}", judged.budget, first.rule.selects);
        suites.push((name, verdicts.into_iter().map(make_case).collect()));
    }
    // Faults of the report belong to no rule.
    if !judged.faults.is_empty() {
        let case = |fault: &String| JunitCase {
            name: "complete and without failures".to_owned(),
            class: None,
            status: Status::Error,
            kind: None,
            message: Some(fault.clone()),
        };
        suites.push(("the report".to_owned(), judged.faults.iter().map(case).collect()));
    }
    let all = suites.iter().flat_map(|(_, cases)| cases);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    push(&mut text, format_args!("<testsuites name=\"pvbench gate\" {}>\n", format_counts(all, false)));
    for (name, cases) in &suites {
        push(&mut text, format_args!("  <testsuite name=\"{}\" {}>\n", escape(name), format_counts(cases, true)));
        for case in cases {
            write_case(&mut text, case);
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn make_case(verdict: &Verdict) -> JunitCase {
    let [measured, interval, bound, floor] = format_numbers(verdict);
    let mut message = format!("{measured} [{interval}], bound {bound}, floor {floor}");
    if let Some(remarks) = format_remarks(verdict) {
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

/// Formats the attributes with the numbers of cases.
fn format_counts<'a>(cases: impl IntoIterator<Item = &'a JunitCase> + Clone, of_suite: bool) -> String {
    let count = |status| cases.clone().into_iter().filter(|case| case.status == status).count();
    let all = cases.clone().into_iter().count();
    let (failures, errors) = (count(Status::Failure), count(Status::Error));
    // The root element has no attribute for skipped cases.
    let skipped = if of_suite { format!(" disabled=\"{}\"", count(Status::Skipped)) } else { String::new() };
    format!("tests=\"{all}\"{skipped} failures=\"{failures}\" errors=\"{errors}\"")
}

fn write_case(text: &mut String, case: &JunitCase) {
    push(text, format_args!("    <testcase name=\"{}\"", escape(&case.name)));
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
        push(text, format_args!(" type=\"{}\"", escape(kind)));
    }
    if let Some(message) = &case.message {
        push(text, format_args!(" message=\"{}\"", escape(message)));
    }
    text.push_str("/>\n    </testcase>\n");
}

fn push(text: &mut String, words: std::fmt::Arguments) {
    // Writes to a string do not fail.
    let _ = text.write_fmt(words);
}

/// Escapes text for the value of an attribute; characters that XML 1.0 does not allow are left out.
fn escape(text: &str) -> String {
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
    use super::escape;

    #[test]
    fn markup_is_escaped_and_characters_that_xml_does_not_allow_are_left_out() {
        assert_eq!(escape("<a b=\"c\">&\u{1b}[1m\n\u{ffff}é"), "&lt;a b=&quot;c&quot;&gt;&amp;[1m&#10;é");
    }
}
