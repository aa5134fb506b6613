//! The page of an op or of a workload.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template as _;

use super::super::context::{Context, MAX_NAME_CHARS};
use super::super::error::SiteError;
use super::super::model::{Key, Series};
use super::super::names::{Folder, anchor};
use super::Frame;
use super::front::regimes;
use super::series::{Group, HOW_TO_READ, HOW_TO_READ_PERCENT, Part, SeriesPage, newest_runs};
use super::trends::{CellText, Row, key_anchor, moved_text, trend};
use crate::report::plots::number::{NOTHING, clipped, plain, plural};

/// Most machines whose series are drawn. Tables show all.
const MAX_DRAWN_MACHINES: usize = 2;
/// Most plots of changed series per machine.
const MAX_CHANGED: usize = 12;

/// The page of an op or a workload.
pub fn page(context: &Context, frame: &Frame, folder: Folder, name: &str) -> Result<String, SiteError> {
    let is_workload = folder == Folder::Workload;
    let is_own = |key: &Key| key.subject == name && key.is_workload() == is_workload;
    let keys: BTreeSet<usize> =
        context.model.keys.iter().enumerate().filter(|(_, key)| is_own(key)).map(|(index, _)| index).collect();
    let mut parts = Vec::new();
    for machine in 0..context.model.machines.len() {
        let own: Vec<(&Key, &Series)> =
            context.all_series(machine).filter(|(_, series)| keys.contains(&series.key)).collect();
        if !own.is_empty() {
            let is_drawn = parts.len() < MAX_DRAWN_MACHINES;
            parts.extend(part(context, machine, &own, is_workload, is_drawn)?);
        }
    }
    let touches = |event: &&super::super::model::Event| {
        event.cells.iter().filter_map(|cell| cell.key).any(|key| keys.contains(&key))
    };
    let events: Vec<_> = context.model.events.iter().filter(touches).map(|event| context.event_row(event)).collect();
    let count = |n: usize, one, many| format!("{n} {}", plural(n, one, many));
    let summary = format!(
        "{} on {}; {}",
        count(keys.len(), "series", "series"),
        count(parts.len(), "machine", "machines"),
        count(events.len(), "change", "changes")
    );
    let page = SeriesPage {
        frame,
        root: "../",
        warnings: Vec::new(),
        kind: if is_workload { "workload" } else { "op" },
        name: clipped(name, MAX_NAME_CHARS),
        summary,
        row_word: if is_workload { "kernel" } else { "mechanism" },
        events,
        parts,
        show_machine: false,
    };
    Ok(page.render()?)
}

/// The series of a row by regime.
type ByRegime<'a> = BTreeMap<&'a str, (&'a Key, &'a Series)>;

/// What is shown of a machine.
fn part(
    context: &Context,
    machine: usize,
    own: &[(&Key, &Series)],
    is_workload: bool,
    is_drawn: bool,
) -> Result<Option<Part>, SiteError> {
    let Some(class) = context.model.machines.get(machine).map(|it| it.class.as_str()) else { return Ok(None) };
    let Some(link) = context.machine_link(machine) else { return Ok(None) };
    let columns = regimes(own.iter().map(|(key, _)| key.regime.as_str()));
    // Rows in the order of names: mechanism, state, body.
    let mut rows: BTreeMap<(String, &str), ByRegime> = BTreeMap::new();
    for &(key, series) in own {
        rows.entry((key.mechanism_text(), &key.body)).or_default().insert(&key.regime, (key, series));
    }
    let bodies: BTreeSet<&str> = own.iter().map(|(key, _)| key.body.as_str()).collect();
    let (mut table, mut groups, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for ((mechanism, body), cells) in &rows {
        let title = if bodies.len() > 1 { format!("{mechanism}, {body}") } else { mechanism.clone() };
        let (mut texts, mut trends) = (Vec::new(), Vec::new());
        for regime in &columns {
            let Some(&(key, series)) = cells.get(regime.as_str()) else {
                texts.push(CellText { text: NOTHING.to_owned(), ..CellText::default() });
                continue;
            };
            let changes = context.changes(machine, series.key);
            let anchor = key_anchor(class, key);
            texts.push(CellText {
                anchor: is_drawn.then(|| anchor.clone()),
                text: series.newest().map_or_else(|| NOTHING.to_owned(), |(value, _)| plain(value)),
                moved: moved_text(&series.values, changes),
            });
            if !is_drawn {
                continue;
            }
            let caption = if is_workload { title.clone() } else { format!("{title}, {regime}") };
            let drawn = trend(context, machine, (key, series), anchor, &caption)?;
            if changes.is_empty() || changed.len() >= MAX_CHANGED {
                trends.extend(drawn);
            } else {
                changed.extend(drawn);
            }
        }
        let page = cells.values().next().map(|(key, _)| Folder::Mechanism.page(&key.mechanism_text()));
        table.push(Row {
            href: page.filter(|_| !is_workload || has_mechanism_page(context, mechanism)),
            name: clipped(&title, MAX_NAME_CHARS),
            cells: texts,
        });
        if !trends.is_empty() {
            groups.push(Group { title: clipped(&title, MAX_NAME_CHARS), is_open: false, trends });
        }
    }
    if is_workload {
        // A workload has one plot per kernel, so all of them are one group.
        let trends = groups.drain(..).flat_map(|group| group.trends).collect::<Vec<_>>();
        if !trends.is_empty() {
            groups.push(Group { title: "Plots".to_owned(), is_open: true, trends });
        }
    }
    let (runs, more_runs) = newest_runs(context, machine);
    Ok(Some(Part {
        id: anchor("m", &[class]),
        machine: link,
        note: if is_workload { HOW_TO_READ_PERCENT } else { HOW_TO_READ }.to_owned(),
        lead_title: "Where it changed",
        lead: changed,
        heads: if is_workload { vec!["overhead, %".to_owned()] } else { columns },
        rows: table,
        groups,
        runs,
        more_runs,
    }))
}

fn has_mechanism_page(context: &Context, mechanism: &str) -> bool {
    context.over_ops.iter().flatten().any(|it| it.mechanism == mechanism)
}
