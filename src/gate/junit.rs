//! Verdicts as JUnit XML: a suite per rule, a case per verdict.
//!
//! A hard bound that is exceeded is a failure. What cannot be told is an error, which CI systems count apart. What only warns
//! has no word in the format: it is a skipped case that says what it is.

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::budget::Level;
use super::terminal::{numbers, remarks};
use super::verdict::{Judged, Outcome, Verdict};

/// The document.
///
/// # Errors
/// Where it cannot be written down.
pub fn xml(judged: &Judged) -> Result<String, SerializeError> {
    let mut report = Report::new("pvbench gate");
    let mut lines: Vec<usize> = judged.verdicts.iter().map(|verdict| verdict.rule.line).collect();
    lines.sort_unstable();
    lines.dedup();
    for line in lines {
        let of_rule: Vec<&Verdict> = judged.verdicts.iter().filter(|verdict| verdict.rule.line == line).collect();
        let Some(first) = of_rule.first() else { continue };
        let mut suite = TestSuite::new(format!("{}:{line} {}", judged.budget, first.rule.selects));
        suite.add_test_cases(of_rule.iter().map(|verdict| case(verdict)));
        report.add_test_suite(suite);
    }
    // What is wrong with the report is wrong with no rule.
    if !judged.trouble.is_empty() {
        let mut suite = TestSuite::new("the report");
        for trouble in &judged.trouble {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(trouble.clone());
            suite.add_test_case(TestCase::new("complete and without failures", status));
        }
        report.add_test_suite(suite);
    }
    report.to_string()
}

fn case(verdict: &Verdict) -> TestCase {
    let [measured, interval, bound, floor] = numbers(verdict);
    let mut message = format!("{measured} [{interval}], bound {bound}, floor {floor}");
    if let Some(remarks) = remarks(verdict) {
        message = format!("{message}: {remarks}");
    }
    let mut status = match (verdict.outcome, verdict.rule.level) {
        (Outcome::Pass | Outcome::Improved, _) => TestCaseStatus::success(),
        (Outcome::Fail, Level::Hard) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        (Outcome::Inconclusive, Level::Hard) => TestCaseStatus::non_success(NonSuccessKind::Error),
        (Outcome::Fail | Outcome::Inconclusive, Level::Soft) | (Outcome::Skipped, _) => TestCaseStatus::skipped(),
    };
    if !matches!(verdict.outcome, Outcome::Pass) {
        status.set_type(verdict.outcome.name());
        status.set_message(message);
    }
    let mut case = TestCase::new(format!("{} {}", verdict.subject, verdict.quantity.name()), status);
    case.set_classname("pvbench.gate");
    case
}
