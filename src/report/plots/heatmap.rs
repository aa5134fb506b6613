//! Heat maps of ops by mechanisms in throughput, one map per group of pv_ops.

use super::canvas::{Anchor, Canvas, HEAT_STEPS, Ink, draw};
use super::grid::{Grid, Reading, Row, group_name};
use super::number::{clipped, interval, plain};
use super::text_width::{label_text, widest};
use super::{Medium, Plot, PlotError};
use crate::op::{Group, Kind};
use crate::regime::Regime;

/// Maximum number of mechanisms in a map with numbers in its cells. With more, the numbers show only on hover.
pub(super) const MAX_WITH_NUMBERS: usize = 12;

const ROW: i32 = 19;
/// Height of a cell in pixels; a gap of one pixel lies between two cells.
const HEIGHT: u32 = ROW as u32 - 1;
const KIND: i32 = 20;
const LABEL_SIZE: u32 = 12;
/// Text in the cell of an op that traps.
const TRAPS: &str = "\u{d7}";

/// Lower ends of the steps of the heat scale, in core cycles.
pub const STEPS: [f64; HEAT_STEPS] = [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0];

/// The step of an overhead.
#[must_use]
fn step(cycles: f64) -> usize {
    STEPS.iter().rposition(|low| cycles >= *low).unwrap_or(0)
}

pub(super) fn plots(grid: &Grid, medium: Medium) -> Result<Vec<Plot>, PlotError> {
    if !grid.has(Regime::Throughput) {
        return Ok(Vec::new());
    }
    let mut groups: Vec<Group> = grid.rows.iter().map(|r| r.group).collect();
    groups.dedup();
    groups.into_iter().map(|group| plot(grid, group, medium)).collect()
}

struct Shape {
    label: i32,
    top: i32,
    cell: i32,
}

fn plot(grid: &Grid, group: Group, medium: Medium) -> Result<Plot, PlotError> {
    let id = format!("heatmap-{}", group_name(group));
    let rows: Vec<&Row> = grid.rows.iter().filter(|r| r.group == group).collect();
    let shape = Shape {
        label: widest(grid.rows.iter().map(|row| row.op), LABEL_SIZE) + 8,
        top: widest(grid.columns.iter().map(|column| column.label()), LABEL_SIZE) + 12,
        cell: if grid.columns.len() <= MAX_WITH_NUMBERS { 36 } else { 24 },
    };
    let left = shape.label + KIND;
    let right = left + shape.cell * grid.columns.len() as i32;
    let bottom = shape.top + ROW * rows.len() as i32;
    let legend = if medium == Medium::File { 34 } else { 2 };
    let size = (right.max(if medium == Medium::File { 540 } else { 0 }) as u32 + 2, (bottom + legend) as u32);

    let title = format!("Overhead of {} ops by mechanism in throughput", group_name(group));
    let description = describe(grid, &rows);
    let svg = draw(&id, size, &title, &description, medium == Medium::File, |canvas| {
        for (index, column) in grid.columns.iter().enumerate() {
            let x = left + shape.cell * index as i32 + shape.cell / 2;
            canvas.upwards(&label_text(&column.label()), (x, shape.top - 6), LABEL_SIZE, Ink::Text)?;
        }
        let mut cells = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let y = shape.top + ROW * index as i32;
            draw_head(canvas, row, &shape, y)?;
            cells.extend(list_cells(grid, row, &shape, y));
        }
        if medium == Medium::Page && !has_numbers(grid) {
            cells = merge(cells);
        }
        // Cells are sorted by colour, because equal cells become one group, and there are thousands of cells.
        cells.sort_by_key(|cell| cell.ink);
        for Cell { from, to, ink, title, number } in cells {
            match medium {
                Medium::File => canvas.titled(from, to, ink, title)?,
                // The page has the values in tables. A thick line is the shortest element that draws a cell.
                Medium::Page => canvas.line((from.0, y_middle(from, to)), (to.0, y_middle(from, to)), ink, HEIGHT)?,
            }
            if let Some((number, on)) = number {
                let at = ((from.0 - 1 + to.0) / 2, (from.1 - 1 + to.1) / 2);
                canvas.text(&number, at, Anchor::Middle, 11, on)?;
            }
        }
        if medium == Medium::File {
            return draw_legend(canvas, bottom + 18);
        }
        // The gaps between merged cells.
        (1..grid.columns.len() as i32)
            .map(|index| left + shape.cell * index)
            .try_for_each(|x| canvas.line((x, shape.top), (x, bottom), Ink::Paper, 2))
    })?;
    Ok(Plot::new(&id, title, description, svg))
}

/// Whether cells have room for numbers.
fn has_numbers(grid: &Grid) -> bool {
    grid.columns.len() <= MAX_WITH_NUMBERS
}

/// Merges neighbours of the same colour in a row. Cells with a text stay alone.
fn merge(cells: Vec<Cell>) -> Vec<Cell> {
    let mut merged: Vec<Cell> = Vec::new();
    for cell in cells {
        match merged.last_mut() {
            Some(last)
                if last.ink == cell.ink
                    && last.from.1 == cell.from.1
                    && last.to.0 + 1 == cell.from.0
                    && last.number.is_none()
                    && cell.number.is_none() =>
            {
                last.to = cell.to;
            }
            _ => merged.push(cell),
        }
    }
    merged
}

fn y_middle(from: (i32, i32), to: (i32, i32)) -> i32 {
    i32::midpoint(from.1, to.1)
}

