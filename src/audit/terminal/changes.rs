//! What changed between two builds, as text.

use crate::audit::changes::{Changes, FunctionChange, NamedSite};
use crate::audit::document::Counts;
use crate::audit::kind::Kind;
use crate::audit::names::visible;
use crate::audit::words::number;
use crate::report::terminal::width::{Columns, Lines, Overflow};

/// Number of changed functions without `--all`.
const MAX_FUNCTIONS: usize = 40;
/// Number of names in a line of functions that came or went.
const MAX_NAMES: usize = 8;

/// The text of a comparison. `width` is that of the terminal in columns.
#[must_use]
pub fn changes(changes: &Changes, width: Option<usize>) -> String {
    let mut lines = Lines::new(width);
    lines.say(&format!("before: {}", visible(&changes.before.path)));
    lines.say(&format!("after:  {}", visible(&changes.after.path)));
    lines.skip();
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| count(&changes.before.counts, *kind) + count(&changes.after.counts, *kind) > 0)
        .collect();
    let row = |kind: &Kind| {
        let (before, after) = (count(&changes.before.counts, *kind), count(&changes.after.counts, *kind));
        vec![kind.name().to_owned(), number(before), number(after), difference(before, after)]
    };
    let rows: Vec<Vec<String>> = kinds.iter().map(row).collect();
    let header = ["call sites", "before", "after", "difference"];
    lines.tabulate(&Columns { header: &header, rows: &rows, names: 1, numbers: 3, overflow: Overflow::Stack });
    lines.skip();
    let rows: Vec<Vec<String>> = changes.functions.iter().take(MAX_FUNCTIONS).flat_map(list_sites).collect();
    if rows.is_empty() {
        lines.say("No site of a function that both builds have changed its kind.");
    } else {
        let header = ["function", "before", "after", ""];
        lines.tabulate(&Columns { header: &header, rows: &rows, names: 1, numbers: 0, overflow: Overflow::Stack });
    }
    if changes.functions.len() > MAX_FUNCTIONS {
        let more = number((changes.functions.len() - MAX_FUNCTIONS) as u64);
        lines.say(&format!(".. and {more} more functions; --json has them all"));
    }
    lines.skip();
    add_names("gone, or inlined into their callers", &changes.gone, &mut lines);
    add_names("new", &changes.added, &mut lines);
    let indirect = changes.functions.iter().filter(|function| function.became_indirect()).count();
    lines.say(&format!(
        "{} functions changed, in {} of them a site became indirect; {} are unchanged",
        number(changes.functions.len() as u64),
        number(indirect as u64),
        number(changes.unchanged),
    ));
    lines.into_text()
}

fn count(counts: &Counts, kind: Kind) -> u64 {
    counts.get(&kind).copied().unwrap_or(0)
}

fn difference(before: u64, after: u64) -> String {
    match (before, after) {
        _ if before == after => "0".to_owned(),
        _ if before < after => format!("+{}", number(after - before)),
        _ => format!("-{}", number(before - after)),
    }
}

fn list_sites(function: &FunctionChange) -> Vec<Vec<String>> {
    let site = |site: &Option<NamedSite>| match site {
        None => "-".to_owned(),
        Some(NamedSite { kind, target: Some(target), .. }) => format!("{} {}", kind.name(), visible(target)),
        Some(NamedSite { kind, .. }) => kind.name().to_owned(),
    };
    let row = |change: &crate::audit::changes::SiteChange| {
        let mark = if change.became_indirect() { "became indirect" } else { "" };
        vec![visible(&function.name), site(&change.before), site(&change.after), mark.to_owned()]
    };
    function.sites.iter().map(row).collect()
}

fn add_names(what: &str, names: &[String], lines: &mut Lines) {
    if names.is_empty() {
        return;
    }
    let shown: Vec<String> = names.iter().take(MAX_NAMES).map(|name| visible(name)).collect();
    let more = if names.len() > MAX_NAMES { ", .." } else { "" };
    lines.say(&format!("{}: {} functions: {}{more}", what, number(names.len() as u64), shown.join(", ")));
}
