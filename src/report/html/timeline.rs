//! The table beside the ladder over time: what each step of Linux's history bought.

use super::anchor::Anchors;
use crate::report::plots::history::History;
use crate::report::plots::number::{NOTHING, clipped, fixed, plain};

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
}

/// The table of a history.
pub fn timeline(history: &History, floor: Option<f64>, anchors: &Anchors) -> Timeline {
    let rows = history.steps.iter().enumerate().map(|(index, step)| Row {
        year: step.year,
        id: anchors.to(step.column.mechanism),
        name: clipped(&step.column.label(), 80),
        change: clipped(step.change, 200),
        prices: history
            .regimes
            .iter()
            .map(|(_, measured)| match measured.get(index).and_then(Option::as_ref) {
                None => Price { median: NOTHING.to_owned(), bought: String::new() },
                Some(it) => Price {
                    median: if floor.is_some_and(|floor| it.spread.median().abs() <= floor) {
                        "\u{2264} floor".to_owned()
                    } else {
                        plain(it.spread.median())
                    },
                    bought: it.bought.map_or_else(String::new, |bought| difference(bought, floor)),
                },
            })
            .collect(),
    });
    Timeline { regimes: history.regimes.iter().map(|(regime, _)| regime.name()).collect(), rows: rows.collect() }
}

/// `−0.21`, `+0.40`; within the floor there is no difference.
fn difference(cycles: f64, floor: Option<f64>) -> String {
    if floor.is_some_and(|floor| cycles.abs() <= floor) {
        return "no difference".to_owned();
    }
    let sign = if cycles > 0.0 { "+" } else { "" };
    format!("{sign}{}", fixed(cycles, if cycles.abs() < 9.95 { 2 } else { 1 }))
}
