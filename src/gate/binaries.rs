//! Verdicts of budgets on binaries: the number of call sites of a function, by kind.
//!
//! Counts are exact and the same on all machines. A function that was inlined is judged where its code is now, if debug
//! information tells where.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::bound::{Bound, Quantity};
use super::budget::{Budgets, Field, Rule};
use super::verdict::{Outcome, RuleInfo, Verdict};
use crate::audit::control::{Control, Program, RawSite, Reader};
use crate::audit::functions::{FunctionRange, Functions};
use crate::audit::input::Input;
use crate::audit::kind::Kind;
use crate::audit::lines::{Lines, Storage};
use crate::audit::names::demangle;
use crate::audit::open::open;
use crate::audit::{AuditError, read_functions, two_threads};
use crate::select::matches_glob;
use crate::stats::Interval;

/// Why binaries cannot be judged.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {source}", path.display())]
pub struct BinaryError {
    /// The budget file.
    pub path: std::path::PathBuf,
    /// The line of the rule that names the binary.
    pub line: usize,
    /// The cause.
    pub source: AuditError,
}

/// Judges the rules on binaries of a budget file.
///
/// # Errors
/// If a binary cannot be read.
pub fn judge(budgets: &Budgets) -> Result<Vec<Verdict>, BinaryError> {
    let mut by_file: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
    for rule in &budgets.binary_rules {
        if let Some(pattern) = rule.selector.get(&Field::Binary) {
            by_file.entry(&pattern.text).or_default().push(rule);
        }
    }
    let mut verdicts = Vec::new();
    for (file, rules) in by_file {
        let failed = |source| {
            let line = rules.first().map_or(1, |rule| rule.position.line);
            BinaryError { path: budgets.path.clone(), line, source }
        };
        let input = Input::read(Path::new(file)).map_err(failed)?;
        let mut found = vec![Found::default(); rules.len()];
        let mut judged_any = false;
        for (name, bytes) in input.binaries() {
            let read = open(name, bytes, input.is_unpacked_kernel, |program| {
                judge_binary((name, Path::new(file)), &rules, program, &mut found, &mut verdicts);
            });
            match read {
                Ok(()) => judged_any = true,
                Err(AuditError::NoCode { .. }) if input.is_archive() => {}
                Err(error) => return Err(failed(error)),
            }
        }
        if !judged_any {
            return Err(failed(AuditError::NoCode { path: file.to_owned() }));
        }
        for (rule, found) in rules.iter().zip(&found) {
            if !found.is_judged && !found.is_decided_earlier {
                verdicts.extend(missing(rule, file, found));
            }
        }
    }
    Ok(verdicts)
}

/// What was found of a rule's function.
#[derive(Clone, Default)]
struct Found {
    is_judged: bool,
    /// Earlier rules decide all functions that match.
    is_decided_earlier: bool,
    /// Why its inlined code could not be looked for.
    no_lines: Option<String>,
    /// Whether debug information names the function.
    is_declared: bool,
}

