//! A small plot per regime: how each mechanism's overhead lies over the ops.

use super::canvas::{Anchor, Canvas, Ink, draw};
use super::grid::Grid;
use super::number::{clipped, plain};
use super::scale::{Scale, mark};
use super::spread::{Spread, label_width};
use super::{Place, Plot, PlotError};
use crate::regime::Regime;

const WIDTH: i32 = 348;
/// The widest label; a longer one is cut.
const MOST_LEFT: i32 = 150;
const CHARACTER: f64 = 6.6;
const RIGHT: i32 = 288;
const TOP: i32 = 24;
const ROW: i32 = 24;

pub(super) fn plots(grid: &Grid, place: Place) -> Result<Vec<Plot>, PlotError> {
    let all: Vec<(Regime, Vec<Spread>)> =
        Regime::ALL.into_iter().map(|r| (r, Spread::all(grid, r))).filter(|(_, s)| !s.is_empty()).collect();
    // One scale and one order for all, so that they can be compared by eye.
    let largest = all.iter().flat_map(|(_, s)| s).map(|s| s.five[4]).fold(1.0, f64::max);
    let left = all.iter().map(|(_, s)| label_width(s, CHARACTER, MOST_LEFT)).max().unwrap_or(MOST_LEFT);
    let scale = Scale::new(grid.floor, largest, left, RIGHT);
    let order: Vec<String> = all.first().map(|(_, s)| s.iter().map(|s| s.label.clone()).collect()).unwrap_or_default();
    all.into_iter()
        .map(|(regime, mut spreads)| {
            spreads.sort_by_key(|s| order.iter().position(|l| *l == s.label).unwrap_or(usize::MAX));
            plot(grid, &scale, left, regime, &spreads, place)
        })
        .collect()
}

fn plot(
    grid: &Grid,
    scale: &Scale,
    left: i32,
    regime: Regime,
    spreads: &[Spread],
    place: Place,
) -> Result<Plot, PlotError> {
    let id = format!("regime-{}", regime.name());
    let title = format!("{}: {}", regime.name(), regime.summary());
    let words: Vec<String> = spreads.iter().map(|s| s.words(grid.floor)).collect();
    let description =
        format!("Overhead over inline in core cycles per call, median over ops and middle half. {}.", words.join("; "));
    let bottom = TOP + ROW * spreads.len() as i32;
    let svg = draw(&id, (WIDTH as u32, (bottom + 42) as u32), &title, &description, place == Place::File, |canvas| {
        axis(canvas, scale, left, regime, bottom)?;
        for (index, spread) in spreads.iter().enumerate() {
            row(canvas, grid, scale, spread, left, TOP + ROW * index as i32 + ROW / 2)?;
        }
        Ok(())
    })?;
    Ok(Plot::new(&id, title, description, svg))
}

fn axis(canvas: &mut Canvas, scale: &Scale, left: i32, regime: Regime, bottom: i32) -> Result<(), PlotError> {
    canvas.text(regime.name(), (left, TOP - 12), Anchor::Start, 13, Ink::Text)?;
    canvas.text("median", (WIDTH - 2, TOP - 12), Anchor::End, 11, Ink::Muted)?;
    canvas.rect((left, TOP), (scale.x(0.0), bottom), Ink::Band)?;
    for (value, x) in scale.marks(26) {
        canvas.line((x, TOP), (x, bottom), Ink::Rule, 1)?;
        canvas.text(&mark(value), (x, bottom + 12), Anchor::Middle, 11, Ink::Muted)?;
    }
    let middle = (left + RIGHT) / 2;
    canvas.text("cycles above inline, log scale", (middle, bottom + 30), Anchor::Middle, 11, Ink::Muted)
}

fn row(canvas: &mut Canvas, grid: &Grid, scale: &Scale, spread: &Spread, left: i32, y: i32) -> Result<(), PlotError> {
    let [least, low, median, high, most] = spread.five;
    canvas.text(
        &clipped(&spread.label, (f64::from(left) / CHARACTER) as usize),
        (left - 8, y),
        Anchor::End,
        12,
        Ink::Text,
    )?;
    canvas.line((scale.x(least), y), (scale.x(most), y), Ink::Dot, 1)?;
    for end in [least, most] {
        canvas.line((scale.x(end), y - 3), (scale.x(end), y + 3), Ink::Dot, 1)?;
    }
    canvas.rect((scale.x(low), y - 4), (scale.x(high).max(scale.x(low) + 1), y + 4), Ink::Dot)?;
    let hidden = grid.floor.is_some_and(|floor| median.abs() <= floor);
    let at = (scale.x(median), y);
    canvas.dot(at, 5, Ink::Accent)?;
    if hidden {
        canvas.dot(at, 3, Ink::Paper)?;
    }
    let ink = if hidden { Ink::Muted } else { Ink::Text };
    let median = if hidden { "\u{2264} floor".to_owned() } else { plain(median) };
    canvas.text(&median, (WIDTH - 2, y), Anchor::End, 12, ink)
}
