//! From samples to cells and workloads, on synthetic samples with a known truth.

use pvbench::estimate::{Estimates, Estimator, WorkEstimator};
use pvbench::measure::comparison::{Comparison, Matrix};
use pvbench::measure::samples::{Block, HALVES, JobSamples, LoopSamples, Pair, Parts, Probe, WorkloadSamples};
use pvbench::measure::variant::{MechanismState, Treatment, TreatmentId, Treatments, Variant};
use pvbench::measure::workload_bench::INLINE as INLINE_KERNELS;
use pvbench::op::BodyKind;
use pvbench::op::{Op, OpMeta, mmu::PteVal};
use pvbench::regime::Regime;
use pvbench::report::schema::{Cell, Limit, SpreadSource, WorkloadResult};
use pvbench::stats::binomial::allowed;
use pvbench::workload::{MmapPerf, Workload};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::loops;

const WORKERS: usize = 20;
const BLOCKS: usize = 5;
/// Core cycles per op of `inline`.
const INLINE: f64 = 2.0;

fn group(offset: u32) -> Comparison {
    Comparison { op: "pte_val".to_owned(), body: BodyKind::Native, regime: Regime::Throughput, offset }
}

fn matrix() -> Matrix {
    loops::with_table([group(0), group(29)]).0
}

fn table_key() -> Variant {
    loops::with_table([]).1
}

/// The column of `table` in the samples of a comparison.
const TABLE: usize = 3;

/// Estimates from samples with a true overhead of `overhead(worker, offset)` cycles, with noise, drift of the frequency
/// and an interrupt in one block in ten.
fn estimates(overhead: impl Fn(usize, u32) -> f64) -> Estimates {
    let metas: [OpMeta; 1] = [PteVal::META];
    estimator(overhead).finish(&loops::settings(&matrix()), &metas, 2.6e9)
}

fn estimator(overhead: impl Fn(usize, u32) -> f64) -> Estimator {
    let mut rng = Pcg64Mcg::seed_from_u64(5);
    let mut estimator = Estimator::default();
    for worker in 0..WORKERS {
        for offset in [0, 29] {
            let blocks = (0..BLOCKS).map(|block| {
                let ticks_per_cycle = 0.7 * (1.0 + 0.02 * (worker + block) as f64);
                let mut timed = |cycles: f64| {
                    let interrupted = if rng.random_bool(0.05) { 1.3 } else { 1.0 };
                    cycles * ticks_per_cycle * interrupted * (1.0 + 1e-4 * rng.random_range(-1.0..1.0))
                };
                let mut twice = |cycles: f64| [timed(cycles), timed(cycles)];
                let (repeat, copy) = (twice(INLINE), twice(INLINE));
                let table = twice(INLINE + overhead(worker, offset));
                loops::block(ticks_per_cycle, 4.0, &[[INLINE * ticks_per_cycle; 2], repeat, copy, table])
            });
            let samples = loops::samples(table_key(), blocks.collect(), 26);
            estimator.add(worker, &group(offset), samples);
        }
    }
    estimator
}

fn table(estimates: &Estimates) -> &Cell {
    estimates.cells.iter().find(|cell| cell.mechanism == "table").unwrap()
}

#[test]
fn a_known_overhead_is_estimated_in_cycles_nanoseconds_and_ratio_while_the_frequency_drifts() {
    let estimates = estimates(|_, _| 3.5);
    let cell = table(&estimates);
    let overhead = cell.overhead.unwrap();
    assert!((overhead.cycles.estimate - 3.5).abs() < 0.002, "{overhead:?}");
    assert!(overhead.cycles.low <= 3.5 && 3.5 <= overhead.cycles.high, "{overhead:?}");
    assert!((overhead.ratio.estimate - 5.5 / 2.0).abs() < 0.002, "{overhead:?}");
    // The median of the synthetic frequencies is 0.7 * 1.23 ticks per cycle.
    assert!((overhead.ns.estimate - 3.5 * 0.7 * 1.23 / 2.6).abs() < 0.02, "{overhead:?}");
    assert!((cell.native_cycles.unwrap() - INLINE).abs() < 0.001);
    assert!(cell.resolved && cell.limit.is_none() && cell.modes.is_empty(), "{cell:?}");
    assert!(cell.layouts.iter().all(|layout| layout.workers == WORKERS));
}

