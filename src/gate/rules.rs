//! The deciding rule of each cell and kernel: globs become names, and the first rule of each level that matches
//! decides.

use std::collections::{BTreeMap, HashSet};

use super::budget::{BudgetError, Budgets, Field, Level, Pattern, Rule};
use crate::op::BodyKind;
use crate::report::Report;
use crate::report::schema::{Cell, WorkloadKernel, WorkloadResult};
use crate::report::subject::kernels;
use crate::select::select;

/// The names that globs select from, for cells and for kernels of workloads.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The names in the fields of cells.
    pub cells: BTreeMap<Field, Vec<String>>,
    /// The names in the fields of kernels of workloads.
    pub kernels: BTreeMap<Field, Vec<String>>,
}

impl Names {
    /// Collects the names of a report.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let mut names = Names::default();
        let mut seen = HashSet::new();
        for cell in &report.cells {
            visit_cell_fields(cell, |field, name| {
                if seen.insert((field, name)) {
                    names.cells.entry(field).or_default().push(name.to_owned());
                }
            });
        }
        seen.clear();
        for (workload, kernel) in kernels(report) {
            visit_kernel_fields(workload, kernel, |field, name| {
                if seen.insert((field, name)) {
                    names.kernels.entry(field).or_default().push(name.to_owned());
                }
            });
        }
        names
    }
}

/// Calls `with` for each field of a cell and its name.
fn visit_cell_fields<'a>(cell: &'a Cell, mut with: impl FnMut(Field, &'a str)) {
    with(Field::Op, &cell.op);
    with(Field::Body, cell.body.name());
    with(Field::Mechanism, &cell.mechanism);
    with(Field::Regime, cell.regime.name());
    if let Some(state) = &cell.state {
        with(Field::State, state);
    }
}

/// Calls `with` for each field of a kernel and its name.
fn visit_kernel_fields<'a>(
    workload: &'a WorkloadResult,
    kernel: &'a WorkloadKernel,
    mut with: impl FnMut(Field, &'a str),
) {
    with(Field::Workload, &workload.name);
    let own = [(Field::Mechanism, &kernel.mechanism), (Field::State, &kernel.state), (Field::Option, &kernel.option)];
    for (field, name) in own {
        if let Some(name) = name {
            with(field, name);
        }
    }
}

/// A rule with names in place of its globs.
#[derive(Clone, Debug)]
pub struct ResolvedRule<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// The names that its globs match, by field.
    pub names: BTreeMap<Field, HashSet<String>>,
}

impl ResolvedRule<'_> {
    /// Whether the rule selects a cell.
    ///
    /// A field that the rule does not name matches everything, with two exceptions. A rule without a body selects
    /// native bodies. A cell in the state `refused`, which has no measured value, is selected only by a rule that names
    /// a state.
    #[must_use]
    pub(crate) fn has_cell(&self, cell: &Cell) -> bool {
        let refused = cell.state.as_deref() == Some("refused") && !self.names.contains_key(&Field::State);
        let other_body = cell.body != BodyKind::Native && !self.names.contains_key(&Field::Body);
        let mut matching = 0;
        visit_cell_fields(cell, |field, name| matching += usize::from(self.matches(field, name)));
        !self.rule.selects_workloads() && !refused && !other_body && matching == self.names.len()
    }

    /// Whether the rule selects a kernel of a workload.
    #[must_use]
    pub(crate) fn has_kernel(&self, workload: &WorkloadResult, kernel: &WorkloadKernel) -> bool {
        let mut matching = 0;
        visit_kernel_fields(workload, kernel, |field, name| matching += usize::from(self.matches(field, name)));
        self.rule.selects_workloads() && matching == self.names.len()
    }

    /// Whether a glob of the rule is on this field and matches the name.
    #[must_use]
    pub fn matches(&self, field: Field, name: &str) -> bool {
        self.names.get(&field).is_some_and(|names| names.contains(name))
    }
}

