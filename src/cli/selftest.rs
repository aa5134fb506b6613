//! `pvbench selftest`: measures known truths and checks the intervals.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::Done;
use super::conditions::Conditions;
use super::error;
use super::exit::Exit;
use super::inherited::stop_on_signals;
use super::output::stdout;
use crate::clock::Clock;
use crate::estimate::Estimator;
use crate::host::{Machine, NativeCpuid, Probes, Root, has_serialize};
use crate::measure::samples::Block;
use crate::measure::window::{SHORT, SPARE};
use crate::op::OpMeta;
use crate::report::schema::{Cell, Estimate};
use crate::run::assemble::settings;
use crate::run::host_context::{STAYS, keep_off};
use crate::run::plan::{Effort, Workers};
use crate::run::process::{Processes, worker_command};
use crate::run::protocol::{Samples, Target};
use crate::run::scheduler;
use crate::run::sink::{Sink, WorkerFailure};
use crate::select::single;
use crate::selftest::{self, Expected, Truth, WINDOWS_GIVEN_UP};
use crate::stats::binomial;
use crate::stats::location::median;

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench selftest
  pvbench selftest --seed 7 --json
  pvbench selftest --truth '101 adds' --tries 100 --workers 6

Exit code 1: the intervals miss the truth more often than 95% intervals may.";

/// Probability that a 95% interval misses the truth.
const MISS_RATE: f64 = 0.05;
/// Probability at which a sound instrument is called wrong because of its number of misses.
const ALPHA: f64 = 0.001;

/// Options of `selftest`.
#[derive(Args)]
pub struct SelftestArgs {
    #[command(flatten)]
    conditions: Conditions,
    /// Number of worker processes, one after another
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(6..=1000))]
    workers: u16,
    /// Blocks per worker
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    blocks: u16,
    /// Number of separate experiments on the truth of --truth; the JSON has the number that found a difference
    #[arg(long, value_name = "N", requires = "truth", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tries: Option<u32>,
    /// Name of the truth for --tries, as in the table: '101 adds'
    #[arg(long, value_name = "NAME", requires = "tries")]
    truth: Option<String>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Measures known truths and prints how far off the estimates are.
pub fn selftest(args: &SelftestArgs) -> Done {
    let stop = stop_on_signals()?;
    let machine = Machine::read(&Root::default());
    let truths = selftest::truths(selftest::Core {
        vendor: machine.cpu_vendor.as_deref(),
        family: machine.cpu_family,
        avx512vl: std::arch::is_x86_feature_detected!("avx512vl"),
        serialize: has_serialize(&NativeCpuid),
    });
    let names: Vec<&str> = truths.iter().map(|truth| truth.name).collect();
    let tried = args.truth.as_ref().map(|name| single("truth", name, &names)).transpose()?.map(|i| &truths[i]);
    let probes = Probes::ask(&Root::default());
    let cpu = args.conditions.cpu.or(probes.measuring_cpu.map(|cpu| cpu as usize));
    if let Some(cpu) = cpu
        && !keep_off(cpu, &probes)?
    {
        error::warn(STAYS);
    }
    let (clock, _) = Clock::choose(args.conditions.clock);
    let seed = args.conditions.seed();
    let effort = Effort { workers: Workers::Exactly(args.workers.into()), blocks: args.blocks.into() };
    if let (Some(tries), Some(truth)) = (args.tries, tried) {
        let experiment = Experiment { seed, cpu, clock, effort, workers: args.workers };
        return run_experiments(truth, tries, &experiment, &stop);
    }
    let metas: Vec<OpMeta> = selftest::entries().iter().map(|op| op.meta).collect();
    let ticks_per_second = clock.ticks_per_second(Duration::from_millis(100));
    let began = Instant::now();
    let mut cells = Vec::new();
    for meta in &metas {
        let plan = selftest::plan(meta.name, &truths, seed, cpu, clock, effort);
        let mut collector = Collector::default();
        let processes = Processes { command: &worker_command, stop: &stop };
        if !scheduler::run(&plan, processes, false, &mut collector)? {
            error::warn("interrupted: the selftest has no result");
            return Ok(Exit::Failed);
        }
        cells.extend(collector.estimator.finish(&settings(&plan), &metas, ticks_per_second).cells);
    }
    let found: Vec<(Truth, Estimate)> =
        truths.iter().filter_map(|truth| Some((*truth, find(truth, &cells)?))).collect();
    let missed = found.iter().filter(|(truth, measured)| !inside(truth, measured)).count();
    let allowed = binomial::allowed(u32::try_from(found.len()).unwrap_or(u32::MAX), MISS_RATE, ALPHA) as usize;
    let exit = match (found.len() == truths.len(), missed <= allowed) {
        (false, _) => Exit::Failed,
        (true, true) => Exit::Fine,
        (true, false) => Exit::Exceeded,
    };
    let mut out = stdout();
    if args.json {
        let value = json!({
            "cpu": machine.cpu_model, "seed": seed, "seconds": began.elapsed().as_secs_f64(),
            "truths": found.iter().map(as_json).collect::<Vec<_>>(), "missed": missed, "may_miss": allowed,
        });
        serde_json::to_writer_pretty(&mut out, &value)?;
        writeln!(out)?;
        return Ok(exit);
    }
    writeln!(out, "{}", table(&found))?;
    for truth in truths.iter().filter(|truth| find(truth, &cells).is_none()) {
        writeln!(out, "{} of {}: not measured", truth.name, truth.op)?;
    }
    writeln!(
        out,
        "{missed} of {} intervals miss the truth; 95% intervals may miss {allowed} of them (seed {seed}, {:.1} s)",
        found.len(),
        began.elapsed().as_secs_f64()
    )?;
    Ok(exit)
}

