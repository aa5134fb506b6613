//! Whether what a report holds was measured in optimised code.

use super::Report;
use crate::host::{Check, OPTIMISED, Status};

impl Report {
    /// What is wrong with the code that was measured, where it was not optimised or was instrumented.
    #[must_use]
    pub fn unoptimised(&self) -> Option<&Check> {
        self.environment.iter().find(|check| check.id == OPTIMISED && check.status == Status::Bad)
    }
}
