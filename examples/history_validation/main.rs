//! Histories made of real runs of one program: how often is an event found that is none, and is a step found that was
//! put in? Writes a JSON document to standard output; `reports/history-validation.json` is one.
//!
//! ```sh
//! cargo run --release --example history_validation -- 1000 3 runs/*/report.json > reports/history-validation.json
//! ```
//!
//! The numbers are those of histories without a step, and of trials of each mechanism and kind of step.

use std::sync::Arc;

use pvbench::history::event::{Cause, Event, RunName, State, StreamName};
use pvbench::history::events::{Detector, stream_of};
use pvbench::history::keep::keep;
use pvbench::history::kept::{Commit, KeptRun, Subject};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};

/// Runs of a history without a step.
const RUNS: usize = 200;
/// Cells that make a mechanism a group; a mechanism of fewer is judged like single cells.
const MIN_CELLS: usize = 6;

type Mechanism = (Arc<str>, Option<Arc<str>>);

struct Simulation {
    runs: Vec<KeptRun>,
    stream: StreamName,
    rng: Pcg64Mcg,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "history_validation HISTORIES TRIALS REPORT.json..";
    let histories: usize = args.next().ok_or(usage)?.parse()?;
    let trials: usize = args.next().ok_or(usage)?.parse()?;
    let mut runs = Vec::new();
    for path in args {
        runs.push(keep(&pvbench::report::read::report(path.as_ref())?, None)?);
    }
    let stream = stream_of(runs.first().ok_or(usage)?);
    let mut it = Simulation { runs, stream, rng: Pcg64Mcg::seed_from_u64(27) };
    let kinds = ["1% of the time", "+0.05 cycles", "-0.05 cycles", "one more instruction"];
    let power = kinds.map(|kind| it.power(kind, trials));
    let machine = ["other frequency", "busy neighbour", "other microcode"].map(|kind| it.machine(kind, 10 * trials));
    let false_alarms = [it.false_alarms(histories, 1.0), it.false_alarms(histories / 4, 4.0)];
    let document = json!({
        "schema": "pvbench.history-validation/1",
        "real_runs": it.runs.len(),
        "cells": it.runs[0].cells.len(),
        "false_alarms": false_alarms,
        "power": power,
        "machine": machine,
    });
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(())
}

fn name(at: usize) -> RunName {
    RunName { stem: format!("{at:04}"), commit: Some(format!("{at:040}")), started: format!("{at:04}") }
}

impl Simulation {
    /// A real run as the run of a commit, an hour after the one before.
    fn run(&self, pick: usize, at: usize) -> KeptRun {
        let mut run = self.runs[pick].clone();
        run.header.started_seconds = 1_000_000 + 3600 * at as u64;
        run.header.commit = Some(Commit {
            id: format!("{at:040}"),
            seconds: None,
            first_parent: None,
            position: Some(at as u64 + 1),
            subject: None,
            dirty: None,
        });
        run
    }

    fn draw(&mut self) -> usize {
        self.rng.random_range(0..self.runs.len())
    }

    fn events(&self, detector: &Detector) -> Vec<Event> {
        detector.events(&self.stream, &Default::default())
    }

    /// Histories of runs drawn with replacement, in blocks of runs that follow each other in time.
    fn false_alarms(&mut self, histories: usize, block: f64) -> Value {
        let (mut found, mut confirmed) = (0, 0);
        for _ in 0..histories {
            let mut detector = Detector::default();
            let mut pick = self.draw();
            for at in 0..RUNS {
                let jump = self.rng.random::<f64>() < 1.0 / block;
                pick = if jump { self.draw() } else { (pick + 1) % self.runs.len() };
                detector.append(name(at), &self.run(pick, at));
            }
            let events = self.events(&detector);
            found += events.len();
            confirmed += events.iter().filter(|it| it.state == State::Confirmed).count();
        }
        json!({ "histories": histories, "runs": RUNS, "mean_block": block, "suspected": found, "confirmed": confirmed })
    }

    fn mechanisms(&self) -> Vec<(Mechanism, usize)> {
        let of = |it: &pvbench::history::kept::KeptCell| (it.name.mechanism.clone(), it.name.state.clone());
        let mut all: Vec<Mechanism> = self.runs[0].cells.iter().map(of).filter(|it| &*it.0 != "inline").collect();
        all.sort();
        all.dedup();
        let cells = |mechanism: &Mechanism| self.runs[0].cells.iter().filter(|it| of(it) == *mechanism).count();
        all.into_iter().map(|it| (it.clone(), cells(&it))).collect()
    }

