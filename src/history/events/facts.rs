//! What is known of a run beside its values.

use crate::history::event::{AxisChange, RunName};
use crate::history::kept::KeptRun;

/// Runs of one boot within this time are one session: they share its mood.
const SESSION_SECONDS: u64 = 1800;

/// What is known of a run beside its values.
pub(super) struct RunFacts {
    pub(super) name: RunName,
    pub(super) seconds: u64,
    pub(super) boot: Option<String>,
    pub(super) dirty: bool,
    /// Microcode, kernel, .. by name.
    pub(super) axis: Vec<(&'static str, String)>,
    pub(super) ticks_per_cycle: Option<f64>,
    pub(super) adds_per_cycle: Option<f64>,
    pub(super) contended_share: Option<f64>,
}

impl RunFacts {
    pub(super) fn new(name: RunName, run: &KeptRun) -> Self {
        let header = &run.header;
        let machine = &header.machine;
        let known = |value: &Option<String>| value.clone().unwrap_or_default();
        let mitigations: Vec<String> = machine.mitigations.iter().map(|(name, it)| format!("{name}: {it}")).collect();
        RunFacts {
            name,
            seconds: header.started_seconds,
            boot: header.boot_id.clone(),
            dirty: header.commit.as_ref().is_some_and(|it| it.dirty == Some(true)),
            axis: vec![
                ("microcode", known(&machine.microcode)),
                ("kernel", known(&machine.kernel)),
                ("mitigations", mitigations.join("; ")),
                ("rustc", known(&header.tool.rustc)),
                ("tool", format!("{} ({})", header.tool.version, header.tool.build)),
            ],
            ticks_per_cycle: header.core.map(|it| it.ticks_per_cycle),
            adds_per_cycle: header.core.and_then(|it| it.adds_per_cycle).map(|it| it.median),
            contended_share: header.core.map(|it| it.contended_share),
        }
    }
}

impl RunFacts {
    /// Whether two runs measured the same commit.
    pub(super) fn is_replicate_of(&self, other: &RunFacts) -> bool {
        self.name.commit.is_some() && self.name.commit == other.name.commit && !self.dirty && !other.dirty
    }

    /// Whether this run is not of the same session as an older one: another boot, or half an hour later.
    pub(super) fn is_apart_from(&self, older: &RunFacts) -> bool {
        let other_boot = self.boot.is_some() && older.boot.is_some() && self.boot != older.boot;
        other_boot || self.seconds >= older.seconds.saturating_add(SESSION_SECONDS)
    }
}

/// What changed on the axis between two runs. A fact that one of them lacks is no change.
pub(super) fn axis_changes(before: &RunFacts, after: &RunFacts) -> Vec<AxisChange> {
    before
        .axis
        .iter()
        .zip(&after.axis)
        .filter(|(a, b)| a.1 != b.1 && !a.1.is_empty() && !b.1.is_empty())
        .map(|(a, b)| AxisChange {
            run: after.name.clone(),
            what: a.0.to_owned(),
            before: a.1.clone(),
            after: b.1.clone(),
        })
        .collect()
}
