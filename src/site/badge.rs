//! Badges for a README: small pictures with the state of a history, without external fonts.

use askama::Template;

use super::context::Context;
use super::error::SiteError;
use super::model::{Direction, Event};
use super::names::slug;
use crate::regime::Regime;
use crate::report::plots::number::{clipped, plain, plural};
use crate::report::plots::text_width::text_width;

/// Size of the text in pixels.
const TEXT: u32 = 11;
/// Pixels beside each text.
const PADDING: i32 = 7;
/// Colours with a contrast of at least 4.5 to white text.
const GOOD: &str = "#1b6b3a";
const BAD: &str = "#a3200d";
const PLAIN: &str = "#57626e";

#[derive(Template)]
#[template(path = "site_badge.svg")]
struct Badge {
    label: String,
    value: String,
    color: &'static str,
    left: i32,
    width: i32,
    label_at: i32,
    value_at: i32,
}

/// All badges with their paths: one for the history, one per machine, and one with the cost of the table.
///
/// # Errors
/// When the template fails.
pub fn badges(context: &Context) -> Result<Vec<(String, String)>, SiteError> {
    let model = context.model;
    let label = clipped(context.title, 40);
    let mut badges = vec![("badge/changes.svg".to_owned(), state(&label, model.runs.len(), model.events.iter())?)];
    for (index, machine) in model.machines.iter().enumerate() {
        let own = model.events.iter().filter(|event| event.machines.contains(&index));
        badges.push((format!("badge/{}.svg", slug(&machine.class)), state(&label, machine.runs.len(), own)?));
    }
    let hot = context.over_ops.first().into_iter().flatten();
    let table = hot.into_iter().find(|it| it.mechanism == "table" && it.regime == Regime::Throughput.name());
    let newest = table.and_then(|it| it.values.iter().rev().find(|value| value.is_finite()));
    if let Some(value) = newest {
        let text = format!("{} cycles hot", plain(f64::from(*value)));
        badges.push(("badge/table-hot.svg".to_owned(), draw("table above inline", &text, PLAIN)?));
    }
    Ok(badges)
}

/// The badge for the open events.
fn state<'a>(label: &str, runs: usize, events: impl Iterator<Item = &'a Event>) -> Result<String, SiteError> {
    let open: Vec<&Event> = events.filter(|event| event.is_open).collect();
    let is_bad = open.iter().any(|event| matches!(event.direction, Direction::Worse | Direction::Mixed));
    let (value, color) = match open.len() {
        0 if runs == 0 => ("no run yet".to_owned(), PLAIN),
        0 => ("no open change".to_owned(), GOOD),
        n => (format!("{n} open {}", plural(n, "change", "changes")), if is_bad { BAD } else { PLAIN }),
    };
    draw(label, &value, color)
}

fn draw(label: &str, value: &str, color: &'static str) -> Result<String, SiteError> {
    let left = text_width(label, TEXT) + 2 * PADDING;
    let right = text_width(value, TEXT) + 2 * PADDING;
    let badge = Badge {
        label: label.to_owned(),
        value: value.to_owned(),
        color,
        left,
        width: left + right,
        label_at: left / 2,
        value_at: left + right / 2,
    };
    Ok(badge.render()?)
}
