//! A rule as it is written in a budget file, and the checks that make it a rule.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::bound::{Bound, Quantity, Unit, example};
use super::budget::{Field, Level, Pattern, Position, Rule};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    #[serde(default)]
    pub(super) budget: Vec<Spanned<RawRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    op: Option<Spanned<String>>,
    body: Option<Spanned<String>>,
    mechanism: Option<Spanned<String>>,
    state: Option<Spanned<String>>,
    regime: Option<Spanned<String>>,
    workload: Option<Spanned<String>>,
    option: Option<Spanned<String>>,
    binary: Option<Spanned<String>>,
    function: Option<Spanned<String>>,
    overhead: Option<Spanned<Value>>,
    extra_instructions: Option<Spanned<Value>>,
    site_bytes: Option<Spanned<Value>>,
    calls: Option<Spanned<Value>>,
    direct_calls: Option<Spanned<Value>>,
    indirect_calls: Option<Spanned<Value>>,
    indirect_branches: Option<Spanned<Value>>,
    returns: Option<Spanned<Value>>,
    direct_jumps: Option<Spanned<Value>>,
    indirect_jumps: Option<Spanned<Value>>,
    branches: Option<Spanned<Value>>,
    taken_branches: Option<Spanned<Value>>,
    loads: Option<Spanned<Value>>,
    stores: Option<Spanned<Value>>,
    locked: Option<Spanned<Value>>,
    serialising: Option<Spanned<Value>>,
    code_lines: Option<Spanned<Value>>,
    plt_calls: Option<Spanned<Value>>,
    retpolines: Option<Spanned<Value>>,
    jump_tables: Option<Spanned<Value>>,
    unknown_jumps: Option<Spanned<Value>>,
    change: Option<Spanned<Value>>,
    instructions_change: Option<Spanned<Value>>,
    #[serde(default)]
    level: Level,
    why: Option<String>,
}

