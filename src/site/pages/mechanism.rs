//! The page of a mechanism: its median over ops, and its newest value for every op.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template as _;

use super::super::context::{Context, MAX_NAME_CHARS};
use super::super::error::SiteError;
use super::super::model::{Key, Series};
use super::super::names::{Folder, anchor};
use super::Frame;
use super::front::regimes;
use super::series::{HOW_TO_READ, Part, SeriesPage, newest_runs};
use super::trends::{CellText, Row, moved_text, over_ops_trend};
use crate::report::plots::number::{NOTHING, clipped, plain, plural};

/// The page of a mechanism with its state.
pub fn page(context: &Context, frame: &Frame, name: &str) -> Result<String, SiteError> {
    let is_own = |key: &Key| key.mechanism_text() == name;
    let keys: BTreeSet<usize> =
        context.model.keys.iter().enumerate().filter(|(_, key)| is_own(key)).map(|(index, _)| index).collect();
    let mut parts = Vec::new();
    for machine in 0..context.model.machines.len() {
        parts.extend(part(context, machine, name, &keys)?);
    }
    let touches = |event: &&super::super::model::Event| {
        event.cells.iter().filter_map(|cell| cell.key).any(|key| keys.contains(&key))
    };
    let events: Vec<_> = context.model.events.iter().filter(touches).map(|event| context.event_row(event)).collect();
    let page = SeriesPage {
        frame,
        root: "../",
        warnings: Vec::new(),
        kind: "mechanism",
        name: clipped(name, MAX_NAME_CHARS),
        summary: format!("{} {}", events.len(), plural(events.len(), "change", "changes")),
        row_word: "op or workload",
        events,
        parts,
        show_machine: false,
    };
    Ok(page.render()?)
}

fn part(context: &Context, machine: usize, name: &str, keys: &BTreeSet<usize>) -> Result<Option<Part>, SiteError> {
    let own: Vec<(&Key, &Series)> =
        context.all_series(machine).filter(|(_, series)| keys.contains(&series.key)).collect();
    let Some(class) = context.model.machines.get(machine).map(|it| it.class.as_str()) else { return Ok(None) };
    let Some(link) = context.machine_link(machine).filter(|_| !own.is_empty()) else { return Ok(None) };
    let mut columns = regimes(own.iter().map(|(key, _)| key.regime.as_str()));
    let has_workloads = own.iter().any(|(key, _)| key.is_workload());
    columns.retain(|regime| !regime.is_empty());
    let mut rows: BTreeMap<(bool, &str, &str), BTreeMap<&str, &Series>> = BTreeMap::new();
    for (key, series) in own {
        let row = (key.is_workload(), key.subject.as_str(), key.body.as_str());
        rows.entry(row).or_default().insert(key.regime.as_str(), series);
    }
    let cell = |cells: &BTreeMap<&str, &Series>, regime: &str| {
        let Some(series) = cells.get(regime) else {
            return CellText { text: NOTHING.to_owned(), ..CellText::default() };
        };
        CellText {
            anchor: None,
            text: series.newest().map_or_else(|| NOTHING.to_owned(), |(value, _)| plain(value)),
            moved: moved_text(&series.values, context.changes(machine, series.key)),
        }
    };
    let mut heads = columns.clone();
    if has_workloads {
        heads.push("workload, %".to_owned());
    }
    let table = rows.iter().map(|((is_workload, subject, body), cells)| {
        let folder = if *is_workload { Folder::Workload } else { Folder::Op };
        let mut texts: Vec<CellText> = columns.iter().map(|regime| cell(cells, regime)).collect();
        if has_workloads {
            texts.push(cell(cells, ""));
        }
        let text = if *is_workload || *body == "native" { (*subject).to_owned() } else { format!("{subject}, {body}") };
        Row { href: Some(folder.page(subject)), name: clipped(&text, MAX_NAME_CHARS), cells: texts }
    });
    let table = table.collect();
    let mut trends = Vec::new();
    for regime in &columns {
        let of_regime = context.over_ops.get(machine).into_iter().flatten();
        for it in of_regime.filter(|it| it.mechanism == name && it.regime == *regime) {
            let caption = format!("{regime}, median over {} {}", it.ops, plural(it.ops, "op", "ops"));
            trends.extend(over_ops_trend(context, machine, it, &anchor("o", &[class]), &caption)?);
        }
    }
    let (runs, more_runs) = newest_runs(context, machine);
    Ok(Some(Part {
        id: anchor("m", &[class]),
        machine: link,
        note: HOW_TO_READ.to_owned(),
        lead_title: "Medians over ops",
        lead: trends,
        heads,
        rows: table,
        groups: Vec::new(),
        runs,
        more_runs,
    }))
}
