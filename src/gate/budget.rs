//! A budget file: TOML with a `[[budget]]` per rule. Errors name line and column.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bound::Bound;
use super::raw_rule::{RawFile, make_rule};
use crate::select::add_nearest;

/// Largest size of a budget file, in bytes; such files are short.
const MAX_BYTES: u64 = 1 << 20;

/// The consequence of an exceeded bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The gate warns.
    Soft,
    /// The gate fails.
    #[default]
    Hard,
}

impl Level {
    /// Returns `soft` or `hard`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Soft => "soft",
            Level::Hard => "hard",
        }
    }
}

/// A position in a budget file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// A field of cells or kernels by which a rule selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Cells, by op.
    Op,
    /// Cells, by body.
    Body,
    /// Cells and kernels of workloads, by mechanism.
    Mechanism,
    /// Cells and kernels of workloads, by the state of a patchable mechanism.
    State,
    /// Cells, by regime.
    Regime,
    /// Kernels of workloads, by workload.
    Workload,
    /// Kernels of workloads, by kernel option.
    Option,
    /// The file of a binary.
    Binary,
    /// Functions of a binary, by demangled name or symbol.
    Function,
}

impl Field {
    /// Returns the key in a budget file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Field::Op => "op",
            Field::Body => "body",
            Field::Mechanism => "mechanism",
            Field::State => "state",
            Field::Regime => "regime",
            Field::Workload => "workload",
            Field::Option => "option",
            Field::Binary => "binary",
            Field::Function => "function",
        }
    }
}

/// One or several globs, separated by commas, with their position.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The globs as written.
    pub text: String,
    /// The position in the budget file.
    pub position: Position,
}

/// A rule of a budget file.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The position of its first character.
    pub position: Position,
    /// The fields it selects by; a field without a pattern matches everything.
    pub selector: BTreeMap<Field, Pattern>,
    /// Its bounds, in the order of [`Quantity::ALL`](super::bound::Quantity::ALL).
    pub(crate) bounds: Vec<Bound>,
    /// Whether an exceeded bound warns or fails.
    pub level: Level,
    /// The reason for the rule, as given by its author.
    pub why: Option<String>,
}

impl Rule {
    /// Whether it selects kernels of workloads instead of cells.
    #[must_use]
    pub(crate) fn selects_workloads(&self) -> bool {
        self.selector.contains_key(&Field::Workload) || self.selector.contains_key(&Field::Option)
    }

    /// Whether it selects functions of a binary.
    #[must_use]
    pub(crate) fn selects_binaries(&self) -> bool {
        self.selector.contains_key(&Field::Binary)
    }

    /// Returns its selector as `mechanism=table regime=latency`.
    #[must_use]
    pub fn selects(&self) -> String {
        let field = |(field, pattern): (&Field, &Pattern)| format!("{}={}", field.name(), pattern.text);
        self.selector.iter().map(field).collect::<Vec<_>>().join(" ")
    }
}

/// The rules of a budget file, in their order.
///
/// ```
/// use pvbench::gate::Budgets;
///
/// let text = r#"
///     [[budget]]
///     op = "uart_*"
///     mechanism = "table"
///     overhead = "8 cycles"
///     why = "a call and its return"
/// "#;
/// let budgets = Budgets::parse("budgets.toml".as_ref(), text)?;
/// assert_eq!(budgets.rules[0].selects(), "op=uart_* mechanism=table");
/// let error = Budgets::parse("budgets.toml".as_ref(), "[[budget]]\noverhaed = '1 cycle'").unwrap_err();
/// assert!(error.to_string().starts_with("budgets.toml:2:"), "{error}");
/// # Ok::<(), pvbench::gate::budget::BudgetError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Budgets {
    /// The path of the file.
    pub path: PathBuf,
    /// The rules on cells and workloads.
    pub rules: Vec<Rule>,
    /// The rules on binaries. There is at least one rule of either sort.
    pub binary_rules: Vec<Rule>,
}

/// Why a budget file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// The file does not exist or cannot be read.
    #[error("{}: {source}; name a budget file with --budget", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file is not TOML, or a rule is malformed, contradicts another one or matches nothing.
    #[error("{}:{line}:{column}: {message}", path.display())]
    At {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The fault.
        message: String,
    },
}

