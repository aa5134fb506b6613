//! Budgets and verdicts: what overheads may be, and whether they are.
//!
//! ```text
//! budget file -> rules (budget, bound) -> names for globs, and which rule decides what (rules)
//! report      -> evidence per bound: interval, modes, layouts, floor (judge, change, evidence)
//!             -> verdicts: pass, fail, inconclusive, improved (verdict) -> terminal, Markdown, JUnit
//! ```
//!
//! Gates fail by false alarms. This one judges overheads, which are measured against `inline` within one run, and not
//! times, which differ from one runner to the next. It reads intervals, made so wide that all verdicts hold together
//! ([`evidence::Wider`]); it fails only what is above its bound in every mode and at every layout, by more than the
//! floor; and it says so when it cannot tell. Executed instructions and bytes of machine code are its second axis: they
//! are counted, and the same on every machine.
//!
//! Nothing in here measures. A program that gates for itself:
//!
//! ```no_run
//! use pvbench::gate::judge::{GateInput, judge, settle, timed};
//! use pvbench::gate::rules::{Names, decide, resolve};
//! use pvbench::gate::{Budgets, terminal};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let report = pvbench::report::read::report("target/uart/report.json".as_ref())?;
//! let budgets = Budgets::read("budgets.toml".as_ref())?;
//! let rules = resolve(&budgets, &Names::of(&report))?;
//! let decisions = decide(&rules, &report);
//! let mut judged = judge(&GateInput {
//!     budgets: &budgets,
//!     rules: &rules,
//!     decisions: &decisions,
//!     report: &report,
//!     baseline: None,
//!     differences: Vec::new(),
//!     across_machines: false,
//!     unoptimised: false,
//!     judgements: timed(&rules, &decisions, false),
//! });
//! settle(&mut judged, report.run.complete);
//! println!("{}", terminal::result(&judged));
//! # Ok(())
//! # }
//! ```

pub mod bound;
pub mod budget;
pub mod change;
pub mod comparable;
pub mod compare;
pub mod evidence;
pub mod init;
pub mod judge;
pub mod junit;
pub mod left_out;
pub mod markdown;
pub mod rules;
pub mod terminal;
pub mod verdict;

pub use budget::Budgets;
pub use verdict::{Judged, Outcome, Verdict};
