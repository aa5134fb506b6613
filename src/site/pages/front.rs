//! The front page: the answer of today, changes, machines, trends, and lists of all pages.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;

use super::super::context::{Context, EventRow, Link, MAX_NAME_CHARS, OverOps, RunRow, day, minute};
use super::super::error::SiteError;
use super::super::model::{Direction, Skipped};
use super::super::names::{Folder, anchor};
use super::Frame;
use super::trends::{Trend, over_ops_trend};
use crate::regime::Regime;
use crate::report::plots::number::{NOTHING, clipped, plain, plural};

/// Most changes on the front page.
const MAX_EVENTS: usize = 25;
/// Most runs on the front page.
const MAX_RUNS: usize = 12;
/// Most machines whose trends are drawn: eight plots are half of the page. The pages of the others have theirs.
const MAX_TREND_MACHINES: usize = 1;
/// Most machines whose answer of today is said.
const MAX_ANSWERS: usize = 3;
/// Most files that were left out and are named.
const MAX_SKIPPED: usize = 20;
/// The ways whose trends the front page draws, in the words of the report's page.
const WAYS: [(&str, &str); 4] =
    [("table", "table"), ("direct", "direct call"), ("site (inline)", "patched site"), ("retpoline", "retpoline")];

struct MachineRow {
    link: Link,
    runs: String,
    newest: String,
}

struct TrendPart {
    title: String,
    note: String,
    trends: Vec<Trend>,
}

struct OpRow {
    link: Link,
    values: Vec<String>,
    change: String,
}

#[derive(Template)]
#[template(path = "site_front.html")]
struct Front<'a> {
    frame: &'a Frame<'a>,
    root: &'static str,
    warnings: Vec<String>,
    extent: String,
    sentences: Vec<String>,
    machines: Vec<MachineRow>,
    events: Vec<EventRow>,
    more_events: usize,
    no_events: String,
    trends: Vec<TrendPart>,
    heads: Vec<String>,
    ops: Vec<OpRow>,
    ops_note: String,
    mechanisms: Vec<Link>,
    workloads: Vec<Link>,
    runs: Vec<RunRow>,
    show_machine: bool,
    skipped: Vec<Skipped>,
    more_skipped: usize,
}

#[derive(Template)]
#[template(path = "site_events_page.html")]
struct Events<'a> {
    frame: &'a Frame<'a>,
    root: &'static str,
    warnings: Vec<String>,
    events: Vec<EventRow>,
}

/// The front page.
pub fn page(context: &Context, frame: &Frame) -> Result<String, SiteError> {
    let model = context.model;
    let (ops, workloads, mechanisms) = names(context);
    let link = |folder: Folder, name: &String| Link { href: folder.page(name), text: clipped(name, MAX_NAME_CHARS) };
    let events: Vec<EventRow> = model.events.iter().take(MAX_EVENTS).map(|it| context.event_row(it)).collect();
    let (heads, op_rows) = op_rows(context, &ops);
    let newest = model.machines.first().map_or_else(String::new, |it| clipped(&it.title, MAX_NAME_CHARS));
    let page = Front {
        frame,
        root: "",
        warnings: warnings(context),
        extent: extent(context),
        sentences: sentences(context),
        machines: machine_rows(context),
        more_events: model.events.len() - events.len(),
        events,
        no_events: no_events(context),
        trends: trends(context)?,
        ops_note: format!("Newest overhead above inline in core cycles per op on {newest}."),
        heads,
        ops: op_rows,
        mechanisms: mechanisms.iter().map(|name| link(Folder::Mechanism, name)).collect(),
        workloads: workloads.iter().map(|name| link(Folder::Workload, name)).collect(),
        runs: (0..model.runs.len()).rev().take(MAX_RUNS).filter_map(|run| context.run_row(run)).collect(),
        show_machine: model.machines.len() > 1,
        skipped: model.skipped.iter().take(MAX_SKIPPED).map(clip_skipped).collect(),
        more_skipped: model.skipped.len().saturating_sub(MAX_SKIPPED),
    };
    Ok(page.render()?)
}

/// The page of all events.
pub fn events_page(context: &Context, frame: &Frame) -> Result<String, SiteError> {
    let events = context.model.events.iter().map(|it| context.event_row(it)).collect();
    Ok(Events { frame, root: "", warnings: Vec::new(), events }.render()?)
}

/// The names of ops, of workloads, and of mechanisms with their states.
pub fn names(context: &Context) -> (Vec<String>, Vec<String>, Vec<String>) {
    let (mut ops, mut workloads, mut mechanisms) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for key in &context.model.keys {
        if key.is_workload() {
            workloads.insert(key.subject.clone());
        } else {
            ops.insert(key.subject.clone());
            mechanisms.insert(key.mechanism_text());
        }
    }
    (ops.into_iter().collect(), workloads.into_iter().collect(), mechanisms.into_iter().collect())
}

