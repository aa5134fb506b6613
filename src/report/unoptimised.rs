//! Whether what a report holds was measured in optimised code.

use super::Report;
use crate::host::{Check, OPTIMISED, Status};

impl Report {
    /// The check that found unoptimised or instrumented code in what was measured.
    #[must_use]
    pub fn unoptimised(&self) -> Option<&Check> {
        self.environment.iter().find(|check| check.id == OPTIMISED && check.status == Status::Warning)
    }
}
