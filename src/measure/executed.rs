//! What a unit of a workload executes: instructions, counted one by one, and events where the machine has counters.
//!
//! ```text
//! per unit = (of a run with 2 n units - of a run with n units) / (n * (1 + PARTS))      a run repeats its units 1 + PARTS times
//! ```
//!
//! What a run does before its first unit is the same in both. Of a single unit, which is taken where units are long, it
//! is the run with one above the run with none: a third as much to follow.

use super::counters::Counters;
use super::trace::{TraceError, Tracer};
use crate::clock::Clock;
use crate::kernel::Machine;
use crate::workload::{Failure, PARTS, Run};

/// Why instructions were not counted.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// The workload.
    #[error(transparent)]
    KernelError(#[from] Failure),
    /// The trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// More units took no more.
    #[error("{once} instructions, and {twice} for twice the units: the workload does not grow with its units")]
    Shrinks {
        /// Instructions of a run.
        once: u64,
        /// Of one with twice the units.
        twice: u64,
    },
}

/// A workload on a kernel, ready to be run with any number of units.
pub struct Unit<'m> {
    /// The workload.
    pub run: Run,
    /// The machine.
    pub machine: &'m mut Machine,
    /// What it draws from.
    pub seed: u64,
    /// How many units to compare with twice as many.
    pub units: u64,
}

impl Unit<'_> {
    /// Executed instructions per unit. A repeated string instruction counts once, as hardware counters have it.
    ///
    /// # Errors
    /// What the workload comes to, and where it cannot be followed.
    pub fn instructions(&mut self, tracer: &mut Tracer) -> Result<f64, CountError> {
        // What is only done once in a process: structures that are kept, symbols that are bound.
        (self.run)(self.machine, self.seed, 2 * self.units, Clock::Tsc)?;
        let (fewer, more) = if self.units == 1 { (0, 1) } else { (self.units, 2 * self.units) };
        let (once, twice) = (self.count(tracer, fewer)?, self.count(tracer, more)?);
        if twice <= once {
            return Err(CountError::Shrinks { once, twice });
        }
        Ok((twice - once) as f64 / self.repeated() as f64)
    }

    fn count(&mut self, tracer: &mut Tracer, units: u64) -> Result<u64, CountError> {
        let mut call = Call { run: self.run, machine: self.machine, seed: self.seed, trouble: None };
        // SAFETY: `called` takes the address of a call, which lives until it returns.
        let count = unsafe { tracer.count(called, &[(&raw mut call) as u64, 0, 0, 0], units) }?;
        call.trouble.map_or(Ok(count), |trouble| Err(trouble.into()))
    }

    /// Events per unit by counter name, user space alone. Empty where the counters did not run all the time.
    ///
    /// # Errors
    /// What the workload comes to.
    pub fn events(&mut self, counters: &mut Counters) -> Result<Vec<(String, f64)>, Failure> {
        let mut of = |units| {
            let mut outcome = Ok(());
            let events =
                counters.per_op(|| outcome = (self.run)(self.machine, self.seed, units, Clock::Tsc).map(drop), 1);
            outcome.map(|()| events)
        };
        let (once, twice) = (of(self.units)?, of(2 * self.units)?);
        let repeated = self.repeated() as f64;
        Ok(once.into_iter().zip(twice).map(|((name, once), (_, twice))| (name, (twice - once) / repeated)).collect())
    }

    fn repeated(&self) -> u64 {
        self.units * (1 + PARTS as u64)
    }
}

/// A run as a loop whose passes are units.
struct Call<'m> {
    run: Run,
    machine: &'m mut Machine,
    seed: u64,
    trouble: Option<Failure>,
}

/// # Safety
/// The first word is the address of a [`Call`] that nothing else uses meanwhile.
unsafe extern "C" fn called(args: *const [u64; 4], units: u64) -> u64 {
    // SAFETY: the caller's contract.
    let call = unsafe { &mut *((*args)[0] as *mut Call<'_>) };
    call.trouble = (call.run)(call.machine, call.seed, units, Clock::Tsc).err();
    0
}
