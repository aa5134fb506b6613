//! An audit as a page: one HTML file, which needs neither the network nor scripts.
//!
//! Everything in an audit is untrusted. The template engine escapes every string, and a content security policy backs
//! it: the page loads nothing, and only its own script runs.

use askama::Template;

use super::document::{Audit, Binary, Function, ListingLine, Site};
use super::kind::Kind;
use super::names::visible;
use super::terminal::{describe_binary, describe_lines, functions_with_most};
use super::words::{Group, count_of, describe, list_counts, number, percent, place};
use crate::report::html::script_hash;

/// Most functions of a page. A kernel has 20,000 with indirections; a browser is slow from 5,000 rows on.
const MAX_FUNCTIONS: usize = 400;
/// Most sites of a page that are listed without their function's instructions.
const MAX_SITES: usize = 4_000;
/// Most instructions of a page: two megabytes.
const MAX_INSTRUCTIONS: usize = 20_000;

/// The page could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the page could not be written from its template: {0}; `--json` has the same content")]
pub struct PageError(#[from] askama::Error);

const SCRIPT: &str =
    concat!(include_str!("../report/templates/unfold.js"), include_str!("../report/templates/audit.js"));

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    script: &'static str,
    script_source: String,
    title: String,
    tool: String,
    parts: Vec<Part>,
    rows: Vec<Row>,
    /// Functions with indirections that the page leaves out.
    left_out: String,
    is_listing: bool,
    has_several: bool,
    listings: Vec<Listing>,
}

/// A binary.
struct Part {
    path: String,
    what: String,
    lines: Option<String>,
    build_id: Option<String>,
    segments: Vec<Segment>,
    /// The bar in words.
    bar: String,
    kinds: Vec<KindRow>,
}

/// A part of the bar of a binary.
struct Segment {
    class: &'static str,
    /// Percent of the bar.
    width: String,
}

/// A row of the table of kinds: a group, or a kind of it.
struct KindRow {
    class: &'static str,
    is_group: bool,
    name: &'static str,
    count: String,
    share: String,
    words: &'static str,
}

/// A row of the table of functions.
struct Row {
    /// The listing of the function; empty if the page has none.
    link: String,
    name: String,
    own: String,
    kinds: String,
    others: String,
    at: String,
    binary: String,
}

/// The sites of a function, or its instructions.
struct Listing {
    id: String,
    name: String,
    what: String,
    sites: Vec<Link>,
    lines: Vec<Line>,
    more: String,
}

/// A link to a site.
struct Link {
    id: String,
    text: String,
}

/// A line of a listing.
struct Line {
    /// Anchor of a site.
    id: String,
    /// Where the source is, above the instruction.
    source: String,
    /// Whether the site is an indirection.
    is_indirect: bool,
    is_site: bool,
    text: String,
    kind: &'static str,
    target: String,
}

/// The page of an audit.
///
/// # Errors
/// When the template fails. No content of an audit causes that.
pub fn page(audit: &Audit) -> Result<String, PageError> {
    let is_listing = audit.binaries.iter().any(|binary| binary.functions.iter().any(|it| !it.listing.is_empty()));
    let of_binary = |binary| move |function| (binary, function);
    let all: Vec<(&Binary, &Function)> = if is_listing {
        audit.binaries.iter().flat_map(|binary| binary.functions.iter().map(of_binary(binary))).collect()
    } else {
        functions_with_most(audit)
    };
    let mut room = Room { sites: MAX_SITES, instructions: MAX_INSTRUCTIONS };
    let mut rows = Vec::new();
    let mut listings = Vec::new();
    for (index, (binary, function)) in all.iter().take(MAX_FUNCTIONS).enumerate() {
        let listing = list(binary, function, index, &mut room);
        rows.push(row(binary, function, listing.as_ref()));
        listings.extend(listing);
    }
    let left_out = all.len().saturating_sub(MAX_FUNCTIONS) as u64;
    let names: Vec<String> = audit.binaries.iter().map(|binary| file_name(&binary.path)).collect();
    let page = Page {
        script: SCRIPT,
        script_source: script_hash::source(SCRIPT),
        title: match names.as_slice() {
            [one] => one.clone(),
            several => count_of(several.len() as u64, "binary", "binaries"),
        },
        tool: format!("pvbench {}", visible(&audit.tool)),
        parts: audit.binaries.iter().map(part).collect(),
        rows,
        left_out: if left_out > 0 { count_of(left_out, "function", "functions") } else { String::new() },
        is_listing,
        has_several: names.len() > 1,
        listings,
    };
    Ok(page.render()?)
}

/// The last part of a path.
fn file_name(path: &str) -> String {
    visible(path.rsplit('/').next().unwrap_or(path))
}

fn class(group: Group) -> &'static str {
    match group {
        Group::Direct => "direct",
        Group::Linker => "linker",
        Group::Own => "own",
        Group::JumpTable => "jumps",
        Group::Frame => "frame",
        Group::Unknown => "unknown",
    }
}