#[test]
fn inline_against_its_repeat_lies_within_the_floor() {
    let estimates = estimates(|_, _| 3.5);
    let inline = estimates.cells.iter().find(|cell| cell.mechanism == "inline").unwrap();
    assert!(!inline.resolved);
    assert_eq!(inline.limit, Some(Limit::Floor));
    let floor = estimates.floor.unwrap();
    assert_eq!(floor.comparisons, 1);
    assert!(floor.cycles < 0.001, "{floor:?}");
}

#[test]
fn two_values_that_workers_gather_at_are_two_modes_with_their_shares() {
    let estimates = estimates(|worker, _| if worker % 4 == 0 { 0.68 } else { 0.13 });
    let cell = table(&estimates);
    let at_0: Vec<_> = cell.modes.iter().filter(|mode| mode.offset == 0).collect();
    assert_eq!(at_0.len(), 2, "{:?}", cell.modes);
    assert!((at_0[0].cycles - 0.13).abs() < 0.01 && (at_0[0].share - 0.75).abs() < 1e-9, "{at_0:?}");
    assert!((at_0[1].cycles - 0.68).abs() < 0.01 && (at_0[1].share - 0.25).abs() < 1e-9, "{at_0:?}");
}

#[test]
fn a_mode_within_the_floor_keeps_a_cell_from_being_resolved() {
    let estimates = estimates(|worker, _| if worker % 10 == 0 { 0.0 } else { 0.5 });
    let cell = table(&estimates);
    assert!(!cell.resolved);
    assert_eq!(cell.limit, Some(Limit::Modes), "{cell:?}");
}

#[test]
fn an_overhead_smaller_than_the_layout_range_is_not_resolved() {
    let estimates = estimates(|_, offset| if offset == 0 { 0.1 } else { 0.5 });
    let cell = table(&estimates);
    assert!((cell.layout_range.unwrap() - 0.4).abs() < 0.005);
    let cycles = cell.overhead.unwrap().cycles;
    assert!(cycles.low > 0.2 && cycles.high < 0.4, "layouts that differ do not widen the interval: {cycles:?}");
    assert!(cell.floor_cycles.unwrap() > 0.4, "{cell:?}");
    assert_eq!(cell.limit, Some(Limit::Layout), "{cell:?}");
}

#[test]
fn a_comparison_that_no_worker_finished_is_unavailable_with_a_reason() {
    let estimates = Estimator::default().finish(&loops::settings(&matrix()), &[PteVal::META], 2.6e9);
    assert!(estimates.floor.is_none());
    for cell in &estimates.cells {
        assert!(cell.overhead.is_none() && cell.absent.is_some() && !cell.resolved, "{cell:?}");
    }
}

/// One worker's samples of a comparison, with these adds per cycle in its blocks.
fn with_adds(adds: [f64; 3]) -> LoopSamples {
    let block = |adds_per_cycle| loops::block(0.7, adds_per_cycle, &[[1.0; 2], [1.0; 2], [1.0; 2], [2.0; 2]]);
    loops::samples(table_key(), adds.map(block).to_vec(), 26)
}

#[test]
fn comparisons_with_too_few_uncontended_workers_are_next_and_those_that_need_the_fewest_come_first() {
    let mut estimator = Estimator::default();
    for worker in 0..6 {
        let uncontended = with_adds([2.0, 4.0, 2.0]);
        let contended = with_adds([2.0, 2.1, 2.0]);
        estimator.add(worker, &group(0), if worker < 3 { uncontended.clone() } else { contended.clone() });
        estimator.add(worker, &group(29), if worker < 5 { uncontended.clone() } else { contended });
    }
    let next = |estimator: &Estimator| -> Vec<Comparison> {
        let matrix = matrix();
        estimator.undecided(&loops::settings(&matrix)).into_iter().map(|(comparison, _)| comparison).collect()
    };
    assert_eq!(next(&estimator), [group(29), group(0)]);
    estimator.add(6, &group(29), with_adds([4.0, 2.0, 2.0]));
    assert_eq!(next(&estimator), [group(0)]);
}

