//! Two builds of a program: which call sites changed their kind.
//!
//! The comparison matches functions by name, and the sites of a function by their targets and their order. It ignores
//! addresses, because code moves from build to build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::build::{count, name_target};
use super::control::{Program, RawSite, Reader, Target};
use super::document::Counts;
use super::error::AuditError;
use super::input::Input;
use super::kind::Kind;
use super::names::demangle;
use super::open::open;

/// Version of the document.
pub const SCHEMA: &str = "pvbench.audit-changes/1";

/// What changed between two builds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Changes {
    /// [`SCHEMA`].
    pub schema: String,
    /// The older build.
    pub before: Build,
    /// The newer build.
    pub after: Build,
    /// Functions with sites that changed their kind, came or went, in the order of their names. The functions with a
    /// site that became indirect come first.
    pub functions: Vec<FunctionChange>,
    /// Functions whose sites are of the same kinds in the same order.
    pub unchanged: u64,
    /// Functions of the older build alone. A compiler may have inlined them.
    pub gone: Vec<String>,
    /// Functions of the newer build alone.
    pub added: Vec<String>,
}

/// One of the two builds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Build {
    /// The file.
    pub path: String,
    /// Call sites of the whole binary by kind.
    pub counts: Counts,
}

/// A function whose sites changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FunctionChange {
    /// The demangled name.
    pub name: String,
    /// Sites by kind in the older build.
    pub before: Counts,
    /// Sites by kind in the newer build.
    pub after: Counts,
    /// The sites that changed.
    pub sites: Vec<SiteChange>,
}

impl FunctionChange {
    /// Whether a site became indirect: a direct call gave way to an indirect one, or an indirect one is new.
    #[must_use]
    pub fn became_indirect(&self) -> bool {
        self.sites.iter().any(SiteChange::became_indirect)
    }
}

/// A site that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SiteChange {
    /// The site of the older build; absent if it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<NamedSite>,
    /// The site of the newer build; absent if it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<NamedSite>,
}

impl SiteChange {
    /// Whether the newer build has an indirect call here, and the older one has none.
    #[must_use]
    pub fn became_indirect(&self) -> bool {
        let is_indirect = |site: &Option<NamedSite>| site.as_ref().is_some_and(|site| site.kind.is_indirect_call());
        is_indirect(&self.after) && !is_indirect(&self.before)
    }
}

/// A site with what it calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NamedSite {
    /// Address of the instruction in its build.
    pub address: u64,
    /// Its mechanism.
    pub kind: Kind,
    /// What it calls, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// The sites of the functions of a build.
struct Side {
    build: Build,
    /// By name. Functions of one name (local functions of several files) are in the order of their addresses.
    functions: BTreeMap<String, Vec<Vec<NamedSite>>>,
}

/// Compares two builds of a program.
///
/// # Errors
/// If a file cannot be audited.
pub fn compare(before: &Path, after: &Path) -> Result<Changes, AuditError> {
    let (before, after) = (read_side(before)?, read_side(after)?);
    let (mut functions, mut unchanged) = (Vec::new(), 0);
    let (mut gone, mut added) = (Vec::new(), Vec::new());
    for (name, olds) in &before.functions {
        let news = after.functions.get(name).map_or(&[][..], Vec::as_slice);
        for (old, new) in olds.iter().zip(news) {
            let sites = align(old, new);
            if sites.is_empty() {
                unchanged += 1;
                continue;
            }
            let counts = |sites: &[NamedSite]| count(sites.iter().map(|site| site.kind));
            functions.push(FunctionChange { name: name.clone(), before: counts(old), after: counts(new), sites });
        }
        gone.extend(olds.iter().skip(news.len()).map(|_| name.clone()));
    }
    for (name, news) in &after.functions {
        let known = before.functions.get(name).map_or(0, Vec::len);
        added.extend(news.iter().skip(known).map(|_| name.clone()));
    }
    functions.sort_by_key(|change| !change.became_indirect());
    let schema = SCHEMA.to_owned();
    Ok(Changes { schema, before: before.build, after: after.build, functions, unchanged, gone, added })
}

