//! Verdicts of the gate, and the document that holds them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bound::{Quantity, Unit};
use super::budget::Level;
use crate::stats::Interval;

/// Name and version of the document.
pub const SCHEMA: &str = "pvbench.gate/2";

/// The outcome of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The bound is exceeded by the whole interval, in every mode and at every layout.
    Fail,
    /// The evidence decides neither way.
    Inconclusive,
    /// A change is below the negative bound: an improvement of more than the regression that the bound allows.
    Improved,
    /// The bound is kept by the whole interval, in every mode.
    Pass,
    /// The evidence is missing: no baseline, a baseline of another machine, no machine code in the report.
    Skipped,
}

impl Outcome {
    /// All outcomes, the worst first.
    pub const ALL: [Outcome; 5] =
        [Outcome::Fail, Outcome::Inconclusive, Outcome::Improved, Outcome::Pass, Outcome::Skipped];

    /// Returns the word in tables and documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Fail => "fail",
            Outcome::Inconclusive => "inconclusive",
            Outcome::Improved => "improved",
            Outcome::Pass => "pass",
            Outcome::Skipped => "skipped",
        }
    }
}

/// The rule of a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuleInfo {
    /// Its line in the budget file.
    pub line: usize,
    /// Its selector, as `mechanism=table`.
    pub selects: String,
    /// Whether an exceeded bound warns or fails.
    pub level: Level,
    /// The reason for the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The verdict of one bound of a rule on one cell or kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verdict {
    /// The cell or kernel: `pte_val/native/site (inline)/throughput`.
    pub subject: String,
    /// The parts of the subject: `op`, `body`, `mechanism`, `state`, `regime`; `workload`, `option`; `binary`,
    /// `function`.
    pub of: BTreeMap<String, String>,
    /// The rule.
    pub rule: RuleInfo,
    /// The bounded quantity.
    pub quantity: Quantity,
    /// The unit of all numbers here.
    pub unit: Unit,
    /// The largest allowed value.
    pub bound: f64,
    /// The value, with an interval so wide that all verdicts hold together. Both ends of a count are the count itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Interval>,
    /// The floor: nothing below it is a difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// The largest minus the smallest value over the layouts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout_range: Option<f64>,
    /// The outcome.
    pub outcome: Outcome,
    /// The reason for the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Earlier outcomes, if it was measured again; the first measurement is first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub before: Vec<Outcome>,
}

/// The verdicts on a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Judged {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The budget file.
    pub budget: String,
    /// The seed of the judged run; absent if binaries alone were judged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seed: Option<u64>,
    /// The start of the run; absent if binaries alone were judged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started: Option<String>,
    /// The CPU of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// Largest probability that chance alone makes any of the verdicts fail.
    pub error: f64,
    /// The confidence of a single interval, which follows from `error`.
    pub confidence: f64,
    /// Differences of machine and tool. If there are any, times are not judged.
    pub differences: Vec<String>,
    /// Faults of the whole report: it is incomplete, or has failures.
    pub faults: Vec<String>,
    /// Number of verdicts by outcome: of hard rules, then of soft ones.
    pub counts: BTreeMap<String, [usize; 2]>,
    /// The exit code of the process.
    pub exit_code: u8,
    /// The verdicts, the worst first.
    pub verdicts: Vec<Verdict>,
}

impl Judged {
    /// Counts the verdicts of a level with an outcome.
    #[must_use]
    pub fn count(&self, level: Level, outcome: Outcome) -> usize {
        self.verdicts.iter().filter(|v| v.outcome == outcome && v.rule.level == level).count()
    }

    /// Formats the counts: `1 fail, 2 inconclusive, 37 pass`.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        for outcome in Outcome::ALL {
            let [hard, soft] = [Level::Hard, Level::Soft].map(|level| self.count(level, outcome));
            if hard + soft > 0 {
                let soft_part = if soft > 0 && outcome <= Outcome::Inconclusive {
                    format!(" ({soft} soft)")
                } else {
                    String::new()
                };
                parts.push(format!("{} {}{soft_part}", hard + soft, outcome.name()));
            }
        }
        parts.join(", ")
    }
}
