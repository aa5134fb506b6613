//! The table beside the ladder over time: the cost of each step of Linux's history, and its difference from the table.

use super::anchor::Anchors;
use crate::report::plots::history::{History, StepChange};
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
    /// One price per regime.
    pub prices: Vec<Price>,
}

/// The cost of a step above `inline`, and its difference from the table.
pub struct Price {
    pub median: String,
    pub change: String,
}

/// The table of a history.
pub fn timeline(history: &History, anchors: &Anchors) -> Timeline {
    let rows = history.steps.iter().enumerate().map(|(index, step)| Row {
        year: step.year,
        id: anchors.find(step.column.mechanism),
        name: clipped(&step.column.label(), 80),
        change: clipped(step.change, 200),
        prices: history
            .regimes
            .iter()
            .map(|(_, measured)| match measured.get(index).and_then(Option::as_ref) {
                None => Price { median: NOTHING.to_owned(), change: String::new() },
                Some(it) => Price {
                    median: it.spread.median_text(),
                    change: it.change.as_ref().map_or_else(String::new, StepChange::text),
                },
            })
            .collect(),
    });
    Timeline { regimes: history.regimes.iter().map(|(regime, _)| regime.name()).collect(), rows: rows.collect() }
}
