//! Events: the document that `history events --json` writes, and that the site and the gate read.

use serde::{Deserialize, Serialize};

use super::kept::Subject;

/// Version of the document.
pub const SCHEMA: &str = "pvbench.events/1";

/// The events of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Events {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of the program that wrote it.
    pub tool: String,
    /// The series that were searched, one per machine class, suite and preset.
    pub streams: Vec<Stream>,
    /// The events, newest first.
    pub events: Vec<Event>,
}

/// The runs of one machine class, suite and preset: what is compared run by run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StreamName {
    /// Machine class, after the aliases of the store.
    pub machine_class: String,
    /// Name of the suite.
    pub suite: String,
    /// `quick`, `default` or `full`.
    pub preset: String,
}

/// What was searched in a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stream {
    /// Which stream.
    #[serde(flatten)]
    pub name: StreamName,
    /// Number of runs.
    pub runs: usize,
    /// Number of commits that these runs measured.
    pub commits: usize,
    /// Number of cells and kernels with a value in any run.
    pub series: usize,
    /// The scatter between runs of each mechanism and regime.
    pub scatter: Vec<GroupScatter>,
    /// Changes of the machine and of the tool: events on the axis, which are no events of their own.
    pub axis: Vec<AxisChange>,
}

/// The scatter between runs of a mechanism in a regime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupScatter {
    /// The mechanism with its state: `table`, `site (direct)`. For workloads, `workload` before it.
    pub mechanism: String,
    /// The regime; absent for workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regime: Option<String>,
    /// Median over its cells of the standard deviation between runs; a share of the op's time. Absent without runs
    /// that can be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Degrees of freedom that it comes from.
    pub degrees_of_freedom: f64,
    /// Whether there are too few of them: overheads of this group give no events yet.
    pub learning: bool,
}

/// A change of the machine or of the tool between two runs of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AxisChange {
    /// The first run after it.
    pub run: RunName,
    /// What changed: `microcode`, `kernel`, `mitigations`, `rustc`, `tool`.
    pub what: String,
    /// Its value before.
    pub before: String,
    /// Its value since.
    pub after: String,
}

/// A run, as its file in the store is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunName {
    /// Name of its file without the extension: `<time>-<commit12>-<hash8>`.
    pub stem: String,
    /// Its commit; absent if nobody said which one was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Start of the run, RFC 3339 in UTC.
    pub started: String,
}

/// A change that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Event {
    /// The id that stays: `ev-` and twelve hexadecimal digits, made from the stream and the commits of the range.
    pub id: String,
    /// Where it was found.
    #[serde(flatten)]
    pub stream: StreamName,
    /// How sure it is, and what became of it.
    pub state: State,
    /// Why the state is what it is, in a sentence.
    pub state_reason: String,
    /// What changed the numbers.
    pub cause: Cause,
    /// The observations that the cause follows from, a sentence each.
    pub evidence: Vec<String>,
    /// Which way it went.
    pub direction: Direction,
    /// The commits and runs that it lies between.
    pub range: Range,
    /// What moved, in the smallest description that covers it.
    pub description: Description,
    /// How much: over the cells that moved in time, and over those that moved in instructions.
    pub sizes: Vec<Size>,
    /// What moved, the largest first.
    pub cells: Vec<MovedCell>,
    /// The first run that shows it.
    pub first_run: RunName,
    /// The run that confirmed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_by: Option<RunName>,
    /// The newest run that bears on it.
    pub last_run: RunName,
    /// Other machine classes whose runs show the same cells moving in an overlapping range.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_on: Vec<String>,
    /// Who explained or accepted it; absent if nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
}

impl Event {
    /// Whether someone should look at it: suspected or confirmed, and neither explained nor accepted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Suspected | State::Confirmed)
    }
}

/// How sure an event is, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Runs show it, but only those of one boot within half an hour on one machine.
    Suspected,
    /// Another boot, a run half an hour later, or another machine of the class shows it as well.
    Confirmed,
    /// A later change has a known cause, which somebody wrote down.
    Explained,
    /// Somebody accepted it, with a reason.
    Accepted,
    /// Later runs do not show it: it was suspected, and is withdrawn.
    Gone,
}

impl State {
    /// The word in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Suspected => "suspected",
            State::Confirmed => "confirmed",
            State::Explained => "explained",
            State::Accepted => "accepted",
            State::Gone => "gone",
        }
    }
}

/// What changed the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Executed instructions changed: the program or its compiler.
    Program,
    /// Bytes changed and instructions did not: placement or scheduling of the code.
    Placement,
    /// The references moved as well, or the header of the run differs with the step: the machine.
    Machine,
    /// Neither: measure again on another boot.
    Unknown,
}

impl Cause {
    /// The word in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::Program => "program",
            Cause::Placement => "placement",
            Cause::Machine => "machine",
            Cause::Unknown => "unknown",
        }
    }
}

/// Which way an event went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It costs more.
    Worse,
    /// It costs less.
    Better,
    /// Some cells cost more, some less.
    Mixed,
    /// Costs stayed: only bytes changed.
    Neither,
}

/// The commits and runs that an event lies between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Range {
    /// The last run at the old level, with its commit.
    pub good: RunName,
    /// The first run at the new level, with its commit.
    pub bad: RunName,
    /// Number of commits after the good one, up to and with the bad one: 1 if the commit is known, 0 if both runs
    /// measured the same commit. Absent if the order of the commits is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commits: Option<u64>,
}

/// What moved, in the smallest description that covers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Description {
    /// In words: `table in throughput (24 of 24 cells)`.
    pub text: String,
    /// The sets of cells that cover it, the largest first.
    pub parts: Vec<Part>,
    /// The cells that moved and are in no set.
    #[cfg_attr(test, schemars(with = "Vec<super::event_schema::Subject>"))]
    pub residual: Vec<Subject>,
}

/// A set of cells: those that agree in every name that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Part {
    /// The mechanism.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<String>,
    /// Its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The regime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regime: Option<String>,
    /// The op, or the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// The body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Number of its cells that moved.
    pub moved: usize,
    /// Number of its cells.
    pub cells: usize,
}

/// How much the cells of an event moved, in one unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Size {
    /// The unit.
    pub unit: Unit,
    /// Number of cells.
    pub cells: usize,
    /// The median of their changes.
    pub median: f64,
    /// The smallest change.
    pub low: f64,
    /// The largest change.
    pub high: f64,
}

/// What a change is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Executed instructions per op, or per unit of a workload.
    Instructions,
    /// Core cycles per op.
    Cycles,
    /// Percent of a workload's time.
    Percent,
    /// Bytes of the loop or body: changed or not.
    Code,
}

/// A cell, or a workload on a kernel, that moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MovedCell {
    /// Which one.
    #[cfg_attr(test, schemars(with = "super::event_schema::Subject"))]
    pub subject: Subject,
    /// The overhead before and since; absent if it did not move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Moved>,
    /// Executed instructions before and since; absent if they did not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<Moved>,
    /// Whether the bytes changed; absent if a run does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_changed: Option<bool>,
    /// Whether the cell has modes whose shares changed, and not a level that moved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares_changed: bool,
}

/// A level before and since.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Moved {
    /// What it is in.
    pub unit: Unit,
    /// The level before.
    pub before: f64,
    /// The level since.
    pub after: f64,
    /// 95% half width of the change; 0 for an exact count.
    pub error: f64,
}

impl Moved {
    /// The change.
    #[must_use]
    pub fn change(&self) -> f64 {
        self.after - self.before
    }
}

/// Who explained or accepted an event, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Accepted {
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
    /// When, RFC 3339 in UTC; absent if the line does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}
