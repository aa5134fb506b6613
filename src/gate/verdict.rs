//! What the gate says: verdicts, and the document they are in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bound::{Quantity, Unit};
use super::budget::Level;
use crate::report::schema::Estimate;

/// The version of the document.
pub const SCHEMA: &str = "pvbench.gate/1";

/// How a bound was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is exceeded: the whole interval, in every mode and at every layout.
    Fail,
    /// It cannot be told.
    Inconclusive,
    /// A change is below the bound's negative: as much of an improvement as the bound allows of a regression.
    Improved,
    /// It is kept: the whole interval, in every mode.
    Pass,
    /// There is nothing to judge by: no baseline, one of another machine, no machine code in the report.
    Skipped,
}

impl Outcome {
    /// All, the worst first.
    pub const ALL: [Outcome; 5] =
        [Outcome::Fail, Outcome::Inconclusive, Outcome::Improved, Outcome::Pass, Outcome::Skipped];

    /// In a word.
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

/// The rule that a verdict goes back to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuleInfo {
    /// Its line in the budget file.
    pub line: usize,
    /// What it selects.
    pub selects: String,
    /// Warn or fail.
    pub level: Level,
    /// Why it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// One bound of one rule on one cell, or on a workload on one kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    /// Which cell or kernel: `pte_val/native/site (inline)/throughput`.
    pub subject: String,
    /// The same by its parts: `op`, `body`, `mechanism`, `state`, `regime`; `workload`, `option`.
    pub of: BTreeMap<String, String>,
    /// The rule.
    pub rule: RuleInfo,
    /// What is bound.
    pub quantity: Quantity,
    /// In which unit all numbers here are.
    pub unit: Unit,
    /// The most that may be.
    pub bound: f64,
    /// What was measured; the interval is as wide as it takes for all verdicts to hold together. Of what is counted,
    /// both ends are the count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Estimate>,
    /// Nothing below it is a difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// By how much it moves with the offset of the loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout_range: Option<f64>,
    /// How it was met.
    pub outcome: Outcome,
    /// What keeps it from being told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was said of it before it was measured again, the first measurement first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub before: Vec<Outcome>,
}

/// What the gate says of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Judged {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The budget file.
    pub budget: String,
    /// The seed of the run that was judged.
    pub seed: u64,
    /// When it began.
    pub started: String,
    /// The CPU it ran on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// The probability with which chance alone makes any of the verdicts fail is at most this.
    pub error: f64,
    /// The confidence of a single interval that follows from it.
    pub confidence: f64,
    /// Whether another machine or tool was involved, and in what it differs: then times are not judged.
    pub differences: Vec<String>,
    /// What is wrong with the report: it is incomplete, or something failed while it was measured.
    pub trouble: Vec<String>,
    /// How many verdicts of each kind: of hard rules, then of soft ones.
    pub counts: BTreeMap<String, [usize; 2]>,
    /// What the process ends with.
    pub exit_code: u8,
    /// The worst first.
    pub verdicts: Vec<Verdict>,
}

impl Judged {
    /// How many verdicts of hard rules, or of soft ones, came out like this.
    #[must_use]
    pub fn count(&self, level: Level, outcome: Outcome) -> usize {
        self.verdicts.iter().filter(|v| v.outcome == outcome && v.rule.level == level).count()
    }

    /// In a line: `1 fail, 2 inconclusive, 37 pass`.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        for outcome in Outcome::ALL {
            let [hard, soft] = [Level::Hard, Level::Soft].map(|level| self.count(level, outcome));
            if hard + soft > 0 {
                let of_soft = if soft > 0 && outcome <= Outcome::Inconclusive {
                    format!(" ({soft} soft)")
                } else {
                    String::new()
                };
                parts.push(format!("{} {}{of_soft}", hard + soft, outcome.name()));
            }
        }
        parts.join(", ")
    }
}
