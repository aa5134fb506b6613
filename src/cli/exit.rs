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

impl Exit {
    /// The code of two things that happened to one command: the one that its caller must know of first.
    ///
    /// From the least to the worst: fine, inconclusive, failed, bad usage, exceeded. A file that could not be written
    /// (failed) outweighs a verdict that could not be told, and never hides that a budget is exceeded; and there is no
    /// verdict before the usage is right.
    #[must_use]
    pub fn worse(self, other: Exit) -> Exit {
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
    fn a_failure_to_write_hides_no_verdict_that_is_worse() {
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