fn part(binary: &Binary) -> Part {
    let all: u64 = binary.counts.values().sum();
    let calls: u64 = binary.counts.iter().filter(|(kind, _)| kind.is_call()).map(|(_, count)| count).sum();
    let present = || Group::ALL.into_iter().filter(|group| group.count(&binary.counts) > 0);
    let segment = |group: Group| Segment {
        class: class(group),
        width: format!("{:.3}", group.count(&binary.counts) as f64 / all.max(1) as f64 * 100.0),
    };
    let words: Vec<String> =
        present().map(|group| format!("{} {}", percent(group.count(&binary.counts), all), group.name())).collect();
    let mut kinds = Vec::new();
    for group in Group::ALL {
        let count = group.count(&binary.counts);
        let is_single = group.kinds().count() == 1;
        if count == 0 && group == Group::Frame {
            continue;
        }
        let has_share = matches!(group, Group::Direct | Group::Linker | Group::Own);
        let kind_of = |kind: Option<Kind>| kind.map_or("", describe);
        kinds.push(KindRow {
            class: class(group),
            is_group: true,
            name: group.name(),
            count: number(count),
            share: if has_share { percent(count, calls) } else { String::new() },
            words: if is_single { kind_of(group.kinds().next()) } else { "" },
        });
        let count = |kind: &Kind| binary.counts.get(kind).copied().unwrap_or(0);
        let shown = group.kinds().filter(|kind| !is_single && count(kind) > 0);
        kinds.extend(shown.map(|kind| KindRow {
            class: class(group),
            is_group: false,
            name: kind.name(),
            count: number(count(&kind)),
            share: if kind.is_call() { percent(count(&kind), calls) } else { String::new() },
            words: describe(kind),
        }));
    }
    Part {
        path: visible(&binary.path),
        what: describe_binary(binary),
        lines: describe_lines(binary),
        build_id: binary.build_id.as_deref().map(visible),
        segments: present().map(segment).collect(),
        bar: words.join(", "),
        kinds,
    }
}

fn row(binary: &Binary, function: &Function, listing: Option<&Listing>) -> Row {
    let is_own = |kind| Group::of(kind) == Group::Own;
    Row {
        link: listing.map(|listing| listing.id.clone()).unwrap_or_default(),
        name: visible(&function.name),
        own: number(Group::Own.count(&function.counts)),
        kinds: list_counts(&function.counts, is_own),
        others: list_counts(&function.counts, |kind| !is_own(kind)),
        at: function.source.as_ref().map_or_else(|| format!("{:#x}", function.address), place),
        binary: file_name(&binary.path),
    }
}

/// What the page still has room for.
struct Room {
    sites: usize,
    instructions: usize,
}

/// The instructions of a function, or its sites; `None` if there are none, or no room.
fn list(binary: &Binary, function: &Function, index: usize, room: &mut Room) -> Option<Listing> {
    let id = format!("f{index}");
    let anchor = |address: u64| format!("f{index}-{address:x}");
    let (lines, more): (Vec<Line>, usize) = if function.listing.is_empty() {
        let shown = function.sites.len().min(room.sites);
        room.sites -= shown;
        let lines = function.sites.iter().take(shown).map(|site| of_site(site, anchor(site.address)));
        (lines.collect(), function.sites.len() - shown)
    } else {
        let shown = function.listing.len().min(room.instructions);
        room.instructions -= shown;
        let lines = function.listing.iter().take(shown).map(|line| of_instruction(line, anchor(line.address)));
        (lines.collect(), function.listing.len() - shown)
    };
    if lines.is_empty() {
        return None;
    }
    let is_listing = !function.listing.is_empty();
    let links = lines.iter().filter(|line| is_listing && line.is_site);
    let links = links.map(|line| Link { id: line.id.clone(), text: format!("{} {}", line.kind, line.target) });
    Some(Listing {
        id,
        name: visible(&function.name),
        what: format!(
            "{:#x} in {}: {}, {}",
            function.address,
            file_name(&binary.path),
            count_of(function.bytes, "byte", "bytes"),
            count_of(function.instructions, "instruction", "instructions"),
        ),
        sites: links.collect(),
        more: match (more, is_listing) {
            (0, _) => String::new(),
            (more, true) => count_of(more as u64, "more instruction", "more instructions"),
            (more, false) => count_of(more as u64, "more site", "more sites"),
        },
        lines,
    })
}

fn is_indirect(kind: Kind) -> bool {
    Group::of(kind) == Group::Own || kind.is_indirect_call()
}

fn of_site(site: &Site, id: String) -> Line {
    let mut source = site.source.as_ref().map(place).unwrap_or_default();
    if !site.inlined.is_empty() {
        let around: Vec<String> = site.inlined.iter().map(|name| visible(name)).collect();
        source = format!("{source} inlined: {}", around.join(" in "));
    }
    Line {
        id,
        source,
        is_indirect: is_indirect(site.kind),
        is_site: true,
        text: format!("{:x}  {}", site.address, visible(&site.instruction)),
        kind: site.kind.name(),
        target: site.target.as_deref().map(visible).unwrap_or_default(),
    }
}

fn of_instruction(line: &ListingLine, id: String) -> Line {
    Line {
        id: if line.kind.is_some() { id } else { String::new() },
        source: line.source.as_ref().map(place).unwrap_or_default(),
        is_indirect: line.kind.is_some_and(is_indirect),
        is_site: line.kind.is_some(),
        text: format!("{:x}  {}", line.address, visible(&line.instruction)),
        kind: line.kind.map_or("", Kind::name),
        target: line.target.as_deref().map(visible).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
