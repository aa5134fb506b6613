//! Measuring: from a plan to samples.
//!
//! The parent ([`parent::run`]) starts worker processes one after another, those of workloads beside the others where
//! there is a CPU for them ([`work_parent::run_all`]); a worker ([`worker::serve`]) takes groups (op, body, regime,
//! layout) in an order of its own and measures each in palindromic rounds ([`sampler`]); it streams one JSON line per
//! group back. A program that has no other use for it calls the sampler directly:
//!
//! ```
//! use pvbench::Suite;
//! use pvbench::op::BodyKind;
//! use pvbench::clock::Clock;
//! use pvbench::measure::plan::{Variant, Comparison};
//! use pvbench::measure::{Sampler, wire::Task};
//! use pvbench::op::irq::SaveFl;
//! use pvbench::regime::Regime;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (ops, _) = Suite::builder("one").op::<SaveFl>().build()?.into_parts();
//! let mut sampler = Sampler::new(ops, 1, Clock::choose(None).0, 100_000, false, false)?;
//! let group = Comparison { op: "save_fl".into(), body: BodyKind::Native, regime: Regime::Throughput, offset: 0 };
//! let table = Variant { mechanism: "table".into(), state: None };
//! let samples = sampler.group(&Task { group, rounds: 3, only: None, count: false }, &[table])?;
//! for round in &samples.rounds {
//!     println!("inline {:?}, table {:?} ticks per op, in the two windows", round.inline, round.ticks[0]);
//! }
//! # Ok(())
//! # }
//! ```

mod callees;
pub mod counters;
pub mod evict;
pub mod executed;
pub mod explain;
mod lines;
pub mod loops;
pub mod parent;
mod placement;
pub mod plan;
pub mod sampler;
pub mod separate_cores;
mod stack;
pub mod trace;
pub mod window;
pub mod wire;
pub mod work;
pub mod work_parent;
mod work_wire;
pub mod worker;

pub use plan::{Comparison, Plan, Preset};
pub use sampler::Sampler;
