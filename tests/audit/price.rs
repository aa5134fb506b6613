//! What the calls of a run cost, from cells that are made up.

use pvbench::audit::execution::{
    CountBasis, CountOrigin, CountSource, Exactness, Execution, SCHEMA, SiteRun, TargetRun,
};
use pvbench::audit::kind::Kind;
use pvbench::audit::price::add_costs;
use pvbench::audit::terminal;
use pvbench::estimate::kernel_time::HIGH_FACTOR;
use pvbench::op::BodyKind;
use pvbench::regime::Regime;
use pvbench::report::Report;
use pvbench::report::schema::{Cell, Instructions};

use crate::support;

/// Calls of a made-up site: so many that its code is hot.
const CALLS: u64 = 100_000;
/// What a misprediction costs in the made-up cells, where seven of eight random targets miss.
const PENALTY: f64 = 16.0;

/// A report in which each mechanism costs some cycles, with two more instructions. Only `table` has random targets.
fn report() -> Report {
    let mut report = support::synthetic();
    let template = report.cells.iter().find(|cell| cell.overhead.is_some()).unwrap().clone();
    let cell = |mechanism: &str, regime: Regime, cycles: f64| {
        let mut cell = Cell {
            op: "set_pte".to_owned(),
            body: BodyKind::Native,
            mechanism: mechanism.to_owned(),
            state: None,
            regime,
            instructions: Some(Instructions { per_op: 8.0, extra: 2.0 }),
            ..template.clone()
        };
        cell.overhead.as_mut().unwrap().cycles = support::around(cycles, 0.0);
        cell
    };
    report.cells = vec![
        cell("direct", Regime::Throughput, 1.0),
        cell("table", Regime::Throughput, 2.0),
        cell("table", Regime::Random8, 2.0 + PENALTY * 7.0 / 8.0),
        cell("fn_pointer", Regime::Throughput, 2.0),
        cell("dyn", Regime::Throughput, 2.0),
        cell("compare_tree_1", Regime::Throughput, 1.0),
    ];
    report
}

/// A site whose targets ran as often as told; the others of its calls have no known target.
fn site(kind: Kind, targets: &[u64]) -> SiteRun {
    let target =
        |(index, calls): (usize, &u64)| TargetRun { name: format!("f{index}"), calls: Some(*calls), records: None };
    let named = targets.iter().enumerate().map(target);
    SiteRun {
        address: 0x1000,
        function: "caller".to_owned(),
        kind,
        counted: CountBasis::Instruction,
        calls: Some(CALLS),
        records: None,
        targets: named.collect(),
        targets_total: targets.len() as u64,
        known_calls: targets.iter().sum(),
        source: None,
        cycles: None,
        percent: None,
        saves: None,
    }
}

/// A run of a site with its costs.
fn price_run(site: SiteRun, seconds: Option<f64>) -> Execution {
    let mut run = Execution {
        schema: SCHEMA.to_owned(),
        path: "app".to_owned(),
        counts: CountOrigin {
            source: CountSource::Callgrind,
            exactness: Exactness::Exact,
            records: None,
            branches_per_record: None,
            no_scale_reason: None,
            uncounted_sites: None,
        },
        instructions: Some(0),
        own_instructions: Some(0),
        cpu_seconds: None,
        cpu_cycles: None,
        no_cost_reason: None,
        kinds: Vec::new(),
        cycles: None,
        percent: None,
        sites: vec![site],
    };
    add_costs(&mut run, &report(), seconds);
    run
}

/// The site with its costs, per call.
fn price(site: SiteRun) -> SiteRun {
    let mut site = price_run(site, None).sites.remove(0);
    let per_call = 1.0 / CALLS as f64;
    site.cycles = site.cycles.map(|cycles| cycles.scaled(per_call));
    if let Some(saves) = &mut site.saves {
        saves.direct = saves.direct.map(|saved| saved.scaled(per_call));
        saves.compared = saves.compared.map(|saved| saved.scaled(per_call));
    }
    site
}

fn high(site: &SiteRun) -> f64 {
    site.cycles.unwrap().high
}

fn assert_near(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-9, "{value} instead of {expected}");
}

#[test]
fn a_mechanism_without_random_cells_has_the_misprediction_of_a_call_through_a_word() {
    for kind in [Kind::Memory, Kind::Table, Kind::Virtual, Kind::Register] {
        assert_near(high(&price(site(kind, &[CALLS]))), HIGH_FACTOR * 2.0);
        let even = price(site(kind, &[CALLS / 2, CALLS / 2]));
        assert_near(high(&even), HIGH_FACTOR * (2.0 + PENALTY));
    }
}

#[test]
fn calls_whose_target_is_not_known_may_be_mispredicted_and_nothing_is_said_of_other_forms() {
    let tail = price(site(Kind::Register, &[5]));
    assert_near(high(&tail), HIGH_FACTOR * (2.0 + PENALTY));
    let saves = tail.saves.unwrap();
    assert!(saves.direct.is_none() && saves.compared.is_none(), "{saves:?}");
    assert!(!tail.has_known_targets());
}

#[test]
fn a_comparison_saves_only_on_calls_of_the_most_frequent_target_and_may_lose() {
    let one = price(site(Kind::Table, &[CALLS])).saves.unwrap().compared.unwrap();
    assert!(one.high > 0.0 && one.high <= HIGH_FACTOR * 2.0, "{one:?}");
    let rare = price(site(Kind::Table, &[CALLS / 10; 10]));
    let saved = rare.saves.unwrap().compared.unwrap();
    assert!(saved.low < 0.0, "{saved:?}: a comparison that fails in nine of ten calls may cost more");
    assert!(saved.high <= 0.1 * high(&rare), "{saved:?}: nine of ten calls are made as before");
}

#[test]
fn the_text_of_a_run_says_which_targets_are_not_known_and_that_a_run_is_too_short() {
    let text = terminal::execution(&price_run(site(Kind::Register, &[5]), Some(0.01)), None);
    assert!(text.contains("not known for 100.0%"), "{text}");
    assert!(text.contains("a run this short is mostly start-up"), "{text}");
    let text = terminal::execution(&price_run(site(Kind::Table, &[CALLS / 10; 10]), Some(0.5)), None);
    assert!(text.contains("f0 (10.0%, 9 others)"), "{text}");
    let is_loss = |word: &str| word.starts_with('-') && word.trim_end_matches(['%', ',']).parse::<f64>().is_ok();
    assert!(text.split_whitespace().any(is_loss), "a loss has its sign: {text}");
    assert!(!text.contains("this short"), "{text}");
}
