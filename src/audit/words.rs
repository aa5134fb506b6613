//! The words of an audit: what each kind of a call site is, and the groups that the output has.

use super::document::{Counts, SourceLine};
use super::kind::Kind;
use super::names::visible;
use crate::report::plots::number::grouped;

/// Kinds that have the same author: whoever wants other code changes the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Direct calls.
    Direct,
    /// Indirections that the linker adds between files.
    Linker,
    /// Indirections that the source asks for, or its compiler flags.
    Own,
    /// Jumps within a function.
    JumpTable,
    /// Starts and ends of functions, and thunks.
    Frame,
    /// What cannot be told.
    Unknown,
}

impl Group {
    /// All groups, in the order of output.
    pub const ALL: [Group; 6] =
        [Group::Direct, Group::Linker, Group::Own, Group::JumpTable, Group::Frame, Group::Unknown];

    /// The group of a kind.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Direct => Group::Direct,
            Kind::Plt | Kind::Got => Group::Linker,
            Kind::Memory
            | Kind::Table
            | Kind::Virtual
            | Kind::Register
            | Kind::Retpoline
            | Kind::Pv
            | Kind::StaticCall => Group::Own,
            Kind::JumpTable => Group::JumpTable,
            Kind::Fentry | Kind::ReturnThunk | Kind::Thunk => Group::Frame,
            Kind::Unknown => Group::Unknown,
        }
    }

    /// Name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Group::Direct => "direct calls",
            Group::Linker => "linker's indirections",
            Group::Own => "own indirections",
            Group::JumpTable => "jump tables",
            Group::Frame => "entries and returns",
            Group::Unknown => "unknown",
        }
    }

    /// Its kinds.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| Group::of(*kind) == self)
    }

    /// The number of sites of its kinds.
    #[must_use]
    pub fn count(self, counts: &Counts) -> u64 {
        counts.iter().filter(|(kind, _)| Group::of(**kind) == self).map(|(_, count)| count).sum()
    }
}

/// What a site of a kind does.
#[must_use]
pub fn describe(kind: Kind) -> &'static str {
    match kind {
        Kind::Direct => "calls a function, or jumps to its start",
        Kind::Plt => "calls a stub, which jumps through a word that the loader fills",
        Kind::Got => "calls through a word that the linker or the loader fills",
        Kind::Memory => "calls through a word at a fixed address: a global pointer",
        Kind::Table => "calls through a word at an address in a register: a field, a table",
        Kind::Virtual => "calls a method: the object leads to its table, the table to the method",
        Kind::Register => "calls an address that came in a register: an argument, a result",
        Kind::Retpoline => "calls through a retpoline",
        Kind::Pv => "calls through pv_ops; the kernel patches it when it boots",
        Kind::StaticCall => "calls the trampoline of a static call, which the kernel patches",
        Kind::Fentry => "calls __fentry__ or mcount at the start of a function",
        Kind::JumpTable => "jumps within the function: a switch, a computed goto",
        Kind::ReturnThunk => "jumps to the return thunk instead of returning",
        Kind::Thunk => "the call inside of a retpoline",
        Kind::Unknown => "jumps indirectly; nothing tells whether it leaves the function",
    }
}

/// Counts in words, the most frequent kind first: `3 table, 1 register`.
#[must_use]
pub fn list_counts(counts: &Counts, is_meant: impl Fn(Kind) -> bool) -> String {
    let mut counts: Vec<(Kind, u64)> = counts.iter().map(|(kind, count)| (*kind, *count)).collect();
    counts.retain(|(kind, count)| *count > 0 && is_meant(*kind));
    counts.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
    let words: Vec<String> = counts.iter().map(|(kind, count)| format!("{} {}", number(*count), kind.name())).collect();
    words.join(", ")
}

/// A number with its digits in groups.
#[must_use]
pub fn number(count: u64) -> String {
    grouped(&count.to_string())
}

/// A number and a noun.
#[must_use]
pub fn count_of(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// A part of a whole in percent with one digit: `88.1%`.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { format!("{:.1}%", part as f64 / whole as f64 * 100.0) }
}

/// A source line: `src/uart.rs:12`.
#[must_use]
pub fn place(source: &SourceLine) -> String {
    format!("{}:{}", visible(&source.file), source.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_one_group_and_has_words_of_its_own() {
        let of_groups: Vec<Kind> = Group::ALL.into_iter().flat_map(Group::kinds).collect();
        assert_eq!(of_groups.len(), Kind::ALL.len());
        let mut words: Vec<&str> = Kind::ALL.into_iter().map(describe).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Kind::ALL.len());
    }

    #[test]
    fn counts_begin_with_the_most_frequent_kind() {
        let counts = Counts::from([(Kind::Table, 3), (Kind::Register, 1200), (Kind::Direct, 9), (Kind::Got, 0)]);
        assert_eq!(list_counts(&counts, |kind| Group::of(kind) == Group::Own), "1,200 register, 3 table");
        assert_eq!((percent(1, 3), percent(0, 0)), ("33.3%".to_owned(), String::new()));
        assert_eq!((count_of(1, "site", "sites"), count_of(0, "site", "sites")), ("1 site".into(), "0 sites".into()));
    }
}
