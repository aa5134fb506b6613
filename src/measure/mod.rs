//! Measuring: from a plan to samples.
//!
//! The parent ([`parent::run`]) starts worker processes one after another. Workers of workloads run at the same time
//! where a second CPU is free ([`work_parent::run_all`]). A worker ([`worker::serve`]) takes comparisons (op, body,
//! regime, layout) in its own order and measures each in palindromic rounds ([`sampler`]). It sends one JSON line back
//! per comparison. A program may also call the sampler directly:
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
//! let comparison = Comparison { op: "save_fl".into(), body: BodyKind::Native, regime: Regime::Throughput, offset: 0 };
//! let table = Variant { mechanism: "table".into(), state: None };
//! let samples = sampler.measure(&Task { comparison, rounds: 3, variants: None, count: false }, &[table])?;
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
