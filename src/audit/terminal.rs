//! An audit as text: what each binary is, its sites by kind, the functions with most indirections, and listings.

mod changes;
mod execution;
mod listing;

pub use changes::changes;
pub use execution::execution;

use super::document::{Audit, Binary, Function, FunctionSource, Site};
use super::kind::Kind;
use super::names::visible;
use super::words::{Group, count_of, describe, list_counts, number, percent, place};
use crate::report::terminal::width::{Columns, Lines, Overflow};

/// Number of functions in the table of those with most indirections.
const MAX_FUNCTIONS: usize = 10;
/// Columns before the number of a function's indirections.
const INDENT: usize = 2;
/// Narrowest terminal whose table of kinds says what each kind does, in columns.
const MIN_COLUMNS_FOR_WORDS: usize = 112;
/// Above this number of binaries, they are lines of one table.
const MAX_SUMMARIES: usize = 4;

/// What is shown of an audit.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Kinds whose sites are listed; none for the functions with most indirections.
    pub kinds: Vec<Kind>,
    /// Whether the functions were named: their instructions are listed.
    pub is_listing: bool,
}

/// The text of an audit. `width` is that of the terminal in columns; without it lines are as long as they need to be.
#[must_use]
pub fn show(audit: &Audit, view: &View, width: Option<usize>) -> String {
    let mut lines = Lines::new(width);
    if view.is_listing {
        for binary in &audit.binaries {
            listing::add(binary, view, &mut lines, width);
        }
        return lines.into_text();
    }
    if audit.binaries.len() > MAX_SUMMARIES {
        add_table_of_binaries(audit, &mut lines);
    } else {
        for (index, binary) in audit.binaries.iter().enumerate() {
            if index > 0 {
                lines.skip();
            }
            add_summary(binary, &mut lines);
        }
    }
    if view.kinds.is_empty() {
        add_functions(audit, &mut lines);
    } else {
        add_sites(audit, view, &mut lines);
    }
    lines.into_text()
}

/// What a binary is, in a sentence.
#[must_use]
pub fn describe_binary(binary: &Binary) -> String {
    let source = match binary.function_source {
        FunctionSource::Symbols => "by symbols",
        FunctionSource::UnwindTables => "by unwind tables",
        FunctionSource::Calls => "by the targets of calls",
    };
    format!(
        "{}, {}: {} {source}, {} of code, {}",
        binary.kind.name(),
        count_of(binary.bytes, "byte", "bytes"),
        count_of(binary.functions_total, "function", "functions"),
        count_of(binary.code_bytes, "byte", "bytes"),
        count_of(binary.instructions, "instruction", "instructions"),
    )
}

/// Where the source lines are from, or why there are none; `None` if they were not looked up.
#[must_use]
pub fn describe_lines(binary: &Binary) -> Option<String> {
    if let Some(reason) = &binary.no_lines_reason {
        return Some(format!("no source lines: {}", visible(reason)));
    }
    let path = binary.debug_information.as_ref().filter(|path| **path != binary.path)?;
    Some(format!("source lines from {}", visible(path)))
}

fn add_summary(binary: &Binary, lines: &mut Lines) {
    lines.say(&visible(&binary.path));
    lines.say(&format!("  {}", describe_binary(binary)));
    if let Some(id) = &binary.build_id {
        lines.say(&format!("  build id {}", visible(id)));
    }
    if binary.undecoded_bytes > 0 {
        lines.say(&format!("  {} between functions are no instructions", number(binary.undecoded_bytes) + " bytes"));
    }
    if let Some(words) = describe_lines(binary) {
        lines.say(&format!("  {words}"));
    }
    lines.skip();
    let calls = binary.counts.iter().filter(|(kind, _)| kind.is_call()).map(|(_, count)| count).sum();
    let mut rows = Vec::new();
    for group in Group::ALL {
        let kinds: Vec<Kind> = group.kinds().filter(|kind| binary.counts.get(kind).is_some_and(|n| *n > 0)).collect();
        let row = |name: String, count: u64, kind: Option<Kind>| {
            let share = if kind.is_none_or(Kind::is_call) { percent(count, calls) } else { String::new() };
            vec![name, number(count), share, kind.map_or("", describe).to_owned()]
        };
        // A group of one kind has one row.
        match (group.kinds().count(), kinds.as_slice()) {
            (1, _) => {
                let kind = group.kinds().next();
                if !kinds.is_empty() || group != Group::Frame {
                    rows.push(row(group.name().to_owned(), group.count(&binary.counts), kind));
                }
            }
            (_, []) if group == Group::Frame => {}
            (_, kinds) => {
                let mut head = row(group.name().to_owned(), group.count(&binary.counts), None);
                if group == Group::Frame
                    && let Some(share) = head.get_mut(2)
                {
                    share.clear();
                }
                rows.push(head);
                let count = |kind: &Kind| binary.counts.get(kind).copied().unwrap_or(0);
                rows.extend(kinds.iter().map(|kind| row(format!("  {}", kind.name()), count(kind), Some(*kind))));
            }
        }
    }
    let header = ["call sites", "number", "of calls", "what it does"];
    // The words have no room in a narrow terminal; `docs/audit.md` has them, too.
    let columns = if lines.width().is_some_and(|width| width < MIN_COLUMNS_FOR_WORDS) { 3 } else { header.len() };
    rows.iter_mut().for_each(|row| row.truncate(columns));
    let header = header.get(..columns).unwrap_or(&header);
    lines.tabulate(&Columns { header, rows: &rows, names: 1, numbers: 2, overflow: Overflow::Stack });
}

