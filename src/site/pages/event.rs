//! The page of an event: when, how much, why, where, and what moved.

use askama::Template;

use super::super::context::{Context, EventRow, position_on, unit};
use super::super::error::SiteError;
use super::super::model::{Event, Moved};
use super::super::names::{Folder, anchor};
use super::super::plot::{Axis, Drawn, plot};
use super::super::trend::Columns;
use super::Frame;
use super::trends::{Trend, key_anchor};
use crate::report::plots::number::{NOTHING, clipped, exact, plain, signed};

/// Most cells in the table. The largest change of a machine moves all of ten thousand.
const MAX_CELLS: usize = 500;
/// Most plots.
const MAX_PLOTS: usize = 12;
/// Runs that are drawn before the first run at the new level, and from it on.
const REACH: usize = 20;

struct CellRow {
    href: Option<String>,
    name: String,
    before: String,
    after: String,
    difference: String,
    unit: &'static str,
}

#[derive(Template)]
#[template(path = "site_event.html")]
struct EventPage<'a> {
    frame: &'a Frame<'a>,
    root: &'static str,
    warnings: Vec<String>,
    id: String,
    event: EventRow,
    subject: Option<String>,
    cause_text: String,
    state_text: String,
    accepted: Option<(String, String)>,
    trends: Vec<Trend>,
    cells: Vec<CellRow>,
    more_cells: usize,
}

/// The page of an event; `None` without such an event.
pub fn page(context: &Context, frame: &Frame, index: usize) -> Result<Option<String>, SiteError> {
    let model = context.model;
    let Some(event) = model.events.get(index) else { return Ok(None) };
    let subject = event.bad.and_then(|bad| model.commits.get(bad)).and_then(|commit| commit.subject.as_ref());
    let mut order: Vec<&Moved> = event.cells.iter().collect();
    let size = |it: &Moved| (it.after - it.before).abs();
    order.sort_by(|a, b| size(b).total_cmp(&size(a)).then_with(|| a.name.cmp(&b.name)));
    let cells: Vec<CellRow> = order.iter().take(MAX_CELLS).map(|it| row(context, event, it)).collect();
    let page = EventPage {
        frame,
        root: "../",
        warnings: Vec::new(),
        id: clipped(&event.id, 80),
        event: context.event_row(event),
        subject: subject.map(|it| clipped(it, 200)),
        cause_text: clipped(&event.cause_text, 600),
        state_text: clipped(&event.state_text, 600),
        accepted: event.accepted.as_ref().map(|(who, why)| (clipped(who, 80), clipped(why, 400))),
        trends: plots(context, event, &order)?,
        more_cells: order.len() - cells.len(),
        cells,
    };
    Ok(Some(page.render()?))
}

fn row(context: &Context, event: &Event, it: &Moved) -> CellRow {
    let key = it.key.and_then(|key| context.model.keys.get(key));
    let class = event.machines.first().and_then(|machine| context.model.machines.get(*machine));
    let href = key.zip(class).map(|(key, machine)| {
        let folder = if key.is_workload() { Folder::Workload } else { Folder::Op };
        format!("{}#{}", folder.page(&key.subject), key_anchor(&machine.class, key))
    });
    let number = |value: f64| match it.unit {
        _ if !value.is_finite() => NOTHING.to_owned(),
        "instructions" => exact(value),
        _ => plain(value),
    };
    let difference = it.after - it.before;
    let error = if it.error > 0.0 { format!(" \u{b1}{}", plain(it.error)) } else { String::new() };
    let difference = match it.unit {
        _ if !difference.is_finite() => NOTHING.to_owned(),
        "instructions" => format!("{}{}", if difference > 0.0 { "+" } else { "" }, exact(difference)),
        _ => format!("{}{error}", signed(difference)),
    };
    CellRow {
        href,
        name: clipped(&it.name, 160),
        before: number(it.before),
        after: number(it.after),
        difference,
        unit: it.unit,
    }
}

/// The cells that moved most, on the first machine, in the runs around the change.
fn plots(context: &Context, event: &Event, order: &[&Moved]) -> Result<Vec<Trend>, SiteError> {
    let mut trends: Vec<Trend> = Vec::new();
    let Some(&machine) = event.machines.first() else { return Ok(trends) };
    let (Some(axis), Some(class)) = (context.axes.get(machine), context.model.machines.get(machine)) else {
        return Ok(trends);
    };
    let Some(position) = position_on(context.model, event, machine, &context.positions) else { return Ok(trends) };
    let columns = Columns::around(axis.runs.len(), position, REACH);
    for (it, key_index) in order.iter().filter_map(|it| Some((it, it.key?))) {
        let Some(key) = context.model.keys.get(key_index) else { continue };
        let Some(series) = context.series(machine, key_index) else { continue };
        let id = anchor("e", &[&key_anchor(&class.class, key), &key.subject]);
        if trends.len() >= MAX_PLOTS || trends.iter().any(|trend| trend.id == id) {
            continue;
        }
        let caption = key.text();
        let drawn = Drawn {
            id: &format!("{id}-p"),
            title: &caption,
            unit: unit(key),
            values: &series.values,
            errors: &series.errors,
            floor: f64::from(series.floor),
            changes: context.changes(machine, key_index),
            marks: &axis.marks,
        };
        if let Some(svg) = plot(&drawn, &Axis { columns: &columns, runs: &axis.runs })? {
            let now = match it.before.is_finite() && it.after.is_finite() {
                true => format!("{} to {} {}", plain(it.before), plain(it.after), it.unit),
                false => it.unit.to_owned(),
            };
            trends.push(Trend { id, caption: clipped(&caption, 160), now, svg });
        }
    }
    Ok(trends)
}
