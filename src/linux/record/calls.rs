//! The calls of hooks in recordings as the report has them, and the exact instructions that `pvbench linux ab` counted.

use std::sync::LazyLock;

use super::recording::Recording;
use super::statistics::Statistics;
use crate::linux::unpatch::Unpatching;
use crate::linux::workload::WORKLOADS;
use crate::report::linux::Linux;
use crate::report::recorded::{Recorded, RecordedCalls, RecordedWorkload};
use crate::stats::surroundings::Surroundings;

/// The calls in the recordings that ship with the program. A run needs them in every report, and decoding the
/// recordings takes seconds. A test compares them.
static SHIPPED: LazyLock<Recorded> = LazyLock::new(|| {
    // A test reads the file, so this cannot fail.
    serde_json::from_str(include_str!("debian-6.1/calls.json")).unwrap_or_else(|_| from_recordings(&[]))
});

/// The calls in the recordings that ship with the program.
#[must_use]
pub fn shipped() -> &'static Recorded {
    &SHIPPED
}

/// Counts the calls in recordings of one kernel.
#[must_use]
pub fn from_recordings(recordings: &[Recording]) -> Recorded {
    let kernel = recordings.first().map(|recording| &recording.about.kernel);
    let release = kernel.and_then(|kernel| kernel.release.as_deref()).unwrap_or("a kernel without a version");
    Recorded {
        kernel: release.split(' ').take(3).collect::<Vec<_>>().join(" "),
        parameters: kernel.map_or_else(String::new, |kernel| kernel.append.clone()),
        workloads: recordings.iter().map(|recording| from_statistics(&Statistics::of(recording))).collect(),
    }
}

/// Adds the instructions that `pvbench linux ab` counted in the same kernel, never patched against patched. The counts
/// of another release stay out.
pub fn add_instructions(recorded: &mut Recorded, counted: &Linux) {
    let is_recorded = |release: &str| release.starts_with(&format!("{} ", recorded.kernel));
    if !counted.kernels.iter().filter_map(|kernel| kernel.release.as_deref()).any(is_recorded) {
        return;
    }
    for workload in &mut recorded.workloads {
        let counts = counted.workloads.iter().find(|it| it.name == workload.workload).map(|it| &it.counts);
        let never_patched = counts.and_then(|it| it.iter().find(|count| count.kernel == Unpatching::Noalt.name()));
        workload.never_patched_percent = never_patched.and_then(|count| count.percent);
    }
}

fn from_statistics(statistics: &Statistics) -> RecordedWorkload {
    let model = WORKLOADS.iter().find(|workload| workload.name == statistics.workload);
    let cold: f64 = statistics.ops.iter().map(|op| op.cold_per_unit).sum();
    let calls = statistics
        .ops
        .iter()
        .filter(|op| op.per_unit > 0.0)
        .map(|op| (op.op.clone(), RecordedCalls { hot: op.per_unit - op.cold_per_unit, cold: op.cold_per_unit }));
    RecordedWorkload {
        workload: statistics.workload.clone(),
        unit: statistics.unit.clone(),
        model: model.and_then(|workload| workload.model).map(|(name, _)| name.to_owned()),
        instructions: statistics.instructions_per_unit,
        never_patched_percent: None,
        surroundings: Some(Surroundings {
            instructions: (statistics.instructions_per_unit * statistics.units as f64).round() as u64,
            hooks_per_1000: statistics.hooks_per_1000,
            distance_p10: statistics.distance.p10 as f64,
            distance_median: statistics.distance.median as f64,
            distance_p90: statistics.distance.p90 as f64,
            cold_share: cold / statistics.hooks_per_unit,
        })
        .filter(|_| statistics.hooks_per_unit > 0.0),
        calls: calls.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::shipped;
    use super::*;

    #[test]
    fn instructions_of_another_release_stay_out() {
        let counted = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/linux/recorded-ab.json");
        let mut counted: Linux = serde_json::from_str(&std::fs::read_to_string(counted).unwrap()).unwrap();
        for kernel in &mut counted.kernels {
            kernel.release = kernel.release.take().map(|release| release.replace("6.1.0-57-", "6.1.0-5-"));
        }
        let mut recorded = super::shipped().clone();
        recorded.workloads.iter_mut().for_each(|workload| workload.never_patched_percent = None);
        add_instructions(&mut recorded, &counted);
        assert!(recorded.workloads.iter().all(|workload| workload.never_patched_percent.is_none()));
    }

    #[test]
    fn the_shipped_calls_are_those_of_the_shipped_recordings() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/linux/record/debian-6.1/calls.json");
        let mut made = from_recordings(&shipped::read().unwrap());
        let counted = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/linux/recorded-ab.json");
        add_instructions(&mut made, &serde_json::from_str(&std::fs::read_to_string(counted).unwrap()).unwrap());
        assert!(made.workloads.iter().all(|workload| workload.never_patched_percent.is_some()));
        if std::env::var_os("PVBENCH_BLESS").is_some() {
            std::fs::write(path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        }
        let kept: Recorded = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(kept, made, "set PVBENCH_BLESS=1 to write the file again");
        assert_eq!(super::shipped().workloads.len(), 11);
    }
}
