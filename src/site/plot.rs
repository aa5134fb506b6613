//! The plot of a series: its levels, the changes between them, and a point per run that leads to the run.

use std::fmt::Write as _;

use super::trend::{Columns, Point, level, points};
use crate::report::plots::PlotError;
use crate::report::plots::canvas::{Anchor, Canvas, Ink, draw};
use crate::report::plots::number::{fixed, plain};

/// Size in pixels.
const SIZE: (u32, u32) = (330, 118);
/// Ends of the axis in pixels.
const LEFT: i32 = 46;
const RIGHT: i32 = 324;
const TOP: i32 = 8;
const BOTTOM: i32 = 96;
const TEXT: u32 = 11;
/// Smallest height of the axis, in units of the floor: noise must not look like change.
const MIN_FLOORS: f64 = 3.0;
/// Smallest height of the axis as a share of the value, where a series has no floor.
const MIN_SHARE: f64 = 0.02;

/// A series as it is drawn.
pub struct Drawn<'a> {
    /// Identifier in its page.
    pub id: &'a str,
    /// Title, in words.
    pub title: &'a str,
    /// `cycles` or `%`.
    pub unit: &'a str,
    /// Values by position on the axis of the machine.
    pub values: &'a [f32],
    /// Standard errors of the values.
    pub errors: &'a [f32],
    /// The floor in the unit of the values.
    pub floor: f64,
    /// Positions of the first run at a new level, in order.
    pub changes: &'a [usize],
    /// Positions at which the machine changed: microcode, kernel, compiler.
    pub marks: &'a [usize],
}

/// The axis of a machine.
pub struct Axis<'a> {
    /// Its columns.
    pub columns: &'a Columns,
    /// For each position, the file name of the run's page and the day of the run.
    pub runs: &'a [(String, String)],
}

/// Draws a series; `None` without a value.
///
/// # Errors
/// When plotters fails.
pub fn plot(it: &Drawn, axis: &Axis) -> Result<Option<String>, PlotError> {
    let points = points(axis.columns, it.values, it.errors);
    let Some(scale) = Scale::of(it, axis, &points) else { return Ok(None) };
    let levels = levels(it, axis.columns);
    let description = describe(it, &points, &levels);
    let svg = draw(it.id, SIZE, it.title, &description, false, |canvas| {
        frame(canvas, it, axis, &scale)?;
        if let Some((.., newest)) = levels.last() {
            let (low, high) = (scale.y(newest - it.floor), scale.y(newest + it.floor));
            canvas.rect((LEFT, high), (RIGHT, low), Ink::Band)?;
        }
        for mark in it.marks.iter().filter_map(|position| axis.columns.find(*position)) {
            canvas.line((scale.x(mark), TOP), (scale.x(mark), BOTTOM), Ink::Rule, 1)?;
        }
        for point in points.iter().filter(|point| point.range.0 < point.range.1) {
            let x = scale.x(point.column);
            canvas.line((x, scale.y(point.range.0)), (x, scale.y(point.range.1)), Ink::Dot, 3)?;
        }
        for (first, last, value) in &levels {
            canvas.line(
                (scale.x(*first) - 2, scale.y(*value)),
                (scale.x(*last) + 2, scale.y(*value)),
                Ink::Muted,
                1,
            )?;
        }
        for point in points.iter().filter(|point| is_group(axis.columns, point)) {
            canvas.dot((scale.x(point.column), scale.y(point.value)), 1, Ink::Accent)?;
        }
        for position in it.changes {
            let Some(column) = axis.columns.find(*position) else { continue };
            if let Some(point) = points.iter().find(|point| point.column >= column) {
                canvas.ring((scale.x(point.column), scale.y(point.value)), 6, Ink::Text)?;
            }
        }
        Ok(())
    })?;
    Ok(Some(link_points(&svg, axis, &points, &scale)))
}

fn is_group(columns: &Columns, point: &Point) -> bool {
    columns.ranges.get(point.column).is_none_or(|(from, to)| to - from > 1)
}

/// The levels between changes: first and last column, and the median of the runs.
fn levels(it: &Drawn, columns: &Columns) -> Vec<(usize, usize, f64)> {
    let first = columns.ranges.first().map_or(0, |range| range.0);
    let end = columns.ranges.last().map_or(0, |range| range.1).min(it.values.len());
    let mut ends: Vec<usize> = it.changes.iter().copied().filter(|at| (first + 1..end).contains(at)).collect();
    ends.push(end);
    let mut from = first;
    let mut levels = Vec::new();
    for to in ends {
        let value = it.values.get(from..to).and_then(level);
        let columns = columns.find(from).zip(columns.find(to.saturating_sub(1)));
        if let (Some(value), Some((first, last))) = (value, columns) {
            levels.push((first, last, value));
        }
        from = to;
    }
    levels
}

/// The plot in words.
fn describe(it: &Drawn, points: &[Point], levels: &[(usize, usize, f64)]) -> String {
    let words: Vec<String> = levels.iter().map(|(.., value)| plain(*value)).collect();
    let (low, high) = ends(points);
    format!(
        "Levels in {}, oldest first: {}. Values from {} to {}.",
        it.unit,
        words.join(", then "),
        plain(low),
        plain(high)
    )
}

fn ends(points: &[Point]) -> (f64, f64) {
    let low = points.iter().map(|point| point.range.0).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|point| point.range.1).fold(f64::NEG_INFINITY, f64::max);
    (low, high)
}

/// Position of columns and values in pixels.
struct Scale {
    columns: usize,
    low: f64,
    high: f64,
}

