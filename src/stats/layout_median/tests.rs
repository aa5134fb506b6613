//! Coverage on simulated cells, and what one worker can do.

use super::*;

/// A standard normal value (Box and Muller).
fn normal(rng: &mut Pcg64Mcg) -> f64 {
    (-2.0 * (1.0 - rng.random_range(0.0..1.0f64)).ln()).sqrt() * (TAU * rng.random_range(0.0..1.0f64)).cos()
}

/// A simulated regime. All scatter is in units of the scatter of a worker.
#[derive(Clone, Copy)]
struct World {
    name: &'static str,
    workers: usize,
    layouts: usize,
    /// Standard deviation between the true values of layouts.
    between_layouts: f64,
    /// Standard deviation of what a worker has in common at all layouts.
    common: f64,
    /// Standard deviation of the logarithm of the scatter between cells.
    uneven: f64,
    /// Share of the (worker, layout) in another placement mode, by `mode` of this layout.
    in_mode: f64,
    /// Whether one worker is 5 to 100 off at all layouts.
    outlying: bool,
    /// Whether the values have heavy tails: Student's t with 3 degrees of freedom.
    heavy: bool,
}

const HOT: World = World {
    name: "near",
    workers: 6,
    layouts: 8,
    between_layouts: 1.0,
    common: 0.0,
    uneven: 0.3,
    in_mode: 0.0,
    outlying: false,
    heavy: false,
};

/// The values of one cell, with its true ones.
struct Simulated {
    values: Vec<Vec<WorkerValue>>,
    layouts: Vec<f64>,
    whole: f64,
}

fn simulate(world: &World, rng: &mut Pcg64Mcg) -> Simulated {
    let layouts: Vec<f64> = (0..world.layouts).map(|_| world.between_layouts * normal(rng)).collect();
    let scatter = (world.uneven * normal(rng)).exp();
    let common: Vec<f64> = (0..world.workers).map(|_| world.common * scatter * normal(rng)).collect();
    let off = rng.random_range(5.0..100.0) * if rng.random_bool(0.5) { 1.0 } else { -1.0 };
    let at_layout = |layout: &f64| {
        let mode = rng.random_range(5.0..150.0) * if rng.random_bool(0.5) { 1.0 } else { -1.0 };
        let value = |worker: usize| {
            let tail = if world.heavy { ((0..3).map(|_| normal(rng).powi(2)).sum::<f64>() / 3.0).sqrt() } else { 1.0 };
            let own = scatter * normal(rng) / tail;
            let hopped = if rng.random_bool(world.in_mode) { mode } else { 0.0 };
            let off = if world.outlying && worker == 0 { off } else { 0.0 };
            (worker, layout + own + common[worker] + hopped + off)
        };
        (0..world.workers).map(value).collect()
    };
    let values = layouts.iter().map(at_layout).collect();
    let whole = median(&layouts).unwrap();
    Simulated { values, layouts, whole }
}

/// The cells of a world, measured with the scatter that is usual among them, beside their truths.
fn measure_world(world: &World, cells: usize, rng: &mut Pcg64Mcg) -> Vec<(Simulated, LayoutMedian, MeasuredCell)> {
    let simulated: Vec<Simulated> = (0..cells).map(|_| simulate(world, rng)).collect();
    let medians: Vec<LayoutMedian> =
        simulated.iter().map(|cell| LayoutMedian::from_layouts(&cell.values).unwrap()).collect();
    let variances: Vec<RelativeVariance> = medians.iter().flat_map(|medians| medians.relative_variances(1.0)).collect();
    let scatter = Scatter { usual_variance: super::super::prior::usual_variance(&variances), ..Scatter::default() };
    let measured = |(cell, medians): (Simulated, LayoutMedian)| {
        let measured = medians.measure(&scatter);
        (cell, medians, measured)
    };
    simulated.into_iter().zip(medians).map(measured).collect()
}

