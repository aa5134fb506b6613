//! Rules on binaries, if this build can read them.

use crate::cli::error::CliError;
use crate::gate::Verdict;
use crate::gate::budget::Budgets;

/// Judges the rules on binaries.
#[cfg(feature = "audit")]
pub(super) fn judge(budgets: &Budgets) -> Result<Vec<Verdict>, CliError> {
    Ok(crate::gate::binaries::judge(budgets)?)
}

/// Refuses rules on binaries: this build cannot read them.
#[cfg(not(feature = "audit"))]
pub(super) fn judge(budgets: &Budgets) -> Result<Vec<Verdict>, CliError> {
    match budgets.binary_rules.first() {
        None => Ok(Vec::new()),
        Some(rule) => {
            let message = "this build cannot read binaries; build it with the feature `audit`".to_owned();
            Err(budgets.at(rule.position, message).into())
        }
    }
}
