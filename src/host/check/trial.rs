//! Check that this machine can measure at all, by a trial.

use super::Check;

/// The id of the check that a trial measured something.
const MEASURING: &str = "measuring";

/// Checks the outcome of a trial: `failure` is the first failure of a worker, and `measured` whether it measured
/// something nevertheless.
#[must_use]
pub fn measuring(measured: bool, failure: Option<&str>) -> Check {
    const ADVICE: &str = "`pvbench run --quick` prints every failure with its advice";
    match (measured, failure) {
        (true, None) => Check::ok(MEASURING, "a worker process measured one op with every mechanism"),
        (true, Some(failure)) => Check::warning(
            MEASURING,
            format!("a worker process failed at a part of its trial: {failure}"),
            "a report lacks the numbers of that part",
            ADVICE,
        ),
        (false, failure) => Check::warning(
            MEASURING,
            format!("a worker process measured nothing: {}", failure.unwrap_or("it sent no samples")),
            "a report has no numbers at all",
            ADVICE,
        ),
    }
}