/// The comparisons with undecided treatments, after samples with a true overhead of `overhead(worker, offset)`.
fn undecided(overhead: impl Fn(usize, u32) -> f64) -> Vec<(Comparison, Vec<TreatmentId>)> {
    let matrix = matrix();
    estimator(overhead).undecided(&loops::settings(&matrix))
}

#[test]
fn an_undecided_treatment_is_measured_again_at_all_layouts_without_the_others() {
    // The workers scatter so widely around 0.3 that the interval reaches into the floor.
    let found = undecided(|worker, _| 0.3 + 0.8 * ((worker * 7 % 20) as f64 / 9.5 - 1.0));
    let table = table_key().treatment().unwrap();
    assert_eq!(found, [(group(0), vec![table]), (group(29), vec![table])]);
}

#[test]
fn a_decided_treatment_or_one_that_more_workers_cannot_decide_is_not_measured_again() {
    assert_eq!(undecided(|_, _| 3.5), [], "resolved");
    assert_eq!(undecided(|_, _| 0.0), [], "no difference");
    assert_eq!(undecided(|_, offset| if offset == 0 { 0.1 } else { 0.5 }), [], "limited by the layouts");
    assert_eq!(undecided(|worker, _| if worker % 4 == 0 { 0.0 } else { 0.5 }), [], "limited by modes");
}

/// Replaces the pair of a column.
fn set_pair(block: &mut Block<f64>, column: usize, pair: Option<Pair<f64>>) {
    let mut pairs = Vec::from(block.pairs.clone());
    pairs[column] = pair;
    block.pairs = pairs.into();
}

#[test]
fn a_pair_that_disagrees_loses_the_value_of_its_own_block_only() {
    let mut samples = with_adds([4.0; 3]);
    samples.dropped = 2;
    set_pair(&mut samples.table.blocks[1], TABLE, Some([2.0, 7e6]));
    set_pair(&mut samples.table.blocks[2], TABLE, None);
    let mut estimator = Estimator::default();
    (0..6).for_each(|worker| estimator.add(worker, &group(0), samples.clone()));
    let found = estimator.finish(&loops::settings(&matrix()), &[PteVal::META], 2.6e9);
    assert_eq!((found.rounds, found.dropped_rounds, found.dropped_values), (18, 12, 6));
    let cycles = table(&found).overhead.unwrap().cycles;
    assert!((cycles.estimate - 1.0 / 0.7).abs() < 1e-9 && cycles.high - cycles.low < 0.01, "{cycles:?}");
}

/// Samples of eight layouts and fifteen workers with a single block each. `inline` takes a hundred cycles and `table`
/// `overhead` more. Interruptions of up to a twentieth of a window hit windows of seven workers and no others.
fn with_a_burst(overhead: f64, rng: &mut Pcg64Mcg) -> Estimator {
    let mut estimator = Estimator::default();
    for worker in 0..15 {
        for offset in 0..8 {
            let mut timed = |cycles: f64| {
                let interrupted = (4..11).contains(&worker) && rng.random_bool(0.6);
                let added = if interrupted { rng.random_range(0.01..0.05) } else { 0.0 };
                0.7 * cycles * (1.0 + added + 2e-4 * rng.random_range(-1.0..1.0))
            };
            let mut twice = |cycles: f64| [timed(cycles), timed(cycles)];
            let mut samples = with_adds([4.0; 3]);
            samples.table.blocks.truncate(1);
            samples.table.blocks[0].pairs =
                [100.0, 100.0, 100.0, 100.0 + overhead].into_iter().map(|cycles| Some(twice(cycles))).collect();
            estimator.add(worker, &group(offset), samples);
        }
    }
    estimator
}

