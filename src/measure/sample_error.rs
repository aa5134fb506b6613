//! Why a comparison could not be measured.

use super::comparison::Comparison;
use crate::op::model::ModelError;
use crate::patch::site::RecordError;
use crate::relocate::{CodeError, FunctionError};

/// The reason why a comparison could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The comparison names no op of this build.
    #[error("there is no op '{0}' in this build; `pvbench list ops` shows all")]
    UnknownOp(String),
    /// The assignment names no mechanism of this build.
    #[error("there is no mechanism '{0}' in this build; `pvbench list mechanisms` shows all")]
    UnknownMechanism(String),
    /// The op has no loop in this regime.
    #[error("{0}: the op has no loop in this regime (latency needs an argument and a result); choose another regime")]
    NoLoop(Comparison),
    /// The CPU model could not be installed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// There is no memory for copies.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The records of the sites are damaged.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A mechanism with states has no record of its sites.
    #[error("{op}: this build has no record of the {mechanism} sites, so they cannot be patched; build it again")]
    NoSites {
        /// The op.
        op: &'static str,
        /// The mechanism.
        mechanism: &'static str,
    },
    /// A loop could not be copied.
    #[error(transparent)]
    Function(#[from] FunctionError),
}
