//! The page of a machine: its facts, its changes, its medians and all of its runs.

use askama::Template as _;

use super::super::context::{Context, MAX_NAME_CHARS, day};
use super::super::error::SiteError;
use super::super::feed;
use super::super::model::Fact;
use super::super::names::anchor;
use super::Frame;
use super::detail::DetailPage;
use super::front::is_main_regime;
use super::trends::over_ops_trend;
use crate::report::plots::number::{clipped, plural};

/// The page of a machine; `None` without such a machine.
pub fn page(context: &Context, frame: &Frame, index: usize) -> Result<Option<String>, SiteError> {
    let model = context.model;
    let Some(machine) = model.machines.get(index) else { return Ok(None) };
    let title = clipped(&machine.title, MAX_NAME_CHARS);
    let mut page =
        DetailPage::new(frame, "machine", clipped(&machine.class, MAX_NAME_CHARS), format!("What changed on {title}?"));
    page.feed = feed::machine_path(&machine.class);
    let run = |at: Option<&usize>| at.and_then(|at| model.runs.get(*at)).map(|run| day(&run.time));
    let count = machine.runs.len();
    page.summary = format!("{count} {}", plural(count, "run", "runs"));
    if let Some((first, last)) = run(machine.runs.first()).zip(run(machine.runs.last())) {
        page.summary.push_str(&format!(", {first} to {last}"));
    }
    page.facts
        .extend(machine.facts.iter().map(|it| Fact { name: clipped(&it.name, 80), value: clipped(&it.value, 400) }));
    page.events = model
        .events
        .iter()
        .filter(|event| event.machines.contains(&index))
        .map(|event| context.event_row(event))
        .collect();
    let medians = context.over_ops.get(index).into_iter().flatten();
    for it in medians.filter(|it| is_main_regime(&it.regime) && it.mechanism != "inline") {
        let caption = format!("{}, {}", it.mechanism, it.regime);
        page.trends.extend(over_ops_trend(context, index, it, &anchor("o", &[&machine.class]), &caption)?);
    }
    page.runs = machine.runs.iter().rev().filter_map(|run| context.run_row(*run)).collect();
    Ok(Some(page.render()?))
}