#[test]
fn a_burst_of_small_interruptions_in_half_of_the_workers_neither_hides_nor_causes_a_resolved_overhead() {
    let mut rng = Pcg64Mcg::seed_from_u64(11);
    let (matrix, _) = loops::with_table((0..8).map(group));
    let mut resolved = |overhead: f64| {
        let tries = (0..200)
            .map(|_| with_a_burst(overhead, &mut rng).finish(&loops::settings(&matrix), &[PteVal::META], 2.6e9));
        tries.filter(|found| table(found).resolved).count()
    };
    assert_eq!(resolved(0.0), 0);
    let found = resolved(1.0);
    assert!(found >= 198, "an overhead of 1% was resolved in {found} of 200");
}

#[test]
fn with_two_workers_the_loose_pair_tolerance_applies() {
    let mut estimator = Estimator::default();
    estimator.add(0, &group(0), with_adds([4.0; 3]));
    let mut interrupted = with_adds([4.0; 3]);
    for block in &mut interrupted.table.blocks {
        set_pair(block, 0, Some([1.0, 1.02]));
        set_pair(block, TABLE, Some([2.0, 2.1]));
    }
    estimator.add(1, &group(0), interrupted);
    let found = estimator.finish(&loops::settings(&matrix()), &[PteVal::META], 2.6e9);
    assert!(table(&found).overhead.is_some() && found.dropped_values == 0, "{:?}", table(&found));
}

#[test]
fn the_spread_names_the_level_with_the_largest_scatter() {
    let spread = |estimates: &Estimates| table(estimates).spread.unwrap();
    let layouts = spread(&estimates(|_, offset| f64::from(offset) / 29.0));
    assert_eq!(layouts.largest, SpreadSource::Layouts);
    assert!((layouts.between_layouts.unwrap() - 0.7).abs() < 0.05, "{layouts:?}");
    let workers = spread(&estimates(|worker, _| worker as f64 / 20.0));
    assert_eq!(workers.largest, SpreadSource::Workers);
    assert!((workers.between_workers - 0.3).abs() < 0.1, "{workers:?}");
    let neither = spread(&estimates(|_, _| 1.0));
    assert_eq!(neither.largest, SpreadSource::Rounds);
    assert!(neither.within_round > 0.0 && neither.between_rounds.is_some(), "{neither:?}");
}

#[test]
fn cells_without_an_overhead_are_resolved_at_most_as_often_as_the_error_per_cell_allows() {
    // The workers of each cell have random effects that exceed the floor.
    let mut rng = Pcg64Mcg::seed_from_u64(11);
    let mut alarms = 0;
    for _ in 0..400 {
        let effects: Vec<f64> = (0..WORKERS).map(|_| 0.01 * rng.random_range(-1.0..1.0)).collect();
        alarms += usize::from(table(&estimates(|worker, _| effects[worker])).resolved);
    }
    assert!(alarms <= allowed(400, 1e-3, 1e-3) as usize, "{alarms} of 400");
}

#[test]
fn the_same_samples_and_seed_give_the_same_estimates() {
    let once = table(&estimates(|_, _| 1.0)).overhead;
    assert_eq!(once, table(&estimates(|_, _| 1.0)).overhead);
}

/// The result of a workload with the true overheads `table` and `option` in percent. Every block has random placements
/// and work of its own. In a third of the blocks the sibling is busy: all work takes half as long again, and the table
/// costs four times as much.
fn estimate_workload(table: f64, option: f64, workers: usize, seed: u64) -> WorkloadResult {
    let estimator = collect_samples([table, option], workers, seed, &[0, 1]);
    finish(&estimator)
}

fn finish(estimator: &WorkEstimator) -> WorkloadResult {
    let (kernels, treatments) = kernels();
    estimator.finish(&[MmapPerf::META], (&kernels, &treatments), &[], 1e9).remove(0)
}

