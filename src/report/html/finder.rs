//! The finder: which row of the tables is the code that a reader has.

use super::anchor::Anchors;
use super::costs::Value;
use crate::regime::Regime;
use crate::report::answer::cost_of;
use crate::report::call_sites::CallSites;
use crate::report::plots::grid::{Column, Grid};
use crate::report::plots::number::clipped;

/// Something that a reader has, with the mechanism that measures it.
struct Entry {
    language: &'static str,
    have: &'static str,
    mechanism: &'static str,
    state: Option<&'static str>,
    /// How the mechanism differs from it; empty if it does not.
    note: &'static str,
}

const fn entry(language: &'static str, have: &'static str, mechanism: &'static str, note: &'static str) -> Entry {
    Entry { language, have, mechanism, state: None, note }
}

const fn in_state(
    language: &'static str,
    have: &'static str,
    mechanism: &'static str,
    state: &'static str,
    note: &'static str,
) -> Entry {
    Entry { language, have, mechanism, state: Some(state), note }
}

const RUST: &str = "Rust";
const C: &str = "C";
const CPP: &str = "C++";
const LINUX: &str = "Linux";

/// The entries by language. Those of Linux name what its source calls them.
const ENTRIES: [Entry; 38] = [
    entry(RUST, "a function that is not inlined", "direct", ""),
    entry(RUST, "a fn pointer in a static or a struct", "fn_pointer", ""),
    entry(RUST, "&dyn Trait", "dyn", ""),
    entry(RUST, "Box<dyn Fn>, Box<dyn Trait>", "box_dyn", ""),
    entry(RUST, "OnceLock<table of fn pointers>", "once_lock", ""),
    entry(RUST, "OnceLock<&'static dyn Trait>", "once_lock_dyn", ""),
    entry(RUST, "LazyLock<table of fn pointers>, lazy_static, once_cell", "lazy_lock", ""),
    entry(RUST, "an enum and a match, enum_dispatch", "enum", "measured with a branch that is always the same"),
    entry(RUST, "if FEATURE, an AtomicBool, is_x86_feature_detected!", "flag", "the branch is always the same"),
    entry(RUST, "extern \"C\" fn of a shared library", "got", ""),
    entry(RUST, "libloading, a plug-in", "dlsym", ""),
    entry(C, "a function that is not inlined", "direct", ""),
    entry(C, "a function pointer, a struct of operations", "table", ""),
    entry(C, "if (feature), switch (kind)", "flag", "the branch is always the same"),
    entry(C, "a function of a shared library", "plt", "bound at start, as with -z now"),
    entry(C, "the same with -fno-plt", "got", ""),
    entry(C, "IFUNC, target_clones", "ifunc", ""),
    entry(C, "dlsym, a plug-in", "dlsym", ""),
    entry(C, "a function pointer with -mretpoline, -mindirect-branch=thunk", "retpoline", ""),
    entry(C, "a function pointer with -fcf-protection=branch", "endbr", ""),
    entry(CPP, "a virtual function", "dyn", "two dependent loads in both; a C++ object holds its table itself"),
    entry(
        CPP,
        "std::function",
        "box_dyn",
        "near, not equal: std::function holds its pointer itself, one load less, and tests whether it is empty",
    ),
    entry(CPP, "std::variant and std::visit", "enum", "near: some compilers make a table of functions instead"),
    entry(CPP, "a function of a shared library", "plt", "bound at start, as with -z now"),
    entry(LINUX, "struct file_operations and its like", "table", ""),
    entry(LINUX, "the same with CONFIG_RETPOLINE", "retpoline", ""),
    entry(LINUX, "the same, spectre_v2=retpoline,lfence", "retpoline_lfence", ""),
    entry(LINUX, "the same with CONFIG_CFI_CLANG", "kcfi", ""),
    entry(LINUX, "the same with CONFIG_FINEIBT", "fineibt", ""),
    entry(LINUX, "INDIRECT_CALL_1", "compare_tree_1", ""),
    entry(LINUX, "INDIRECT_CALL_4", "compare_tree_4", ""),
    in_state(LINUX, "static_branch, not taken", "jump_label", "off", ""),
    in_state(LINUX, "static_branch, taken", "jump_label", "on", "the code out of line is a call of the body"),
    in_state(LINUX, "static_call", "static_call_inline", "direct", ""),
    entry(LINUX, "static_call without HAVE_STATIC_CALL_INLINE", "static_call", ""),
    in_state(LINUX, "alternative()", "alternative", "inline", ""),
    in_state(LINUX, "a hook of pv_ops on bare metal, an instruction", "site", "inline", ""),
    in_state(LINUX, "a hook of pv_ops on bare metal, a function", "site", "direct", ""),
];

/// An entry whose mechanism the report has.
pub struct Found {
    pub language: &'static str,
    pub have: &'static str,
    /// Identifier of the mechanism's listings.
    pub id: Option<String>,
    pub mechanism: String,
    /// What a call site of the mechanism holds.
    pub words: String,
    pub note: &'static str,
    pub hot: Value,
    pub cold: Value,
}

/// The entries whose mechanism the report has, with their costs hot and cold.
pub fn find_entries(grid: &Grid, anchors: &Anchors, words: &CallSites) -> Vec<Found> {
    let found = |entry: &Entry| {
        let wanted = Column { mechanism: entry.mechanism, state: entry.state };
        let column = grid.columns.iter().find(|it| **it == wanted)?;
        // The number of ops is in the table of mechanisms.
        let cost = |regime| Value::of(cost_of(grid, column, regime).as_ref(), 0);
        Some(Found {
            language: entry.language,
            have: entry.have,
            id: anchors.find(column.mechanism),
            mechanism: clipped(&column.label(), 60),
            words: words.words(column.mechanism, column.state).to_owned(),
            note: entry.note,
            hot: cost(Regime::Throughput),
            cold: cost(Regime::Cold),
        })
    };
    ENTRIES.iter().filter_map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_names_a_mechanism_that_exists() {
        let suite = built_in();
        for entry in &ENTRIES {
            assert!(suite.contains(&entry.mechanism.to_owned()), "{}", entry.mechanism);
        }
    }

    /// The mechanisms of the table in `docs/reading-a-report.md`, which has all of them.
    fn built_in() -> Vec<String> {
        let page = include_str!("../../../docs/reading-a-report.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.filter_map(|row| row.split_once('`').map(|it| it.0.to_owned())).collect()
    }
}