impl Budgets {
    /// Reads a budget file.
    ///
    /// # Errors
    /// See [`BudgetError`].
    pub fn read(path: &Path) -> Result<Self, BudgetError> {
        let unreadable = |source| BudgetError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(unreadable(std::io::Error::other(format!("the file is larger than {MAX_BYTES} bytes"))));
        }
        Self::parse(path, &text)
    }

    /// Parses the text of a budget file. `path` is for messages.
    ///
    /// # Errors
    /// See [`BudgetError`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, BudgetError> {
        let wrong = |at: usize, message: String| make_error(path, find_position(text, at), message);
        let file: RawFile = toml::from_str(text)
            .map_err(|error| wrong(error.span().map_or(0, |span| span.start), add_nearest(error.message())))?;
        if file.budget.is_empty() {
            return Err(wrong(0, "the file has no [[budget]]; write at least one rule".to_owned()));
        }
        let mut rules: Vec<Rule> = Vec::with_capacity(file.budget.len());
        for raw in file.budget {
            rules.push(make_rule(raw, &|at| find_position(text, at)).map_err(|(at, message)| wrong(at, message))?);
        }
        let (binary_rules, rules) = rules.into_iter().partition(Rule::selects_binaries);
        let budgets = Budgets { path: path.to_owned(), rules, binary_rules };
        budgets.check_contradictions(&budgets.rules)?;
        budgets.check_contradictions(&budgets.binary_rules)?;
        Ok(budgets)
    }

    /// Checks that no two rules with the same selector contradict each other: rules of the same level, or a soft bound
    /// that is not smaller than the hard one.
    fn check_contradictions(&self, rules: &[Rule]) -> Result<(), BudgetError> {
        for (index, rule) in rules.iter().enumerate() {
            let alike = rules[..index].iter().filter(|earlier| earlier.selects() == rule.selects());
            for earlier in alike {
                let line = earlier.position.line;
                if earlier.level == rule.level {
                    let message = format!(
                        "the rule of line {line} selects the same ({}) and decides; merge the two rules",
                        rule.selects()
                    );
                    return Err(self.at(rule.position, message));
                }
                let (soft, hard) = if rule.level == Level::Soft { (rule, earlier) } else { (earlier, rule) };
                let passes = soft.bounds.iter().find_map(|soft| {
                    let hard = hard.bounds.iter().find(|hard| (hard.quantity, hard.unit) == (soft.quantity, soft.unit));
                    hard.filter(|hard| hard.value <= soft.value).map(|hard| (soft, hard))
                });
                if let Some((soft, hard)) = passes {
                    let message = format!(
                        "the soft bound {soft} is never reached, because the hard bound of the same selector is {hard} \
                         (see line {line}); make the soft bound smaller"
                    );
                    return Err(self.at(rule.position, message));
                }
            }
        }
        Ok(())
    }

    /// Makes an error with a position in this file.
    #[must_use]
    pub fn at(&self, position: Position, message: String) -> BudgetError {
        make_error(&self.path, position, message)
    }
}

fn make_error(path: &Path, Position { line, column }: Position, message: String) -> BudgetError {
    BudgetError::At { path: path.to_owned(), line, column, message }
}

