//! Bars: what pv_ops costs in a real kernel, in the model kernel, and in what was published.

use super::canvas::{Anchor, Canvas, Ink, draw};
use super::number::{clipped, fixed};
use super::{Place, Plot, PlotError};
use crate::report::Report;
use crate::report::beside::{Figure, Group, Voice, groups};

const WIDTH: i32 = 760;
const LEFT: i32 = 250;
const RIGHT: i32 = 690;
const TOP: i32 = 14;
const BAR: i32 = 16;
const GAP: i32 = 12;
/// Figures beyond this are drawn to the edge; their number stands beside them.
const MOST: f64 = 100.0;

pub(super) fn plot(report: &Report, place: Place) -> Result<Option<Plot>, PlotError> {
    let groups = groups(report)?;
    let figures = groups.iter().flat_map(|group| &group.figures);
    let Some(most) = figures.map(|figure| figure.percent).filter(|it| it.is_finite()).reduce(f64::max) else {
        return Ok(None);
    };
    let most = most.clamp(1.0, MOST);
    let title = "What pv_ops costs: a real kernel, the model kernel, and 2009".to_owned();
    let words = groups.iter().map(words).collect::<Vec<_>>().join("; ");
    let description = format!("Percent above the kernel without, by workload. {words}.");
    let rows: usize = groups.iter().map(|group| group.figures.len()).sum();
    let height = TOP + BAR * rows as i32 + (BAR + GAP) * groups.len() as i32 + 10;
    let svg = draw("beside", (WIDTH as u32, height as u32), &title, &description, place == Place::File, |canvas| {
        let mut y = TOP;
        for group in &groups {
            canvas.text(&clipped(&group.workload, 30), (6, y), Anchor::Start, 13, Ink::Text)?;
            y += BAR;
            for figure in &group.figures {
                bar(canvas, figure, most, y)?;
                y += BAR;
            }
            y += GAP;
        }
        Ok(())
    })?;
    Ok(Some(Plot::new("beside", title, description, svg)))
}

fn words(group: &Group) -> String {
    let figures: Vec<String> =
        group.figures.iter().map(|it| format!("{} {}%", clipped(&it.what, 60), fixed(it.percent, 2))).collect();
    format!("{}: {}", clipped(&group.workload, 40), figures.join(", "))
}

fn bar(canvas: &mut Canvas, figure: &Figure, most: f64, y: i32) -> Result<(), PlotError> {
    let ink = match figure.voice {
        Voice::Real => Ink::Accent,
        Voice::Model => Ink::Dot,
        Voice::Published => Ink::Muted,
    };
    let share = (figure.percent / most).clamp(0.0, 1.0);
    let end = LEFT + (share * f64::from(RIGHT - LEFT)).round() as i32;
    canvas.text(&clipped(&figure.what, 38), (LEFT - 8, y), Anchor::End, 12, Ink::Muted)?;
    canvas.rect((LEFT, y - 5), (end.max(LEFT + 1), y + 5), ink)?;
    canvas.text(&format!("{}%", fixed(figure.percent, 2)), (end + 6, y), Anchor::Start, 12, Ink::Text)
}
