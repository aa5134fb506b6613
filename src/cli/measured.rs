//! Course of a run: facts before it, samples from its workers, and the document it ends with.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::conditions::{Conditions, keep_off, worker_command};
use super::error::{self, CliError};
use super::progress::Progress;
use crate::clock::Clock;
use crate::estimate::Allocation;
use crate::host::{Check, Machine, Probes, Root, checks_with, pmu_unavailable};
use crate::measure::comparison::Comparison;
use crate::measure::explain::examples;
use crate::measure::loops::code_memory;
use crate::measure::separate_cores::have_separate_cores;
use crate::measure::trace::Tracer;
use crate::measure::variant::{MechanismState, TreatmentId};
use crate::relocate::CodeError;
use crate::report::schema::{Failure, Unavailable};
use crate::report::write;
use crate::run::assemble::Estimators;
use crate::run::plan::Plan;
use crate::run::process::Processes;
use crate::run::protocol::{Samples, Target};
use crate::run::report::{Facts, listings};
use crate::run::samples::SamplesWriter;
use crate::run::scheduler;
use crate::run::sink::{Sink, WorkerFailure};
use crate::suite::{Code, OpEntry, Suite, optimisation};
use crate::workload;

/// Number of other CPUs that are tested as second CPU: a core has two hyperthreads, or four.
const MAX_TESTED_CPUS: usize = 4;
/// Number of tests of each CPU. Another guest that comes and goes can make two CPUs seem to share a core, but nothing
/// makes hyperthreads of one core seem to have separate cores.
const MAX_TESTS_PER_CPU: usize = 3;

/// Facts about machine and clock before anything is measured.
pub struct HostContext {
    /// The answers of the running system.
    probes: Probes,
    /// The clock that times windows.
    pub clock: Clock,
    clock_reason: Option<String>,
    /// Why loops cannot be copied, if they cannot.
    immovable: Option<CodeError>,
}

impl HostContext {
    /// Asks the running system, and chooses CPU and clock by the options.
    pub fn ask(conditions: &Conditions) -> Self {
        let mut probes = Probes::ask(&Root::default());
        let (clock, clock_reason) = Clock::choose(conditions.clock);
        if let Some(cpu) = conditions.cpu {
            probes.measuring_cpu = u32::try_from(cpu).ok();
        }
        HostContext { probes, clock, clock_reason, immovable: code_memory().err() }
    }

    /// Whether loops can be copied to chosen addresses.
    pub fn movable(&self) -> bool {
        self.immovable.is_none()
    }

    /// Returns the CPU to measure on.
    pub fn cpu(&self, conditions: &Conditions) -> Option<usize> {
        conditions.cpu.or(self.probes.measuring_cpu.map(|cpu| cpu as usize))
    }

    /// Returns a second CPU that has a separate core, to measure these workloads on at the same time.
    ///
    /// It is `None` in three cases: `--cpu` was given, which reserves one CPU only; a workload runs on several CPUs
    /// itself; no CPU with a separate core is found.
    pub fn second_cpu(&self, conditions: &Conditions, suite: &Suite, workloads: &[String]) -> Option<usize> {
        let chosen = |entry: &&workload::WorkloadEntry| workloads.iter().any(|name| *name == entry.meta.name);
        let alone = suite.workloads().iter().filter(chosen).all(|entry| entry.cpus == 1);
        if conditions.cpu.is_some() || !alone || workloads.is_empty() {
            return None;
        }
        let cpu = self.cpu(conditions)?;
        let mut others: Vec<usize> =
            self.probes.cpus_allowed.as_deref().unwrap_or_default().iter().map(|cpu| *cpu as usize).collect();
        others.retain(|other| *other != cpu);
        // Most interrupts go to the first CPUs, so the last ones are tested first.
        others.sort_unstable_by(|a, b| b.cmp(a));
        let is_separate = |other: &usize| (0..MAX_TESTS_PER_CPU).any(|_| have_separate_cores(cpu, *other, self.clock));
        others.into_iter().take(MAX_TESTED_CPUS).find(is_separate)
    }
}