fn judge_binary(
    (name, file): (&str, &Path),
    rules: &[&Rule],
    program: Program<'_, '_>,
    found: &mut [Found],
    verdicts: &mut Vec<Verdict>,
) {
    let mut reader = Reader::new(program);
    let Program { image, functions, .. } = program;
    let mut whole = None;
    for (function, matching) in match_functions(functions, rules) {
        let mut control = None;
        let mut levels = Vec::new();
        for index in matching {
            let (Some(rule), Some(found)) = (rules.get(index), found.get_mut(index)) else { continue };
            // The first rule of each level that matches decides.
            if levels.contains(&rule.level) {
                found.is_decided_earlier = true;
                continue;
            }
            levels.push(rule.level);
            found.is_judged = true;
            let control = control.get_or_insert_with(|| reader.read(function));
            let shown = function.symbol.map_or_else(|| format!("{:#x}", function.range.start), demangle);
            for bound in &rule.bounds {
                let counted = count(bound.quantity, &control.sites, control.returns);
                verdicts.push(verdict(rule, bound, (name, &shown), Ok(counted)));
            }
        }
    }
    for (rule, found) in rules.iter().zip(found.iter_mut()) {
        match rule.selector.get(&Field::Function) {
            None => {
                let control = whole.get_or_insert_with(|| read_whole(program));
                found.is_judged = true;
                for bound in &rule.bounds {
                    let counted = count(bound.quantity, &control.sites, control.returns);
                    verdicts.push(verdict(rule, bound, (name, "the whole binary"), Ok(counted)));
                }
            }
            Some(pattern) if !found.is_judged && !found.is_decided_earlier => {
                let storage = Storage::default();
                let bases = |index| image.section_base(index);
                let parsed = object::File::parse(image.elf.data());
                let Ok(parsed) = parsed else { continue };
                match Lines::open(file, &parsed, &bases, &storage) {
                    Err(error) => found.no_lines = Some(error.to_string()),
                    Ok(lines) => {
                        let mut is_wanted = |name: &str| matches_glob(&pattern.text, name);
                        found.is_declared |= lines.is_declared(&mut is_wanted);
                        let instances = lines.inlined_instances(&mut is_wanted);
                        let mut callers: BTreeMap<u64, (String, Vec<Range<u64>>)> = BTreeMap::new();
                        for instance in instances {
                            for range in instance.ranges {
                                let Some(caller) = functions.containing(range.start) else { continue };
                                let entry = callers.entry(caller.range.start).or_default();
                                entry.0 = instance.name.to_string();
                                entry.1.push(range);
                            }
                        }
                        for (start, (inlined, ranges)) in callers {
                            let Some(caller) = functions.containing(start) else { continue };
                            found.is_judged = true;
                            let is_within = |site: &RawSite| ranges.iter().any(|range| range.contains(&site.address));
                            let sites: Vec<RawSite> = reader.read(caller).sites.into_iter().filter(is_within).collect();
                            let caller = caller.symbol.map_or_else(|| format!("{start:#x}"), demangle);
                            let shown = format!("{inlined} (inlined into {caller})");
                            for bound in &rule.bounds {
                                let counted = count(bound.quantity, &sites, 0);
                                verdicts.push(verdict(rule, bound, (name, &shown), Ok(counted)));
                            }
                        }
                    }
                }
            }
            Some(_) => {}
        }
    }
}

/// The functions that rules name, with the indices of these rules. In two threads: each symbol is demangled.
fn match_functions<'f, 'a>(functions: &'f Functions<'a>, rules: &[&Rule]) -> Vec<(&'f FunctionRange<'a>, Vec<usize>)> {
    let patterns = rules.iter().enumerate().filter_map(|(index, rule)| {
        let pattern = rule.selector.get(&Field::Function)?;
        Some((index, pattern.text.as_str()))
    });
    let patterns: Vec<(usize, &str)> = patterns.collect();
    if patterns.is_empty() {
        return Vec::new();
    }
    let matching = |(): &mut (), index: usize, function: &FunctionRange| {
        let names = list_names(function);
        let matching = patterns.iter().filter(|(_, pattern)| names.iter().any(|name| matches_glob(pattern, name)));
        let matching: Vec<usize> = matching.map(|(rule, _)| *rule).collect();
        (!matching.is_empty()).then_some((index, matching))
    };
    let found = two_threads::filter_map(&functions.list, || (), matching);
    found.into_iter().filter_map(|(index, matching)| Some((functions.list.get(index)?, matching))).collect()
}

/// The sites of all functions.
fn read_whole(program: Program<'_, '_>) -> Control {
    let mut sum = Control::default();
    for control in read_functions(program) {
        sum.returns += control.returns;
        sum.sites.extend(control.sites);
    }
    sum
}

/// The symbols of a function and their demangled names.
fn list_names<'a>(function: &FunctionRange<'a>) -> Vec<Cow<'a, str>> {
    let symbols = function.symbol.iter().chain(&function.aliases);
    symbols.flat_map(|symbol| [Cow::Borrowed(*symbol), Cow::Owned(demangle(symbol))]).collect()
}

/// The verdicts of a rule whose function the binary does not have.
fn missing(rule: &Rule, file: &str, found: &Found) -> Vec<Verdict> {
    let function = rule.selector.get(&Field::Function).map_or("", |pattern| &pattern.text);
    let reason = match &found.no_lines {
        Some(reason) => format!(
            "no function of this name: it is gone, or was inlined into its callers, and nothing tells where: {reason}; \
             build with debug information"
        ),
        None if found.is_declared => {
            "the function is gone: debug information names it, and no code is left of it; remove the rule, or call the \
             function"
                .to_owned()
        }
        None => {
            "no function of this name, and debug information has none either; `pvbench audit` lists names".to_owned()
        }
    };
    let make = |bound| verdict(rule, bound, (file, function), Err(reason.clone()));
    rule.bounds.iter().map(make).collect()
}