/// Replaces the globs of all rules by the names that they match.
///
/// # Errors
/// A glob matches nothing; the error has its position and the nearest name.
pub fn resolve<'a>(budgets: &'a Budgets, names: &Names) -> Result<Vec<ResolvedRule<'a>>, BudgetError> {
    let resolved = |rule: &'a Rule| {
        let of = if rule.selects_workloads() { &names.kernels } else { &names.cells };
        let mut matched = BTreeMap::new();
        for (field, pattern) in &rule.selector {
            let available: Vec<&str> = of.get(field).into_iter().flatten().map(String::as_str).collect();
            let chosen = select(field.name(), std::slice::from_ref(&pattern.text), &available)
                .map_err(|error| budgets.at(pattern.position, error.to_string()))?;
            matched.insert(*field, chosen.into_iter().map(|index| available[index].to_owned()).collect());
        }
        Ok(ResolvedRule { rule, names: matched })
    };
    budgets.rules.iter().map(resolved).collect()
}

/// Replaces the globs of all rules by the names that they match; a glob may match nothing.
#[must_use]
pub(crate) fn resolve_leniently<'a>(budgets: &'a Budgets, names: &Names) -> Vec<ResolvedRule<'a>> {
    let resolved = |rule: &'a Rule| {
        let of = if rule.selects_workloads() { &names.kernels } else { &names.cells };
        let matching = |(field, pattern): (&Field, &Pattern)| {
            let available: Vec<&str> = of.get(field).into_iter().flatten().map(String::as_str).collect();
            let chosen = select(field.name(), std::slice::from_ref(&pattern.text), &available).unwrap_or_default();
            (*field, chosen.into_iter().map(|index| available[index].to_owned()).collect())
        };
        ResolvedRule { rule, names: rule.selector.iter().map(matching).collect() }
    };
    budgets.rules.iter().map(resolved).collect()
}

/// A rule, and the cell or kernel that it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<T> {
    /// The index of the rule.
    pub rule: usize,
    /// The index of the cell, or the indices of workload and kernel, in the report.
    pub of: T,
}

/// The deciding rules of a report.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    /// The decisions on cells.
    pub cells: Vec<Decision<usize>>,
    /// The decisions on kernels of workloads.
    pub kernels: Vec<Decision<(usize, usize)>>,
    /// The index of the first rule that matches nothing.
    pub(crate) unmatched: Option<usize>,
    /// The indices of rules that decide nothing, because earlier rules decide all that they match.
    pub idle: Vec<usize>,
}

/// Finds the first rule of each level that selects a cell or kernel, for all of them.
#[must_use]
pub fn decide(rules: &[ResolvedRule], report: &Report) -> Decisions {
    let mut decisions = Decisions::default();
    let (mut matched, mut decides) = (vec![false; rules.len()], vec![false; rules.len()]);
    let mut first = |has: &dyn Fn(&ResolvedRule) -> bool, with: &mut dyn FnMut(usize)| {
        let mut taken: Vec<Level> = Vec::with_capacity(2);
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| has(rule)) {
            matched[index] = true;
            if !taken.contains(&rule.rule.level) {
                taken.push(rule.rule.level);
                decides[index] = true;
                with(index);
            }
        }
    };
    for (of, cell) in report.cells.iter().enumerate() {
        first(&|rule| rule.has_cell(cell), &mut |rule| decisions.cells.push(Decision { rule, of }));
    }
    for (workload_index, workload) in report.workloads.iter().enumerate() {
        for (index, kernel) in workload.kernels.iter().enumerate() {
            let of = (workload_index, index);
            first(&|rule| rule.has_kernel(workload, kernel), &mut |rule| {
                decisions.kernels.push(Decision { rule, of });
            });
        }
    }
    decisions.unmatched = matched.iter().position(|matched| !matched);
    decisions.idle = (0..rules.len()).filter(|rule| matched[*rule] && !decides[*rule]).collect();
    decisions
}

impl Decisions {
    /// Checks that every rule matches something.
    ///
    /// # Errors
    /// The position of the first rule that matches nothing. Each of its globs matches, but no cell matches all of them.
    pub fn check(&self, budgets: &Budgets) -> Result<(), BudgetError> {
        let Some(unmatched) = self.unmatched else { return Ok(()) };
        let rule = &budgets.rules[unmatched];
        let what = if rule.selects_workloads() { "workload on such a kernel" } else { "cell" };
        let message = format!(
            "the rule matches nothing: no {what} of the report has all of {}; correct or remove the rule",
            rule.selects()
        );
        Err(budgets.at(rule.position, message))
    }
}