fn read_side(path: &Path) -> Result<Side, AuditError> {
    let input = Input::read(path)?;
    let mut side =
        Side { build: Build { path: path.display().to_string(), counts: Counts::new() }, functions: BTreeMap::new() };
    for (name, bytes) in input.binaries() {
        let read = open(name, bytes, input.is_unpacked_kernel, |program| read_functions(program, &mut side));
        match read {
            Ok(()) => {}
            Err(AuditError::NoCode { .. }) if input.is_archive() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(side)
}

fn read_functions(program: Program<'_, '_>, side: &mut Side) {
    let mut reader = Reader::new(program);
    let Program { image, functions, marks, .. } = program;
    for function in &functions.list {
        let control = reader.read(function);
        for (kind, sites) in count(control.sites.iter().map(|site| site.kind)) {
            *side.build.counts.entry(kind).or_default() += sites;
        }
        // A function without a name cannot be matched with another build.
        let Some(symbol) = function.symbol else { continue };
        let named = |site: &RawSite| NamedSite {
            address: site.address,
            kind: site.kind,
            target: if is_named(site) { name_target(image, marks, site) } else { None },
        };
        let sites = control.sites.iter().map(named).collect();
        side.functions.entry(demangle(symbol)).or_default().push(sites);
    }
}

/// Whether a site's target has a name that two builds share. Offsets into tables and structures are not names.
fn is_named(site: &RawSite) -> bool {
    matches!(site.target, Target::Code(_) | Target::Word(_))
}

/// The sites that differ in kind between two versions of a function.
fn align(old: &[NamedSite], new: &[NamedSite]) -> Vec<SiteChange> {
    let same = |a: &NamedSite, b: &NamedSite| a.kind == b.kind && (a.target == b.target || is_number(a, b));
    let start = old.iter().zip(new).take_while(|(a, b)| same(a, b)).count();
    let (old, new) = (&old[start..], &new[start..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| same(a, b)).count();
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    let mut hunks = vec![Hunk::default()];
    for step in steps(old, new, &same) {
        let Some(hunk) = hunks.last_mut() else { break };
        match step {
            Step::Both if hunk.removed.is_empty() && hunk.inserted.is_empty() => {}
            Step::Both => hunks.push(Hunk::default()),
            Step::Old(site) => hunk.removed.push(site),
            Step::New(site) => hunk.inserted.push(site),
        }
    }
    pair(hunks)
}

/// Sites that went and came between two that stayed.
#[derive(Default)]
struct Hunk<'a> {
    removed: Vec<&'a NamedSite>,
    inserted: Vec<&'a NamedSite>,
}

/// Pairs what went with what came: by target anywhere in the function, since code moves; then by kind and by order at
/// the same place; then by kind anywhere. Pairs of one kind are no change.
fn pair(mut hunks: Vec<Hunk>) -> Vec<SiteChange> {
    let mut changes = Vec::new();
    let mut change = |before: Option<&NamedSite>, after: Option<&NamedSite>| {
        let is_same = before.zip(after).is_some_and(|(before, after)| before.kind == after.kind);
        if !is_same {
            changes.push(SiteChange { before: before.cloned(), after: after.cloned() });
        }
    };
    let mut by_target: BTreeMap<&str, Vec<&NamedSite>> = BTreeMap::new();
    for site in hunks.iter().flat_map(|hunk| &hunk.inserted) {
        if let Some(target) = &site.target {
            by_target.entry(target).or_default().push(site);
        }
    }
    let mut taken = BTreeSet::new();
    for hunk in &mut hunks {
        hunk.removed.retain(|old| {
            let twins = old.target.as_deref().and_then(|target| by_target.get_mut(target));
            let Some(new) = twins.and_then(Vec::pop) else { return true };
            taken.insert(new.address);
            change(Some(old), Some(new));
            false
        });
    }
    let (mut removed, mut inserted) = (Vec::new(), Vec::new());
    for hunk in &mut hunks {
        hunk.inserted.retain(|new| !taken.contains(&new.address));
        cancel(&mut hunk.removed, &mut hunk.inserted);
        let pairs = hunk.removed.len().min(hunk.inserted.len());
        for (old, new) in hunk.removed.drain(..pairs).zip(hunk.inserted.drain(..pairs)) {
            change(Some(old), Some(new));
        }
        removed.append(&mut hunk.removed);
        inserted.append(&mut hunk.inserted);
    }
    cancel(&mut removed, &mut inserted);
    removed.into_iter().for_each(|old| change(Some(old), None));
    inserted.into_iter().for_each(|new| change(None, Some(new)));
    changes
}

/// Takes pairs of one kind out of both lists.
fn cancel(removed: &mut Vec<&NamedSite>, inserted: &mut Vec<&NamedSite>) {
    let mut kinds = count(inserted.iter().map(|site| site.kind));
    let mut cancelled = Counts::new();
    removed.retain(|old| match kinds.get_mut(&old.kind).filter(|left| **left > 0) {
        Some(left) => {
            *left -= 1;
            *cancelled.entry(old.kind).or_default() += 1;
            false
        }
        None => true,
    });
    inserted.retain(|new| match cancelled.get_mut(&new.kind).filter(|left| **left > 0) {
        Some(left) => {
            *left -= 1;
            false
        }
        None => true,
    });
}

/// Names of code without symbols are addresses, which differ in every build.
fn is_number(a: &NamedSite, b: &NamedSite) -> bool {
    let number = |site: &NamedSite| site.target.as_deref().is_some_and(|target| target.starts_with("0x"));
    number(a) && number(b)
}

enum Step<'a> {
    Both,
    Old(&'a NamedSite),
    New(&'a NamedSite),
}

/// Largest table of the longest common subsequence, in entries. Larger differences are paired in order: functions with
/// thousands of sites are made by generators.
const MAX_TABLE: usize = 1 << 22;

/// The longest common subsequence of two lists of sites, and what is not in it.
fn steps<'a>(
    old: &'a [NamedSite],
    new: &'a [NamedSite],
    same: &dyn Fn(&NamedSite, &NamedSite) -> bool,
) -> Vec<Step<'a>> {
    let width = new.len() + 1;
    if (old.len() + 1).saturating_mul(width) > MAX_TABLE {
        return old.iter().map(Step::Old).chain(new.iter().map(Step::New)).collect();
    }
    let mut lengths = vec![0_u32; (old.len() + 1) * width];
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            let (here, down, right) = (i * width + j, (i + 1) * width + j, i * width + j + 1);
            lengths[here] = if same(a, b) { lengths[down + 1] + 1 } else { lengths[down].max(lengths[right]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut steps = Vec::with_capacity(old.len() + new.len());
    while i < old.len() && j < new.len() {
        if same(&old[i], &new[j]) {
            steps.push(Step::Both);
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            steps.push(Step::Old(&old[i]));
            i += 1;
        } else {
            steps.push(Step::New(&new[j]));
            j += 1;
        }
    }
    steps.extend(old[i..].iter().map(Step::Old));
    steps.extend(new[j..].iter().map(Step::New));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(text: &str) -> Vec<NamedSite> {
        let site = |(index, word): (usize, &str)| {
            let (kind, target) = word.split_once(':').unwrap_or((word, ""));
            let kind = Kind::ALL.into_iter().find(|it| it.name() == kind).unwrap();
            let target = (!target.is_empty()).then(|| target.to_owned());
            NamedSite { address: index as u64, kind, target }
        };
        text.split_whitespace().enumerate().map(site).collect()
    }

    fn changes(old: &str, new: &str) -> Vec<(String, String)> {
        let name = |site: &Option<NamedSite>| site.as_ref().map_or("-".to_owned(), |site| site.kind.name().to_owned());
        align(&sites(old), &sites(new)).iter().map(|change| (name(&change.before), name(&change.after))).collect()
    }

    #[test]
    fn a_direct_call_that_became_indirect_is_paired_with_what_took_its_place() {
        let change = align(&sites("direct:a direct:b direct:c"), &sites("direct:a table direct:c"));
        assert_eq!(change.len(), 1);
        assert!(change[0].became_indirect());
        assert_eq!(change[0].before.as_ref().unwrap().target.as_deref(), Some("b"));
    }

    #[test]
    fn moved_code_and_other_targets_are_no_change_of_kind() {
        assert_eq!(changes("direct:a table direct:b", "direct:a table direct:b"), []);
        assert_eq!(changes("direct:a direct:b", "direct:b direct:a"), []);
        assert_eq!(changes("direct:a", "direct:z"), []);
        assert_eq!(changes("direct:0x10", "direct:0x20"), []);
    }

    #[test]
    fn sites_that_came_or_went_are_told() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(changes("direct:a", "direct:a virtual"), [pair("-", "virtual")]);
        assert_eq!(changes("direct:a retpoline direct:b", "direct:a direct:b"), [pair("retpoline", "-")]);
        assert_eq!(changes("plt:memcpy table", "got:memcpy table"), [pair("plt", "got")]);
    }

    #[test]
    fn long_functions_are_paired_in_order() {
        let old = "direct:a ".repeat(3000) + "table";
        let new = "direct:b ".repeat(3000) + "virtual";
        assert_eq!(changes(&old, &new), [("table".to_owned(), "virtual".to_owned())]);
    }
}
