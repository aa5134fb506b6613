//! Detection of unoptimised code in a report.

use super::Report;
use crate::host::{Check, OPTIMISED, Status};

impl Report {
    /// The environment check that found unoptimised or instrumented code among the measured ops; `None` if all code is
    /// optimised.
    #[must_use]
    pub fn unoptimised(&self) -> Option<&Check> {
        self.environment.iter().find(|check| check.id == OPTIMISED && check.status == Status::Warning)
    }
}
