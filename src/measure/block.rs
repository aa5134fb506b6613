//! The palindrome in which everything is timed: loops of an op, runs of a workload, and windows of another process.
//!
//! ```text
//! probe  v1 v2 .. vk  [probe]  vk .. v2 v1  probe
//! ```
//!
//! A variant's value in a block is the mean of its two timings, so a drift that is linear over the block cancels. The
//! probes show whether the core's rate changed, and whether another hyperthread took part of the core.

use super::samples::{Block, HALVES, Pair, Probe};

/// Something whose variants are timed in blocks: a loop of an op, or a run of a workload.
pub(crate) trait Bench {
    /// The result of one timing.
    type Ticks: Copy;
    /// The reason why a block could not be finished.
    type Error;

    /// Whether a probe separates the halves. It costs the time of a probe, and tells a half that was contended from one
    /// that was not.
    const PROBE_BETWEEN_HALVES: bool;

    /// Makes the half ready that begins now.
    ///
    /// # Errors
    /// The half cannot begin.
    fn begin_half(&mut self) -> Result<(), Self::Error>;

    /// Probes the core.
    ///
    /// # Errors
    /// The reference run fails.
    fn probe(&mut self) -> Result<Probe<Self::Ticks>, Self::Error>;

    /// Whether a block that begins with this probe is worth its time.
    fn goes_on(&self, before: &Probe<Self::Ticks>) -> bool;

    /// Times a variant, by its column.
    ///
    /// # Errors
    /// The variant fails.
    fn time(&mut self, column: usize) -> Result<Self::Ticks, Self::Error>;

    /// Amends the timings before the last probe, where one of them was interrupted.
    ///
    /// # Errors
    /// The variant fails.
    fn amend(&mut self, _pairs: &mut [Option<Pair<Self::Ticks>>]) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Times the columns in `order`, forwards and backwards, out of `columns` columns. `None` for a block that the first
/// probe ended.
///
/// # Errors
/// Those of the bench.
pub(crate) fn palindrome<B: Bench>(
    bench: &mut B,
    order: &[usize],
    columns: usize,
) -> Result<Option<Block<B::Ticks>>, B::Error> {
    let mut probes = Vec::with_capacity(HALVES + 1);
    bench.begin_half()?;
    let before = bench.probe()?;
    if !bench.goes_on(&before) {
        return Ok(None);
    }
    probes.push(before);
    let mut there = Vec::with_capacity(order.len());
    for &column in order {
        there.push((column, bench.time(column)?));
    }
    bench.begin_half()?;
    if B::PROBE_BETWEEN_HALVES {
        probes.push(bench.probe()?);
    }
    let mut pairs = vec![None; columns];
    for (column, first) in there.into_iter().rev() {
        pairs[column] = Some([first, bench.time(column)?]);
    }
    bench.amend(&mut pairs)?;
    probes.push(bench.probe()?);
    Ok(Some(Block { probes, pairs: pairs.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what is asked of it, and returns the time so far.
    #[derive(Default)]
    struct Notebook {
        asked: String,
        time: u32,
        contended: bool,
    }

    impl Bench for Notebook {
        type Ticks = u32;
        type Error = std::convert::Infallible;
        const PROBE_BETWEEN_HALVES: bool = true;

        fn begin_half(&mut self) -> Result<(), Self::Error> {
            self.asked.push('|');
            Ok(())
        }

        fn probe(&mut self) -> Result<Probe<u32>, Self::Error> {
            self.asked.push('p');
            Ok(Probe { ticks_per_cycle: 1.0, ticks_per_add: 0.25, reference_run: None })
        }

        fn goes_on(&self, _: &Probe<u32>) -> bool {
            !self.contended
        }

        fn time(&mut self, column: usize) -> Result<u32, Self::Error> {
            self.asked.push_str(&column.to_string());
            self.time += 1;
            Ok(self.time)
        }
    }

    #[test]
    fn a_block_visits_its_columns_forwards_and_backwards_so_that_a_linear_drift_cancels() {
        let mut bench = Notebook::default();
        let Ok(Some(block)) = palindrome(&mut bench, &[2, 0, 3], 4) else { panic!("the block ended early") };
        assert_eq!(bench.asked, "|p203|p302p");
        assert_eq!(block.probes.len(), 3);
        assert_eq!(Vec::from(block.pairs), [Some([2, 5]), None, Some([1, 6]), Some([3, 4])]);
    }

    #[test]
    fn a_block_that_begins_contended_ends_after_its_first_probe() {
        let mut bench = Notebook { contended: true, ..Notebook::default() };
        assert!(matches!(palindrome(&mut bench, &[0], 1), Ok(None)));
        assert_eq!(bench.asked, "|p");
    }
}