/// Checks a rule as read. `position` returns the position of the byte with an index.
///
/// # Errors
/// The index of the byte where the rule is wrong, and the fault.
pub(super) fn make_rule(raw: Spanned<RawRule>, position: &dyn Fn(usize) -> Position) -> Result<Rule, (usize, String)> {
    let begins = raw.span().start;
    let raw = raw.into_inner();
    let mut selector = BTreeMap::new();
    let fields = [
        (Field::Op, raw.op),
        (Field::Body, raw.body),
        (Field::Mechanism, raw.mechanism),
        (Field::State, raw.state),
        (Field::Regime, raw.regime),
        (Field::Workload, raw.workload),
        (Field::Option, raw.option),
        (Field::Binary, raw.binary),
        (Field::Function, raw.function),
    ];
    for (field, text) in fields {
        if let Some(text) = text {
            let position = position(text.span().start);
            selector.insert(field, Pattern { text: text.into_inner(), position });
        }
    }
    let (mut bounds, mut first) = (Vec::new(), Vec::new());
    // In the order of `Quantity::ALL`, in which bounds are judged.
    let values = [
        (Quantity::Overhead, raw.overhead),
        (Quantity::ExtraInstructions, raw.extra_instructions),
        (Quantity::SiteBytes, raw.site_bytes),
        (Quantity::Calls, raw.calls),
        (Quantity::DirectCalls, raw.direct_calls),
        (Quantity::IndirectCalls, raw.indirect_calls),
        (Quantity::IndirectBranches, raw.indirect_branches),
        (Quantity::Returns, raw.returns),
        (Quantity::DirectJumps, raw.direct_jumps),
        (Quantity::IndirectJumps, raw.indirect_jumps),
        (Quantity::Branches, raw.branches),
        (Quantity::TakenBranches, raw.taken_branches),
        (Quantity::Loads, raw.loads),
        (Quantity::Stores, raw.stores),
        (Quantity::Locked, raw.locked),
        (Quantity::Serialising, raw.serialising),
        (Quantity::CodeLines, raw.code_lines),
        (Quantity::PltCalls, raw.plt_calls),
        (Quantity::Retpolines, raw.retpolines),
        (Quantity::JumpTables, raw.jump_tables),
        (Quantity::UnknownJumps, raw.unknown_jumps),
        (Quantity::Change, raw.change),
        (Quantity::InstructionsChange, raw.instructions_change),
    ];
    for (quantity, value) in values {
        let Some(value) = value else { continue };
        let at = value.span().start;
        let bound = match value.get_ref() {
            Value::String(text) => Bound::parse(quantity, text),
            Value::Integer(number) if quantity.is_count() => Bound::parse(quantity, &number.to_string()),
            Value::Float(number) if quantity.is_count() => Bound::parse(quantity, &number.to_string()),
            Value::Integer(number) => Err(format!("{number} has no unit; {}", example(quantity))),
            Value::Float(number) => Err(format!("{number} has no unit; {}", example(quantity))),
            other => Err(format!("{} is not a bound; {}", other.type_str(), example(quantity))),
        };
        bounds.push(bound.map_err(|message| (at, message))?);
        first.push((quantity, at));
    }
    let mut rule = Rule { position: position(begins), selector, bounds, level: raw.level, why: raw.why };
    if rule.selector.is_empty() {
        let message = "the rule selects nothing; name op, mechanism, state, regime or body, a workload, or a binary";
        return Err((begins, message.to_owned()));
    }
    if rule.bounds.is_empty() {
        let names = Quantity::ALL.map(Quantity::name).join(", ");
        return Err((begins, format!("the rule bounds nothing; name one of {names}")));
    }
    if rule.selects_binaries() {
        check_binary_rule(&mut rule, &first).map_err(|(at, message)| (at.unwrap_or(begins), message))?;
        return Ok(rule);
    }
    if let Some(pattern) = rule.selector.get(&Field::Function) {
        let message = format!("function = \"{}\" needs binary = \"FILE\", the file that has it", pattern.text);
        return Err((begins, message));
    }
    if let Some((quantity, at)) = first.iter().find(|(it, _)| it.is_of_binaries() && !it.is_of_mix()) {
        return Err((*at, format!("{} is a count of binaries; name one: binary = \"FILE\"", quantity.name())));
    }
    if rule.selects_workloads() {
        if let Some(field) = [Field::Op, Field::Body, Field::Regime].iter().find(|f| rule.selector.contains_key(f)) {
            return Err((begins, format!("a workload has no {}; split the rule in two", field.name())));
        }
        let none = |quantity: &Quantity| {
            quantity.is_of_mix() || matches!(quantity, Quantity::SiteBytes | Quantity::InstructionsChange)
        };
        if let Some((quantity, at)) = first.iter().find(|(quantity, _)| none(quantity)) {
            let message =
                format!("workloads have no {}; bound overhead, extra_instructions or change", quantity.name());
            return Err((*at, message));
        }
        if rule.selector.contains_key(&Field::Option) && rule.selector.contains_key(&Field::Mechanism) {
            let message = "a kernel has either a mechanism or an option; split the rule in two";
            return Err((begins, message.to_owned()));
        }
    } else if let Some((bound, (_, at))) = rule
        .bounds
        .iter()
        .zip(&first)
        .find(|(bound, _)| (bound.quantity, bound.unit) == (Quantity::ExtraInstructions, Unit::Percent))
    {
        return Err((*at, format!("{bound} is not a bound of a cell; write extra_instructions = \"1 instructions\"")));
    }
    Ok(rule)
}

/// Checks a rule on a binary, and gives its bounds the unit of call sites.
///
/// # Errors
/// The index of the byte where the rule is wrong (`None`: its start), and the fault.
fn check_binary_rule(rule: &mut Rule, first: &[(Quantity, usize)]) -> Result<(), (Option<usize>, String)> {
    let is_other = |field: &&Field| !matches!(field, Field::Binary | Field::Function);
    if let Some(field) = rule.selector.keys().find(is_other) {
        return Err((None, format!("a binary has no {}; split the rule in two", field.name())));
    }
    if let Some((quantity, at)) = first.iter().find(|(quantity, _)| !quantity.is_of_binaries()) {
        let names = Quantity::OF_BINARIES.map(Quantity::name).join(", ");
        return Err((Some(*at), format!("binaries have no {}; bound one of {names}", quantity.name())));
    }
    for (bound, (_, at)) in rule.bounds.iter_mut().zip(first) {
        if bound.value.fract() != 0.0 {
            return Err((Some(*at), format!("{} is not a number of call sites; write a whole number", bound.value)));
        }
        bound.unit = Unit::Sites;
    }
    Ok(())
}
