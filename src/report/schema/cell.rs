//! The result for one op with one body, mechanism, state and regime.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Estimate, Limit, Spread};
use crate::op::{BodyKind, CodeIdentity, InstructionMix, Kind};
use crate::regime::Regime;

/// The result for one op with one body, mechanism, state and regime.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Name of the op.
    pub op: String,
    /// The body that the call reaches.
    pub body: BodyKind,
    /// Whether the body is real or modelled.
    pub kind: Kind,
    /// Name of the mechanism.
    pub mechanism: String,
    /// State of a patchable mechanism; absent for other mechanisms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The regime.
    pub regime: Regime,
    /// Overhead above `inline` in the same op, body and regime. For `inline` itself, a second `inline` against the
    /// first. Absent if it was not measured; `absent` holds the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Overhead>,
    /// Reason why there is no overhead; absent if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    /// Time of `inline` per op in this regime, in core cycles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_cycles: Option<f64>,
    /// The overhead at each layout.
    pub layouts: Vec<LayoutEstimate>,
    /// Largest minus smallest overhead over the layouts, in core cycles; absent with fewer than two layouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout_range: Option<f64>,
    /// Scatter of the overhead within and between blocks, workers and layouts; absent if too little was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// The values that workers gather at if they disagree; empty if they agree.
    pub modes: Vec<ModeShare>,
    /// Executed instructions; absent if they were not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<Instructions>,
    /// Reason why this cell has no instruction count although others have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions_absent: Option<String>,
    /// Executed instructions by class; absent if they were not counted, or if the passes of the loop differ in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<InstructionMix>,
    /// Identity of the machine code that was timed, without addresses; absent in older reports, and if it could not be
    /// read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeIdentity>,
    /// Hardware counters per op, by name; absent if the machine has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<BTreeMap<String, f64>>,
    /// The noise of this cell in core cycles: the floor of its regime times the op's cycles, or the largest A/A
    /// difference of its own comparison if that is greater.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_cycles: Option<f64>,
    /// The floor of this cell in core cycles: nothing below it is a difference. It is the largest of the noise, the
    /// layout range and the range of the modes at one layout, plus an allowance for chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_cycles: Option<f64>,
    /// Whether the overhead is resolved: its interval lies beyond the floor on one side of zero.
    pub resolved: bool,
    /// Why the overhead is not resolved; absent if it is resolved or was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

/// An overhead in three units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Overhead {
    /// Core cycles per op.
    pub cycles: Estimate,
    /// Nanoseconds per op at the core frequency of the run.
    pub ns: Estimate,
    /// Time per op divided by that of `inline`.
    pub ratio: Estimate,
}

/// The overhead at one layout.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LayoutEstimate {
    /// Offset of the loop head within 128 bytes, in bytes.
    pub offset: u32,
    /// Overhead in core cycles per op.
    pub cycles: Estimate,
    /// Number of workers that the overhead comes from.
    pub workers: usize,
}

/// A value that workers gather at, with their share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ModeShare {
    /// Offset of the layout at which the mode appeared, in bytes.
    pub offset: u32,
    /// Overhead in core cycles per op.
    pub cycles: f64,
    /// Share of the workers of that layout, 0 to 1.
    pub share: f64,
}

/// Executed instructions per op.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Instructions {
    /// Instructions per op, including those of the loop.
    pub per_op: f64,
    /// Instructions per op above `inline`.
    pub extra: f64,
}
