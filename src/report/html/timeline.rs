//! The table beside the ladder over time: what each step of Linux's history bought.

use super::anchor::Anchors;
use crate::report::plots::history::{Bought, History};
use crate::report::plots::number::{NOTHING, clipped};

/// The table.
pub struct Timeline {
    pub regimes: Vec<&'static str>,
    pub rows: Vec<Row>,
}

/// A step.
pub struct Row {
    pub year: u16,
    pub id: Option<String>,
    pub name: String,
    pub change: String,
    /// By regime.
    pub prices: Vec<Price>,
}

/// What a step costs above inline, and the difference to the step before.
pub struct Price {
    pub median: String,
    pub bought: String,
    /// How many of its ops are resolved.
    pub resolved: String,
}

/// The table of a history.
pub fn timeline(history: &History, anchors: &Anchors) -> Timeline {
    let rows = history.steps.iter().enumerate().map(|(index, step)| Row {
        year: step.year,
        id: anchors.to(step.column.mechanism),
        name: clipped(&step.column.label(), 80),
        change: clipped(step.change, 200),
        prices: history
            .regimes
            .iter()
            .map(|(_, measured)| match measured.get(index).and_then(Option::as_ref) {
                None => Price { median: NOTHING.to_owned(), bought: String::new(), resolved: String::new() },
                Some(it) => Price {
                    median: it.spread.median_text(),
                    bought: it.bought.as_ref().map_or_else(String::new, Bought::text),
                    resolved: it.spread.resolved_text(),
                },
            })
            .collect(),
    });
    Timeline { regimes: history.regimes.iter().map(|(regime, _)| regime.name()).collect(), rows: rows.collect() }
}
