//! The ladder of mechanisms: overhead over `inline` in throughput, cheapest first.

use super::canvas::{Anchor, Canvas, Ink, draw};
use super::grid::Grid;
use super::number::plain;
use super::scale::{Scale, mark};
use super::spread::{BEYOND, Spread, axis_end, estimate, notes};
use super::text_width::{label_text, widest};
use super::{Medium, Plot, PlotError};
use crate::regime::Regime;
use crate::report::over_ops::MEDIAN_OVER_OPS;

/// Widths in pixels: of the axis, of the numbers beside it, and the minimum of the labels.
const AXIS: i32 = 352;
const NUMBERS: i32 = 172;
const MIN_LEFT: i32 = 70;
const LABEL_SIZE: u32 = 13;
const TOP: i32 = 30;
const ROW: i32 = 38;
/// Heights in pixels below the axis: of its marks and title, and of each note on ops that are not drawn.
const FOOT: i32 = 46;
const NOTE: i32 = 16;

pub(super) fn plot(grid: &Grid, medium: Medium) -> Result<Option<Plot>, PlotError> {
    let spreads = Spread::all(grid, Regime::Throughput);
    if spreads.is_empty() {
        return Ok(None);
    }
    let left = (widest(spreads.iter().map(|s| &s.label), LABEL_SIZE) + 16).max(MIN_LEFT);
    let floor = grid.floor_of(Regime::Throughput);
    let scale = Scale::new(floor, axis_end(spreads.iter()), left, left + AXIS);
    let shape = Shape { floor, left, width: left + AXIS + NUMBERS, scale };
    let beyond: Vec<(&str, f64)> = spreads
        .iter()
        .flat_map(|spread| &spread.over.cells)
        .map(|cell| (cell.op.as_str(), estimate(cell)))
        .filter(|(_, cycles)| scale.is_beyond(*cycles))
        .collect();
    let notes = notes(grid, Regime::Throughput, &beyond);

    let title = "Ladder of mechanisms: overhead over inline in throughput".to_owned();
    let floor_words = match floor {
        Some(floor) => format!("The noise is {} cycles. ", plain(floor)),
        None => "The noise is not known. ".to_owned(),
    };
    let words: Vec<String> = spreads.iter().map(Spread::words).collect();
    let description = format!(
        "Core cycles per call, {MEDIAN_OVER_OPS}, cheapest first. {floor_words}{}.{}",
        words.join("; "),
        notes.iter().map(|note| format!(" {note}.")).collect::<String>()
    );
    let bottom = TOP + ROW * spreads.len() as i32;
    let size = (shape.width as u32, (bottom + FOOT + NOTE * notes.len() as i32) as u32);
    let svg = draw("ladder", size, &title, &description, medium == Medium::File, |canvas| {
        axis(canvas, &shape, bottom)?;
        for (index, note) in notes.iter().enumerate() {
            let y = bottom + FOOT + 4 + NOTE * index as i32;
            canvas.text(note, (left, y), Anchor::Start, 11, Ink::Muted)?;
        }
        for (index, spread) in spreads.iter().enumerate() {
            let y = TOP + ROW * index as i32 + ROW / 2;
            match medium {
                Medium::File => dots(canvas, &shape, spread, y)?,
                Medium::Page => whisker(canvas, &shape, spread, y)?,
            }
            rung(canvas, &shape, spread, y)?;
        }
        Ok(())
    })?;
    Ok(Some(Plot::new("ladder", title, description, svg)))
}

/// Dimensions that all rungs share.
struct Shape {
    floor: Option<f64>,
    left: i32,
    width: i32,
    scale: Scale,
}