/// The ids of `table` and of an option.
fn kernels() -> ([TreatmentId; 2], Treatments) {
    let mut treatments = Treatments::default();
    let table = Treatment::Mechanism(MechanismState::plain("table"));
    ([table, Treatment::Option("audit".to_owned())].map(|kernel| treatments.add(kernel)), treatments)
}

/// The samples of that workload. The second half of the workers measured the kernels `later`, each as often as listed.
fn collect_samples(overheads: [f64; 2], workers: usize, seed: u64, later: &[usize]) -> WorkEstimator {
    const BLOCKS: usize = 4;
    let (ids, _) = kernels();
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut noise = |size: f64| size * (0..12).map(|_| rng.random_range(-0.5..0.5)).sum::<f64>();
    let mut estimator = WorkEstimator::default();
    for worker in 0..workers {
        let chosen = if worker < workers / 2 { &[0, 1] } else { later };
        let treated = chosen.iter().map(|kernel| (Variant::Treatment(ids[*kernel]), overheads[*kernel], *kernel == 1));
        let kernels: Vec<(Variant, f64, bool)> =
            INLINE_KERNELS.iter().map(|variant| (*variant, 0.0, false)).chain(treated).collect();
        let blocks = (0..BLOCKS).map(|number| {
            let disturbed = noise(1.0).abs() < 0.43;
            // A busy sibling always shows in the adds, but work that mostly waits takes as long as before.
            let waits = worker % 2 == 1;
            let slower = if disturbed && !waits { 1.5 + noise(0.1) } else { 1.0 };
            // The work of the block, relative to that of the reference run.
            let work = 1.0 + noise(0.05);
            let mut run =
                |cycles: f64| -> Parts { std::array::from_fn(|_| (100_000.0 * cycles * (1.0 + noise(0.005))) as f32) };
            let probes: [Probe<Parts>; HALVES + 1] = std::array::from_fn(|_| Probe {
                ticks_per_cycle: 1.0,
                ticks_per_add: if disturbed { 0.4 } else { 0.25 },
                reference_run: Some(run(slower)),
            });
            let dearer = if disturbed { 4.0 } else { 1.0 };
            let mut pair = |overhead: f64| -> Pair<Parts> {
                let cost = slower * work * (1.0 + overhead / 100.0 * dearer + noise(0.01));
                std::array::from_fn(|_| std::array::from_fn(|_| (100_000.0 * cost * (1.0 + noise(0.005))) as f32))
            };
            // Options are measured in the first of four blocks.
            let pairs =
                kernels.iter().map(|(_, overhead, is_option)| (!is_option || number == 0).then(|| pair(*overhead)));
            Block { probes: probes.to_vec(), pairs: pairs.collect() }
        });
        let variants = kernels.iter().map(|(variant, ..)| *variant).collect();
        let samples = WorkloadSamples {
            table: JobSamples { variants, blocks: blocks.collect(), ..JobSamples::default() },
            units: 100,
            ticks: (BLOCKS * kernels.len() * 2) as u64 * 600_000,
            ..WorkloadSamples::default()
        };
        estimator.add(worker, MmapPerf::META.name, samples);
    }
    estimator
}

#[test]
fn extra_blocks_go_to_mechanisms_with_too_wide_intervals() {
    let allocate = |workers, left| collect_samples([3.0, 1.0], workers, 1, &[0, 1]).allocate(&kernels().0[..1], left);
    let (shares, part) = allocate(20, 4.0);
    let [share] = &shares[..] else { panic!("one workload: {shares:?}") };
    // The half-width is a third of a point. With one placement in a block the need would exceed twice the blocks so
    // far.
    assert_eq!(share.workload, MmapPerf::META.name);
    assert!(
        share.treatments.len() > 1 && share.treatments.iter().all(|kernel| *kernel == kernels().0[0]),
        "not the option: {share:?}"
    );
    // The time suffices for four times the need, which is less than the 80 blocks so far.
    let need = share.blocks / 4.0;
    assert!((7.5..80.0).contains(&need) && (0.1..1.0).contains(&part), "{share:?} {part}");
    assert_eq!(allocate(20, 0.01).1, 1.0, "a short time is used up");
    assert_eq!(allocate(300, 4.0), (Vec::new(), 0.0), "the half-width is a tenth of a point");
}