/// Regimes, those of this build in their order and others after them.
pub fn regimes<'a>(present: impl Iterator<Item = &'a str>) -> Vec<String> {
    let place = |name: &str| Regime::ALL.iter().position(|regime| regime.name() == name).unwrap_or(usize::MAX);
    let mut present: Vec<&str> = present.collect::<BTreeSet<_>>().into_iter().collect();
    present.sort_by_key(|name| place(name));
    present.into_iter().map(str::to_owned).collect()
}

/// Whether a regime is one of the two that the answer of a run is about: hot and cold.
pub fn is_main_regime(name: &str) -> bool {
    [Regime::Throughput, Regime::Cold].iter().any(|regime| regime.name() == name)
}

fn clip_skipped(it: &Skipped) -> Skipped {
    Skipped { file: clipped(&it.file, 200), reason: clipped(&it.reason, 400) }
}

fn warnings(context: &Context) -> Vec<String> {
    let skipped = context.model.skipped.len();
    if skipped == 0 {
        return Vec::new();
    }
    let files = plural(skipped, "file was", "files were");
    vec![format!("{skipped} {files} left out; the names and reasons are below. The other runs are complete.")]
}

fn extent(context: &Context) -> String {
    let model = context.model;
    let count = |n: usize, one, many| format!("{n} {}", plural(n, one, many));
    let mut words = vec![
        count(model.runs.len(), "run", "runs"),
        count(model.commits.len(), "commit", "commits"),
        count(model.machines.len(), "machine", "machines"),
    ];
    if let Some((first, last)) = model.runs.first().zip(model.runs.last()) {
        words.push(format!("{} to {}", day(&first.time), day(&last.time)));
    }
    words.join(" \u{b7} ")
}

fn no_events(context: &Context) -> String {
    match context.model.runs.len() {
        0 => "There is no run yet. `pvbench history add REPORT` keeps one.".to_owned(),
        1 => "There is one run. A change needs another one to compare with.".to_owned(),
        runs => format!("No change was found in {runs} runs."),
    }
}

/// What changed, and what an indirection costs today.
fn sentences(context: &Context) -> Vec<String> {
    let model = context.model;
    if model.runs.is_empty() {
        return vec!["Nothing is measured yet: the history holds no run.".to_owned()];
    }
    let open: Vec<_> = model.events.iter().filter(|event| event.is_open).collect();
    let count = |direction: Direction| open.iter().filter(|event| event.direction == direction).count();
    let (worse, better, mixed) = (count(Direction::Worse), count(Direction::Better), count(Direction::Mixed));
    let mut parts = Vec::new();
    for (count, words) in [(worse, "cost more"), (better, "cost less"), (mixed, "cost more here and less there")] {
        if count > 0 {
            parts.push(format!("{count} {words}"));
        }
    }
    let mut sentences = vec![match (open.len(), open.first()) {
        (n, Some(newest)) => format!(
            "{n} {} {} open: {}. The newest: {} {}, {}.",
            plural(n, "change", "changes"),
            plural(n, "is", "are"),
            parts.join(", "),
            clipped(&newest.what, 160),
            clipped(&newest.size, 80),
            newest.state
        ),
        _ => format!("No change is open in {} {}.", model.runs.len(), plural(model.runs.len(), "run", "runs")),
    }];
    sentences.extend((0..model.machines.len().min(MAX_ANSWERS)).filter_map(|it| answer(context, it)));
    sentences
}

/// What the table costs on a machine in its newest run.
fn answer(context: &Context, machine: usize) -> Option<String> {
    let it = context.model.machines.get(machine)?;
    let newest = context.model.runs.get(*it.runs.last()?)?;
    let now = |mechanism: &str, regime: Regime| {
        let median = find_median(context, machine, mechanism, regime.name())?;
        Some((f64::from(*median.values.last().filter(|value| value.is_finite())?), median.ops))
    };
    let say = |mechanism: &str, name: &str| {
        let (hot, ops) = now(mechanism, Regime::Throughput)?;
        let cold = now(mechanism, Regime::Cold).map(|(cold, _)| format!(" and {} cold", plain(cold)));
        Some((format!("{name} {} cycles hot{}", plain(hot), cold.unwrap_or_default()), ops))
    };
    let mut said: Vec<(String, usize)> = WAYS.iter().filter_map(|(mechanism, name)| say(mechanism, name)).collect();
    if said.is_empty() {
        // A suite without these mechanisms: the first ones that it has.
        let hot = context.over_ops.get(machine)?.iter();
        let hot = hot.filter(|it| it.regime == Regime::Throughput.name() && it.mechanism != "inline");
        said = hot.take(WAYS.len()).filter_map(|it| say(&it.mechanism, &clipped(&it.mechanism, 40))).collect();
    }
    let ops = said.first()?.1;
    let words: Vec<String> = said.into_iter().map(|(words, _)| words).collect();
    Some(format!(
        "{} today: {} above inline (median of {ops} {}; run of {}).",
        clipped(&it.title, MAX_NAME_CHARS),
        words.join(", "),
        plural(ops, "op", "ops"),
        minute(&newest.time)
    ))
}

