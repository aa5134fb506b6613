//! Requests of test runners to a bench target: list the benchmarks, and check that each works.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::AtomicBool;

use super::Done;
use super::bench_target::{Filter, Format};
use super::conditions::worker_command;
use super::error::{self, CliError};
use super::exit::Exit;
use super::output::stdout;
use crate::clock::Clock;
use crate::measure::parent::{Sink, WorkerFailure};
use crate::measure::plan::{Comparison, Plan, Preset, Variant, Workers};
use crate::measure::wire::{ComparisonSamples, Task};
use crate::measure::work::KernelVariant;
use crate::measure::work_parent::{self, WorkPlan};
use crate::op::BodyKind;
use crate::regime::Regime;
use crate::suite::Suite;

/// Length of a window in core cycles: enough for each loop to run. The times are not used.
const WINDOW_CYCLES: u64 = 10_000;
/// The number of the worker. Only the first worker of a run counts instructions, which takes longer than all the rest.
const WORKER: usize = 1;

/// Returns the benchmarks of a suite that a filter selects: ops, then workloads.
pub fn names(suite: &Suite, filter: &Filter) -> (Vec<&'static str>, Vec<&'static str>) {
    let meant = |name: &&str| filter.matches(name);
    let ops = suite.ops().iter().map(|op| op.meta.name).filter(meant).collect();
    let workloads = suite.workloads().iter().map(|entry| entry.meta.name).filter(meant).collect();
    (ops, workloads)
}

/// Returns the selected benchmarks; an op and a workload of the same name are one.
fn select_benchmarks(suite: &Suite, filter: &Filter) -> Vec<&'static str> {
    let (mut all, workloads) = names(suite, filter);
    let only_workloads: Vec<&str> = workloads.into_iter().filter(|name| !all.contains(name)).collect();
    all.extend(only_workloads);
    all
}

/// Prints the names in the format of libtest, which nextest reads.
pub fn list(suite: &Suite, filter: &Filter, format: Format) -> Done {
    let mut out = stdout();
    let benchmarks = select_benchmarks(suite, filter);
    for name in &benchmarks {
        writeln!(out, "{name}: benchmark")?;
    }
    if format == Format::Pretty {
        writeln!(out, "\n0 tests, {} benchmarks", benchmarks.len())?;
    }
    Ok(Exit::Fine)
}

/// Runs every op once with every mechanism, and every workload once on every kernel, in worker processes.
pub fn test(suite: &Suite, filter: &Filter) -> Done {
    let mut failed = 0;
    let benchmarks = select_benchmarks(suite, filter);
    for name in &benchmarks {
        writeln!(stdout(), "Testing {name}")?;
        let failures = run_once(suite, name)?;
        failures.iter().for_each(|failure| error::warn(&format!("{name}: {failure}")));
        failed += usize::from(!failures.is_empty());
        writeln!(stdout(), "{}", if failures.is_empty() { "Success" } else { "Failed" })?;
    }
    if failed > 0 {
        let message = format!("{failed} of {} benchmarks failed; `run --op NAME` shows the reasons", benchmarks.len());
        return Err(CliError::Benchmarks(message));
    }
    let (count, name) = (benchmarks.len(), suite.name());
    writeln!(
        stdout(),
        "{count} of {name} tried, none measured: `cargo bench` measures, `{name} --help` lists all commands"
    )?;
    Ok(Exit::Fine)
}

/// Runs a benchmark once and returns its failures.
fn run_once(suite: &Suite, name: &str) -> Result<Vec<String>, CliError> {
    let mechanisms = suite.mechanism_metas();
    let columns: Vec<Variant> =
        mechanisms.iter().filter(|mechanism| mechanism.name != "inline").flat_map(Variant::of).collect();
    let is_op = suite.ops().iter().any(|op| op.meta.name == name);
    let group = Comparison { op: name.to_owned(), body: BodyKind::Native, regime: Regime::Throughput, offset: 0 };
    let plan = Plan {
        preset: Preset::Quick,
        seed: 0,
        comparisons: is_op.then_some(group).into_iter().collect(),
        variants: columns.clone(),
        variants_by_comparison: Vec::new(),
        workers: Workers::Exactly(1),
        rounds: 1,
        window_cycles: WINDOW_CYCLES,
        cpu: None,
        clock: Clock::choose(None).0,
    };
    let available = suite.workloads().iter().filter(|entry| entry.meta.name == name && (entry.unavailable)().is_none());
    // A whole kernel cannot replace ops that do something by NOPs.
    let kernels = columns.into_iter().filter(|column| column.state != Some(crate::patch::State::Nop));
    let work = WorkPlan {
        workloads: available.map(|entry| entry.meta.name.to_owned()).collect(),
        kernels: kernels.map(KernelVariant::Mechanism).collect(),
        workers: Workers::Exactly(1),
        rounds: 1,
        second_cpu: None,
    };
    let mut units = BTreeMap::from([(name.to_owned(), 1)]);
    let mut sink = FailureSink::default();
    let stop = AtomicBool::new(false);
    work_parent::one(&plan, &work, WORKER, &mut units, &worker_command, &stop, &mut sink)?;
    Ok(sink.failures)
}

/// Collects the failures of a worker.
#[derive(Default)]
struct FailureSink {
    failures: Vec<String>,
}

impl Sink for FailureSink {
    fn samples(&mut self, _: usize, _: &Comparison, _: ComparisonSamples, _: &[u8]) {}

    fn failed(&mut self, failure: WorkerFailure) {
        self.failures.push(failure.message);
    }

    fn through(&mut self) {}

    fn next_tasks(&mut self) -> Vec<Task> {
        Vec::new()
    }

    fn again(&mut self, _: usize) {}
}
