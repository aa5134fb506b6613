//! The answer as a picture: what each way to a body costs where the code is hot and where it is cold.

use super::canvas::{Anchor, Canvas, Ink, draw};
use super::grid::{Column, Grid};
use super::number::{clipped, plain};
use super::text_width::{label_text, widest};
use super::{Medium, Plot, PlotError};
use crate::regime::Regime;
use crate::report::Report;
use crate::report::answer::{Answer, Cost, WayCost};
use crate::report::over_ops::OverOps;

/// A regime of the plot with the words for it.
type Drawn = (Regime, &'static str, Ink);
/// The regimes of the plot, hot above cold. Those that were not measured have no bars.
const REGIMES: [Drawn; 2] =
    [(Regime::Throughput, "hot (throughput)", Ink::Accent), (Regime::Cold, "cold (predictors overrun)", Ink::Dot)];

const LABEL_SIZE: u32 = 14;
const NUMBER_SIZE: u32 = 13;
/// Height in pixels of the legend, of a bar, and between two ways.
const LEGEND: i32 = 34;
const BAR: i32 = 15;
const GAP: i32 = 12;
const FOOT: i32 = 40;
/// Width in pixels of a number.
const NUMBER: i32 = 96;

/// Width of the plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// Labels beside the bars.
    Wide,
    /// Labels above the bars, for the screen of a phone.
    Narrow,
}

/// Dimensions of the plot in pixels.
struct Shape {
    left: i32,
    axis: i32,
    /// Height of a label above the bars; 0 with labels beside them.
    head: i32,
    /// Number of bars of a way.
    bars: i32,
    /// Ends of the axis in core cycles.
    low: f64,
    high: f64,
}