/// The conditions of each experiment.
struct Experiment {
    seed: u64,
    cpu: Option<usize>,
    clock: Clock,
    effort: Effort,
    /// Number of workers, as in `effort`.
    workers: u16,
}

/// Measures one truth in separate experiments and prints in how many of them the difference was resolved.
fn run_experiments(truth: &Truth, tries: u32, how: &Experiment, stop: &AtomicBool) -> Done {
    let metas: Vec<OpMeta> =
        selftest::entries().iter().map(|op| op.meta).filter(|meta| meta.name == truth.op).collect();
    let ticks_per_second = how.clock.ticks_per_second(Duration::from_millis(100));
    let (mut found, mut wrong_side, mut inside_interval, mut estimates) = (0, 0, 0, Vec::new());
    let mut limits = BTreeMap::new();
    let mut throughputs = Vec::new();
    let (mut kept, mut dropped) = (0, 0);
    let mut measured_seconds = 0.0;
    let began = Instant::now();
    for number in 0..tries {
        let seed = how.seed.wrapping_add(u64::from(number));
        let plan = selftest::plan(truth.op, &[*truth], seed, how.cpu, how.clock, how.effort);
        // The core throughput is known from earlier tries, as in a run from its first workers. It is their median, as a
        // single try may have run in a burst.
        let min_adds_per_cycle = median(&throughputs).unwrap_or(0.0);
        let windows_per_block = selftest::windows_per_block(&plan);
        let mut collector = Collector { min_adds_per_cycle, windows_per_block, ..Collector::default() };
        let processes = Processes { command: &worker_command, stop };
        if !scheduler::run(&plan, processes, false, &mut collector)? {
            error::warn("interrupted: the selftest has no result");
            return Ok(Exit::Failed);
        }
        throughputs.push(collector.estimator.min_adds_per_cycle());
        (kept, dropped) = (kept + collector.kept, dropped + collector.dropped);
        let window_cycles = plan.window_cycles as f64 * SPARE * (1.0 + 2.0 / SHORT as f64);
        measured_seconds += collector.windows * window_cycles / ticks_per_second;
        let cells = collector.estimator.finish(&settings(&plan), &metas, ticks_per_second).cells;
        let cell = cells.iter().find(|cell| cell.mechanism == truth.name);
        let Some((cell, measured)) = cell.and_then(|cell| Some((cell, truth.measured(cell)?))) else {
            error::warn(&format!("try {number}: not measured"));
            return Ok(Exit::Failed);
        };
        found += u32::from(cell.resolved);
        wrong_side += u32::from(cell.resolved && cell.overhead.is_some_and(|o| o.cycles.estimate < 0.0));
        if let Some(limit) = cell.limit {
            *limits.entry(limit).or_insert(0u32) += 1;
        }
        inside_interval += u32::from(inside(truth, &measured));
        estimates.push(measured.estimate);
    }
    let value = json!({
        "truth": truth.name, "expected": truth.expected.value(), "tries": tries, "found": found,
        "found_on_the_wrong_side": wrong_side, "not_found_for": limits, "interval_holds_the_truth": inside_interval,
        "dropped_blocks_share": dropped as f64 / (dropped + kept).max(1) as f64,
        "estimate_median": median(&estimates), "workers": how.workers, "blocks": how.effort.blocks,
        "measuring_seconds_per_try": measured_seconds / f64::from(tries),
        "wall_seconds_per_try": began.elapsed().as_secs_f64() / f64::from(tries), "seed": how.seed,
    });
    let mut out = stdout();
    serde_json::to_writer(&mut out, &value)?;
    writeln!(out)?;
    Ok(Exit::Fine)
}

