//! Why a run file cannot be read or written.

/// Why the bytes of a run file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunFileError {
    /// The bytes do not begin as a run file.
    #[error("it is not a run file; keep other files outside of runs/")]
    Foreign,
    /// A newer program wrote it.
    #[error(
        "its format has version {version}, and this build reads up to {newest}; read it with a newer pvbench",
        newest = super::VERSION
    )]
    Newer {
        /// Version of the format.
        version: u32,
    },
    /// The bytes are not those that were written.
    #[error("it is damaged: {what}; copy it again from where it came from")]
    Damaged {
        /// What does not fit.
        what: &'static str,
    },
    /// It is larger than any run.
    #[error("its {what} exceeds {max}, the maximum of a run; keep other files outside of runs/")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The maximum.
        max: usize,
    },
}

impl RunFileError {
    /// An error of bytes that do not fit.
    pub(super) const fn damaged(what: &'static str) -> Self {
        RunFileError::Damaged { what }
    }
}
