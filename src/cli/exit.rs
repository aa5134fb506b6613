//! Exit codes.

use std::process::ExitCode;

/// The exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything is fine.
    Fine = 0,
    /// A budget is exceeded or something regressed.
    Exceeded = 1,
    /// The usage or the input is bad.
    Usage = 2,
    /// The result is inconclusive.
    Inconclusive = 3,
    /// The measurement failed.
    Failed = 4,
}

impl Exit {
    /// Returns the worse of two exit codes of one command.
    ///
    /// From least to worst: fine, inconclusive, failed, bad usage, exceeded. A file that could not be written (failed)
    /// outweighs an inconclusive verdict, but never hides an exceeded budget. Bad usage comes before any verdict.
    #[must_use]
    pub(crate) fn worse(self, other: Exit) -> Exit {
        let rank = |exit| match exit {
            Exit::Fine => 0,
            Exit::Inconclusive => 1,
            Exit::Failed => 2,
            Exit::Usage => 3,
            Exit::Exceeded => 4,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn a_failed_write_does_not_hide_a_worse_verdict() {
        for (verdict, code) in [
            (Exit::Fine, Exit::Failed),
            (Exit::Inconclusive, Exit::Failed),
            (Exit::Failed, Exit::Failed),
            (Exit::Usage, Exit::Usage),
            (Exit::Exceeded, Exit::Exceeded),
        ] {
            assert_eq!((verdict.worse(Exit::Failed), Exit::Failed.worse(verdict)), (code, code));
        }
    }
}
