//! The ladder over time: what each step of Linux's history left of the overhead, oldest first.

use super::canvas::{Anchor, Canvas, Ink, draw};
use super::grid::{Column, Grid};
use super::number::{clipped, fixed, plain, quantile, sorted};
use super::scale::{Scale, mark};
use super::spread::Spread;
use super::{Place, Plot, PlotError};
use crate::regime::Regime;
use crate::report::Report;
use crate::report::subject::is_of_linux;

const WIDTH: i32 = 348;
/// The longest label in characters, and a character's width in pixels.
const LABEL: usize = 22;
const CHARACTER: f64 = 6.6;
const RIGHT: i32 = 284;
const TOP: i32 = 26;
const ROW: i32 = 34;

/// A mechanism, in one state where it is patchable, that was Linux's way from some year on.
pub struct Step<'a> {
    /// From when on.
    pub year: u16,
    /// The mechanism and state.
    pub column: Column<'a>,
    /// What changed, in a line.
    pub change: &'a str,
}

/// A step as it was measured in a regime.
pub struct Measured<'a> {
    /// Its overheads over the ops.
    pub spread: Spread<'a>,
    /// Median over the ops, in core cycles, of the difference to the step before that was measured; absent for the first.
    pub bought: Option<f64>,
}

/// The steps of Linux's history that a report has.
pub struct History<'a> {
    /// In the order of their years, then of the catalogue.
    pub steps: Vec<Step<'a>>,
    /// For each regime with at least two of the steps: what was measured of each, in the order of the steps.
    pub regimes: Vec<(Regime, Vec<Option<Measured<'a>>>)>,
}