fn axis(canvas: &mut Canvas, shape: &Shape, bottom: i32) -> Result<(), PlotError> {
    let Shape { floor, left, width, scale } = shape;
    let at_floor = scale.x(0.0);
    canvas.rect((*left, TOP), (at_floor, bottom), Ink::Band)?;
    for (value, x) in scale.marks(30) {
        canvas.line((x, TOP), (x, bottom), Ink::Rule, 1)?;
        canvas.text(&mark(value), (x, bottom + 13), Anchor::Middle, 12, Ink::Muted)?;
    }
    let band = match floor {
        // A floor below the minimum of the scale: the axis begins at that minimum.
        Some(floor) if *floor < scale.floor => format!("noise {}; up to {}", plain(*floor), plain(scale.floor)),
        Some(floor) => format!("noise {}", plain(*floor)),
        None => "no noise known".to_owned(),
    };
    canvas.line((at_floor, TOP - 4), (at_floor, bottom), Ink::BandText, 1)?;
    canvas.text(&band, (*left, TOP - 13), Anchor::Start, 12, Ink::BandText)?;
    canvas.text("median [middle half]", (width - 4, TOP - 13), Anchor::End, 12, Ink::Muted)?;
    let middle = left + AXIS / 2;
    canvas.text("core cycles per call above inline, log scale", (middle, bottom + 33), Anchor::Middle, 12, Ink::Muted)
}

/// A dot for each op.
fn dots(canvas: &mut Canvas, shape: &Shape, spread: &Spread, y: i32) -> Result<(), PlotError> {
    let Shape { left, scale, .. } = shape;
    let dots: Vec<_> = spread
        .over
        .cells
        .iter()
        .enumerate()
        .filter(|(_, cell)| !scale.is_beyond(estimate(cell)))
        .map(|(index, cell)| {
            // The golden ratio spreads the dots over the height of the rung, so that they do not cover each other.
            let share = (index as f64 * 0.618_033_988_749_895).fract() - 0.5;
            ((scale.x(estimate(cell)), y + (share * 24.0).round() as i32), cell.resolved)
        })
        .collect();
    // Dots of the same style are drawn one after another, so that they become one path.
    for (at, _) in dots.iter().filter(|dot| !dot.1) {
        canvas.ring(*at, 2, Ink::Dot)?;
    }
    for (at, _) in dots.iter().filter(|dot| dot.1) {
        canvas.dot(*at, 2, Ink::Dot)?;
    }
    if dots.len() < spread.over.cells.len() {
        canvas.text(BEYOND, (left + AXIS + 2, y), Anchor::Start, 12, Ink::Muted)?;
    }
    Ok(())
}

/// A line from the smallest to the largest overhead.
fn whisker(canvas: &mut Canvas, shape: &Shape, spread: &Spread, y: i32) -> Result<(), PlotError> {
    let Shape { left, scale, .. } = shape;
    let [least, .., most] = spread.over.five;
    canvas.line((scale.x(least), y), (scale.x(most), y), Ink::Dot, 1)?;
    if scale.is_beyond(most) {
        canvas.text(BEYOND, (left + AXIS + 2, y), Anchor::Start, 12, Ink::Muted)?;
    }
    Ok(())
}

fn rung(canvas: &mut Canvas, shape: &Shape, spread: &Spread, y: i32) -> Result<(), PlotError> {
    let Shape { left, width, scale, .. } = shape;
    canvas.text(&label_text(&spread.label), (left - 10, y), Anchor::End, LABEL_SIZE, Ink::Text)?;
    let [_, low, median, high, _] = spread.over.five;
    canvas.line((scale.x(low), y), (scale.x(high), y), Ink::Accent, 3)?;
    canvas.median((scale.x(median), y), 6, spread.over.median_is_resolved())?;
    let (numbers, ink) = if spread.over.median_is_resolved() {
        (format!("{} [{}, {}]", spread.median_text(), plain(low), plain(high)), Ink::Text)
    } else {
        (spread.median_text(), Ink::Muted)
    };
    canvas.text(&numbers, (width - 4, y - 7), Anchor::End, 13, ink)?;
    canvas.text(&spread.resolved_text(), (width - 4, y + 9), Anchor::End, 11, Ink::Muted)
}
