//! Linux's history of paravirt calls: the overhead at each step of Linux's history, oldest first.

use super::canvas::{Anchor, Canvas, Ink, draw};
use super::grid::{Column, Grid};
use super::number::{plural, signed};
use super::scale::{Scale, mark};
use super::spread::{BEYOND, Spread, axis_end};
use super::text_width::{label_text, widest};
use super::{Medium, Plot, PlotError};
use crate::regime::Regime;
use crate::report::Report;
use crate::report::answer::difference_of;
use crate::report::over_ops::{MEDIAN_OVER_OPS, Paired, paired};
use crate::report::subject::has_linux_ops;

/// The mechanism that all steps are compared with.
const TABLE: &str = "table";

/// Widths in pixels: of the axis, and of the numbers beside it.
const AXIS: i32 = 106;
const NUMBERS: i32 = 134;
const LABEL_SIZE: u32 = 12;
const STATE_SIZE: u32 = 11;
const TOP: i32 = 26;
const ROW: i32 = 34;
const FOOT: i32 = 42;

/// A mechanism, in one state if it is patchable, that Linux used from some year on.
pub struct Step<'a> {
    /// First year.
    pub year: u16,
    /// Mechanism and state.
    pub column: Column<'a>,
    /// The change in Linux, in one line.
    pub change: &'a str,
}

/// The result of a step in one regime.
pub struct Measured<'a> {
    /// The overheads over the ops.
    pub spread: Spread<'a>,
    /// The difference from the table; `None` for the table itself, and where it was not measured.
    pub change: Option<StepChange>,
}

/// The difference of a step from the table, over the ops that both have. Neighbours in time replace different things;
/// the indirect call through the table is what all of them replace or guard.
pub struct StepChange {
    /// The medians over these ops; `None` if there is no such op.
    pub over: Option<Paired>,
    /// Whether these are all ops of both steps.
    all: bool,
    /// Whether more than half of these ops differ by more than the floors of both cells.
    differs: bool,
}

impl StepChange {
    fn of(table: &Spread, step: &Spread, differs: bool) -> Self {
        let over = paired(&table.over, &step.over);
        let all = |ops| ops == table.over.cells.len() && ops == step.over.cells.len();
        Self { over, all: over.is_some_and(|over| all(over.ops)), differs }
    }

    /// The text of plot and table: `\u{2212}3.86 over 22 ops`, without the number if these are all ops of both steps.
    #[must_use]
    pub fn text(&self) -> String {
        let Some(over) = self.over else { return "no op in common".to_owned() };
        let text = if self.differs { signed(over.difference) } else { "no difference".to_owned() };
        if self.all { text } else { format!("{text} over {} {}", over.ops, plural(over.ops, "op", "ops")) }
    }
}

/// The steps of Linux's history that a report has.
pub struct History<'a> {
    /// The steps by year, then in the order of the catalogue.
    pub steps: Vec<Step<'a>>,
    /// For each regime with at least two measured steps, the result of each step in the order of `steps`.
    pub regimes: Vec<(Regime, Vec<Option<Measured<'a>>>)>,
}

impl<'a> History<'a> {
    /// The history of a report; `None` if no op is a hook of Linux, or if no regime has two steps.
    #[must_use]
    pub fn of(report: &'a Report, grid: &Grid<'a>) -> Option<Self> {
        if !has_linux_ops(report) {
            return None;
        }
        let mut steps: Vec<Step> = Vec::new();
        for column in &grid.columns {
            let info = report.catalogue.mechanisms.iter().find(|m| m.name == column.mechanism);
            if let Some((year, change)) = info.and_then(|m| Some((m.year?, m.step.as_deref()?))) {
                steps.push(Step { year, column: column.clone(), change });
            }
        }
        steps.sort_by_key(|step| step.year);
        let regimes: Vec<_> = Regime::ALL
            .into_iter()
            .map(|regime| (regime, measured(grid, &steps, regime)))
            .filter(|(_, measured)| measured.iter().flatten().count() >= 2)
            .collect();
        (!regimes.is_empty()).then_some(Self { steps, regimes })
    }
}

fn measured<'a>(grid: &Grid<'a>, steps: &[Step<'a>], regime: Regime) -> Vec<Option<Measured<'a>>> {
    let table = steps.iter().find(|step| step.column.mechanism == TABLE).map(|step| &step.column);
    let measure = |step: &Step<'a>| {
        let spread = Spread::of(grid, &step.column, regime)?;
        let table = table.filter(|table| **table != step.column);
        let change = table.and_then(|table| {
            let differs = difference_of(grid, &step.column, table, regime).is_some_and(|it| it.is_resolved);
            Some(StepChange::of(&Spread::of(grid, table, regime)?, &spread, differs))
        });
        Some(Measured { spread, change })
    };
    steps.iter().map(measure).collect()
}