fn add_table_of_binaries(audit: &Audit, lines: &mut Lines) {
    let count = |binary: &Binary, group: Group| number(group.count(&binary.counts));
    let row = |binary: &Binary| {
        vec![
            visible(&binary.path),
            number(binary.functions_total),
            count(binary, Group::Direct),
            count(binary, Group::Linker),
            count(binary, Group::Own),
            count(binary, Group::JumpTable),
            count(binary, Group::Unknown),
        ]
    };
    let rows: Vec<Vec<String>> = audit.binaries.iter().map(row).collect();
    let header = ["binary", "functions", "direct", "linker's", "own", "jump tables", "unknown"];
    lines.tabulate(&Columns { header: &header, rows: &rows, names: 1, numbers: 6, overflow: Overflow::Stack });
}

/// The functions with most indirections of their own, over all binaries.
#[must_use]
pub fn functions_with_most<'a>(audit: &'a Audit) -> Vec<(&'a Binary, &'a Function)> {
    let of_binary = |binary: &'a Binary| binary.functions.iter().map(move |function| (binary, function));
    let mut functions: Vec<_> = audit.binaries.iter().flat_map(of_binary).collect();
    functions.retain(|(_, function)| Group::Own.count(&function.counts) > 0);
    // Functions with as many keep the order of their addresses.
    functions.sort_by_key(|(_, function)| std::cmp::Reverse(Group::Own.count(&function.counts)));
    functions
}

fn add_functions(audit: &Audit, lines: &mut Lines) {
    lines.skip();
    let all = functions_with_most(audit);
    if all.is_empty() {
        lines.say("No function has an indirection of its own.");
        return;
    }
    let shown = all.len().min(MAX_FUNCTIONS) as u64;
    let of = if all.len() > MAX_FUNCTIONS {
        format!(" ({} of {})", number(shown), number(all.len() as u64))
    } else {
        String::new()
    };
    lines.say(&format!("Functions with most own indirections{of}:"));
    let has_several = audit.binaries.len() > 1;
    let own = |function: &Function| number(Group::Own.count(&function.counts));
    let columns = all.first().map_or(0, |(_, function)| own(function).len()) + INDENT;
    for (binary, function) in all.iter().take(MAX_FUNCTIONS) {
        lines.say(&format!("{:>columns$}  {}", own(function), visible(&function.name)));
        let kinds = list_counts(&function.counts, |kind| Group::of(kind) == Group::Own);
        let file = if has_several { format!(" in {}", visible(&binary.path)) } else { String::new() };
        lines.say(&format!("{}  {kinds}, at {}{file}", " ".repeat(columns), where_is(function)));
    }
    lines.skip();
    lines.say("`--function NAME` lists the instructions of a function, `--kind KIND` the sites of a kind.");
}

/// The source line of a function, or its address.
fn where_is(function: &Function) -> String {
    function.source.as_ref().map_or_else(|| format!("{:#x}", function.address), place)
}

/// The sites of some kinds.
fn add_sites(audit: &Audit, view: &View, lines: &mut Lines) {
    for binary in &audit.binaries {
        lines.skip();
        if audit.binaries.len() > 1 {
            lines.say(&visible(&binary.path));
        }
        let mut listed = 0;
        for function in &binary.functions {
            let is_meant = |site: &&Site| view.kinds.contains(&site.kind);
            let sites: Vec<&Site> = function.sites.iter().filter(is_meant).collect();
            if sites.is_empty() {
                continue;
            }
            listed += sites.len() as u64;
            lines.say(&visible(&function.name));
            let left = |site: &Site| format!("  {:x}  {}", site.address, visible(&site.instruction));
            let column = listing::kind_column(sites.iter().map(|site| left(site)), lines.width());
            for site in sites {
                let target = site.target.as_deref().map(visible).unwrap_or_default();
                let source = site.source.as_ref().map(place).unwrap_or_default();
                let right = [site.kind.name(), &target, &source].map(str::trim);
                let right: Vec<&str> = right.into_iter().filter(|part| !part.is_empty()).collect();
                lines.add(&listing::join(&left(site), &right.join("  "), column, lines.width()));
            }
        }
        let counted: u64 = view.kinds.iter().filter_map(|kind| binary.counts.get(kind)).sum();
        let unlisted = counted.saturating_sub(listed);
        if counted == 0 {
            let names: Vec<&str> = view.kinds.iter().map(|kind| kind.name()).collect();
            lines.say(&format!("No site is of the kind {}.", names.join(" or ")));
        } else if unlisted > 0 {
            lines.say(&format!(
                "{} not listed: `--function NAME` lists all sites of a function.",
                if unlisted == 1 { "1 site is".to_owned() } else { format!("{} sites are", number(unlisted)) }
            ));
        }
    }
}

#[cfg(test)]
mod tests;
