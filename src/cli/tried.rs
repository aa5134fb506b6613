//! What a test runner wants of a bench target: the names of the benchmarks, and that each works.

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
use crate::measure::parent::{Mishap, Observer};
use crate::measure::plan::{Column, Group, Plan, Preset, Workers};
use crate::measure::wire::{GroupSamples, Task};
use crate::measure::work::KernelColumn;
use crate::measure::work_parent::{self, WorkPlan};
use crate::op::Platform;
use crate::regime::Regime;
use crate::suite::Suite;

/// Core cycles that a window takes: enough for each loop to run. Nothing is concluded from it.
const WINDOW_CYCLES: u64 = 10_000;
/// The number of the worker: only the first one of a run counts instructions, which takes longer than all else.
const WORKER: usize = 1;

/// The benchmarks of a suite that a filter means: ops, then workloads.
pub fn names(suite: &Suite, filter: &Filter) -> (Vec<&'static str>, Vec<&'static str>) {
    let meant = |name: &&str| filter.matches(name);
    let ops = suite.ops().iter().map(|op| op.meta.name).filter(meant).collect();
    let workloads = suite.workloads().iter().map(|entry| entry.meta.name).filter(meant).collect();
    (ops, workloads)
}

/// The same without a name that is there twice, as an op and as a workload.
fn benchmarks(suite: &Suite, filter: &Filter) -> Vec<&'static str> {
    let (mut all, workloads) = names(suite, filter);
    let only_workloads: Vec<&str> = workloads.into_iter().filter(|name| !all.contains(name)).collect();
    all.extend(only_workloads);
    all
}

/// Prints the names, as nextest and libtest's users read them.
pub fn list(suite: &Suite, filter: &Filter, format: Format) -> Done {
    let mut out = stdout();
    let benchmarks = benchmarks(suite, filter);
    for name in &benchmarks {
        writeln!(out, "{name}: benchmark")?;
    }
    if format == Format::Pretty {
        writeln!(out, "\n0 tests, {} benchmarks", benchmarks.len())?;
    }
    Ok(Exit::Fine)
}

/// Has every op reached once by every mechanism, and every workload run once on every kernel, in worker processes.
pub fn test(suite: &Suite, filter: &Filter) -> Done {
    let mut failed = 0;
    let benchmarks = benchmarks(suite, filter);
    for name in &benchmarks {
        writeln!(stdout(), "Testing {name}")?;
        let failures = tried(suite, name)?;
        failures.iter().for_each(|failure| error::warn(&format!("{name}: {failure}")));
        failed += usize::from(!failures.is_empty());
        writeln!(stdout(), "{}", if failures.is_empty() { "Success" } else { "Failed" })?;
    }
    if failed > 0 {
        let message = format!("{failed} of {} benchmarks failed; `run --op NAME` says more", benchmarks.len());
        return Err(CliError::Benchmarks(message));
    }
    let (count, name) = (benchmarks.len(), suite.name());
    writeln!(
        stdout(),
        "{count} of {name} tried, none measured: `cargo bench` measures, `{name} --help` says more"
    )?;
    Ok(Exit::Fine)
}

/// What went wrong with a benchmark.
fn tried(suite: &Suite, name: &str) -> Result<Vec<String>, CliError> {
    let mechanisms = suite.mechanism_metas();
    let columns: Vec<Column> =
        mechanisms.iter().filter(|mechanism| mechanism.name != "inline").flat_map(Column::of).collect();
    let is_op = suite.ops().iter().any(|op| op.meta.name == name);
    let group = Group { op: name.to_owned(), body: Platform::Native, regime: Regime::Throughput, offset: 0 };
    let plan = Plan {
        preset: Preset::Quick,
        seed: 0,
        groups: is_op.then_some(group).into_iter().collect(),
        columns: columns.clone(),
        only: Vec::new(),
        workers: Workers::Exactly(1),
        rounds: 1,
        window_cycles: WINDOW_CYCLES,
        cpu: None,
        clock: Clock::choose(None).0,
    };
    let available = suite.workloads().iter().filter(|entry| entry.meta.name == name && (entry.unavailable)().is_none());
    // A whole kernel has no NOP where an op does something.
    let kernels = columns.into_iter().filter(|column| column.state != Some(crate::patch::State::Nop));
    let work = WorkPlan {
        workloads: available.map(|entry| entry.meta.name.to_owned()).collect(),
        kernels: kernels.map(KernelColumn::Mechanism).collect(),
        workers: Workers::Exactly(1),
        rounds: 1,
        beside: None,
    };
    let mut units = BTreeMap::from([(name.to_owned(), 1)]);
    let mut heard = Heard::default();
    let stop = AtomicBool::new(false);
    work_parent::one(&plan, &work, WORKER, &mut units, &worker_command, &stop, &mut heard)?;
    Ok(heard.failures)
}

/// Keeps what went wrong.
#[derive(Default)]
struct Heard {
    failures: Vec<String>,
}

impl Observer for Heard {
    fn samples(&mut self, _: usize, _: &Group, _: GroupSamples, _: &[u8]) {}

    fn mishap(&mut self, mishap: Mishap) {
        self.failures.push(mishap.message);
    }

    fn through(&mut self) {}

    fn wanting(&mut self) -> Vec<Task> {
        Vec::new()
    }

    fn again(&mut self, _: usize) {}
}
