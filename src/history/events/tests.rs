//! Tests of the search on made series: twelve ops and three mechanisms, with a little noise.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;
use crate::history::event::Cause;
use crate::history::kept::{CellName, Commit, CoreState, KeptCell, KeptTool, KeptValue};
use crate::report::schema::CentralRange;

const MECHANISMS: [&str; 3] = ["table", "dyn", "retpoline"];

fn machine() -> crate::host::Machine {
    serde_json::from_str(r#"{"microcode": "0x1", "kernel": "6.1"}"#).unwrap()
}

/// A run of a commit, an hour after the one before, with noise.
fn run(at: u64, rng: &mut Pcg64Mcg) -> KeptRun {
    let mut cells = Vec::new();
    for mechanism in MECHANISMS {
        for op in 0..12 {
            let name = CellName {
                op: format!("op{op}").into(),
                body: "native".into(),
                mechanism: mechanism.into(),
                state: None,
                regime: "throughput".into(),
            };
            let noise = rng.random_range(-1.0..1.0) + rng.random_range(-1.0..1.0);
            let value = KeptValue { value: 3.0 + 0.001 * noise, standard_error: 0.001, degrees_of_freedom: 20.0 };
            cells.push(KeptCell {
                name: Arc::new(name),
                overhead: Some(value),
                native_cycles: Some(1.0),
                floor_cycles: None,
                modes: Vec::new(),
                instructions: Some(5.0),
                mix: None,
                code: None,
                resolved: true,
                limit: None,
                absent: None,
            });
        }
    }
    let ghz = CentralRange { median: 3.0, low: 3.0, high: 3.0 };
    let header = Header {
        suite: "pv_ops".into(),
        preset: "quick".into(),
        machine_class: "amd-25-17-1-kvm-smt2".into(),
        machine: machine(),
        boot_id: None,
        tool: KeptTool { version: "1".into(), build: "release".into(), rustc: None },
        commit: Some(Commit {
            id: format!("{at:040}"),
            seconds: Some(at as i64),
            first_parent: None,
            position: Some(at + 1),
            subject: None,
            dirty: None,
        }),
        started: format!("run {at:04}"),
        started_seconds: 1_000_000 + 3600 * at,
        duration_seconds: 1.0,
        seed: at,
        complete: true,
        layouts: Vec::new(),
        workers: 1,
        core: Some(CoreState { ghz, adds_per_cycle: None, ticks_per_cycle: 0.7, contended_share: 0.0 }),
        floors: Vec::new(),
        checks: Vec::new(),
        absent: Vec::new(),
        failures: 0,
    };
    KeptRun { header, cells, workloads: Vec::new() }
}

fn runs(number: u64, seed: u64) -> Vec<KeptRun> {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    (0..number).map(|at| run(at, &mut rng)).collect()
}

fn name(run: &KeptRun) -> RunName {
    RunName {
        stem: format!("{:06}", run.header.seed),
        commit: run.header.commit.as_ref().map(|it| it.id.clone()),
        started: run.header.started.clone(),
    }
}

fn found(runs: &[KeptRun]) -> Vec<Event> {
    let named: Vec<_> = runs.iter().map(|it| (name(it), it)).collect();
    let order = CommitOrder::from_headers(runs.iter().map(|it| &it.header));
    let mut events = find_events(&named, &order).events;
    events.reverse();
    events
}

fn shift(run: &mut KeptRun, mechanism: &str, by: f64) {
    for cell in run.cells.iter_mut().filter(|it| &*it.name.mechanism == mechanism) {
        cell.overhead.as_mut().unwrap().value += by;
    }
}

#[test]
fn runs_that_only_scatter_have_no_event() {
    assert_eq!(found(&runs(80, 1)), []);
}

#[test]
fn a_step_of_a_mechanism_is_suspected_at_once_and_confirmed_by_the_next_run() {
    let mut runs = runs(32, 2);
    for run in &mut runs[30..] {
        shift(run, "dyn", 0.04);
    }
    let first = found(&runs[..31]);
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].state, first[0].cause), (Stage::Suspected, Cause::Unknown));
    assert_eq!(first[0].description.text, "dyn (12 of 12 cells)");
    let second = found(&runs);
    assert_eq!(second.len(), 1);
    assert_eq!((second[0].state, &second[0].id), (Stage::Confirmed, &first[0].id));
    assert_eq!(second[0].range.commits, Some(1));
    assert_eq!(second[0].range.bad.stem, "000030");
}