#[test]
fn several_placements_in_a_block_narrow_the_interval_and_keep_its_coverage() {
    let (mut missed, mut widths) = (0, [0.0; 2]);
    for seed in 0..40 {
        for (width, later) in widths.iter_mut().zip([&[0, 1][..], &[0, 0, 0, 0]]) {
            let estimator = collect_samples([3.0, 1.0], 40, seed, later);
            let found = finish(&estimator);
            let table = found.kernels[0].overhead_percent.unwrap();
            *width += table.high - table.low;
            missed += u32::from(later.len() > 2 && (table.low > 3.0 || table.high < 3.0));
        }
    }
    assert!(missed <= allowed(40, 0.05, 0.001), "{missed}");
    // With independent placements half of the workers would have half of the deviation, which gives 0.79 of the width.
    assert!(widths[1] < 0.9 * widths[0], "{widths:?}");
}

#[test]
fn a_workloads_overhead_is_that_of_an_uncontended_core_and_its_interval_covers_the_truth() {
    let (mut table_missed, mut option_missed) = (0, 0);
    for seed in 0..40 {
        let found = estimate_workload(3.0, 1.0, 40, seed);
        let [table, option] = [0, 1].map(|kernel: usize| found.kernels[kernel].overhead_percent.unwrap());
        assert!((table.estimate - 3.0).abs() < 1.0 && (option.estimate - 1.0).abs() < 1.5, "{table:?} {option:?}");
        table_missed += u32::from(table.low > 3.0 || table.high < 3.0);
        option_missed += u32::from(option.low > 1.0 || option.high < 1.0);
        assert!((950.0..1050.0).contains(&found.inline_cycles.unwrap().estimate), "{:?}", found.inline_cycles);
        // The standard deviation between two placements is 1% times the square root of 2; the range is 1.96 times that.
        assert!((2.3..3.4).contains(&found.placement_percent.unwrap()), "{:?}", found.placement_percent);
    }
    let most = allowed(40, 0.05, 0.001);
    assert!(table_missed <= most && option_missed <= most, "{table_missed} {option_missed}");
}

#[test]
fn kernels_that_differ_only_in_their_placements_are_not_resolved() {
    let resolved = (0..40)
        .filter(|seed| estimate_workload(0.0, 0.0, 40, *seed).kernels.iter().any(|kernel| kernel.resolved))
        .count();
    assert!(resolved <= 1, "{resolved} of 40");
}

#[test]
fn all_workers_count_where_too_few_are_uncontended() {
    let found = estimate_workload(3.0, 1.0, 5, 1);
    assert_eq!((found.workers, found.contended_workers), (5, 0));
    assert!(found.kernels[0].overhead_percent.is_some(), "{:?}", found.kernels[0]);
}

#[test]
fn a_kernel_is_resolved_if_its_interval_lies_beyond_its_floor() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..10 {
        for overheads in [[3.0, 1.0], [0.3, 0.1], [-2.5, 0.6]] {
            let found = estimate_workload(overheads[0], overheads[1], 20, seed);
            for kernel in &found.kernels {
                let (shown, floor) = (kernel.overhead_percent.unwrap(), kernel.floor_percent.unwrap());
                assert!(floor >= found.floor_percent, "{kernel:?}");
                let expected = if shown.low > floor || shown.high < -floor {
                    None
                } else if shown.estimate.abs() <= found.floor_percent {
                    Some(Limit::Floor)
                } else {
                    Some(Limit::Interval)
                };
                assert_eq!((kernel.resolved, kernel.limit), (expected.is_none(), expected), "{kernel:?}");
                seen.insert(expected);
            }
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}
