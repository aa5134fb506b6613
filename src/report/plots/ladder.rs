//! The ladder of mechanisms: overhead over `inline` in throughput, cheapest first.

use super::canvas::{Anchor, Canvas, Ink, draw};
use super::grid::{Grid, Reading};
use super::number::{clipped, fixed, plain};
use super::scale::{Scale, mark};
use super::spread::{Spread, label_width};
use super::{Place, Plot, PlotError};
use crate::regime::Regime;

const WIDTH: i32 = 760;
/// The widest label; a longer one is cut.
const MOST_LEFT: i32 = 236;
const CHARACTER: f64 = 7.4;
const RIGHT: i32 = 588;
const TOP: i32 = 30;
const ROW: i32 = 38;

pub(super) fn plot(grid: &Grid, place: Place) -> Result<Option<Plot>, PlotError> {
    let spreads = Spread::all(grid, Regime::Throughput);
    if spreads.is_empty() {
        return Ok(None);
    }
    let title = "Ladder of mechanisms: overhead over inline in throughput".to_owned();
    let floor_words = match grid.floor {
        Some(floor) => format!("The floor is {} cycles. ", plain(floor)),
        None => "The floor is not known. ".to_owned(),
    };
    let words: Vec<String> = spreads.iter().map(|s| s.words(grid.floor)).collect();
    let description =
        format!("Median over ops in core cycles per call, cheapest first. {floor_words}{}.", words.join("; "));
    let bottom = TOP + ROW * spreads.len() as i32;
    let largest = spreads.iter().map(|s| s.five[4]).fold(1.0, f64::max);
    let left = label_width(&spreads, CHARACTER, MOST_LEFT);
    let scale = Scale::new(grid.floor, largest, left, RIGHT);
    let size = (WIDTH as u32, (bottom + 46) as u32);
    let svg = draw("ladder", size, &title, &description, place == Place::File, |canvas| {
        axis(canvas, grid, &scale, left, bottom)?;
        for (index, spread) in spreads.iter().enumerate() {
            rung(canvas, grid, &scale, spread, left, TOP + ROW * index as i32 + ROW / 2)?;
        }
        Ok(())
    })?;
    Ok(Some(Plot::new("ladder", title, description, svg)))
}

fn axis(canvas: &mut Canvas, grid: &Grid, scale: &Scale, left: i32, bottom: i32) -> Result<(), PlotError> {
    let at_floor = scale.x(0.0);
    canvas.rect((left, TOP), (at_floor, bottom), Ink::Band)?;
    for (value, x) in scale.marks(30) {
        canvas.line((x, TOP), (x, bottom), Ink::Rule, 1)?;
        canvas.text(&mark(value), (x, bottom + 13), Anchor::Middle, 12, Ink::Muted)?;
    }
    let band = match grid.floor {
        Some(floor) => format!("floor {}", plain(floor)),
        None => "no floor known".to_owned(),
    };
    canvas.line((at_floor, TOP - 4), (at_floor, bottom), Ink::BandText, 1)?;
    canvas.text(&band, (left, TOP - 13), Anchor::Start, 12, Ink::BandText)?;
    canvas.text("median [middle half]", (WIDTH - 4, TOP - 13), Anchor::End, 12, Ink::Muted)?;
    let middle = (left + RIGHT) / 2;
    canvas.text("core cycles per call above inline, log scale", (middle, bottom + 33), Anchor::Middle, 12, Ink::Muted)
}

fn rung(canvas: &mut Canvas, grid: &Grid, scale: &Scale, spread: &Spread, left: i32, y: i32) -> Result<(), PlotError> {
    canvas.text(
        &clipped(&spread.label, (f64::from(left) / CHARACTER) as usize),
        (left - 10, y),
        Anchor::End,
        13,
        Ink::Text,
    )?;
    let dots: Vec<_> = spread
        .readings
        .iter()
        .enumerate()
        .filter_map(|(index, (_, reading))| {
            // Dots that would cover each other are spread over the height of the rung by the golden ratio.
            let share = (index as f64 * 0.618_033_988_749_895).fract() - 0.5;
            let at = (scale.x(reading.estimate()?), y + (share * 24.0).round() as i32);
            Some((at, matches!(reading, Reading::Resolved(_))))
        })
        .collect();
    // Those of one look in a row: they become one path.
    for (at, _) in dots.iter().filter(|dot| !dot.1) {
        canvas.ring(*at, 2, Ink::Dot)?;
    }
    for (at, _) in dots.iter().filter(|dot| dot.1) {
        canvas.dot(*at, 2, Ink::Dot)?;
    }
    let [_, low, median, high, _] = spread.five;
    canvas.line((scale.x(low), y), (scale.x(high), y), Ink::Accent, 3)?;
    let hidden = grid.floor.is_some_and(|floor| median.abs() <= floor);
    let at = (scale.x(median), y);
    canvas.dot(at, 7, Ink::Paper)?;
    canvas.dot(at, 6, Ink::Accent)?;
    if hidden {
        canvas.dot(at, 4, Ink::Paper)?;
    }
    let digits = if high.abs() < 9.95 { 2 } else { 1 };
    let numbers = if hidden {
        "not distinguishable".to_owned()
    } else {
        format!("{} [{}, {}]", fixed(median, digits), fixed(low, digits), fixed(high, digits))
    };
    let ink = if hidden { Ink::Muted } else { Ink::Text };
    canvas.text(&numbers, (WIDTH - 4, y - 7), Anchor::End, 13, ink)?;
    let resolved = format!("{} of {} ops resolved", spread.resolved, spread.readings.len());
    canvas.text(&resolved, (WIDTH - 4, y + 9), Anchor::End, 11, Ink::Muted)
}
