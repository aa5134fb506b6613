//! What a reader must know beside the numbers: floors and core, seed, conditions, what the report lacks, failures.

use super::width::Lines;
use super::{describe_absence, reason};
use crate::host::Status;
use crate::report::Report;
use crate::report::subject::plain;

/// Adds the floors of the regimes, and the core.
pub(super) fn add_floors(report: &Report, lines: &mut Lines) {
    if let Some(floor) = &report.floor {
        lines.skip();
        lines.say("noise: inline compared with its own copy, in cycles per cycle of the op (at least one)");
        for floor in &report.floors {
            lines.say(&format!(
                "  {}: {:.5}, from {} comparisons",
                floor.regime.name(),
                floor.cycles,
                floor.comparisons
            ));
        }
        if report.floors.is_empty() {
            lines.say(&format!("  {:.5}, from {} comparisons", floor.cycles, floor.comparisons));
        }
    }
    if let Some(calibration) = &report.calibration {
        lines.say(&format!(
            "core: {:.2} GHz ({} clock); shared with another thread in {:.0}% of the blocks",
            calibration.core_ghz.median,
            plain(&calibration.clock),
            calibration.contended_share * 100.0
        ));
        if let Some(clock_reason) = &calibration.clock_reason {
            lines.say(&format!("clock: {}", reason(clock_reason)));
        }
    }
}

/// Adds seed, conditions, absences and failures.
pub(super) fn add(report: &Report, lines: &mut Lines) {
    lines.skip();
    lines.say(&format!("seed: {}", report.run.seed));
    for check in report.environment.iter().filter(|check| check.status != Status::Ok) {
        let word = if check.status == Status::Warning { "warning" } else { "unknown" };
        lines.say(&format!("{word}: {}: {}", plain(&check.id), reason(&check.detail)));
        if let Some(effect) = &check.effect {
            lines.say(&format!("  so: {}", reason(effect)));
        }
        if let Some(advice) = check.advice.as_ref().filter(|_| check.status == Status::Warning) {
            lines.say(&format!("  -> {}", reason(advice)));
        }
    }
    for absence in report.absent.iter().filter(|absence| !absence.is_of_baseline()) {
        lines.say(&describe_absence(absence));
    }
    for failure in &report.failures {
        let comparison = failure.comparison.as_deref().map_or_else(|| "between comparisons".to_owned(), reason);
        lines.say(&format!("failed: worker {} at {comparison}: {}", failure.worker, reason(&failure.message)));
    }
}
