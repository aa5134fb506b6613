//! The receiver of what the workers of a run send.

use super::protocol::{Samples, Target};
use crate::estimate::Allocation;
use crate::measure::comparison::Comparison;
use crate::measure::variant::TreatmentId;
use crate::report::schema::Failure;

/// The failure of a worker or a job.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerFailure {
    /// The failure, as reports have it.
    pub failure: Failure,
    /// Whether the worker died; otherwise it continues.
    pub(crate) is_death: bool,
}

/// A receiver of a run's results. Its interim estimates decide on extra blocks; a receiver without any leaves the
/// defaults.
pub trait Sink {
    /// Receives the samples of a job from one worker; `raw` is the worker's own line.
    fn samples(&mut self, worker: usize, target: &Target, samples: Samples, raw: &[u8]);
    /// Receives the failure of a job or worker.
    fn failed(&mut self, failure: WorkerFailure);
    /// Receives that a worker still runs; called several times a second while it sends nothing.
    fn waited(&mut self) {}
    /// Receives the end of a worker that took all comparisons.
    fn through(&mut self) {}
    /// Receives the start of a worker that takes single comparisons again.
    fn again(&mut self) {}
    /// Returns the independent adds per cycle below which a block is contended, by all samples so far; 0 where this is
    /// unknown.
    fn min_adds_per_cycle(&self) -> f64 {
        0.0
    }
    /// Returns the comparisons that another worker can decide, the most promising first, with their undecided
    /// treatments.
    fn undecided(&mut self) -> Vec<(Comparison, Vec<TreatmentId>)> {
        Vec::new()
    }
    /// Allocates the rest of the time for workloads, which is `left` times the time spent so far. Returns extra blocks
    /// for kernels whose intervals are wider than their target, and the share of the workers that take them, 0 to 1.
    fn allocate(&mut self, _left: f64) -> (Vec<Allocation>, f64) {
        (Vec::new(), 0.0)
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn samples(&mut self, worker: usize, target: &Target, samples: Samples, raw: &[u8]) {
        (**self).samples(worker, target, samples, raw);
    }

    fn failed(&mut self, failure: WorkerFailure) {
        (**self).failed(failure);
    }

    fn waited(&mut self) {
        (**self).waited();
    }

    fn through(&mut self) {
        (**self).through();
    }

    fn again(&mut self) {
        (**self).again();
    }

    fn min_adds_per_cycle(&self) -> f64 {
        (**self).min_adds_per_cycle()
    }

    fn undecided(&mut self) -> Vec<(Comparison, Vec<TreatmentId>)> {
        (**self).undecided()
    }

    fn allocate(&mut self, left: f64) -> (Vec<Allocation>, f64) {
        (**self).allocate(left)
    }
}
