//! How a mechanism's overheads lie over the ops of a regime.

use super::grid::{Column, Grid, Reading};
use super::number::{fixed, plain, quantile, sorted};
use crate::regime::Regime;

/// The width in pixels that the labels of spreads need at `character` pixels a character, `most` at most.
#[must_use]
pub fn label_width(spreads: &[Spread], character: f64, most: i32) -> i32 {
    let longest = spreads.iter().map(|s| s.label.chars().count()).max().unwrap_or(0);
    ((longest as f64 * character) as i32 + 14).clamp(70, most)
}

/// The overheads of one mechanism over all ops that were measured, in core cycles.
#[derive(Clone, Debug)]
pub struct Spread<'a> {
    /// Name and state.
    pub label: String,
    /// Each op's reading, in the order of the grid.
    pub readings: Vec<(&'a str, Reading<'a>)>,
    /// Smallest, first quartile, median, third quartile, largest.
    pub five: [f64; 5],
    /// Readings above the floor and resolved.
    pub resolved: usize,
}

impl<'a> Spread<'a> {
    /// None where nothing was measured.
    #[must_use]
    pub fn of(grid: &Grid<'a>, column: &Column<'a>, regime: Regime) -> Option<Self> {
        let readings = grid.readings(column, regime);
        let values = sorted(readings.iter().filter_map(|(_, r)| r.estimate()));
        let at = |share| quantile(&values, share);
        let five = [at(0.0)?, at(0.25)?, at(0.5)?, at(0.75)?, at(1.0)?];
        let resolved = readings.iter().filter(|(_, r)| matches!(r, Reading::Resolved(_))).count();
        Some(Self { label: column.label(), readings, five, resolved })
    }

    /// The spreads of all mechanisms that were measured, smallest median first; ties keep the order of the catalogue.
    #[must_use]
    pub fn all(grid: &Grid<'a>, regime: Regime) -> Vec<Self> {
        let mut spreads: Vec<Self> = grid.columns.iter().filter_map(|c| Self::of(grid, c, regime)).collect();
        // What lies at the floor is equal: its order there would be noise.
        let floor = grid.floor.unwrap_or(0.0);
        spreads.sort_by(|a, b| a.median().max(floor).total_cmp(&b.median().max(floor)));
        spreads
    }

    /// The median over the ops.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.five[2]
    }

    /// Median and middle half in words.
    #[must_use]
    pub fn words(&self, floor: Option<f64>) -> String {
        let [_, low, _, high, _] = self.five;
        let median = match floor {
            Some(floor) if self.median().abs() <= floor => "not distinguishable from inline".to_owned(),
            _ => format!("{} cycles", plain(self.median())),
        };
        let digits = if high.abs() < 9.95 { 2 } else { 1 };
        format!(
            "{}: {median} (middle half {} to {}; {} of {} resolved)",
            self.label,
            fixed(low, digits),
            fixed(high, digits),
            self.resolved,
            self.readings.len()
        )
    }
}
