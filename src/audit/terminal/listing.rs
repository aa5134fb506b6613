//! The listing of a function: its instructions, each call site marked, source lines between.

use super::View;
use crate::audit::document::{Binary, Function, ListingLine};
use crate::audit::names::visible;
use crate::audit::words::{Group, count_of, list_counts, place};
use crate::report::terminal::width::{Lines, wrap};

/// Widest column of instructions: the kind of a site follows it. Longer instructions push theirs to the right.
const MAX_INSTRUCTION_COLUMNS: usize = 56;
/// Mark of an indirection, of another site, and of any other instruction.
const MARKS: [&str; 3] = ["> ", "- ", "  "];

/// Adds the listings of a binary.
pub(super) fn add(binary: &Binary, view: &View, lines: &mut Lines, width: Option<usize>) {
    for function in &binary.functions {
        if !view.kinds.is_empty() && !view.kinds.iter().any(|kind| function.counts.contains_key(kind)) {
            continue;
        }
        lines.say(&visible(&function.name));
        lines.say(&format!("  {}", describe(binary, function)));
        if let Some(source) = &function.source {
            lines.say(&format!("  {}", place(source)));
        }
        if !function.aliases.is_empty() {
            let aliases: Vec<String> = function.aliases.iter().map(|alias| visible(alias)).collect();
            lines.say(&format!("  also {}", aliases.join(", ")));
        }
        let sites = function.listing.iter().filter(|line| line.kind.is_some());
        let column = kind_column(sites.map(left_part), width);
        for line in &function.listing {
            if let Some(source) = &line.source {
                lines.add(&wrap_to(&format!("    {}", place(source)), width, 6));
            }
            lines.add(&format_line(line, column, width));
        }
        lines.skip();
    }
}

/// Where a function is, and what it calls.
fn describe(binary: &Binary, function: &Function) -> String {
    let calls: u64 = function.counts.iter().filter(|(kind, _)| kind.is_call()).map(|(_, count)| count).sum();
    let mut words = format!(
        "{:#x} in {}: {}, {}, {}",
        function.address,
        visible(&binary.path),
        count_of(function.bytes, "byte", "bytes"),
        count_of(function.instructions, "instruction", "instructions"),
        count_of(calls, "call", "calls"),
    );
    if calls > 0 {
        words.push_str(&format!(" ({})", list_counts(&function.counts, super::Kind::is_call)));
    }
    let others = list_counts(&function.counts, |kind| !kind.is_call());
    if !others.is_empty() {
        words.push_str(&format!("; {others}"));
    }
    words
}

/// Column in which the kinds of sites begin, behind their instructions.
pub(super) fn kind_column(sites: impl Iterator<Item = String>, width: Option<usize>) -> usize {
    let widest = sites.map(|left| left.chars().count()).max().unwrap_or(0);
    widest.min(MAX_INSTRUCTION_COLUMNS).min(width.unwrap_or(usize::MAX) / 2)
}

/// Mark, address and instruction.
fn left_part(line: &ListingLine) -> String {
    let [indirect, other, none] = MARKS;
    let mark = match line.kind {
        Some(kind) if Group::of(kind) == Group::Own || kind.is_indirect_call() => indirect,
        Some(_) => other,
        None => none,
    };
    format!("{mark}{:x}  {}", line.address, visible(&line.instruction))
}

fn format_line(line: &ListingLine, column: usize, width: Option<usize>) -> String {
    let left = left_part(line);
    let Some(kind) = line.kind else { return wrap_to(&left, width, 6) };
    let right = format!("{}  {}", kind.name(), line.target.as_deref().map(visible).unwrap_or_default());
    join(&left, right.trim_end(), column, width)
}

/// A line of two parts; two lines if it is wider than the terminal.
pub(super) fn join(left: &str, right: &str, column: usize, width: Option<usize>) -> String {
    let padding = column.saturating_sub(left.chars().count()) + 2;
    let whole = left.chars().count() + padding + right.chars().count();
    if width.is_none_or(|width| whole <= width) {
        return format!("{left}{}{right}", " ".repeat(padding));
    }
    format!("{}\n{}", wrap_to(left, width, 6), wrap_to(&format!("      {right}"), width, 8))
}

/// A line as it is if it fits, else broken at blanks.
fn wrap_to(line: &str, width: Option<usize>, indent: usize) -> String {
    match width {
        Some(width) if line.chars().count() > width => wrap(line, width, indent),
        _ => line.to_owned(),
    }
}