/// Returns the position of the byte with index `at`.
fn find_position(text: &str, at: usize) -> Position {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position { line: before.matches('\n').count() + 1, column: before[line..].chars().count() + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Budgets, (usize, usize, String)> {
        Budgets::parse(Path::new("budgets.toml"), text).map_err(|error| match error {
            BudgetError::At { line, column, message, .. } => (line, column, message),
            BudgetError::Read { .. } => panic!("nothing was read"),
        })
    }

    #[test]
    fn a_rule_has_a_selector_bounds_and_a_level_that_is_hard_by_default() {
        let text = "[[budget]]\nop = \"pte_*\"\nmechanism = \"table\"\noverhead = \"5 cycles\"\n\
                    extra_instructions = \"3 instructions\"\n\n[[budget]]\nworkload = \"*\"\nchange = \"1 %\"\n\
                    level = \"soft\"\nwhy = \"a promise\"\n";
        let budgets = parse(text).unwrap();
        let [cells, workloads] = &budgets.rules[..] else { panic!("two rules") };
        assert_eq!((cells.selects().as_str(), cells.level), ("op=pte_* mechanism=table", Level::Hard));
        assert_eq!(cells.bounds.len(), 2);
        assert_eq!(cells.position, Position { line: 1, column: 1 });
        assert!(workloads.selects_workloads() && workloads.level == Level::Soft);
        assert_eq!((workloads.position.line, workloads.why.as_deref()), (7, Some("a promise")));
    }

    #[test]
    fn an_error_names_line_and_column() {
        let cases = [
            ("[[budget]]\nop = \"x\"\noverhaed = \"1 ns\"\n", 3, 1, "did you mean 'overhead'?"),
            ("[[budgets]]\n", 1, 3, "unknown field `budgets`"),
            ("[[budget]]\nop = \"x\"\noverhead = 0.25\n", 3, 12, "0.25 has no unit"),
            ("[[budget]]\nop = \"x\"\noverhead = \"0.25\"\n", 3, 12, "has no unit"),
            ("[[budget]]\nop = \"x\"\noverhead = [1]\n", 3, 12, "array is not a bound"),
            ("[[budget]]\nop = \"x\"\nsite_bytes = \"1 ns\"\n", 3, 14, "'ns' is not a unit of site_bytes"),
            ("[[budget]]\nop = \"x\"\nlevel = \"harsh\"\noverhead = \"1 ns\"\n", 3, 9, "did you mean 'hard'?"),
            ("[[budget]]\nop = \"x\"\n", 1, 1, "bounds nothing"),
            ("[[budget]]\noverhead = \"1 ns\"\n", 1, 1, "selects nothing"),
            ("[[budget]]\nworkload = \"x\"\nop = \"y\"\noverhead = \"1 ns\"\n", 1, 1, "no op"),
            ("[[budget]]\nworkload = \"x\"\nsite_bytes = \"1 bytes\"\n", 3, 14, "no site_bytes"),
            ("[[budget]]\nop = \"x\"\nextra_instructions = \"1 %\"\n", 3, 22, "not a bound of a cell"),
            ("[[budget]]\nop = \"x\"\nindirect_branch = 0\n", 3, 1, "did you mean 'indirect_branches'?"),
            ("[[budget]]\nop = \"x\"\nloads = \"2 bytes\"\n", 3, 9, "write loads = \"1\""),
            ("[[budget]]\nop = \"x\"\ncalls = -1\n", 3, 9, "out of range"),
            ("[[budget]]\nop = \"x\"\ncalls = nan\n", 3, 9, "is not a bound"),
            ("[[budget]]\nworkload = \"x\"\ncalls = 1\n", 3, 9, "workloads have no calls"),
            ("[[budget]]\nfunction = \"x\"\ncalls = 1\n", 1, 1, "needs binary"),
            ("[[budget]]\nop = \"x\"\nretpolines = 0\n", 3, 14, "count of binaries"),
            ("[[budget]]\nbinary = \"x\"\nloads = 0\n", 3, 9, "binaries have no loads"),
            ("[[budget]]\nbinary = \"x\"\nop = \"y\"\ncalls = 0\n", 1, 1, "a binary has no op"),
            ("[[budget]]\nbinary = \"x\"\ncalls = 0.5\n", 3, 9, "whole number"),
            ("[[budget]\n", 1, 10, ""),
            ("", 1, 1, "no [[budget]]"),
        ];
        for (text, line, column, word) in cases {
            let (at_line, at_column, message) = parse(text).unwrap_err();
            assert_eq!((at_line, at_column), (line, column), "{text}: {message}");
            assert!(message.contains(word), "{text}: {message}");
        }
    }

    #[test]
    fn a_count_of_an_instruction_mix_is_a_number_or_a_text() {
        let text =
            "[[budget]]\nop = \"x\"\nindirect_branches = 0\ncalls = \"1\"\nloads = 1.5\nsite_bytes = \"7 bytes\"\n";
        let budgets = parse(text).unwrap();
        let bounds: Vec<_> = budgets.rules[0].bounds.iter().map(|bound| (bound.quantity.name(), bound.value)).collect();
        assert_eq!(bounds, [("site_bytes", 7.0), ("calls", 1.0), ("indirect_branches", 0.0), ("loads", 1.5)]);
    }

    #[test]
    fn every_quantity_has_a_key_and_bounds_are_in_the_order_in_which_they_are_judged() {
        use crate::gate::bound::Quantity;
        let keys = |all: &[Quantity]| {
            all.iter().map(|it| format!("{} = \"1 {}\"\n", it.name(), it.units()[0].name())).collect::<String>()
        };
        let of_cells: Vec<Quantity> =
            Quantity::ALL.into_iter().filter(|it| it.is_of_mix() || !it.is_of_binaries()).collect();
        let budgets = parse(&format!("[[budget]]\nop = \"x\"\n{}", keys(&of_cells))).unwrap();
        assert!(budgets.rules[0].bounds.iter().map(|bound| bound.quantity).eq(of_cells));
        let keys = Quantity::OF_BINARIES.map(|it| format!("{} = 1\n", it.name())).concat();
        let budgets = parse(&format!("[[budget]]\nbinary = \"app\"\n{keys}")).unwrap();
        assert!(budgets.binary_rules[0].bounds.iter().map(|bound| bound.quantity).eq(Quantity::OF_BINARIES));
    }

    #[test]
    fn two_rules_with_the_same_selector_contradict_each_other_unless_one_warns_first() {
        let rule =
            |bound: &str, level: &str| format!("[[budget]]\nop = \"x\"\noverhead = \"{bound}\"\nlevel = \"{level}\"\n");
        let both =
            |first: (&str, &str), second: (&str, &str)| parse(&(rule(first.0, first.1) + &rule(second.0, second.1)));
        let (line, column, message) = both(("1 ns", "hard"), ("2 ns", "hard")).unwrap_err();
        assert_eq!((line, column), (5, 1), "{message}");
        assert!(message.contains("line 1"), "{message}");
        let (line, _, message) = both(("1 ns", "hard"), ("2 ns", "soft")).unwrap_err();
        assert!(line == 5 && message.contains("never reached"), "{message}");
        assert!(both(("1 ns", "soft"), ("1 ns", "hard")).is_err());
        assert!(both(("1 ns", "soft"), ("2 ns", "hard")).is_ok());
        assert!(both(("2 ns", "hard"), ("1 ns", "soft")).is_ok());
        assert!(both(("9 ns", "soft"), ("2 cycles", "hard")).is_ok(), "units are not converted");
    }
}
