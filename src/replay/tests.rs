//! Tests of replays: their code does what was recorded, by an interpreter and on the CPU.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::arena::{EXIT, PASSES, STACK, STREAM, STREAM_END};
use super::interpreter::{Executed, Interpreter};
use super::skeleton::Skeleton;
use super::window::ReplayWindow;
use super::{Assumptions, SiteKind};
use crate::linux::record::recording::{Class, Recording};
use crate::linux::record::shipped;

const ASSUMED: Assumptions = Assumptions { chained: 0.3, address_after_load: 0.2, stream_factor: 1 };
/// An address that no code has.
const OUTSIDE: u64 = 0x10;

fn recording(workload: &str) -> Recording {
    shipped::read().unwrap().into_iter().find(|it| it.about.workload == workload).unwrap()
}

/// A window of some units.
fn part(recording: &Recording, units: usize) -> Range<usize> {
    let window = ReplayWindow::of(recording, units as f64 / recording.about.units as f64);
    assert!((window.units - units as f64).abs() < 1.0, "{window:?}");
    window.runs
}

fn interpret(skeleton: &Skeleton, kind: SiteKind, passes: u64) -> Executed {
    let base = 0x10_0000_0000;
    let image = skeleton.image(kind, base as usize);
    let sites: Vec<usize> = skeleton.sites().into_iter().map(|(offset, _)| offset).collect();
    let [stream, end] = skeleton.memory().stream().map(|at| at as u64);
    let mut interpreter = Interpreter::new(&image, base, &sites, (stream, skeleton.memory().stream_bytes().to_vec()));
    let origin = skeleton.memory().origin() as u64;
    let stack = skeleton.memory().stack() as u64;
    (interpreter.origin, interpreter.stack, interpreter.exit) = (origin, stack, OUTSIDE);
    let header = [(EXIT, OUTSIDE), (PASSES, passes), (STREAM, stream), (STREAM_END, end), (STACK, stack)];
    interpreter.header = header.map(|(at, word)| (origin.wrapping_add_signed(at.into()), word)).into();
    interpreter.run(base + skeleton.entry() as u64, 50_000_000)
}

/// The executed instructions of some runs, in order.
fn executed(recording: &Recording, runs: Range<usize>) -> impl Iterator<Item = (Class, bool)> {
    let executions = recording.executions().take(runs.end).skip(runs.start);
    executions.flat_map(|execution| execution.code.iter().map(|it| (it.class, it.is_rep)).collect::<Vec<_>>())
}

#[test]
fn every_mechanism_calls_the_recorded_hooks_in_their_order_with_the_recorded_accesses() {
    for workload in ["getppid", "mmap_perf", "fault", "fork_exec", "ping_pong", "signal"] {
        let recording = recording(workload);
        let runs = part(&recording, if workload == "getppid" { 20 } else { 2 });
        let skeleton = Skeleton::of(&recording, runs.clone(), ASSUMED, 7).unwrap();
        let ops: HashMap<usize, u16> = skeleton.sites().into_iter().collect();
        let hooks: Vec<u16> = executed(&recording, runs.clone())
            .filter_map(|(class, _)| if let Class::Hook(op) = class { Some(op) } else { None })
            .collect();
        let is =
            |wanted: Class| executed(&recording, runs.clone()).filter(|(class, rep)| *class == wanted && !rep).count();
        let [loads, stores, branches] = [Class::Load, Class::Store, Class::Branch].map(|class| is(class) as u64);
        let mut before: Option<Executed> = None;
        for kind in SiteKind::ALL {
            let found = interpret(&skeleton, kind, 1);
            let called: Vec<u16> = found.sites.iter().map(|site| ops[site]).collect();
            // A hook that has several bodies is no site; there is none in these.
            assert_eq!(called, hooks, "{workload}, {kind:?}");
            assert_eq!((found.loads, found.stores), (loads, stores), "{workload}, {kind:?}");
            assert!(found.branches >= branches && found.branches <= branches + branches / 20 + 2, "{workload}");
            if let Some(before) = &before {
                assert_eq!(before.lines, found.lines, "{workload}, {kind:?}: the same lines of data");
                assert_eq!((before.taken, before.branches), (found.taken, found.branches), "{workload}, {kind:?}");
                assert!(found.instructions >= before.instructions, "{workload}, {kind:?}");
            }
            before.get_or_insert(found);
        }
        let facts = &skeleton.facts;
        assert_eq!(facts.hooks, hooks.len() as u64);
        assert!(facts.instructions.abs_diff(facts.recorded_instructions) * 8 < facts.recorded_instructions);
        assert!(facts.code_lines.abs_diff(facts.recorded_code_lines) * 12 < facts.recorded_code_lines + 24);
    }
}

