//! Samples of loops with known timings.

use pvbench::estimate::Settings;
use pvbench::measure::comparison::{Comparison, Matrix};
use pvbench::measure::samples::{Block, JobSamples, LoopSamples, Probe};
use pvbench::measure::variant::{MechanismState, Variant};

/// A matrix of `comparisons` with one treatment, `table`, and the key of that treatment.
pub fn with_table(comparisons: impl IntoIterator<Item = Comparison>) -> (Matrix, Variant) {
    let mut matrix = Matrix::default();
    let table = matrix.treatments.add_mechanisms([MechanismState::plain("table")]);
    matrix.plan(comparisons, &table);
    (matrix, Variant::Treatment(table[0]))
}

/// The settings of a run with windows of 100,000 cycles.
pub fn settings(matrix: &Matrix) -> Settings<'_> {
    Settings { matrix, window_cycles: 100_000 }
}

/// A block with the same state of the core before and after it.
pub fn block(ticks_per_cycle: f64, adds_per_cycle: f64, pairs: &[[f64; 2]]) -> Block<f64> {
    let probe = Probe { ticks_per_cycle, ticks_per_add: ticks_per_cycle / adds_per_cycle, reference_run: None };
    Block { probes: vec![probe; 2], pairs: pairs.iter().copied().map(Some).collect() }
}

/// Samples of `inline`, its repeat, its copy and `treatment`, whose pairs the blocks have in this order.
pub fn samples(treatment: Variant, blocks: Vec<Block<f64>>, clock_step: u64) -> LoopSamples {
    let variants = vec![Variant::Reference, Variant::Repeat, Variant::Copy(1), treatment];
    LoopSamples {
        table: JobSamples { variants, blocks, ..JobSamples::default() },
        clock_step,
        ..LoopSamples::default()
    }
}
