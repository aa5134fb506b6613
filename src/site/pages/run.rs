//! The page of a run.

use askama::Template as _;

use super::super::context::{Context, Link, minute};
use super::super::error::SiteError;
use super::super::model::Fact;
use super::Frame;
use super::detail::{DetailPage, Named, Target, median_table};
use crate::report::plots::number::clipped;

/// The page of a run; `None` without such a run.
pub fn page(context: &Context, frame: &Frame, index: usize) -> Result<Option<String>, SiteError> {
    let model = context.model;
    let Some(run) = model.runs.get(index) else { return Ok(None) };
    let commit = run.commit.and_then(|commit| model.commits.get(commit));
    let short = commit.map_or_else(String::new, |it| clipped(it.short(), 40));
    let of = if short.is_empty() { String::new() } else { format!(" of {short}") };
    let heading = format!("Run{of}, {}", minute(&run.time));
    let mut page = DetailPage::new(frame, "run", clipped(&run.stem, 120), heading);
    if run.is_incomplete {
        page.warnings.push("This run is incomplete. Missing values are unknown, not zero.".to_owned());
    }
    page.summary = commit.and_then(|it| it.subject.as_ref()).map_or_else(String::new, |it| clipped(it, 200));
    page.links
        .push(Named { name: "Commits since the run before", target: Target::Range(context.range_to(run.commit)) });
    let mut link = |name, link: Option<Link>| {
        page.links.extend(link.map(|link| Named { name, target: Target::Link(link) }));
    };
    link("Machine", context.machine_link(run.machine));
    let address = context.repository.zip(commit).and_then(|(repository, commit)| repository.commit(&commit.id));
    link("Commit in the repository", address.map(|href| Link { text: short.clone(), href }));
    let report = context.reports.get(&run.stem).cloned();
    link("Report", report.map(|href| Link { href, text: "the page of the run".to_owned() }));
    let machine = model.machines.get(run.machine);
    let position = context.positions.get(index).copied().unwrap_or_default();
    let neighbour = |at: Option<usize>| {
        let run = model.runs.get(*machine?.runs.get(at?)?)?;
        Some(Link { href: super::super::names::Folder::Run.page(&run.stem), text: minute(&run.time) })
    };
    link("Run before", neighbour(position.checked_sub(1)));
    link("Run after", neighbour(position.checked_add(1)));
    page.facts.extend(run.changes.iter().map(|it| Fact { name: "Changed".to_owned(), value: clipped(it, 300) }));
    page.facts.extend(run.facts.iter().map(|it| Fact { name: clipped(&it.name, 80), value: clipped(&it.value, 400) }));
    page.events = model
        .events
        .iter()
        .filter(|event| event.first_run == Some(index))
        .map(|event| context.event_row(event))
        .collect();
    page.tables.extend(median_table(context, run.machine, position));
    Ok(Some(page.render()?))
}
