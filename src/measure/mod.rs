//! Measuring: from a job to its samples, in this process.
//!
//! Everything is timed in [blocks](block): loops of an op by a [`LoopBench`], workloads by a
//! [`WorkloadBench`](workload_bench::WorkloadBench). [`crate::run`] starts worker processes that measure job after job.
//! A program may also use a bench directly:
//!
//! ```
//! use pvbench::Suite;
//! use pvbench::clock::Clock;
//! use pvbench::measure::comparison::Comparison;
//! use pvbench::measure::loop_bench::{LoopBench, LoopConditions, LoopJob};
//! use pvbench::measure::variant::{MechanismState, Treatments, Variant};
//! use pvbench::op::BodyKind;
//! use pvbench::op::irq::SaveFl;
//! use pvbench::regime::Regime;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (ops, _) = Suite::builder("one").op::<SaveFl>().build()?.into_parts();
//! let conditions = LoopConditions {
//!     seed: 1,
//!     clock: Clock::choose(None).0,
//!     window_cycles: 100_000,
//!     min_adds_per_cycle: 0.0,
//!     counters: false,
//!     instructions: false,
//! };
//! let comparison = Comparison { op: "save_fl".into(), body: BodyKind::Native, regime: Regime::Throughput, offset: 0 };
//! let mut treatments = Treatments::default();
//! let ids = treatments.add_mechanisms([MechanismState::plain("table")]);
//! let job = LoopJob { comparison: &comparison, treatments: &ids, blocks: 3, count: false };
//! let samples = LoopBench::new(ops, conditions)?.measure(&job, &treatments)?;
//! for variant in [Variant::Reference, Variant::Treatment(ids[0])] {
//!     let ticks = samples.table.column(variant).map(|column| column.pairs().flatten().collect::<Vec<_>>());
//!     println!("{variant:?}: {ticks:?} ticks per op, by block, in the two windows");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # From a plan to a report
//!
//! ```text
//! plan -> worker processes, one after another, pinned; those of workloads run meanwhile on
//!         another CPU, if it has a core of its own                        (run)
//!           each: jobs (a comparison of one op, body, regime and layout, or a workload)
//!                   each: blocks C Q I m1 .. mk mk .. m1 I C Q       C: dependent adds, Q: independent adds,
//!                                                                I: inline, m: variants, shuffled
//!      -> per block: differences against I, in cycles by C       (stats::effect)
//!      -> median over blocks, over workers, over layouts; the
//!         standard error from workers at each layout             (stats, estimate)
//!      -> report.json -> terminal, page, plots                   (report)
//! ```
//!
//! Every loop is copied at run time to each offset within 128 bytes that the plan names
//! ([`LoopFunction`](crate::relocate::LoopFunction)), together with the bodies that it calls. So the address is a
//! measured variable and not an accident. Workloads are copied with all that they call to addresses that each block
//! draws ([`CodeImage`](crate::relocate::CodeImage)).
//!
//! `inline` runs against itself and against a copy of itself in the same blocks. Their difference is the floor, and
//! nothing below the floor counts as a difference.

pub mod block;
mod callees;
pub mod comparison;
pub(crate) mod core_probe;
pub mod counters;
pub(crate) mod evict;
pub mod executed;
pub mod explain;
pub mod loop_bench;
pub mod loops;
mod pairs;
mod placement;
pub mod sample_error;
pub mod samples;
pub(crate) mod separate_cores;
mod stack;
pub mod trace;
pub mod variant;
pub mod window;
pub mod workload_bench;

pub use comparison::Comparison;
pub use loop_bench::LoopBench;