impl Scale {
    fn of(it: &Drawn, axis: &Axis, points: &[Point]) -> Option<Self> {
        let (low, high) = ends(points);
        if !(low.is_finite() && high.is_finite()) {
            return None;
        }
        let middle = low.midpoint(high);
        let least = if it.floor > 0.0 { it.floor * MIN_FLOORS } else { (middle.abs() * MIN_SHARE).max(1e-6) };
        let half = ((high - low) * 0.55).max(least);
        Some(Scale { columns: axis.columns.ranges.len(), low: middle - half, high: middle + half })
    }

    fn x(&self, column: usize) -> i32 {
        let share = (column as f64 + 0.5) / self.columns.max(1) as f64;
        LEFT + 2 + (share * f64::from(RIGHT - LEFT - 4)).round() as i32
    }

    fn y(&self, value: f64) -> i32 {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        BOTTOM - (share * f64::from(BOTTOM - TOP)).round() as i32
    }
}

fn frame(canvas: &mut Canvas, it: &Drawn, axis: &Axis, scale: &Scale) -> Result<(), PlotError> {
    let digits = (1.0 - (scale.high - scale.low).log10().floor()).clamp(0.0, 3.0) as usize;
    let unit = if it.unit == "%" { "%" } else { "" };
    for share in [0.1, 0.5, 0.9] {
        let value = scale.low + (scale.high - scale.low) * share;
        let y = scale.y(value);
        canvas.line((LEFT, y), (RIGHT, y), Ink::Rule, 1)?;
        canvas.text(&format!("{}{unit}", fixed(value, digits)), (LEFT - 5, y), Anchor::End, TEXT, Ink::Muted)?;
    }
    let range = axis.columns.ranges.first().zip(axis.columns.ranges.last());
    let day = |position: usize| axis.runs.get(position).map_or("", |(_, day)| day.as_str());
    if let Some(((first, _), (last, _))) = range {
        let foot = BOTTOM + 13;
        if day(*first) != day(*last) {
            canvas.text(day(*first), (LEFT, foot), Anchor::Start, TEXT, Ink::Muted)?;
        }
        canvas.text(day(*last), (RIGHT, foot), Anchor::End, TEXT, Ink::Muted)?;
    }
    let groups = axis.columns.groups;
    if groups > 0 {
        // Older runs are grouped left of this line.
        let x = scale.x(groups).midpoint(scale.x(groups - 1));
        canvas.line((x, BOTTOM), (x, BOTTOM + 5), Ink::Muted, 1)?;
    }
    Ok(())
}

/// The plot, and over it a link on each point of a single run. The keyboard reaches the runs in the table of runs
/// instead: forty stops per plot would hide the rest of the page.
fn link_points(svg: &str, axis: &Axis, points: &[Point], scale: &Scale) -> String {
    let mut out = format!("<div class=plots>{}", without_hatching(svg));
    let (width, height) = SIZE;
    let _ = write!(out, "<svg class=p viewBox=\"0 0 {width} {height}\" aria-hidden=true>");
    for point in points.iter().filter(|point| !is_group(axis.columns, point)) {
        let position = axis.columns.ranges.get(point.column).map_or(0, |range| range.0);
        let Some((page, _)) = axis.runs.get(position) else { continue };
        let (x, y) = (scale.x(point.column), scale.y(point.value));
        let error = if point.error > 0.0 { format!(" \u{b1}{}", plain(2.0 * point.error)) } else { String::new() };
        let _ = write!(
            out,
            "<a href=../{page} tabindex=-1><title>{}{error}</title><circle cx={x} cy={y} r=2 /></a>",
            plain(point.value)
        );
    }
    out.push_str("</svg></div>");
    out
}

/// The plot without the pattern of hatching, which only heat maps use.
fn without_hatching(svg: &str) -> String {
    match svg.split_once("<defs>").and_then(|(head, rest)| Some((head, rest.split_once("</defs>")?.1))) {
        Some((head, tail)) => format!("{head}{tail}"),
        None => svg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(runs: usize) -> (Columns, Vec<(String, String)>) {
        let name = |run| (format!("run/r{run}.html"), format!("2026-11-{:02}", run % 28 + 1));
        (Columns::of(runs), (0..runs).map(name).collect())
    }

    fn drawn<'a>(values: &'a [f32], errors: &'a [f32], changes: &'a [usize]) -> Drawn<'a> {
        Drawn { id: "p", title: "t", unit: "cycles", values, errors, floor: 0.05, changes, marks: &[] }
    }

    #[test]
    fn every_single_run_is_a_link_and_levels_are_in_the_description() {
        let (columns, runs) = axis(100);
        let values: Vec<f32> = (0..100).map(|run| if run < 80 { 3.0 } else { 4.0 }).collect();
        let axis = Axis { columns: &columns, runs: &runs };
        let svg = plot(&drawn(&values, &[0.01; 100], &[80]), &axis).unwrap().unwrap();
        assert_eq!(svg.matches("<a href=../run/r").count(), super::super::trend::MAX_SINGLE_RUNS);
        assert!(svg.contains("oldest first: 3.00, then 4.00."), "{svg}");
        assert!(svg.contains("<title>4.00 \u{b1}0.020</title>"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("defs"));
    }

    #[test]
    fn a_series_without_values_has_no_plot_and_one_value_has_one() {
        let (columns, runs) = axis(1);
        let axis = Axis { columns: &columns, runs: &runs };
        assert!(plot(&drawn(&[f32::NAN], &[0.0], &[]), &axis).unwrap().is_none());
        assert!(plot(&drawn(&[0.0], &[0.0], &[0, 5]), &axis).unwrap().is_some());
    }
}
