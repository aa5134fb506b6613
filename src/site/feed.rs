//! Atom feeds (RFC 4287): an entry per event, one feed for the site and one per machine.

use std::time::UNIX_EPOCH;

use askama::Template;

use super::context::Context;
use super::error::SiteError;
use super::model::{Event, Run};
use super::names::{Folder, hash, slug};
use crate::report::plots::number::clipped;

/// Most entries of a feed. Readers keep what they have seen.
const MAX_ENTRIES: usize = 50;

struct Entry {
    id: String,
    title: String,
    updated: String,
    href: String,
    cause: &'static str,
    state: &'static str,
    summary: String,
}

#[derive(Template)]
#[template(path = "site_feed.xml")]
struct Feed {
    id: String,
    title: String,
    author: String,
    updated: String,
    page: String,
    address: Option<String>,
    entries: Vec<Entry>,
}

/// The path of the feed of a machine.
#[must_use]
pub fn machine_path(class: &str) -> String {
    format!("machine/{}.xml", slug(class))
}

/// All feeds with their paths. `address` is where the site is published, if that is known: feed readers need whole
/// addresses.
///
/// # Errors
/// When the template fails.
pub fn feeds(context: &Context, address: Option<&str>) -> Result<Vec<(String, String)>, SiteError> {
    let model = context.model;
    let base = address.map(|it| format!("{}/", it.trim_end_matches('/')));
    let seed = base.as_deref().unwrap_or(context.title);
    let feed =
        |path: String, page: &str, title: String, events: &mut dyn Iterator<Item = &Event>, newest: Option<&Run>| {
            // Without an address, links are relative to the feed.
            let base =
                base.clone().unwrap_or_else(|| if path.contains('/') { "../".to_owned() } else { String::new() });
            let entries: Vec<Entry> =
                events.take(MAX_ENTRIES).map(|event| entry(context, event, &base, seed)).collect();
            let of_runs = timestamp(newest.map_or("", |run| &run.time));
            let updated = entries.iter().map(|it| it.updated.clone()).max().unwrap_or(of_runs);
            let feed = Feed {
                id: uuid(&format!("{seed} feed {path}")),
                title,
                author: clipped(context.title, 120),
                updated,
                page: format!("{base}{page}"),
                address: address.map(|_| format!("{base}{path}")),
                entries,
            };
            Ok::<_, SiteError>((path, feed.render()?))
        };
    let title = clipped(context.title, 120);
    let (page, newest) = ("index.html", model.runs.last());
    let mut feeds =
        vec![feed("feed.xml".to_owned(), page, format!("{title}: changes"), &mut model.events.iter(), newest)?];
    for (index, machine) in model.machines.iter().enumerate() {
        let mut own = model.events.iter().filter(|event| event.machines.contains(&index));
        let newest = machine.runs.last().and_then(|run| model.runs.get(*run));
        let heading = format!("{title}: changes on {}", clipped(&machine.title, 120));
        let page = Folder::Machine.page(&machine.class);
        feeds.push(feed(machine_path(&machine.class), &page, heading, &mut own, newest)?);
    }
    Ok(feeds)
}

fn entry(context: &Context, event: &Event, base: &str, seed: &str) -> Entry {
    let row = context.event_row(event);
    let commits = match (&row.range.good, &row.range.bad) {
        (Some(good), Some(bad)) => format!(" Commits {}...{} {}.", good.text, bad.text, row.range.commits),
        (None, Some(bad)) => format!(" Commit {}.", bad.text),
        _ => String::new(),
    };
    let cause = clipped(&event.cause_text, 400);
    Entry {
        id: uuid(&format!("{seed} event {}", event.id)),
        title: format!("{} {}: {}", row.what, row.direction, row.size),
        updated: timestamp(&event.updated),
        href: format!("{base}{}", row.href),
        cause: event.cause,
        state: event.state,
        summary: format!("{}; cause: {}. {cause}{commits}", event.state, event.cause),
    }
}

/// A time in the form that feeds need; the beginning of 1970 for a text that is none.
fn timestamp(text: &str) -> String {
    let time = humantime::parse_rfc3339_weak(text).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A name that stays (RFC 9562, version 8) for a text.
fn uuid(text: &str) -> String {
    let digits = hash(text, 16);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    // Version and variant take the places of six bits.
    format!("urn:uuid:{}-{}-8{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_and_a_text_that_is_no_time_is_replaced() {
        assert_eq!(timestamp("2026-11-30T10:11:12Z"), "2026-11-30T10:11:12Z");
        assert_eq!(timestamp("<b>"), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn an_id_has_the_form_of_a_uuid_and_differs_by_text() {
        let id = uuid("a");
        assert_eq!(id.len(), "urn:uuid:".len() + 36);
        assert_ne!(id, uuid("b"));
    }
}