fn find_median<'c>(context: &'c Context, machine: usize, mechanism: &str, regime: &str) -> Option<&'c OverOps> {
    context.over_ops.get(machine)?.iter().find(|it| it.mechanism == mechanism && it.regime == regime)
}

fn machine_rows(context: &Context) -> Vec<MachineRow> {
    let row = |(index, machine): (usize, &super::super::model::Machine)| {
        let newest = machine.runs.last().and_then(|run| context.model.runs.get(*run));
        let open = context.model.events.iter().filter(|it| it.is_open && it.machines.contains(&index)).count();
        let newest = newest.map_or_else(String::new, |run| format!("newest {}", day(&run.time)));
        Some(MachineRow {
            link: context.machine_link(index)?,
            runs: format!("{} {}", machine.runs.len(), plural(machine.runs.len(), "run", "runs")),
            newest: format!("{newest}; {open} open {}", plural(open, "change", "changes")),
        })
    };
    context.model.machines.iter().enumerate().filter_map(row).collect()
}

fn trends(context: &Context) -> Result<Vec<TrendPart>, SiteError> {
    let mut parts = Vec::new();
    for (machine, it) in context.model.machines.iter().enumerate().take(MAX_TREND_MACHINES) {
        let mut trends = Vec::new();
        for (mechanism, name) in WAYS {
            for regime in [Regime::Throughput, Regime::Cold] {
                let Some(median) = find_median(context, machine, mechanism, regime.name()) else { continue };
                let caption = format!("{name}, {}", regime.name());
                trends.extend(over_ops_trend(context, machine, median, &anchor("o", &[&it.class]), &caption)?);
            }
        }
        if !trends.is_empty() {
            let title = clipped(&it.title, MAX_NAME_CHARS);
            let note = "Overhead above inline in core cycles per op: the median over the ops. Each of the newest \
                        points is a run and a link; shaded: the median floor."
                .to_owned();
            // Links of plots lead from the folders of other pages.
            let trends = trends.into_iter().map(|it| Trend { svg: it.svg.replace("href=../", "href="), ..it });
            parts.push(TrendPart { title, note, trends: trends.collect() });
        }
    }
    Ok(parts)
}

/// The columns and rows of the table of ops, on the machine with the newest run.
fn op_rows(context: &Context, ops: &[String]) -> (Vec<String>, Vec<OpRow>) {
    let Some(machine) = context.model.machines.first().map(|_| 0) else { return (Vec::new(), Vec::new()) };
    let mut values: BTreeMap<&str, [Option<f64>; 2]> = BTreeMap::new();
    for (key, series) in context.all_series(machine) {
        let regime = [Regime::Throughput, Regime::Cold].iter().position(|it| it.name() == key.regime);
        if let Some(regime) = regime.filter(|_| key.mechanism == "table" && key.body == "native") {
            values.entry(&key.subject).or_default()[regime] = series.newest().map(|(value, _)| value);
        }
    }
    let mut changed: BTreeMap<&str, String> = BTreeMap::new();
    for event in &context.model.events {
        for key in event.cells.iter().filter_map(|cell| context.model.keys.get(cell.key?)) {
            if !key.is_workload() && !changed.contains_key(key.subject.as_str()) {
                changed.insert(&key.subject, context.event_row(event).day);
            }
        }
    }
    let heads = if values.is_empty() { Vec::new() } else { vec!["table, hot".to_owned(), "table, cold".to_owned()] };
    let row = |op: &String| {
        let own = values.get(op.as_str()).copied().unwrap_or_default();
        let text = |value: &Option<f64>| value.map_or_else(|| NOTHING.to_owned(), plain);
        OpRow {
            link: Link { href: Folder::Op.page(op), text: clipped(op, MAX_NAME_CHARS) },
            values: if heads.is_empty() { Vec::new() } else { own.iter().map(text).collect() },
            change: changed.get(op.as_str()).cloned().unwrap_or_default(),
        }
    };
    let rows = ops.iter().map(row).collect();
    (heads, rows)
}