impl Shape {
    fn x(&self, cycles: f64) -> i32 {
        let share = ((cycles - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.left + (share * f64::from(self.axis)).round() as i32
    }

    fn row(&self) -> i32 {
        self.head + BAR * self.bars + GAP
    }
}

/// The cost of a way in one regime, with the middle half of the ops.
struct Bar {
    cost: Cost,
    middle_half: [f64; 2],
    drawn: Drawn,
    /// Position below the label, from 0.
    line: i32,
}

/// The plot; `None` if none of the ways was measured hot or cold.
pub(super) fn plot(report: &Report, grid: &Grid, medium: Medium, width: Width) -> Result<Option<Plot>, PlotError> {
    let answer = Answer::of(report, grid);
    let is_measured = |drawn: &Drawn| answer.ways.iter().any(|way| way.costs.iter().any(|it| it.0 == drawn.0));
    let regimes: Vec<Drawn> = REGIMES.into_iter().filter(is_measured).collect();
    let ways: Vec<(&'static str, Vec<Bar>)> = answer
        .ways
        .iter()
        .map(|way| (way.name, list_bars(grid, way, &regimes)))
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    let ends = || ways.iter().flat_map(|(_, bars)| bars).flat_map(|bar| [bar.cost.median.estimate, bar.middle_half[1]]);
    let Some(high) = ends().reduce(f64::max) else { return Ok(None) };
    let low = ends().fold(0.0, f64::min);
    let high = high.max(1.0).max(low + 1.0);
    let bars = regimes.len() as i32;
    let shape = match width {
        Width::Wide => {
            Shape { left: widest(ways.iter().map(|way| way.0), LABEL_SIZE) + 14, axis: 440, head: 0, bars, low, high }
        }
        Width::Narrow => Shape { left: 6, axis: 218, head: 20, bars, low, high },
    };
    let bottom = LEGEND + shape.row() * ways.len() as i32;
    let size = ((shape.left + shape.axis + NUMBER) as u32, (bottom + FOOT) as u32);
    let title = "Cost of each way to an operation above inline, hot and cold".to_owned();
    let words: Vec<String> = ways.iter().map(|(name, bars)| describe(name, bars)).collect();
    let description = format!(
        "Core cycles per call above inline: the median over the ops, and a line over the middle half of them. {}.",
        words.join("; ")
    );
    let id = if width == Width::Wide { "answer" } else { "answer-narrow" };
    let svg = draw(id, size, &title, &description, medium == Medium::File, |canvas| {
        draw_axis(canvas, &shape, &regimes, bottom)?;
        ways.iter().enumerate().try_for_each(|(index, (name, bars))| {
            draw_way(canvas, &shape, name, bars, LEGEND + shape.row() * index as i32)
        })
    })?;
    Ok(Some(Plot::new(id, title, description, svg)))
}

fn list_bars(grid: &Grid, way: &WayCost, regimes: &[Drawn]) -> Vec<Bar> {
    let column = Column { mechanism: way.way.mechanism, state: way.way.state };
    let Some(column) = grid.columns.iter().find(|it| **it == column) else { return Vec::new() };
    let bar = |(line, drawn): (usize, &Drawn)| {
        let cost = way.costs.iter().find(|it| it.0 == drawn.0)?.1;
        let [_, low, _, high, _] = OverOps::of(grid.cells_of(column, drawn.0))?.five;
        Some(Bar { cost, middle_half: [low, high], drawn: *drawn, line: line as i32 })
    };
    regimes.iter().enumerate().filter_map(bar).collect()
}

/// `the pv_ops table: 3.69 hot (throughput), 27.5 cold (predictors overrun)`
fn describe(name: &str, bars: &[Bar]) -> String {
    let words = |bar: &Bar| format!("{} {}", shown(&bar.cost), bar.drawn.1);
    format!("{}: {}", clipped(name, 40), bars.iter().map(words).collect::<Vec<_>>().join(", "))
}

fn shown(cost: &Cost) -> String {
    if cost.is_resolved { plain(cost.median.estimate) } else { cost.bound_text() }
}

fn draw_axis(canvas: &mut Canvas, shape: &Shape, regimes: &[Drawn], bottom: i32) -> Result<(), PlotError> {
    let mut x = 2;
    for (_, words, ink) in regimes {
        canvas.rect((x, 8), (x + 12, 20), *ink)?;
        canvas.text(words, (x + 18, 14), Anchor::Start, NUMBER_SIZE, Ink::Text)?;
        x += 18 + super::text_width::text_width(words, NUMBER_SIZE) + 8;
    }
    for value in list_marks(shape) {
        let at = shape.x(value);
        canvas.line((at, LEGEND), (at, bottom), Ink::Rule, 1)?;
        canvas.text(&format!("{value}"), (at, bottom + 12), Anchor::Middle, 12, Ink::Muted)?;
    }
    let words = "core cycles per call above inline";
    canvas.text(words, (shape.left, bottom + 30), Anchor::Start, 12, Ink::Muted)
}

/// Round values on the axis, at most eight.
fn list_marks(shape: &Shape) -> Vec<f64> {
    const MAX_MARKS: f64 = 8.0;
    let span = shape.high - shape.low;
    let steps = (-2..=9).flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(decade)));
    let Some(step) = steps.into_iter().find(|step| span / step <= MAX_MARKS) else { return vec![0.0] };
    let first = (shape.low / step).ceil() as i64;
    (first..first + 9).map(|index| index as f64 * step).filter(|value| *value <= shape.high).collect()
}

fn draw_way(canvas: &mut Canvas, shape: &Shape, name: &str, bars: &[Bar], top: i32) -> Result<(), PlotError> {
    if shape.head > 0 {
        canvas.text(&label_text(name), (shape.left, top + shape.head / 2), Anchor::Start, LABEL_SIZE, Ink::Text)?;
    } else {
        let middle = top + BAR * shape.bars / 2;
        canvas.text(&label_text(name), (shape.left - 10, middle), Anchor::End, LABEL_SIZE, Ink::Text)?;
    }
    for bar in bars {
        let y = top + shape.head + BAR * bar.line;
        let (zero, at) = (shape.x(0.0), shape.x(bar.cost.median.estimate));
        canvas.rect((zero.min(at), y + 1), (zero.max(at).max(zero.min(at) + 1), y + BAR - 1), bar.drawn.2)?;
        let [low, high] = bar.middle_half.map(|end| shape.x(end));
        canvas.line((low, y + BAR / 2), (high, y + BAR / 2), Ink::Text, 1)?;
        let ink = if bar.cost.is_resolved { Ink::Text } else { Ink::Muted };
        let number = (at.max(high).max(zero) + 7, y + BAR / 2);
        canvas.text(&shown(&bar.cost), number, Anchor::Start, NUMBER_SIZE, ink)?;
    }
    Ok(())
}
