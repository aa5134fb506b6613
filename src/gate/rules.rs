//! Which rule decides what: globs resolved against the names there are, and the first rule of each level that matches.

use std::collections::{BTreeMap, HashSet};

use super::budget::{BudgetError, Budgets, Field, Level, Pattern, Rule};
use crate::op::BodyKind;
use crate::report::Report;
use crate::report::schema::{Cell, WorkloadKernel, WorkloadResult};
use crate::report::subject::kernels;
use crate::select::select;

/// The names that globs choose from, of cells and of kernels of workloads.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// What cells are named by.
    pub cells: BTreeMap<Field, Vec<String>>,
    /// What kernels of workloads are named by.
    pub kernels: BTreeMap<Field, Vec<String>>,
}

impl Names {
    /// Those of what a report has.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let mut names = Names::default();
        let mut seen = HashSet::new();
        for cell in &report.cells {
            cell_fields(cell, |field, name| {
                if seen.insert((field, name)) {
                    names.cells.entry(field).or_default().push(name.to_owned());
                }
            });
        }
        seen.clear();
        for (workload, kernel) in kernels(report) {
            kernel_fields(workload, kernel, |field, name| {
                if seen.insert((field, name)) {
                    names.kernels.entry(field).or_default().push(name.to_owned());
                }
            });
        }
        names
    }
}

fn cell_fields<'a>(cell: &'a Cell, mut with: impl FnMut(Field, &'a str)) {
    with(Field::Op, &cell.op);
    with(Field::Body, cell.body.name());
    with(Field::Mechanism, &cell.mechanism);
    with(Field::Regime, cell.regime.name());
    if let Some(state) = &cell.state {
        with(Field::State, state);
    }
}

fn kernel_fields<'a>(workload: &'a WorkloadResult, kernel: &'a WorkloadKernel, mut with: impl FnMut(Field, &'a str)) {
    with(Field::Workload, &workload.name);
    let own = [(Field::Mechanism, &kernel.mechanism), (Field::State, &kernel.state), (Field::Option, &kernel.option)];
    for (field, name) in own {
        if let Some(name) = name {
            with(field, name);
        }
    }
}

/// A rule whose globs have become names.
#[derive(Clone, Debug)]
pub struct Resolved<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// What each of its globs matches.
    pub names: BTreeMap<Field, HashSet<String>>,
}

impl Resolved<'_> {
    /// Whether it selects a cell. What a rule does not name it does not look at, but for two things: where it says
    /// nothing of the body it speaks of native ones, and a cell that patching refuses, which has nothing to measure by
    /// its nature, only a rule selects that names the state.
    #[must_use]
    pub fn has_cell(&self, cell: &Cell) -> bool {
        let refused = cell.state.as_deref() == Some("refused") && !self.names.contains_key(&Field::State);
        let other_body = cell.body != BodyKind::Native && !self.names.contains_key(&Field::Body);
        let mut matching = 0;
        cell_fields(cell, |field, name| matching += usize::from(self.matches(field, name)));
        !self.rule.of_workloads() && !refused && !other_body && matching == self.names.len()
    }

    /// Whether it selects a kernel of a workload.
    #[must_use]
    pub fn has_kernel(&self, workload: &WorkloadResult, kernel: &WorkloadKernel) -> bool {
        let mut matching = 0;
        kernel_fields(workload, kernel, |field, name| matching += usize::from(self.matches(field, name)));
        self.rule.of_workloads() && matching == self.names.len()
    }

    /// Whether one of its globs is of this field and matches the name.
    #[must_use]
    pub fn matches(&self, field: Field, name: &str) -> bool {
        self.names.get(&field).is_some_and(|names| names.contains(name))
    }
}

/// Resolves all rules against the names there are.
///
/// # Errors
/// Where a glob matches nothing, with its place and the nearest name.
pub fn resolve<'a>(budgets: &'a Budgets, names: &Names) -> Result<Vec<Resolved<'a>>, BudgetError> {
    let resolved = |rule: &'a Rule| {
        let of = if rule.of_workloads() { &names.kernels } else { &names.cells };
        let mut matched = BTreeMap::new();
        for (field, pattern) in &rule.selector {
            let there: Vec<&str> = of.get(field).into_iter().flatten().map(String::as_str).collect();
            let chosen = select(field.name(), std::slice::from_ref(&pattern.text), &there)
                .map_err(|error| budgets.at(pattern.place, error.to_string()))?;
            matched.insert(*field, chosen.into_iter().map(|index| there[index].to_owned()).collect());
        }
        Ok(Resolved { rule, names: matched })
    };
    budgets.rules.iter().map(resolved).collect()
}

/// Resolves all rules against the names there are; a glob that matches nothing selects nothing.
#[must_use]
pub fn resolve_what_is_there<'a>(budgets: &'a Budgets, names: &Names) -> Vec<Resolved<'a>> {
    let resolved = |rule: &'a Rule| {
        let of = if rule.of_workloads() { &names.kernels } else { &names.cells };
        let matching = |(field, pattern): (&Field, &Pattern)| {
            let there: Vec<&str> = of.get(field).into_iter().flatten().map(String::as_str).collect();
            let chosen = select(field.name(), std::slice::from_ref(&pattern.text), &there).unwrap_or_default();
            (*field, chosen.into_iter().map(|index| there[index].to_owned()).collect())
        };
        Resolved { rule, names: rule.selector.iter().map(matching).collect() }
    };
    budgets.rules.iter().map(resolved).collect()
}

/// What a rule decides: its place among the rules, and the cell, or the kernel, by its place in the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<T> {
    /// The rule.
    pub rule: usize,
    /// What it decides.
    pub of: T,
}

/// Who decides what in a report.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    /// Of cells, by their place in the report.
    pub cells: Vec<Decision<usize>>,
    /// Of kernels: workload and kernel.
    pub kernels: Vec<Decision<(usize, usize)>>,
    /// The first rule that matches nothing.
    pub unmatched: Option<usize>,
    /// Rules that match, but only what earlier ones decide.
    pub idle: Vec<usize>,
}

/// Finds the first rule of each level for every cell and kernel.
#[must_use]
pub fn decide(rules: &[Resolved], report: &Report) -> Decisions {
    let mut decisions = Decisions::default();
    let (mut matched, mut decides) = (vec![false; rules.len()], vec![false; rules.len()]);
    let mut first = |has: &dyn Fn(&Resolved) -> bool, with: &mut dyn FnMut(usize)| {
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
    for (place, workload) in report.workloads.iter().enumerate() {
        for (index, kernel) in workload.kernels.iter().enumerate() {
            let of = (place, index);
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
    /// That no rule matches nothing.
    ///
    /// # Errors
    /// The first rule that does, with its place: its globs match, each by itself, but no cell has all of it.
    pub fn check(&self, budgets: &Budgets) -> Result<(), BudgetError> {
        let Some(nothing) = self.unmatched else { return Ok(()) };
        let rule = &budgets.rules[nothing];
        let what = if rule.of_workloads() { "workload on such a kernel" } else { "cell" };
        let message = format!("the rule matches nothing: no {what} of the report has all of {}", rule.selects());
        Err(budgets.at(rule.place, message))
    }
}
