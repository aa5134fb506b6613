//! Plots with their captions, and the cells of tables of newest values.

use super::super::context::{Context, OverOps, unit};
use super::super::error::SiteError;
use super::super::model::{Key, Series};
use super::super::names::anchor;
use super::super::plot::{Axis, Drawn, plot};
use crate::report::plots::number::{NOTHING, clipped, plain, signed};

/// A plot with its caption.
pub struct Trend {
    /// Its anchor.
    pub id: String,
    /// What it shows.
    pub caption: String,
    /// The newest value with its unit.
    pub now: String,
    /// The plot.
    pub svg: String,
}

/// A cell of a table.
#[derive(Clone, Debug, Default)]
pub struct CellText {
    /// The anchor of its plot, if the page has it.
    pub anchor: Option<String>,
    /// The value.
    pub text: String,
    /// By how much it moved; empty if it did not.
    pub moved: String,
}

/// A row of a table.
pub struct Row {
    /// The page of its name.
    pub href: Option<String>,
    /// Its name.
    pub name: String,
    /// A cell per column.
    pub cells: Vec<CellText>,
}

/// The value with twice its standard error: `3.87 ±0.02`.
pub fn value_text(value: f64, error: f64) -> String {
    if error > 0.0 { format!("{} \u{b1}{}", plain(value), plain(2.0 * error)) } else { plain(value) }
}

/// The newest value of a series with its unit.
pub fn newest_text(key: &Key, series: &Series) -> String {
    series
        .newest()
        .map_or_else(|| NOTHING.to_owned(), |(value, error)| format!("{} {}", value_text(value, error), unit(key)))
}

/// The difference that the newest change of a series made: level since minus level before.
pub fn moved_text(values: &[f32], changes: &[usize]) -> String {
    let Some(&at) = changes.last() else { return String::new() };
    let before = changes.iter().rev().nth(1).copied().unwrap_or(0);
    let level = |from: usize, to: usize| values.get(from..to.min(values.len())).and_then(super::super::trend::level);
    match level(before, at).zip(level(at, values.len())) {
        Some((before, since)) => signed(since - before),
        None => String::new(),
    }
}

/// The anchor of the plot of a key on the page of its subject.
pub fn key_anchor(machine: &str, key: &Key) -> String {
    let state = key.state.as_deref().unwrap_or_default();
    anchor("s", &[machine, &key.mechanism, state, &key.regime, &key.body])
}

/// The plot of a series; `None` without a value.
pub fn trend(
    context: &Context,
    machine: usize,
    (key, series): (&Key, &Series),
    id: String,
    caption: &str,
) -> Result<Option<Trend>, SiteError> {
    let svg = context.plot(&format!("{id}-p"), machine, key, series)?;
    let now = newest_text(key, series);
    Ok(svg.map(|svg| Trend { id, caption: clipped(caption, 160), now, svg }))
}

/// The plot of a median over ops.
pub fn over_ops_trend(
    context: &Context,
    machine: usize,
    it: &OverOps,
    prefix: &str,
    caption: &str,
) -> Result<Option<Trend>, SiteError> {
    let Some(axis) = context.axes.get(machine) else { return Ok(None) };
    let id = anchor(prefix, &[&it.mechanism, &it.regime]);
    let drawn = Drawn {
        id: &format!("{id}-p"),
        title: &format!("{}, {}: median over ops", clipped(&it.mechanism, 80), clipped(&it.regime, 40)),
        unit: "cycles",
        values: &it.values,
        errors: &[],
        floor: f64::from(it.floor),
        changes: &it.changes,
        marks: &axis.marks,
    };
    let svg = plot(&drawn, &Axis { columns: &axis.columns, runs: &axis.runs })?;
    let newest = it.values.iter().rev().find(|value| value.is_finite());
    let now = newest.map_or_else(|| NOTHING.to_owned(), |value| format!("{} cycles", plain(f64::from(*value))));
    Ok(svg.map(|svg| Trend { id, caption: clipped(caption, 160), now, svg }))
}
