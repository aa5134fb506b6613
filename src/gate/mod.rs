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
//! ([`evidence::Wider`]); it fails only what is above its bound in every mode and at every layout, by more than the floor;
//! and it says so when it cannot tell. Executed instructions and bytes of machine code are its second axis: they are
//! counted, and the same on every machine.
//!
//! Nothing in here measures.

pub mod bound;
pub mod budget;
pub mod change;
pub mod comparable;
pub mod compare;
pub mod evidence;
pub mod judge;
pub mod junit;
pub mod markdown;
pub mod rules;
pub mod terminal;
pub mod verdict;

pub use budget::Budgets;
pub use verdict::{Judged, Outcome, Verdict};