impl<'a> History<'a> {
    /// None where no op is a hook of Linux, or no regime has two steps.
    #[must_use]
    pub fn of(report: &'a Report, grid: &Grid<'a>) -> Option<Self> {
        if !is_of_linux(report) {
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
    let mut before: Option<&Column> = None;
    steps
        .iter()
        .map(|step| {
            let spread = Spread::of(grid, &step.column, regime)?;
            let before = before.replace(&step.column);
            let bought = before.and_then(|before| difference(grid, before, &step.column, regime));
            Some(Measured { spread, bought })
        })
        .collect()
}

/// Median over the ops that both have.
fn difference<'a>(grid: &Grid<'a>, before: &Column<'a>, after: &Column<'a>, regime: Regime) -> Option<f64> {
    let differences = grid.rows.iter().filter_map(|row| {
        let of = |column| grid.reading(row.op, column, regime).estimate();
        Some(of(after)? - of(before)?)
    });
    quantile(&sorted(differences), 0.5)
}

pub(super) fn plots(history: &History, grid: &Grid, place: Place) -> Result<Vec<Plot>, PlotError> {
    // One scale for all, so that regimes can be compared by eye.
    let all = history.regimes.iter().flat_map(|(_, measured)| measured.iter().flatten());
    let largest = all.map(|it| it.spread.five[3]).fold(1.0, f64::max);
    let longest = history.steps.iter().map(|step| label(step).chars().count()).max().unwrap_or(0);
    let left = (longest as f64 * CHARACTER) as i32 + 12;
    let scale = Scale::new(grid.floor, largest, left, RIGHT);
    let shape = Shape { left, scale };
    history.regimes.iter().map(|(regime, measured)| plot(history, grid, &shape, *regime, measured, place)).collect()
}

/// What all regimes share.
struct Shape {
    left: i32,
    scale: Scale,
}

/// `2007 table`; the state stands below.
fn label(step: &Step) -> String {
    clipped(&format!("{} {}", step.year, step.column.mechanism), LABEL)
}

fn plot(
    history: &History,
    grid: &Grid,
    shape: &Shape,
    regime: Regime,
    measured: &[Option<Measured>],
    place: Place,
) -> Result<Plot, PlotError> {
    let rungs: Vec<(&Step, &Measured)> =
        history.steps.iter().zip(measured).filter_map(|(step, it)| Some((step, it.as_ref()?))).collect();
    let id = format!("history-{}", regime.name());
    let title = format!("The ladder over time, {}", regime.name());
    let words: Vec<String> =
        rungs.iter().map(|(step, it)| format!("{} {}", step.year, it.spread.words(grid.floor))).collect();
    let description =
        format!("Overhead over inline in core cycles per call, median over ops, oldest first. {}.", words.join("; "));
    let bottom = TOP + ROW * rungs.len() as i32;
    let svg = draw(&id, (WIDTH as u32, (bottom + 42) as u32), &title, &description, place == Place::File, |canvas| {
        axis(canvas, shape, regime, bottom)?;
        let middle = |index: usize| TOP + ROW * index as i32 + ROW / 2;
        for (index, pair) in rungs.windows(2).enumerate() {
            if let [(_, before), (_, after)] = pair {
                let from = (shape.scale.x(before.spread.median()), middle(index));
                let to = (shape.scale.x(after.spread.median()), middle(index + 1));
                canvas.line(from, to, Ink::Accent, 1)?;
            }
        }
        for (index, (step, it)) in rungs.iter().enumerate() {
            rung(canvas, grid, shape, step, it, middle(index))?;
        }
        Ok(())
    })?;
    Ok(Plot::new(&id, title, description, svg))
}

fn axis(canvas: &mut Canvas, shape: &Shape, regime: Regime, bottom: i32) -> Result<(), PlotError> {
    canvas.text(regime.name(), (shape.left, TOP - 13), Anchor::Start, 13, Ink::Text)?;
    canvas.text("median", (WIDTH - 2, TOP - 13), Anchor::End, 11, Ink::Muted)?;
    canvas.rect((shape.left, TOP), (shape.scale.x(0.0), bottom), Ink::Band)?;
    for (value, x) in shape.scale.marks(26) {
        canvas.line((x, TOP), (x, bottom), Ink::Rule, 1)?;
        canvas.text(&mark(value), (x, bottom + 12), Anchor::Middle, 11, Ink::Muted)?;
    }
    let middle = (shape.left + RIGHT) / 2;
    canvas.text("cycles above inline, log scale", (middle, bottom + 30), Anchor::Middle, 11, Ink::Muted)
}

fn rung(canvas: &mut Canvas, grid: &Grid, shape: &Shape, step: &Step, it: &Measured, y: i32) -> Result<(), PlotError> {
    let label_y = if step.column.state.is_some() { y - 7 } else { y };
    canvas.text(&label(step), (shape.left - 8, label_y), Anchor::End, 12, Ink::Text)?;
    if let Some(state) = step.column.state {
        canvas.text(&clipped(state, LABEL), (shape.left - 8, y + 8), Anchor::End, 11, Ink::Muted)?;
    }
    let [_, low, median, high, _] = it.spread.five;
    canvas.rect((shape.scale.x(low), y - 4), (shape.scale.x(high).max(shape.scale.x(low) + 1), y + 4), Ink::Dot)?;
    let near = |value: f64| grid.floor.is_some_and(|floor| value.abs() <= floor);
    let at = (shape.scale.x(median), y);
    canvas.dot(at, 5, Ink::Accent)?;
    if near(median) {
        canvas.dot(at, 3, Ink::Paper)?;
    }
    let (value, ink) =
        if near(median) { ("\u{2264} floor".to_owned(), Ink::Muted) } else { (plain(median), Ink::Text) };
    canvas.text(&value, (WIDTH - 2, y - 7), Anchor::End, 12, ink)?;
    let bought = match it.bought {
        None => return Ok(()),
        Some(bought) if near(bought) => "as before".to_owned(),
        Some(bought) => format!("{}{}", if bought > 0.0 { "+" } else { "" }, fixed(bought, 2)),
    };
    canvas.text(&bought, (WIDTH - 2, y + 8), Anchor::End, 11, Ink::Muted)
}
