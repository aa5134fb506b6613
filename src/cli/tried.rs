//! Requests of test runners to a bench target: list the benchmarks, and check that each works.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::AtomicBool;

use super::Done;
use super::bench_target::{Filter, Format};
use super::error::{self, CliError};
use super::exit::Exit;
use super::output::stdout;
use super::selection::kernels;
use crate::clock::Clock;
use crate::host::{Check, measuring};
use crate::measure::comparison::{Comparison, Matrix};
use crate::measure::variant::MechanismState;
use crate::op::BodyKind;
use crate::regime::Regime;
use crate::run::plan::{Effort, Plan, Preset, Workers, WorkloadPlan};
use crate::run::process::{Processes, worker_command};
use crate::run::protocol::{Samples, Target};
use crate::run::scheduler::run_one;
use crate::run::sink::{Sink, WorkerFailure};
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
        let failures = run_once(suite, name)?.failures;
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

/// Runs a benchmark once.
fn run_once(suite: &Suite, name: &str) -> Result<Trial, CliError> {
    let mechanisms = suite.mechanism_metas();
    let treated = mechanisms.iter().filter(|mechanism| mechanism.name != "inline");
    let mut matrix = Matrix::default();
    let treatments = matrix.treatments.add_mechanisms(treated.flat_map(MechanismState::list));
    if suite.ops().iter().any(|op| op.meta.name == name) {
        let (body, regime) = (BodyKind::Native, Regime::Throughput);
        matrix.plan([Comparison { op: name.to_owned(), body, regime, offset: 0 }], &treatments);
    }
    let kernels = kernels(mechanisms.iter()).map(|kernel| matrix.treatments.add(kernel)).collect();
    let available = suite.workloads().iter().filter(|entry| entry.meta.name == name && (entry.unavailable)().is_none());
    let workloads = available.map(|entry| entry.meta.name.to_owned()).collect();
    let effort = Effort { workers: Workers::Exactly(1), blocks: 1 };
    let plan = Plan {
        preset: Preset::Quick,
        seed: 0,
        matrix,
        effort,
        work: WorkloadPlan { workloads, kernels, effort },
        window_cycles: WINDOW_CYCLES,
        cpu: None,
        second_cpu: None,
        clock: Clock::choose(None).0,
    };
    let mut units = BTreeMap::from([(name.to_owned(), 1)]);
    let mut sink = Trial::default();
    let stop = AtomicBool::new(false);
    run_one(&plan, WORKER, &mut units, Processes { command: &worker_command, stop: &stop }, &mut sink)?;
    Ok(sink)
}

/// Checks whether this machine can measure: a worker process runs the first benchmark of the suite once. Also returns
/// whether it measured anything.
pub(crate) fn check_measuring(suite: &Suite) -> (Check, bool) {
    let Some(name) = select_benchmarks(suite, &Filter::default()).first().copied() else {
        return (measuring(false, Some("the suite has no op and no workload")), false);
    };
    match run_once(suite, name) {
        Ok(trial) => (measuring(trial.has_samples, trial.failures.first().map(String::as_str)), trial.has_samples),
        Err(error) => (measuring(false, Some(&error.to_string())), false),
    }
}

/// The outcome of one worker.
#[derive(Default)]
struct Trial {
    has_samples: bool,
    failures: Vec<String>,
}

impl Sink for Trial {
    fn samples(&mut self, _: usize, _: &Target, _: Samples, _: &[u8]) {
        self.has_samples = true;
    }

    fn failed(&mut self, WorkerFailure { failure, .. }: WorkerFailure) {
        self.failures.push(failure.message);
    }
}