pub(super) fn plots(history: &History, grid: &Grid, medium: Medium, drawn: &[Regime]) -> Result<Vec<Plot>, PlotError> {
    // All regimes share one scale, so that they can be compared by eye.
    let spreads =
        || history.regimes.iter().flat_map(|(_, measured)| measured.iter().flatten()).map(|measured| &measured.spread);
    let labels = widest(history.steps.iter().map(label), LABEL_SIZE);
    let states = widest(history.steps.iter().filter_map(|step| step.column.state), STATE_SIZE);
    let left = labels.max(states) + 12;
    let least_floor = history.regimes.iter().filter_map(|(regime, _)| grid.floor_of(*regime)).reduce(f64::min);
    let shape = Shape { left, scale: Scale::new(least_floor, axis_end(spreads()), left, left + AXIS) };
    let of = |(regime, measured): &(Regime, Vec<_>)| {
        let shape = Shape { scale: shape.scale.with_floor(grid.floor_of(*regime)), ..shape };
        plot(history, &shape, *regime, measured, medium)
    };
    history.regimes.iter().filter(|(regime, _)| drawn.contains(regime)).map(of).collect()
}

/// Position and scale of the axis. The scale holds the floor of the regime.
#[derive(Clone, Copy)]
struct Shape {
    left: i32,
    scale: Scale,
}

impl Shape {
    fn width(&self) -> i32 {
        self.left + AXIS + NUMBERS
    }
}

/// `2007 table`. The state is drawn below it.
fn label(step: &Step) -> String {
    format!("{} {}", step.year, step.column.mechanism)
}

fn plot(
    history: &History,
    shape: &Shape,
    regime: Regime,
    measured: &[Option<Measured>],
    medium: Medium,
) -> Result<Plot, PlotError> {
    let rungs: Vec<(&Step, &Measured)> =
        history.steps.iter().zip(measured).filter_map(|(step, it)| Some((step, it.as_ref()?))).collect();
    let id = format!("history-{}", regime.name());
    let title = format!("Linux's history of paravirt calls, {}", regime.name());
    let words: Vec<String> = rungs.iter().map(|(step, it)| words(step, it)).collect();
    let description = format!(
        "Overhead over inline in core cycles per call, {MEDIAN_OVER_OPS}, oldest first; then the median difference \
         from the table, over the ops that both have. {}.",
        words.join("; ")
    );
    let bottom = TOP + ROW * rungs.len() as i32;
    let size = (shape.width() as u32, (bottom + FOOT) as u32);
    let svg = draw(&id, size, &title, &description, medium == Medium::File, |canvas| {
        axis(canvas, shape, regime, bottom)?;
        let middle = |index: usize| TOP + ROW * index as i32 + ROW / 2;
        for (index, (step, it)) in rungs.iter().enumerate() {
            rung(canvas, shape, step, it, middle(index))?;
        }
        Ok(())
    })?;
    Ok(Plot::new(&id, title, description, svg))
}

fn words(step: &Step, it: &Measured) -> String {
    let change = it.change.as_ref().map_or_else(String::new, |change| format!(", {}", change.text()));
    format!("{} {}{change}", step.year, it.spread.words())
}

fn axis(canvas: &mut Canvas, shape: &Shape, regime: Regime, bottom: i32) -> Result<(), PlotError> {
    canvas.text(regime.name(), (shape.left, TOP - 13), Anchor::Start, 13, Ink::Text)?;
    canvas.text("median, to table", (shape.width() - 2, TOP - 13), Anchor::End, 11, Ink::Muted)?;
    canvas.rect((shape.left, TOP), (shape.scale.x(0.0), bottom), Ink::Band)?;
    for (value, x) in shape.scale.marks(26) {
        canvas.line((x, TOP), (x, bottom), Ink::Rule, 1)?;
        canvas.text(&mark(value), (x, bottom + 12), Anchor::Middle, 11, Ink::Muted)?;
    }
    let middle = shape.left + AXIS / 2;
    canvas.text("cycles above inline, log scale", (middle, bottom + 30), Anchor::Middle, 11, Ink::Muted)
}

fn rung(canvas: &mut Canvas, shape: &Shape, step: &Step, it: &Measured, y: i32) -> Result<(), PlotError> {
    let Shape { left, scale } = shape;
    let label_y = if step.column.state.is_some() { y - 7 } else { y };
    canvas.text(&label_text(&label(step)), (left - 8, label_y), Anchor::End, LABEL_SIZE, Ink::Text)?;
    if let Some(state) = step.column.state {
        canvas.text(&label_text(state), (left - 8, y + 8), Anchor::End, STATE_SIZE, Ink::Muted)?;
    }
    let [_, low, median, high, _] = it.spread.over.five;
    canvas.rect((scale.x(low), y - 4), (scale.x(high).max(scale.x(low) + 1), y + 4), Ink::Dot)?;
    if scale.is_beyond(high) {
        canvas.text(BEYOND, (left + AXIS, y), Anchor::Start, 11, Ink::Muted)?;
    }
    let resolved = it.spread.over.median_is_resolved();
    canvas.median((scale.x(median), y), 5, resolved)?;
    let ink = if resolved { Ink::Text } else { Ink::Muted };
    canvas.text(&it.spread.median_text(), (shape.width() - 2, y - 7), Anchor::End, 12, ink)?;
    let Some(change) = &it.change else { return Ok(()) };
    canvas.text(&change.text(), (shape.width() - 2, y + 8), Anchor::End, 11, Ink::Muted)
}
