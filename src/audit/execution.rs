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
    /// Where the counts are from, and how exact they are.
    pub counts: CountOrigin,
    /// Instructions of the whole run, also of shared libraries; callgrind alone counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<u64>,
    /// Instructions of this binary; callgrind alone counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_instructions: Option<u64>,
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

/// What counted a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CountSource {
    /// Callgrind, by instruction.
    Callgrind,
    /// Sampled branch records of the CPU, as `perf script` prints them.
    BranchRecords,
    /// gcov, by source line.
    Gcov,
    /// llvm-cov, by source region.
    LlvmCov,
}

/// How the counts of a run relate to its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Exactness {
    /// Every call was counted.
    Exact,
    /// Calls are estimated from sampled records, times the branches that a record stands for.
    Sampled,
    /// Records were sampled, and the number of calls is unknown: only shares are.
    SampledShares,
    /// The runs of source lines were counted: sites run at most that often.
    ByLine,
}

/// Where the counts of a run are from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CountOrigin {
    /// What counted.
    pub source: CountSource,
    /// How exact that is.
    pub exactness: Exactness,
    /// Sampled records, also of other binaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Taken branches that a record stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branches_per_record: Option<f64>,
    /// Why that is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_scale_reason: Option<String>,
    /// Indirect sites, and sites of stubs, whose line and function were not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncounted_sites: Option<u64>,
}

/// What the count of a site is a count of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CountBasis {
    /// The instruction.
    Instruction,
    /// Sampled records of the instruction.
    Records,
    /// The source line, which has no other site. The count is an upper bound of the calls.
    Line,
    /// A source line with several sites, or one that was inlined in several places. The count is an upper bound of the
    /// calls of each site.
    SharedLine,
    /// The entries of the function: the line was not counted. A site in a loop runs more often.
    Function,
}

impl CountBasis {
    /// Whether the functions that a site called were counted, too.
    #[must_use]
    pub fn has_targets(self) -> bool {
        matches!(self, CountBasis::Instruction | CountBasis::Records)
    }

    /// Whether the number of calls is an upper bound.
    #[must_use]
    pub fn is_upper_bound(self) -> bool {
        matches!(self, CountBasis::Line | CountBasis::SharedLine)
    }
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

    /// The saving if a cheaper range replaces this one. Its low bound is this low bound minus the other's high one,
    /// and 0 at least; its high bound is this high bound minus the other's low one.
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
    /// Executed calls; absent where only shares are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Sampled records of these calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
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
    /// What its count is a count of.
    pub counted: CountBasis,
    /// Executed calls; absent where only shares are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Sampled records of its calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// What it called, the most frequent first; at most eight.
    pub targets: Vec<TargetRun>,
    /// How many different functions it called.
    pub targets_total: u64,
    /// Calls whose function is known, or records if only shares are known. Callgrind sees a tail jump only where both
    /// functions have symbols.
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
        self.counted.has_targets() && self.known_calls as f64 >= MIN_KNOWN_SHARE * self.count() as f64
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

impl SiteRun {
    /// Its count, in calls or in records.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.calls.or(self.records).unwrap_or(0)
    }

    /// The share of its calls that reached its most frequent target, 0 to 1; `None` if its targets are unknown.
    #[must_use]
    pub fn most_frequent_share(&self) -> Option<f64> {
        let most = self.targets.first()?;
        Some((most.count() as f64 / self.count().max(1) as f64).min(1.0))
    }
}

/// A function that a site called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetRun {
    /// Its demangled name.
    pub name: String,
    /// Calls of it; absent where only shares are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Sampled records of these calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
}

impl TargetRun {
    /// Its count, in calls or in records.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.calls.or(self.records).unwrap_or(0)
    }
}
