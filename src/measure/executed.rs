//! Counts of a unit of a workload: executed instructions by single steps, and events where the machine has counters.
//!
//! ```text
//! per unit = (run with 2 n units - run with n units) / (n * (1 + PARTS))      a run repeats its units 1 + PARTS times
//! ```
//!
//! Both runs include the start-up before the first unit, so it cancels. Long units use a run with one unit minus a run
//! with none: a third as much to trace.

use std::ops::Range;

use super::counters::Counters;
use super::trace::touched::Touched;
use super::trace::{TraceError, Tracer};
use crate::clock::Clock;
use crate::kernel::Machine;
use crate::stats::surroundings::Surroundings;
use crate::workload::{Failure, PARTS, PROBES, Run};

/// The reason why instructions were not counted.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// The workload failed.
    #[error(transparent)]
    KernelError(#[from] Failure),
    /// The trace failed.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// Twice the units executed no more instructions.
    #[error(
        "a run executed {once} instructions, and one with twice the units {twice}: the workload does not grow with its \
         units"
    )]
    Shrinks {
        /// Instructions of a run.
        once: u64,
        /// Instructions of a run with twice the units.
        twice: u64,
    },
}

/// A workload on a kernel, ready to run with any number of units.
pub struct Unit<'m> {
    /// The workload.
    pub run: Run,
    /// The machine.
    pub machine: &'m mut Machine,
    /// Seed of the run's work.
    pub seed: u64,
    /// Units of the shorter run; the longer one has twice as many.
    pub units: u64,
}

impl Unit<'_> {
    /// Counts executed instructions per unit. A repeated string instruction counts once, as in hardware counters.
    ///
    /// # Errors
    /// [`CountError`] where the workload fails, or cannot be traced.
    pub fn instructions(&mut self, tracer: &mut Tracer) -> Result<f64, CountError> {
        // The first run does what a process does only once: it builds lasting structures and binds symbols.
        (self.run)(self.machine, self.seed, 2 * self.units, Clock::Tsc)?;
        let (fewer, more) = if self.units == 1 { (0, 1) } else { (self.units, 2 * self.units) };
        let (once, twice) = (self.trace_run(tracer, fewer)?, self.trace_run(tracer, more)?);
        if twice <= once {
            return Err(CountError::Shrinks { once, twice });
        }
        Ok((twice - once) as f64 / self.repeats() as f64)
    }

    /// Watches the calls through the table of words at these addresses, in the units after a first run.
    ///
    /// # Errors
    /// As for [`Unit::instructions`].
    pub(crate) fn surroundings(
        &mut self,
        tracer: &mut Tracer,
        table: Range<u64>,
    ) -> Result<Option<Surroundings>, CountError> {
        let mut call = Call { run: self.run, machine: self.machine, seed: self.seed, failure: None };
        let args = [(&raw mut call) as u64, 0, 0, 0];
        // SAFETY: `run_call` takes the address of a call, which lives until it returns.
        let watched = unsafe { tracer.watch(run_call, &args, 2 * self.units, table) }?;
        call.failure.map_or(Ok(watched.finish()), |failure| Err(failure.into()))
    }

    /// Records every instruction and access of the timed parts of a run, with the calls through the table of words at
    /// these addresses.
    ///
    /// # Errors
    /// As for [`Unit::instructions`].
    pub(crate) fn record(&mut self, tracer: &mut Tracer, table: Range<u64>) -> Result<Touched, CountError> {
        let mut call = Call { run: self.run, machine: self.machine, seed: self.seed, failure: None };
        let args = [(&raw mut call) as u64, 0, 0, 0];
        // SAFETY: `run_call` takes the address of a call, which lives until it returns.
        let touched = unsafe { tracer.touch(run_call, &args, self.units, table, PROBES) }?;
        call.failure.map_or(Ok(touched), |failure| Err(failure.into()))
    }

    fn trace_run(&mut self, tracer: &mut Tracer, units: u64) -> Result<u64, CountError> {
        let mut call = Call { run: self.run, machine: self.machine, seed: self.seed, failure: None };
        // SAFETY: `run_call` takes the address of a call, which lives until it returns.
        let count = unsafe { tracer.count(run_call, &[(&raw mut call) as u64, 0, 0, 0], units) }?;
        call.failure.map_or(Ok(count), |failure| Err(failure.into()))
    }

    /// Counts events per unit by counter name, in user space only. Empty where the counters did not run all the time.
    ///
    /// # Errors
    /// [`Failure`] where the workload fails.
    pub(crate) fn events(&mut self, counters: &mut Counters) -> Result<Vec<(String, f64)>, Failure> {
        let mut count = |units| {
            let mut outcome = Ok(());
            let events =
                counters.count_per_op(|| outcome = (self.run)(self.machine, self.seed, units, Clock::Tsc).map(drop), 1);
            outcome.map(|()| events)
        };
        let (once, twice) = (count(self.units)?, count(2 * self.units)?);
        let repeated = self.repeats() as f64;
        Ok(once.into_iter().zip(twice).map(|((name, once), (_, twice))| (name, (twice - once) / repeated)).collect())
    }

    fn repeats(&self) -> u64 {
        self.units * (1 + PARTS as u64)
    }
}

/// A run in the shape of a loop, with units as passes.
struct Call<'m> {
    run: Run,
    machine: &'m mut Machine,
    seed: u64,
    failure: Option<Failure>,
}

/// # Safety
/// The first word must be the address of a [`Call`] that nothing else uses meanwhile.
unsafe extern "C" fn run_call(args: *const [u64; 4], units: u64) -> u64 {
    // SAFETY: a unique reference needs a `Call` that nobody else uses meanwhile: the caller vouches for it.
    let call = unsafe { &mut *((*args)[0] as *mut Call<'_>) };
    call.failure = (call.run)(call.machine, call.seed, units, Clock::Tsc).err();
    0
}
