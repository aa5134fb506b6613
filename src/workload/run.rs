//! A run of a workload: units in equal parts that are timed.

use super::{Environment, Failure, Random, Running, UnitError, Workload};
use crate::clock::Clock;
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Machine};

/// Number of parts that a run is timed in. An interrupt falls into one part, and the others show its effect.
pub const PARTS: usize = 4;
/// Timed probes of a run before its parts.
pub(crate) const PROBES: usize = 2 * PARTS;

/// The result of a run of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Ticks of the units, by part; all parts have the same number of units.
    pub ticks: [u64; PARTS],
    /// Checksum of the values that units returned and of the machine's final state.
    pub checksum: u64,
}

/// A workload with one mechanism or kernel option, as a function of machine, seed, units and clock.
pub type Run = fn(&mut Machine, u64, u64, Clock) -> Result<Outcome, Failure>;

/// Runs `units` of `W` [`PARTS`] times on a machine in its state after boot.
///
/// # Errors
/// Returns the error of the workload.
pub fn run<W: Workload, D: Dispatch, C: Config>(
    machine: &mut Machine,
    seed: u64,
    units: u64,
    clock: Clock,
) -> Result<Outcome, Failure> {
    // Ops of the catalogue expect the CPU model in its state after boot, also without a kernel.
    machine.reset();
    let mut on = W::On::start::<D, C>(machine).map_err(Into::into)?;
    let mut state = W::prepare(&mut on, Random::new(seed)).map_err(Into::into)?;
    // The first units are not timed. They fill the CPU's free list, the slabs, predictors and caches.
    let first = run_units::<W, D, C>(&mut on, &mut state, units).map_err(Into::into)?;
    let timed = time_parts(clock, first, [W::OVERHEAD_PROBE_UNITS, units], |units| {
        run_units::<W, D, C>(&mut on, &mut state, units)
    });
    let (ticks, sum) = timed.map_err(Into::into)?;
    Ok(Outcome { ticks, checksum: W::On::finish(&on, sum) })
}

/// Times the parts of a run, each of `units`. Returns the ticks of each part without start-up and tear-down, and the
/// checksum of all returned values, which continues `first`.
///
/// Start-up and tear-down are the clock, the call, filling the pipeline and leaving the loop. They take a hundred
/// cycles and more, which would make the cost of an indirection look smaller. They are twice the time of `probe_units`
/// minus the time of twice as many units.
fn time_parts<E>(
    clock: Clock,
    first: u64,
    [probe_units, units]: [u64; 2],
    mut work: impl FnMut(u64) -> Result<u64, E>,
) -> Result<([u64; PARTS], u64), E> {
    let mut sum = first;
    let mut time = |units| {
        let start = clock.start();
        let done = work(units);
        let took = clock.stop().saturating_sub(start);
        sum = mix(sum, done?);
        Ok(took)
    };
    let (mut once, mut twice) = (u64::MAX, u64::MAX);
    for _ in 0..PARTS {
        once = once.min(time(probe_units)?);
        twice = twice.min(time(2 * probe_units)?);
    }
    // Negative if the first units are cheaper than later ones.
    let edges = (2 * once).cast_signed() - twice.cast_signed();
    let mut ticks = [0; PARTS];
    for part in &mut ticks {
        *part = time(units)?.saturating_add_signed(-edges);
    }
    Ok((ticks, sum))
}

#[inline(never)]
fn run_units<W: Workload, D: Dispatch, C: Config>(
    on: &mut Running<'_, W, D, C>,
    state: &mut W::State,
    units: u64,
) -> Result<u64, UnitError<W>> {
    // The sum does not start at 0, because a workload may return only zeroes, and their number counts.
    let mut sum = 1;
    for _ in 0..units {
        sum = mix(sum, W::unit::<D, C>(on, state)?);
    }
    Ok(sum)
}

/// Adds a value to the checksum: rotates the sum by 5, adds the value by xor, and multiplies by Knuth's constant (The
/// Art of Computer Programming 3, 6.4).
#[inline(always)]
pub(super) fn mix(sum: u64, value: u64) -> u64 {
    (sum.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