/// Measures a plan and returns its document. `writer` also keeps the samples in a file.
pub fn measure(
    plan: &Plan,
    absent: Vec<Unavailable>,
    suite: &Suite,
    here: &HostContext,
    writer: Option<SamplesWriter>,
    stop: &AtomicBool,
) -> Result<Vec<u8>, CliError> {
    let progress = Progress::of(plan);
    let mut measured = RunState::begin(plan, here, progress, writer)?;
    let RunState { collector, no_counters, .. } = &mut measured;
    let count = no_counters.is_none();
    let processes = Processes { command: &worker_command, stop };
    let whole = scheduler::run(plan, processes, count, collector)?;
    measured.make_document(absent, suite, here, whole)
}

/// A run in progress: the samples so far, and the conditions of the run.
pub struct RunState<'a> {
    /// Collects samples.
    pub collector: Collector<'a>,
    ticks_per_second: f64,
    no_counters: Option<String>,
    uncounted: Option<String>,
    started: SystemTime,
    began: Instant,
}

impl<'a> RunState<'a> {
    /// Moves this process off the workers' CPU and begins the run.
    pub fn begin(
        plan: &'a Plan,
        here: &HostContext,
        progress: Progress,
        writer: Option<SamplesWriter>,
    ) -> Result<Self, CliError> {
        if let Some(cpu) = plan.cpu {
            keep_off(cpu, &here.probes)?;
        }
        let ticks_per_second = here.clock.ticks_per_second(Duration::from_millis(100));
        let collector = Collector {
            progress,
            failures: Vec::new(),
            refusal: None,
            measured: vec![false; plan.matrix.comparisons.len()],
            estimators: Estimators::default(),
            writer,
            workers: 0,
            workers_again: 0,
            plan,
        };
        Ok(RunState {
            collector,
            ticks_per_second,
            no_counters: pmu_unavailable(),
            uncounted: Tracer::install().err().map(|error| error.to_string()),
            started: SystemTime::now(),
            began: Instant::now(),
        })
    }

    /// Makes the document of the run; `whole` if nothing was cut short.
    pub fn make_document(
        self,
        absent: Vec<Unavailable>,
        suite: &Suite,
        here: &HostContext,
        whole: bool,
    ) -> Result<Vec<u8>, CliError> {
        let RunState { collector, ticks_per_second, no_counters, uncounted, started, began } = self;
        let plan = collector.plan;
        collector.progress.finish();
        let ops = suite.ops();
        let planned: Vec<&OpEntry> = ops.iter().filter(|op| plan.matrix.has_op(op.meta.name)).collect();
        let mechanisms: Vec<MechanismState> =
            plan.matrix.treatments.iter().filter_map(|treatment| treatment.mechanism().cloned()).collect();
        let facts = Facts {
            clock: here.clock.name().to_owned(),
            clock_reason: here.clock_reason.clone(),
            ticks_per_second,
            // Whole seconds are enough to tell runs apart.
            started: humantime::format_rfc3339_seconds(started.max(UNIX_EPOCH)).to_string(),
            duration_seconds: began.elapsed().as_secs_f64(),
            complete: whole
                && collector.measured.iter().all(|measured| *measured)
                && collector.estimators.workloads.has_all(&plan.work.workloads),
            machine: Machine::read_probed(&Root::default(), &here.probes),
            environment: check_environment(suite, &planned, here),
            listings: listings(&examples(&planned, &mechanisms).unwrap_or_default()),
            workers: collector.workers,
            workers_again: collector.workers_again,
            second_cpu: plan.second_cpu,
            failures: collector.failures,
            absent: list_absences(absent, no_counters, here.immovable.as_ref(), uncounted, (plan, suite))
                .into_iter()
                .chain(list_called_bodies(&planned))
                .collect(),
        };
        if let Some(writer) = collector.writer {
            // A samples file that cannot be finished must not cost the report.
            writer.finish(&facts).unwrap_or_else(|error| error::warn(&error.to_string()));
        }
        Ok(write::json(&collector.estimators.report(plan, suite, facts))?)
    }
}

