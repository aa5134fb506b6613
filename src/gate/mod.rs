//! Budgets and verdicts: bounds on overheads, and whether a report keeps them.
//!
//! ```text
//! budget file -> rules (budget, raw_rule, bound) -> names for globs, the deciding rule of each cell (rules)
//! report      -> evidence per bound: interval, modes, layouts, floor (judge, quantities, change, evidence)
//!             -> verdicts: pass, fail, inconclusive, improved (verdict) -> terminal, Markdown, JUnit
//! ```
//!
//! The gate avoids false alarms in four ways:
//! - It judges overheads, measured against `inline` within one run; times differ from runner to runner.
//! - Its intervals are so wide that all verdicts hold together ([`evidence::confidence`]).
//! - It fails only a value above its bound in every mode and at every layout, by more than the floor.
//! - It reports a verdict as inconclusive if the evidence decides neither way.
//!
//! Executed instructions, their mix (calls, indirect branches, loads, ..) and bytes of machine code are judged, too:
//! they are counted, and the same on all machines.
//!
//! Call sites in a binary are counted without any report ([`binaries`]).
//!
//! Nothing in this module measures. A program that judges its own report:
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

#[cfg(feature = "audit")]
pub mod binaries;
pub mod bound;
pub mod budget;
pub mod change;
pub mod comparable;
pub mod compare;
pub mod evidence;
mod index;
pub mod init;
pub mod judge;
pub mod junit;
pub mod left_out;
pub mod markdown;
mod quantities;
mod raw_rule;
pub mod rules;
pub mod terminal;
pub mod verdict;

pub use budget::Budgets;
pub use verdict::{Judged, Outcome, Verdict};
