//! The page of a commit: its runs, and the changes that it may have brought.

use askama::Template as _;

use super::super::context::{Context, Link};
use super::super::error::SiteError;
use super::super::model::Event;
use super::Frame;
use super::detail::{DetailPage, Named, Target, median_table};
use crate::report::plots::number::{clipped, plural};

/// The page of a commit; `None` without such a commit.
pub fn page(context: &Context, frame: &Frame, index: usize) -> Result<Option<String>, SiteError> {
    let model = context.model;
    let Some(commit) = model.commits.get(index) else { return Ok(None) };
    let short = clipped(commit.short(), 40);
    let mut page = DetailPage::new(frame, "commit", short.clone(), format!("What did commit {short} change?"));
    page.summary = commit.subject.as_ref().map_or_else(String::new, |it| clipped(it, 200));
    page.links.push(Named {
        name: "Commits since the measured one before",
        target: Target::Range(context.range_to(Some(index))),
    });
    let address = context.repository.and_then(|repository| repository.commit(&commit.id));
    if let Some(href) = address {
        page.links.push(Named { name: "Commit in the repository", target: Target::Link(Link { href, text: short }) });
    }
    let after = model.commits.iter().position(|it| it.before == Some(index));
    if let Some(link) = after.and_then(|after| context.commit_link(after)) {
        page.links.push(Named { name: "Measured commit after", target: Target::Link(link) });
    }
    let touches = |event: &&Event| event.bad == Some(index) || event.good == Some(index);
    page.events = model.events.iter().filter(touches).map(|event| context.event_row(event)).collect();
    let starts = model.events.iter().filter(|event| event.bad == Some(index)).count();
    let ends = page.events.len() - starts;
    let count = |n: usize| format!("{n} {}", plural(n, "change", "changes"));
    let mut words = vec![format!("{} up to it", count(starts))];
    if ends > 0 {
        words.push(format!("{} after it", count(ends)));
    }
    if !page.summary.is_empty() {
        page.summary.push_str(" \u{b7} ");
    }
    page.summary.push_str(&words.join(", "));
    page.runs = commit.runs.iter().rev().filter_map(|run| context.run_row(*run)).collect();
    page.show_machine = true;
    // The newest run of each machine.
    for (machine, it) in model.machines.iter().enumerate() {
        let newest = commit.runs.iter().rev().find(|run| model.runs.get(**run).is_some_and(|r| r.machine == machine));
        let Some(position) = newest.and_then(|run| context.positions.get(*run)) else { continue };
        page.tables.extend(median_table(context, machine, *position).map(|mut table| {
            table.title = format!("Medians over ops, {}", clipped(&it.title, 80));
            table
        }));
    }
    Ok(Some(page.render()?))
}
