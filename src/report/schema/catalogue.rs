//! Descriptions of the ops, mechanisms and kernel options, with the machine code of some call sites.

use serde::{Deserialize, Serialize};

use crate::op::{Bytes, Conventions, Group, Kind, Since};

/// Descriptions of the ops, mechanisms and kernel options in the report.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The ops of the cells.
    pub ops: Vec<OpInfo>,
    /// The mechanisms of the cells and workloads, `inline` first.
    pub mechanisms: Vec<MechanismInfo>,
    /// The kernel options of the workloads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<OptionInfo>,
}

/// Description of an op.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OpInfo {
    /// Name of the op, as in Linux.
    pub name: String,
    /// The structure within `pv_ops` that the op belongs to.
    pub group: Group,
    /// The kernels that have the op.
    pub since: Since,
    /// Number of arguments.
    pub arguments: usize,
    /// Whether the op returns a value.
    pub returns: bool,
    /// Whether the native body is real or modelled.
    pub native_kind: Kind,
    /// Whether the Xen body is real or modelled.
    pub xen_kind: Kind,
    /// What patching writes in place of a call of the native body.
    pub bytes: Bytes,
    /// Machine code of the native body without the return, in hexadecimal.
    pub native_code: String,
    /// Register convention of the call sites.
    pub conventions: Conventions,
    /// Prototype in C.
    pub prototype: String,
    /// Purpose of the op.
    pub purpose: String,
    /// Where Linux defines the op.
    pub source: String,
}

/// Description of a mechanism.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MechanismInfo {
    /// Name of the mechanism.
    pub name: String,
    /// Description of the mechanism in a sentence.
    pub summary: String,
    /// Where and since when the mechanism is used.
    pub known_from: String,
    /// The states that the sites are set to; empty if nothing is patched. All states of a mechanism are measured in one
    /// loop at one address, so layout does not bias a comparison of states. Loops of different mechanisms share only
    /// the offset within 128 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
    /// Year in which Linux adopted the mechanism; absent if Linux never used it for these hooks. Steps of one year are
    /// in the order of the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub year: Option<u16>,
    /// The change that Linux made in that year, in one line; absent if Linux never used the mechanism for these hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Machine code of some call sites.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listings: Vec<Listing>,
}

/// Description of a kernel option.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OptionInfo {
    /// Name of the option.
    pub name: String,
    /// The configuration or boot parameter that switches the option on in Linux.
    pub switch: String,
    /// What the option does in the model kernel.
    pub summary: String,
}

/// The machine code that a mechanism executes for an op.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Name of the op, which the catalogue holds.
    pub op: String,
    /// State of a patchable mechanism; absent for other mechanisms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The instructions in the order of execution.
    pub lines: Vec<ListingLine>,
}

/// One instruction of a listing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ListingLine {
    /// Bytes of the instruction in hexadecimal.
    pub bytes: String,
    /// Disassembly of the instruction.
    pub text: String,
    /// The part of the code that holds the instruction: `site`, `callee`, `thunk`, ..
    pub place: String,
    /// Whether patching changed the bytes.
    pub changed: bool,
}