fn describe(grid: &Grid, rows: &[&Row]) -> String {
    let (mut resolved, mut unresolved, mut trapping, mut absent) = (0, 0, 0, 0);
    let mut largest: Option<(f64, String)> = None;
    for row in rows {
        for column in &grid.columns {
            match grid.reading(row.op, column, Regime::Throughput) {
                Reading::Absent(_) => absent += 1,
                Reading::Unresolved(_) if grid.traps(row.op, column, Regime::Throughput) => trapping += 1,
                Reading::Unresolved(_) => unresolved += 1,
                Reading::Resolved(it) => {
                    resolved += 1;
                    if largest.as_ref().is_none_or(|(most, _)| it.estimate > *most) {
                        largest = Some((it.estimate, format!("{} by {}", row.op, column.label())));
                    }
                }
            }
        }
    }
    let largest = largest
        .map_or_else(String::new, |(most, name)| format!(" The largest overhead is {} cycles: {name}.", plain(most)));
    format!(
        "{} ops by {} mechanisms: {resolved} cells resolved, {unresolved} not resolved, {trapping} trapping, \
         {absent} not measured.{largest}",
        rows.len(),
        grid.columns.len()
    )
}

/// A cell of the map.
struct Cell {
    from: (i32, i32),
    to: (i32, i32),
    ink: Ink,
    /// Text that shows on hover.
    title: String,
    /// Text in the cell with its ink; `None` if there is no room for it.
    number: Option<(String, Ink)>,
}

/// Draws the name and the kind of an op in front of its row.
fn draw_head(canvas: &Canvas, row: &Row, shape: &Shape, y: i32) -> Result<(), PlotError> {
    let middle = y + ROW / 2;
    canvas.text(&label_text(row.op), (shape.label - 4, middle), Anchor::End, LABEL_SIZE, Ink::Text)?;
    let kind = match row.kind {
        Some(Kind::Real) => "R",
        Some(Kind::Modelled) => "M",
        None => "",
    };
    canvas.text(kind, (shape.label + KIND / 2, middle), Anchor::Middle, 10, Ink::Muted)
}

fn list_cells(grid: &Grid, row: &Row, shape: &Shape, y: i32) -> Vec<Cell> {
    let numbers = has_numbers(grid);
    let mut cells = Vec::with_capacity(grid.columns.len());
    for (index, column) in grid.columns.iter().enumerate() {
        let x = shape.label + KIND + shape.cell * index as i32;
        let (from, to) = ((x + 1, y + 1), (x + shape.cell, y + ROW));
        let name = || format!("{} by {}", row.op, column.label());
        let (ink, on, it) = match grid.reading(row.op, column, Regime::Throughput) {
            // The op does not have this state.
            Reading::Absent(None) => continue,
            Reading::Absent(Some(reason)) => {
                let title = format!("{}: not measured: {}", name(), clipped(reason, 160));
                cells.push(Cell { from, to, ink: Ink::Paper, title, number: None });
                continue;
            }
            Reading::Unresolved(_) if grid.traps(row.op, column, Regime::Throughput) => {
                let title = format!("{}: traps: the time is the hypervisor's", name());
                cells.push(Cell { from, to, ink: Ink::Paper, title, number: Some((TRAPS.to_owned(), Ink::Muted)) });
                continue;
            }
            Reading::Unresolved(it) => (Ink::Hatch, Ink::Muted, it),
            Reading::Resolved(it) if it.estimate < 0.0 => (Ink::Faster, Ink::OnHeat(0), it),
            Reading::Resolved(it) => (Ink::Heat(step(it.estimate)), Ink::OnHeat(step(it.estimate)), it),
        };
        // Without numbers in the cells the title is short, because there are thousands of them: row and column name it.
        let title = if numbers { format!("{}: {}", name(), interval(it.interval())) } else { interval(it.interval()) };
        // A hatched cell is not resolved and shows no number.
        let number = (numbers && ink != Ink::Hatch).then(|| (plain(it.estimate), on));
        cells.push(Cell { from, to, ink, title, number });
    }
    cells
}

fn draw_legend(canvas: &mut Canvas, y: i32) -> Result<(), PlotError> {
    canvas.text("cycles", (2, y), Anchor::Start, 11, Ink::Muted)?;
    for (index, label) in legend_labels().iter().enumerate() {
        let x = 44 + 39 * index as i32;
        canvas.rect((x, y - 8), (x + 38, y + 8), Ink::Heat(index))?;
        canvas.text(label, (x + 19, y), Anchor::Middle, 10, Ink::OnHeat(index))?;
    }
    let x = 44 + 39 * HEAT_STEPS as i32 + 8;
    canvas.rect((x, y - 8), (x + 16, y + 8), Ink::Hatch)?;
    canvas.text(&format!("not resolved   {TRAPS} traps"), (x + 20, y), Anchor::Start, 11, Ink::Muted)
}

/// The labels of the steps of the scale, in core cycles.
#[must_use]
pub fn legend_labels() -> Vec<String> {
    STEPS
        .iter()
        .enumerate()
        .map(|(index, low)| match STEPS.get(index + 1) {
            Some(high) if index == 0 => format!("< {high}"),
            Some(high) => format!("{low}\u{2013}{high}"),
            None => format!("\u{2265} {low}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_overhead_has_a_step() {
        assert_eq!([-1.0, 0.1, 0.5, 3.9, 1e9, f64::NAN].map(step), [0, 0, 1, 3, 7, 0]);
    }
}
