//! The document of a program that ran: how often its indirect call sites ran, what they called, and what they cost.

use serde::{Deserialize, Serialize};

use super::document::SourceLine;
use super::kind::Kind;

/// Version of the document.
pub const SCHEMA: &str = "pvbench.audit-run/1";

/// A run of a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Execution {
    /// [`SCHEMA`].
    pub schema: String,
    /// The binary whose sites are counted.
    pub path: String,
    /// Instructions of the whole run, also of shared libraries.
    pub instructions: u64,
    /// Instructions of this binary.
    pub own_instructions: u64,
    /// CPU time of a run without callgrind, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Core cycles of that time, at the frequency of the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cycles: Option<f64>,
    /// Why costs are missing, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_cost_reason: Option<String>,
    /// Executed calls by kind, direct ones too, and indirect jumps.
    pub kinds: Vec<KindRun>,
    /// The cost of all indirect calls of this binary above inline code, in core cycles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycles: Option<Bounds>,
    /// The same in percent of the CPU time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Bounds>,
    /// The indirect sites that ran, the dearest first.
    pub sites: Vec<SiteRun>,
}

/// Two bounds: what hides completely, and what hides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Bounds {
    /// The low bound.
    pub low: f64,
    /// The high bound.
    pub high: f64,
}

impl Bounds {
    /// Both bounds times a number.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Bounds {
        Bounds { low: self.low * factor, high: self.high * factor }
    }

    /// The sum of two ranges.
    #[must_use]
    pub fn plus(self, other: Bounds) -> Bounds {
        Bounds { low: self.low + other.low, high: self.high + other.high }
    }

    /// What is left of a range after a cheaper one: at least nothing, at most the high bound less the other's low one.
    #[must_use]
    pub fn saved_by(self, other: Bounds) -> Bounds {
        Bounds { low: (self.low - other.high).max(0.0), high: (self.high - other.low).max(0.0) }
    }
}

/// The executed calls of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KindRun {
    /// The kind.
    pub kind: Kind,
    /// Sites that ran at least once.
    pub sites: u64,
    /// Executed calls.
    pub calls: u64,
    /// Their cost above inline code, in core cycles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycles: Option<Bounds>,
}

/// An indirect site that ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SiteRun {
    /// Address of the instruction.
    pub address: u64,
    /// The function that has it.
    pub function: String,
    /// Its mechanism.
    pub kind: Kind,
    /// Executed calls.
    pub calls: u64,
    /// What it called, the most frequent first; at most eight.
    pub targets: Vec<TargetRun>,
    /// How many different functions it called.
    pub targets_total: u64,
    /// Calls whose function is known. Callgrind sees a tail jump only where both functions have symbols.
    #[serde(default)]
    pub known_calls: u64,
    /// Where it is in the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceLine>,
    /// Its cost above inline code, in core cycles of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycles: Option<Bounds>,
    /// The same in percent of the CPU time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Bounds>,
    /// What other forms of the call would save, in core cycles of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saves: Option<Savings>,
}

impl SiteRun {
    /// Whether nearly all calls have a known target, so that shares of targets are those of the site.
    #[must_use]
    pub fn has_known_targets(&self) -> bool {
        /// Below it, the most frequent known target need not be the most frequent one.
        const MIN_KNOWN_SHARE: f64 = 0.9;
        self.known_calls as f64 >= MIN_KNOWN_SHARE * self.calls as f64
    }
}

/// What other forms of a call would save, in core cycles of the whole run. A negative number is a loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Savings {
    /// As a direct call. Only possible where all calls reach one function, or the linker chose the indirection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<Bounds>,
    /// As a comparison with the most frequent target and a direct call of it, else the call as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Bounds>,
    /// Inline: all of its cost.
    pub inline: Bounds,
}

/// A function that a site called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetRun {
    /// Its demangled name.
    pub name: String,
    /// Calls of it.
    pub calls: u64,
}
