use pvbench::estimate::Estimator;
use pvbench::op::{Op, OpMeta, mmu::PteVal};
use pvbench::run::plan::Plan;
use pvbench::run::protocol::{Samples, Target, WorkerLine};
use std::io::BufRead;
#[test]
fn replay() {
    let Some(path) = std::env::var_os("ZZ_IN") else { return };
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut lines = file.lines().map(Result::unwrap);
    let mut header: serde_json::Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    let plan: Plan = serde_json::from_value(header["plan"].take()).unwrap();
    let mut estimator = Estimator::default();
    let mut rate = 0.0;
    for line in lines {
        if !line.contains("\"comparison\"") {
            if line.contains("\"facts\"") {
                let facts: serde_json::Value = serde_json::from_str(&line).unwrap();
                rate = facts["facts"]["ticks_per_second"].as_f64().unwrap();
            }
            continue;
        }
        let mut value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let value = value["samples"].take();
        let target: Target = serde_json::from_value(value["target"].clone()).unwrap();
        let worker = value["worker"].as_u64().unwrap() as usize;
        let line: WorkerLine = serde_json::from_value(value["line"].clone()).unwrap();
        if let (Target::Comparison(comparison), WorkerLine::Done(Samples::Loops(samples))) = (&target, line) {
            estimator.add(worker, comparison, *samples);
        }
    }
    let mut names: Vec<String> = plan.matrix.comparisons.iter().map(|it| it.comparison.op.clone()).collect();
    names.sort();
    names.dedup();
    let metas: Vec<OpMeta> = names.into_iter().map(|name| OpMeta { name: name.leak(), ..PteVal::META }).collect();
    let settings = pvbench::run::assemble::settings(&plan);
    let began = std::time::Instant::now();
    let found = estimator.finish(&settings, &metas, rate);
    eprintln!("finish {:?}", began.elapsed());
    let began = std::time::Instant::now();
    let undecided = estimator.undecided(&settings);
    eprintln!("undecided {:?}: {}", began.elapsed(), undecided.len());
    let out = serde_json::json!({ "cells": found.cells, "floors": found.floors });
    std::fs::write(std::env::var_os("ZZ_OUT").unwrap(), serde_json::to_vec(&out).unwrap()).unwrap();
}