/// Lists what the report lacks, with the reasons.
fn list_absences(
    mut absent: Vec<Unavailable>,
    no_counters: Option<String>,
    immovable: Option<&CodeError>,
    uncounted: Option<String>,
    (plan, suite): (&Plan, &Suite),
) -> Vec<Unavailable> {
    if let Some(reason) = immovable {
        let what = "layouts and patched states".to_owned();
        absent
            .push(Unavailable { what, reason: format!("loops ran at the addresses that the linker chose: {reason}") });
    }
    if let Some(reason) = no_counters {
        absent.push(Unavailable { what: "hardware counters".to_owned(), reason });
    }
    if let Some(reason) = uncounted {
        absent.push(Unavailable { what: "instruction counts".to_owned(), reason });
    }
    if plan.work.workloads.is_empty() {
        let reason = if suite.workloads().is_empty() {
            format!("suite {} has no workloads; .workload::<..>() adds one", suite.name())
        } else {
            "--op, --regime or --body was given without --workload".to_owned()
        };
        absent.push(Unavailable { what: "workloads".to_owned(), reason });
    }
    absent
}

/// Makes the checks of the machine, and the check of the planned ops' code. Without planned ops the code of all ops is
/// checked, since workloads call any of them.
fn check_environment(suite: &Suite, planned: &[&OpEntry], here: &HostContext) -> Vec<Check> {
    let mut checks = checks_with(&Root::default(), &here.probes);
    checks.push(match planned {
        [] => optimisation(suite.ops().iter()),
        _ => optimisation(planned.iter().copied()),
    });
    checks
}

/// Lists ops whose body is a call even with `inline`, the reference of all overheads.
fn list_called_bodies(planned: &[&OpEntry]) -> Vec<Unavailable> {
    let absence = |op: &&OpEntry| Unavailable {
        what: format!("body of {} in place", op.meta.name),
        reason: "even inline it calls another function: mark that function #[inline] or build with lto, and name the \
                 function itself if it is called through a pointer"
            .to_owned(),
    };
    // Unoptimised code never has bodies in place, and has a warning of its own.
    planned.iter().filter(|op| op.code() != Code::Unoptimised && op.calls_out()).map(absence).collect()
}

/// Collects the samples that workers send.
pub struct Collector<'a> {
    estimators: Estimators,
    /// Keeps the samples in a file, if `--samples` named one.
    writer: Option<SamplesWriter>,
    progress: Progress,
    failures: Vec<Failure>,
    refusal: Option<Refusal>,
    measured: Vec<bool>,
    workers: usize,
    workers_again: usize,
    plan: &'a Plan,
}

impl Collector<'_> {
    /// Returns the first failure, if no worker has measured anything.
    pub fn refusal(&self) -> Option<&Refusal> {
        let nothing = !self.measured.contains(&true) && !self.estimators.workloads.has_any();
        self.refusal.as_ref().filter(|_| nothing)
    }
}

/// The reason why a build measures nothing.
pub struct Refusal {
    /// The message of the worker, or how it died.
    pub message: String,
    /// Whether the worker died; else it refused its assignment.
    pub is_death: bool,
}

impl Sink for Collector<'_> {
    fn samples(&mut self, worker: usize, target: &Target, samples: Samples, raw: &[u8]) {
        if let Some(writer) = &mut self.writer {
            writer.write_samples(worker, target, raw);
        }
        self.estimators.add(worker, target, samples);
        if let Target::Comparison(comparison) = target {
            let mut planned = self.plan.matrix.comparisons.iter();
            if let Some(index) = planned.position(|planned| planned.comparison == *comparison) {
                self.measured[index] = true;
            }
        }
        self.progress.step();
    }

    fn failed(&mut self, failure: WorkerFailure) {
        let place = failure.group.as_ref().map_or("between comparisons".to_owned(), |group| format!("at {group}"));
        self.progress.note(&format!("worker {} {place}: {}", failure.worker, failure.message));
        let refusal = || Refusal { message: failure.message.clone(), is_death: failure.is_death };
        self.refusal.get_or_insert_with(refusal);
        self.failures.push(Failure { worker: failure.worker, group: failure.group, message: failure.message });
        self.progress.step();
    }

    fn through(&mut self) {
        self.workers += 1;
    }

    fn again(&mut self) {
        self.workers_again += 1;
    }

    fn min_adds_per_cycle(&self) -> f64 {
        self.estimators.cells.min_adds_per_cycle()
    }

    fn undecided(&mut self) -> Vec<(Comparison, Vec<TreatmentId>)> {
        self.estimators.undecided(self.plan)
    }

    fn allocate(&mut self, left: f64) -> (Vec<Allocation>, f64) {
        self.estimators.allocate(self.plan, left)
    }
}
