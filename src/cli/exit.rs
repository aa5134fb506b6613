//! Exit codes.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Fine.
    Fine = 0,
    /// A budget is exceeded or something regressed.
    Exceeded = 1,
    /// Bad usage or input.
    Usage = 2,
    /// Inconclusive.
    Inconclusive = 3,
    /// The measurement failed.
    Failed = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
