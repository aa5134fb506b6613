//! Facts about this machine.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Machine facts.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Model.
    pub cpu_model: Option<String>,
    /// Mitigations.
    pub mitigations: BTreeMap<String, String>,
}

/// Status of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Fine.
    Known,
    /// Cannot be told.
    Unknown,
    /// Harmful.
    Bad,
}

/// A check.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Id.
    pub id: String,
    /// Status.
    pub status: Status,
    /// What was seen.
    pub detail: String,
    /// What to do.
    pub advice: Option<String>,
}