    /// A step of each mechanism in turn, after 12 to 71 runs.
    fn power(&mut self, kind: &str, trials: usize) -> Value {
        let is_exact = kind.contains("instruction");
        let (mut all, mut first, mut next, mut missed) = (0, 0, 0, Vec::new());
        for ((mechanism, state), cells) in self.mechanisms() {
            if cells < MIN_CELLS && !is_exact {
                continue;
            }
            for _ in 0..trials {
                let before = self.rng.random_range(12..72);
                let mut detector = Detector::default();
                let mut hits = Vec::new();
                for at in 0..before + 2 {
                    let pick = self.draw();
                    let mut run = self.run(pick, at);
                    let moved = run.cells.iter_mut().filter(|_| at >= before);
                    for cell in moved.filter(|it| it.name.mechanism == mechanism && it.name.state == state) {
                        let time = cell.native_cycles.unwrap_or(0.0);
                        if is_exact {
                            cell.instructions = cell.instructions.map(|count| count + 1.0);
                        } else if let Some(overhead) = &mut cell.overhead {
                            overhead.value += match kind {
                                "+0.05 cycles" => 0.05,
                                "-0.05 cycles" => -0.05,
                                _ => 0.01 * (time + overhead.value),
                            };
                        }
                    }
                    detector.append(name(at), &run);
                    if at < before {
                        continue;
                    }
                    let is_of = |event: &Event| {
                        event.range.bad.stem == name(before).stem
                            && event.cells.iter().any(|cell| match &cell.subject {
                                Subject::Cell(cell) => cell.mechanism == mechanism && cell.state == state,
                                Subject::Kernel(_) => false,
                            })
                    };
                    hits.push(self.events(&detector).iter().find(|it| is_of(it)).map(|it| it.state));
                }
                let (at_once, confirmed) = (hits[0].is_some(), hits[1] == Some(State::Confirmed));
                all += 1;
                first += usize::from(at_once);
                next += usize::from(confirmed);
                if !at_once || !confirmed {
                    missed.push(format!("{mechanism} {}", state.as_deref().unwrap_or("")).trim().to_owned());
                }
            }
        }
        missed.sort();
        missed.dedup();
        json!({ "step": kind, "trials": all, "suspected_at_once_at_the_right_commit": first,
                "confirmed_by_the_next_run": next, "mechanisms_with_misses": missed })
    }

    /// A machine that changes after thirty runs, with the times of all cells.
    fn machine(&mut self, kind: &str, trials: usize) -> Value {
        let (mut found, mut causes) = (0, [0; 4]);
        for _ in 0..trials {
            let mut detector = Detector::default();
            for at in 0..33 {
                let pick = self.draw();
                let mut run = self.run(pick, at);
                if at >= 30 {
                    change_machine(&mut run, kind, &mut self.rng);
                }
                detector.append(name(at), &run);
            }
            for event in self.events(&detector) {
                found += 1;
                causes[match event.cause {
                    Cause::Program => 0,
                    Cause::Placement => 1,
                    Cause::Machine => 2,
                    Cause::Unknown => 3,
                }] += 1;
            }
        }
        let [program, placement, machine, unknown] = causes;
        json!({ "change": kind, "trials": trials, "events": found, "program": program, "placement": placement,
                "machine": machine, "unknown": unknown })
    }
}

fn change_machine(run: &mut KeptRun, kind: &str, rng: &mut Pcg64Mcg) {
    let scale = match kind {
        "other frequency" => 1.01,
        "busy neighbour" => 1.03,
        _ => {
            run.header.machine.microcode = Some("0xffff".to_owned());
            1.02
        }
    };
    if let Some(core) = &mut run.header.core {
        match kind {
            "other frequency" => core.ticks_per_cycle *= 1.2,
            "busy neighbour" => core.contended_share = 0.6,
            _ => {}
        }
    }
    for cell in &mut run.cells {
        // A neighbour disturbs each cell in its own way.
        let noise = if kind == "busy neighbour" { rng.random_range(0.5..1.5) } else { 1.0 };
        if let Some(overhead) = &mut cell.overhead {
            overhead.value += (scale - 1.0) * noise * (overhead.value.abs() + cell.native_cycles.unwrap_or(0.0));
        }
        if kind != "other microcode" {
            cell.native_cycles = cell.native_cycles.map(|it| it * scale);
        }
    }
}