#[test]
fn intervals_of_95_percent_cover_cells_and_layouts_in_93_to_99_of_100_trials() {
    let worlds = [
        World { name: "apart", between_layouts: 100.0, ..HOT },
        World { name: "alike", between_layouts: 0.0, ..HOT },
        HOT,
        World { name: "common", common: 3.0, ..HOT },
        World { name: "modes", in_mode: 0.08, ..HOT },
        World { name: "heavy", heavy: true, ..HOT },
        World { name: "outlying", outlying: true, ..HOT },
        World { name: "four", workers: 4, ..HOT },
        World { name: "nine", workers: 9, ..HOT },
        World { name: "seventeen", workers: 17, ..HOT },
        World { name: "one layout", layouts: 1, ..HOT },
        World { name: "one layout of three workers", layouts: 1, workers: 3, ..HOT },
    ];
    let mut wrong = Vec::new();
    for world in &worlds {
        let mut rng = Pcg64Mcg::seed_from_u64(11);
        let found = measure_world(world, 1200, &mut rng);
        let covers = |measured: &Measured, truth: f64| measured.interval(0.95).unwrap().contains(truth);
        let cells = found.iter().filter(|(cell, _, measured)| covers(&measured.whole, cell.whole)).count();
        let layouts: Vec<bool> = found
            .iter()
            .flat_map(|(cell, _, measured)| cell.layouts.iter().zip(&measured.layouts))
            .map(|(truth, measured)| covers(measured, *truth))
            .collect();
        let share = |count: usize, of: usize| 100.0 * count as f64 / of as f64;
        let cells = share(cells, found.len());
        let layouts = share(layouts.iter().filter(|covered| **covered).count(), layouts.len());
        if !(93.0..=99.0).contains(&cells) || !(93.0..=99.0).contains(&layouts) {
            wrong.push(format!("{}: cells {cells:.1}%, layouts {layouts:.1}%", world.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn layouts_that_differ_do_not_widen_the_interval_of_the_cell() {
    let width = |between_layouts: f64| {
        let mut rng = Pcg64Mcg::seed_from_u64(3);
        let found = measure_world(&World { between_layouts, ..HOT }, 300, &mut rng);
        median(&found.iter().map(|(.., it)| it.whole.half_width(0.95).unwrap()).collect::<Vec<_>>()).unwrap()
    };
    let (near, apart) = (width(1.0), width(1000.0));
    assert!(apart < 1.5 * near, "{near} {apart}");
}

#[test]
fn one_worker_of_six_moves_no_cell_by_more_than_a_quarter_of_its_interval() {
    let mut rng = Pcg64Mcg::seed_from_u64(7);
    for world in [HOT, World { layouts: 1, ..HOT }, World { between_layouts: 50.0, ..HOT }] {
        for (cell, _, before) in measure_world(&world, 300, &mut rng) {
            for moved in [10.0, 1e6] {
                let mut values = cell.values.clone();
                values.iter_mut().flatten().filter(|(worker, _)| *worker == 2).for_each(|(_, value)| *value += moved);
                let after = LayoutMedian::from_layouts(&values).unwrap();
                let shift = (after.value - before.whole.value).abs();
                let quarter = before.whole.interval(0.95).unwrap().width() / 4.0;
                assert!(shift <= 1.0001 * quarter, "{}: {moved} moved {} by {shift}", world.name, before.whole.value);
            }
        }
    }
}

#[test]
fn an_outlying_worker_is_left_out_with_four_layouts_or_more() {
    let mut rng = Pcg64Mcg::seed_from_u64(9);
    let mut cell = simulate(&World { between_layouts: 3.0, ..HOT }, &mut rng);
    cell.values.iter_mut().flatten().filter(|(worker, _)| *worker == 4).for_each(|(_, value)| *value += 300.0);
    let found = LayoutMedian::from_layouts(&cell.values).unwrap();
    assert!(found.layouts.iter().all(|layout| layout.median.workers == 5));
    let few = LayoutMedian::from_layouts(&cell.values[..3]).unwrap();
    assert!(few.layouts.iter().all(|layout| layout.median.workers == 6));
    // At most one in six, whatever the others do.
    cell.values.iter_mut().flatten().filter(|(worker, _)| *worker == 3).for_each(|(_, value)| *value -= 300.0);
    let two = LayoutMedian::from_layouts(&cell.values).unwrap();
    assert!(two.layouts.iter().all(|layout| layout.median.workers >= 5));
}

#[test]
fn a_layout_with_one_worker_is_left_out_and_nothing_else_has_no_value() {
    let layouts = [vec![(0, 1.0), (1, 3.0)], vec![(0, 9.0)], Vec::new()];
    let found = LayoutMedian::from_layouts(&layouts).unwrap();
    assert_eq!((found.value, found.layouts.len(), found.layouts[0].index), (2.0, 1, 0));
    assert!(LayoutMedian::from_layouts(&layouts[1..]).is_none());
    assert!(LayoutMedian::from_layouts(&[]).is_none());
}

#[test]
fn equal_values_of_a_coarse_clock_have_the_error_of_its_step() {
    let layouts = vec![(0..6).map(|worker| (worker, 3.5)).collect::<Vec<_>>(); 2];
    let median = LayoutMedian::from_layouts(&layouts).unwrap();
    let exact = median.measure(&Scatter::default());
    assert_eq!((exact.whole.value, exact.whole.standard_error), (3.5, 0.0));
    let coarse = median.measure(&Scatter { half_clock_step: 0.3, ..Scatter::default() });
    assert!((coarse.layouts[0].standard_error - 0.3 / 18f64.sqrt()).abs() < 1e-12);
    assert!(coarse.whole.standard_error > 0.0);
}

#[test]
fn the_scatter_between_runs_is_in_every_error_and_has_eight_degrees_of_freedom() {
    let layouts = vec![(0..6).map(|worker| (worker, 3.5)).collect::<Vec<_>>(); 2];
    let median = LayoutMedian::from_layouts(&layouts).unwrap();
    let found = median.measure(&Scatter { between_runs: 0.2, ..Scatter::default() });
    for measured in found.layouts.iter().chain([&found.whole]) {
        assert!((measured.standard_error - 0.2).abs() < 1e-12);
        assert!((measured.degrees_of_freedom - 8.0).abs() < 1e-9, "{measured:?}");
    }
}

#[test]
fn a_worker_with_half_of_the_layouts_counts_without_an_effect_of_the_missing_ones() {
    // The layouts differ widely; worker 0 measured only the first four.
    let at = |layout: usize| (0..7).map(|worker| (worker, 10.0 * layout as f64)).collect::<Vec<WorkerValue>>();
    let mut uneven: Vec<Vec<WorkerValue>> = (0..8).map(at).collect();
    uneven[4..].iter_mut().for_each(|layout| layout.retain(|(worker, _)| *worker != 0));
    assert_eq!(worker_deviations(&uneven), (0..7).map(|worker| (worker, 0.0)).collect::<Vec<_>>());
    uneven[3].retain(|(worker, _)| *worker != 0);
    assert_eq!(worker_deviations(&uneven).len(), 6);
}