/// The number of sites that a quantity counts.
fn count(quantity: Quantity, sites: &[RawSite], returns: u64) -> u64 {
    let of = |wanted: fn(Kind) -> bool| sites.iter().filter(|site| wanted(site.kind)).count() as u64;
    let leaves = |kind: Kind| kind.is_call() && kind != Kind::Fentry;
    match quantity {
        Quantity::Calls => sites.iter().filter(|site| leaves(site.kind)).count() as u64,
        Quantity::DirectCalls => of(|kind| matches!(kind, Kind::Direct | Kind::StaticCall)),
        Quantity::IndirectCalls => of(Kind::is_indirect_call),
        Quantity::IndirectBranches => {
            of(|kind| kind.is_indirect_call() || matches!(kind, Kind::JumpTable | Kind::Unknown))
        }
        Quantity::Returns => returns + of(|kind| kind == Kind::ReturnThunk),
        Quantity::PltCalls => of(|kind| kind == Kind::Plt),
        Quantity::Retpolines => of(|kind| kind == Kind::Retpoline),
        Quantity::JumpTables => of(|kind| kind == Kind::JumpTable),
        Quantity::UnknownJumps => of(|kind| kind == Kind::Unknown),
        // The rule was refused when it was read.
        _ => 0,
    }
}

fn verdict(rule: &Rule, bound: &Bound, (binary, function): (&str, &str), counted: Result<u64, String>) -> Verdict {
    let (measured, outcome, reason) = match counted {
        Ok(count) => {
            let value = count as f64;
            let outcome = if value > bound.value { Outcome::Fail } else { Outcome::Pass };
            (Some(Interval { estimate: value, low: value, high: value }), outcome, None)
        }
        Err(reason) => (None, Outcome::Inconclusive, Some(reason)),
    };
    let of = [(Field::Binary, binary), (Field::Function, function)];
    Verdict {
        subject: format!("{binary}: {function}"),
        of: of.into_iter().map(|(field, name)| (field.name().to_owned(), name.to_owned())).collect(),
        rule: RuleInfo { line: rule.position.line, selects: rule.selects(), level: rule.level, why: rule.why.clone() },
        quantity: bound.quantity,
        unit: bound.unit,
        bound: bound.value,
        measured,
        floor: None,
        layout_range: None,
        outcome,
        reason,
        before: Vec::new(),
    }
}

/// The text of a first budget file that a binary keeps: a rule for each function that a pattern matches.
///
/// # Errors
/// If the binary cannot be read.
pub fn first_budgets(file: &Path, patterns: &[String]) -> Result<Option<String>, AuditError> {
    let input = Input::read(file)?;
    let mut rules = Vec::new();
    for (name, bytes) in input.binaries() {
        let read = open(name, bytes, input.is_unpacked_kernel, |program| {
            let (functions, mut reader) = (program.functions, Reader::new(program));
            for function in &functions.list {
                let Some(symbol) = function.symbol else { continue };
                let names = list_names(function);
                if patterns.iter().any(|pattern| names.iter().any(|name| matches_glob(pattern, name))) {
                    let control = reader.read(function);
                    let counted = |quantity| (quantity, count(quantity, &control.sites, control.returns));
                    rules.push((demangle(symbol), FIRST.map(counted)));
                }
            }
        });
        match read {
            Err(AuditError::NoCode { .. }) if input.is_archive() => {}
            other => other?,
        }
    }
    if rules.is_empty() {
        return Ok(None);
    }
    let mut text =
        "# Call sites of functions, as audited. Keep the functions that matter, and add a `why` to each.\n".to_owned();
    let binary = quote(&file.display().to_string());
    for (name, counts) in rules {
        text.push_str(&format!("\n[[budget]]\nbinary = {binary}\nfunction = {}\n", quote(&name)));
        for (quantity, count) in counts {
            text.push_str(&format!("{} = {count}\n", quantity.name()));
        }
    }
    Ok(Some(text))
}

/// Quotes a text for TOML: its basic strings have the escapes of JSON.
fn quote(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

/// What a first budget file bounds.
const FIRST: [Quantity; 3] = [Quantity::Calls, Quantity::IndirectCalls, Quantity::Retpolines];