#[test]
fn passes_repeat_the_window() {
    let recording = recording("futex");
    let skeleton = Skeleton::of(&recording, part(&recording, 3), ASSUMED, 1).unwrap();
    let [one, three] = [1, 3].map(|passes| interpret(&skeleton, SiteKind::Table, passes));
    assert_eq!(one.sites.len() * 3, three.sites.len());
    assert_eq!(one.lines.repeat(3), three.lines);
}

#[test]
fn a_larger_stream_drives_the_same_code() {
    let recording = recording("signal");
    let runs = part(&recording, 3);
    let [once, twice] = [1, 2].map(|stream_factor| {
        let skeleton = Skeleton::of(&recording, runs.clone(), Assumptions { stream_factor, ..ASSUMED }, 1).unwrap();
        (interpret(&skeleton, SiteKind::Direct, 1), skeleton.facts.stream_bytes)
    });
    assert_eq!((once.0.sites.len(), once.0.lines.len()), (twice.0.sites.len(), twice.0.lines.len()));
    assert_eq!(once.1 * 2, twice.1);
}

#[test]
fn the_cpu_runs_every_recording_with_every_mechanism_to_its_end() {
    for recording in shipped::read().unwrap() {
        let skeleton = Skeleton::of(&recording, 0..recording.sequence.len(), ASSUMED, 3).unwrap();
        let mut loaded = skeleton.load().unwrap();
        for kind in SiteKind::ALL.into_iter().chain([SiteKind::Inline]) {
            loaded.set(kind).unwrap();
            loaded.run(2);
        }
    }
}

#[test]
fn mutated_recordings_are_refused_or_run_to_their_end() {
    let mut original = recording("futex");
    let runs = part(&original, 5).end;
    original.sequence.truncate(runs);
    original.touch_counts.truncate(runs);
    let touches = original.touch_counts.iter().sum::<u32>() as usize;
    original.touches.truncate(touches);
    let rounds = original.executions().map(|it| it.rounds.len()).sum();
    original.rounds.truncate(rounds);
    let whole = original.to_bytes().unwrap();
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut ran, mut refused) = (0, 0);
    for _ in 0..400 {
        let mut mutated = original.clone();
        for _ in 0..=random(6) {
            let (code, sequence, runs) = (mutated.code.len(), mutated.sequence.len(), mutated.runs.len());
            match random(7) {
                0 => mutated.code[random(code)].address ^= 1 << random(64),
                1 => mutated.code[random(code)].length = random(16) as u8,
                2 => {
                    let classes = [Class::Return, Class::Call, Class::Indirect, Class::Branch, Class::Hook(0)];
                    mutated.code[random(code)].class = classes[random(5)];
                }
                3 => mutated.sequence[random(sequence)] = random(runs + 1) as u32,
                4 => mutated.runs[random(runs)].length = 1 + random(40) as u32,
                5 => mutated.code[random(code)].is_rep ^= true,
                _ => {
                    let at = random(mutated.touches.len());
                    mutated.touches[at].line ^= 1 << random(64);
                }
            }
        }
        // What a file could not hold is no recording.
        let Ok(mutated) = Recording::of(Path::new("made"), &mutated.to_bytes().unwrap()) else {
            refused += 1;
            continue;
        };
        let Ok(skeleton) = Skeleton::of(&mutated, 0..mutated.sequence.len(), ASSUMED, 1) else {
            refused += 1;
            continue;
        };
        for kind in SiteKind::ALL {
            interpret(&skeleton, kind, 2);
        }
        let mut loaded = skeleton.load().unwrap();
        for kind in SiteKind::ALL {
            loaded.set(kind).unwrap();
            loaded.run(2);
        }
        ran += 1;
    }
    assert!(ran > 50 && refused > 10, "{ran} ran, {refused} were refused");
    assert_eq!(whole, original.to_bytes().unwrap());
}

#[test]
fn an_empty_recording_is_refused() {
    let recording = recording("getppid");
    let error = Skeleton::of(&recording, 0..0, ASSUMED, 1).err().unwrap();
    assert!(error.to_string().contains("getppid") && error.is_usage(), "{error}");
}