#[test]
fn a_step_that_the_next_run_does_not_show_is_gone() {
    let mut runs = runs(32, 3);
    shift(&mut runs[30], "dyn", 0.04);
    let events = found(&runs);
    assert_eq!(events.iter().map(|it| it.state).collect::<Vec<_>>(), [Stage::Gone]);
}

#[test]
fn a_run_of_the_same_session_confirms_nothing() {
    let mut runs = runs(32, 4);
    for run in &mut runs[30..] {
        shift(run, "dyn", 0.04);
    }
    runs[31].header.started_seconds = runs[30].header.started_seconds + 90;
    assert_eq!(found(&runs)[0].state, Stage::Suspected);
    for (run, boot) in runs[30..].iter_mut().zip(["a", "b"]) {
        run.header.boot_id = Some(boot.to_owned());
    }
    assert_eq!(found(&runs)[0].state, Stage::Confirmed);
}

#[test]
fn one_more_instruction_is_the_program_whatever_the_machine_does() {
    let mut runs = runs(12, 5);
    for run in &mut runs[10..] {
        run.header.machine.microcode = Some("0x2".to_owned());
        for cell in run.cells.iter_mut().filter(|it| &*it.name.mechanism == "table") {
            cell.instructions = Some(6.0);
        }
    }
    let events = found(&runs);
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].state, events[0].cause), (Stage::Confirmed, Cause::Program));
}

#[test]
fn other_microcode_with_the_step_is_the_machine_and_on_the_axis() {
    let mut runs = runs(32, 6);
    for run in &mut runs[30..] {
        run.header.machine.microcode = Some("0x2".to_owned());
        shift(run, "retpoline", 0.2);
    }
    let events = found(&runs);
    assert_eq!(events.iter().map(|it| it.cause).collect::<Vec<_>>(), [Cause::Machine]);
}

#[test]
fn a_cell_that_alternates_between_two_values_is_no_event_and_one_that_stays_is() {
    let mut runs = runs(70, 7);
    let mut rng = Pcg64Mcg::seed_from_u64(70);
    for run in &mut runs {
        if rng.random_range(0..4) == 0 {
            run.cells[3].overhead.as_mut().unwrap().value += 0.5;
        }
    }
    assert_eq!(found(&runs), []);
    for run in &mut runs[55..] {
        run.cells[20].overhead.as_mut().unwrap().value += 0.5;
    }
    let events = found(&runs);
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].range.bad.stem.as_str(), events[0].cells.len()), ("000055", 1));
}

#[test]
fn a_run_between_two_others_that_is_measured_later_leaves_the_id() {
    let mut runs = runs(34, 8);
    for run in &mut runs[32..] {
        shift(run, "dyn", 0.04);
    }
    let mut late = runs.remove(31);
    let before = found(&runs);
    assert_eq!(before[0].range.commits, Some(2));
    late.header.started_seconds += 1_000_000;
    runs.push(late);
    let after = found(&runs);
    assert_eq!(after[0].range.commits, Some(1));
    assert_eq!(before[0].id, after[0].id);
}

#[test]
fn a_level_leaves_out_a_step_that_is_only_suspected() {
    let mut runs = runs(31, 9);
    shift(&mut runs[30], "dyn", 0.04);
    let mut detector = Detector::default();
    for run in &runs {
        detector.append(name(run), run);
    }
    for (subject, level) in detector.levels() {
        assert!((level.value - 3.0).abs() < 0.003, "{subject:?}: {level:?}");
        assert!(!level.learning && level.scatter < 0.003);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    /// Whatever the runs are, an event that was confirmed once stays as it is.
    #[test]
    fn a_run_more_never_moves_a_confirmed_event(
        seed in 0u64..1000, steps in proptest::collection::vec((6u64..60, 0usize..3, -0.3f64..0.3), 0..5)
    ) {
        let mut runs = runs(60, seed);
        for (from, mechanism, by) in steps {
            for run in &mut runs[from.min(60) as usize..] {
                shift(run, MECHANISMS[mechanism], by);
            }
        }
        let mut confirmed: BTreeMap<String, Event> = BTreeMap::new();
        for number in 1..=runs.len() {
            let events = found(&runs[..number]);
            for (id, old) in &confirmed {
                let same = events.iter().find(|it| it.id == *id);
                proptest::prop_assert_eq!(same, Some(old));
            }
            confirmed.extend(
                events.into_iter().filter(|it| it.state == Stage::Confirmed).map(|it| (it.id.clone(), it)),
            );
        }
    }
}