fn find(truth: &Truth, cells: &[Cell]) -> Option<Estimate> {
    let cell = cells.iter().find(|cell| cell.op == truth.op && cell.mechanism == truth.name)?;
    truth.measured(cell)
}

fn inside(truth: &Truth, measured: &Estimate) -> bool {
    (measured.low..=measured.high).contains(&truth.expected.value())
}

fn as_json((truth, measured): &(Truth, Estimate)) -> Value {
    let unit = match truth.expected {
        Expected::Cycles(_) => "cycles",
        Expected::Ratio(_) => "ratio",
    };
    json!({
        "op": truth.op, "name": truth.name, "unit": unit, "truth": truth.expected.value(),
        "estimate": measured.estimate, "low": measured.low, "high": measured.high,
        "inside": inside(truth, measured), "source": truth.source,
    })
}

fn table(found: &[(Truth, Estimate)]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(vec!["truth", "", "expected", "estimate", "95% interval", "off by", "inside", "description"]);
    for (truth, measured) in found {
        let unit = match truth.expected {
            Expected::Cycles(_) => "cycles",
            Expected::Ratio(_) => "times",
        };
        let verdict = if inside(truth, measured) { "yes" } else { "no" };
        table.add_row(vec![
            truth.name.to_owned(),
            unit.to_owned(),
            format!("{}", truth.expected.value()),
            format!("{:.5}", measured.estimate),
            format!("{:.5} .. {:.5}", measured.low, measured.high),
            format!("{:+.5}", measured.estimate - truth.expected.value()),
            verdict.to_owned(),
            truth.summary.to_owned(),
        ]);
    }
    for column in [2, 3, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Collects the samples of one plan.
#[derive(Default)]
struct Collector {
    estimator: Estimator,
    /// Windows of full length in a block.
    windows_per_block: f64,
    /// Sum over all timed windows, kept or dropped, of the ticks per cycle.
    windows: f64,
    /// Number of blocks that were kept.
    kept: usize,
    /// Number of blocks that were repeated.
    dropped: usize,
    /// Core throughput of earlier tries; see [`Sink::min_adds_per_cycle`].
    min_adds_per_cycle: f64,
}

impl Sink for Collector {
    fn samples(&mut self, worker: usize, target: &Target, samples: Samples, _: &[u8]) {
        let (Target::Comparison(comparison), Samples::Loops(samples)) = (target, samples) else { return };
        let rates: Vec<f64> = samples.table.blocks.iter().map(Block::mean_ticks_per_cycle).collect();
        self.kept += samples.table.blocks.len();
        self.dropped += samples.dropped;
        let dropped = (samples.dropped.saturating_sub(samples.given_up)) as f64 * self.windows_per_block;
        self.windows += rates.iter().sum::<f64>() * self.windows_per_block;
        self.windows += median(&rates).unwrap_or(0.0) * (dropped + samples.given_up as f64 * WINDOWS_GIVEN_UP);
        self.estimator.add(worker, comparison, *samples);
    }

    fn failed(&mut self, WorkerFailure { failure, .. }: WorkerFailure) {
        error::warn(&format!("worker {}: {}", failure.worker, failure.message));
    }

    fn min_adds_per_cycle(&self) -> f64 {
        self.estimator.min_adds_per_cycle().max(self.min_adds_per_cycle)
    }
}
