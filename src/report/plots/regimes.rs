//! A small plot per regime: how each mechanism's overhead lies over the ops.

use super::canvas::{Anchor, Canvas, Ink, draw};
use super::grid::Grid;
use super::scale::{Scale, mark};
use super::spread::{BEYOND, Spread, axis_end, outside};
use super::text_width::{label_text, widest};
use super::{Place, Plot, PlotError};
use crate::regime::Regime;
use crate::report::over_ops::MEDIAN_OVER_OPS;

/// Pixels of the axis, and of the numbers beside it.
const AXIS: i32 = 118;
const NUMBERS: i32 = 74;
const MIN_LEFT: i32 = 70;
const LABEL_SIZE: u32 = 12;
const TOP: i32 = 24;
const ROW: i32 = 24;
/// Below the axis: its marks and its name, then a line for each thing that is not on it.
const FOOT: i32 = 42;
const NOTE: i32 = 15;

pub(super) fn plots(grid: &Grid, place: Place) -> Result<Vec<Plot>, PlotError> {
    let all: Vec<(Regime, Vec<Spread>)> =
        Regime::ALL.into_iter().map(|r| (r, Spread::all(grid, r))).filter(|(_, s)| !s.is_empty()).collect();
    // One scale and one order for all, so that they can be compared by eye.
    let spreads = || all.iter().flat_map(|(_, spreads)| spreads);
    let left = (widest(spreads().map(|s| &s.label), LABEL_SIZE) + 12).max(MIN_LEFT);
    let least_floor = all.iter().filter_map(|(regime, _)| grid.floor_of(*regime)).reduce(f64::min);
    let scale = Scale::new(least_floor, axis_end(spreads()), left, left + AXIS);
    let order: Vec<String> = all.first().map(|(_, s)| s.iter().map(|s| s.label.clone()).collect()).unwrap_or_default();
    all.iter()
        .map(|(regime, spreads)| {
            let mut spreads: Vec<&Spread> = spreads.iter().collect();
            spreads.sort_by_key(|s| order.iter().position(|l| *l == s.label).unwrap_or(usize::MAX));
            plot(grid, &scale, left, *regime, &spreads, place)
        })
        .collect()
}

fn plot(
    grid: &Grid,
    scale: &Scale,
    left: i32,
    regime: Regime,
    spreads: &[&Spread],
    place: Place,
) -> Result<Plot, PlotError> {
    let id = format!("regime-{}", regime.name());
    let title = format!("{}: {}", regime.name(), regime.summary());
    let words: Vec<String> = spreads.iter().map(|s| s.words()).collect();
    let notes = outside(grid, regime, &[]);
    let description = format!(
        "Overhead over inline in core cycles per call, {MEDIAN_OVER_OPS}, and middle half. {}.{}",
        words.join("; "),
        notes.iter().map(|note| format!(" {note}.")).collect::<String>()
    );
    let bottom = TOP + ROW * spreads.len() as i32;
    let size = ((left + AXIS + NUMBERS) as u32, (bottom + FOOT + NOTE * notes.len() as i32) as u32);
    let svg = draw(&id, size, &title, &description, place == Place::File, |canvas| {
        axis(canvas, scale, grid.floor_of(regime), left, regime, bottom)?;
        for (index, note) in notes.iter().enumerate() {
            canvas.text(note, (2, bottom + FOOT + 3 + NOTE * index as i32), Anchor::Start, 11, Ink::Muted)?;
        }
        for (index, spread) in spreads.iter().enumerate() {
            let of_regime = scale.with_floor(grid.floor_of(regime));
            row(canvas, &of_regime, spread, left, TOP + ROW * index as i32 + ROW / 2)?;
        }
        Ok(())
    })?;
    Ok(Plot::new(&id, title, description, svg))
}

fn axis(
    canvas: &mut Canvas,
    scale: &Scale,
    floor: Option<f64>,
    left: i32,
    regime: Regime,
    bottom: i32,
) -> Result<(), PlotError> {
    canvas.text(regime.name(), (left, TOP - 12), Anchor::Start, 13, Ink::Text)?;
    canvas.text("median", (left + AXIS + NUMBERS - 2, TOP - 12), Anchor::End, 11, Ink::Muted)?;
    canvas.rect((left, TOP), (scale.with_floor(floor).x(0.0), bottom), Ink::Band)?;
    for (value, x) in scale.marks(26) {
        canvas.line((x, TOP), (x, bottom), Ink::Rule, 1)?;
        canvas.text(&mark(value), (x, bottom + 12), Anchor::Middle, 11, Ink::Muted)?;
    }
    canvas.text("cycles above inline, log scale", (left + AXIS / 2, bottom + 30), Anchor::Middle, 11, Ink::Muted)
}

fn row(canvas: &mut Canvas, scale: &Scale, spread: &Spread, left: i32, y: i32) -> Result<(), PlotError> {
    let [least, low, median, high, most] = spread.over.five;
    canvas.text(&label_text(&spread.label), (left - 8, y), Anchor::End, LABEL_SIZE, Ink::Text)?;
    canvas.line((scale.x(least), y), (scale.x(most), y), Ink::Dot, 1)?;
    canvas.line((scale.x(least), y - 3), (scale.x(least), y + 3), Ink::Dot, 1)?;
    if scale.is_beyond(most) {
        canvas.text(BEYOND, (left + AXIS, y), Anchor::Start, 11, Ink::Muted)?;
    } else {
        canvas.line((scale.x(most), y - 3), (scale.x(most), y + 3), Ink::Dot, 1)?;
    }
    canvas.rect((scale.x(low), y - 4), (scale.x(high).max(scale.x(low) + 1), y + 4), Ink::Dot)?;
    let resolved = spread.over.median_is_resolved();
    canvas.median((scale.x(median), y), 5, resolved)?;
    let (size, ink) = if resolved { (12, Ink::Text) } else { (11, Ink::Muted) };
    canvas.text(&spread.median_text(), (left + AXIS + NUMBERS - 2, y), Anchor::End, size, ink)
}
