//! Bars: what pv_ops costs in a real kernel, in the model kernel, and in what was published.

use super::canvas::{Anchor, Canvas, Ink, draw};
use super::number::{clipped, fixed};
use super::text_width::{label_text, text_width, widest};
use super::{Place, Plot, PlotError};
use crate::report::Report;
use crate::report::beside::{Figure, Group, Voice, groups};

/// Pixels of the longest bar, and of the number behind it.
const AXIS: i32 = 440;
const NUMBER: i32 = 76;
const LABEL_SIZE: u32 = 12;
const NAME_SIZE: u32 = 13;
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
    let labels = groups.iter().flat_map(|group| &group.figures).map(|figure| &figure.what);
    let left = widest(labels, LABEL_SIZE) + 14;
    let names = groups.iter().map(|group| text_width(&label_text(&group.workload), NAME_SIZE)).max().unwrap_or(0);
    let width = (left + AXIS + NUMBER).max(names + 12);
    let svg = draw("beside", (width as u32, height as u32), &title, &description, place == Place::File, |canvas| {
        let mut y = TOP;
        for group in &groups {
            canvas.text(&label_text(&group.workload), (6, y), Anchor::Start, NAME_SIZE, Ink::Text)?;
            y += BAR;
            for figure in &group.figures {
                bar(canvas, figure, (most, left), y)?;
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

fn bar(canvas: &mut Canvas, figure: &Figure, (most, left): (f64, i32), y: i32) -> Result<(), PlotError> {
    let ink = match figure.voice {
        Voice::Real => Ink::Accent,
        Voice::Model => Ink::Dot,
        Voice::Published => Ink::Muted,
    };
    let share = (figure.percent / most).clamp(0.0, 1.0);
    let end = left + (share * f64::from(AXIS)).round() as i32;
    canvas.text(&label_text(&figure.what), (left - 8, y), Anchor::End, LABEL_SIZE, Ink::Muted)?;
    canvas.rect((left, y - 5), (end.max(left + 1), y + 5), ink)?;
    canvas.text(&format!("{}%", fixed(figure.percent, 2)), (end + 6, y), Anchor::Start, 12, Ink::Text)
}
