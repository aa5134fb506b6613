//! A run in progress: samples from its workers, and the document it ends with.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::assemble::Estimators;
use super::host_context::{HostContext, STAYS, keep_off};
use super::plan::Plan;
use super::protocol::{Samples, Target};
use super::report::{Facts, RunningKernel, listings};
use super::samples::SamplesWriter;
use super::sink::{Sink, WorkerFailure};
use crate::estimate::Allocation;
use crate::host::{Check, Machine, PinError, Root, checks_with, pmu_unavailable};
use crate::measure::comparison::Comparison;
use crate::measure::explain::examples;
use crate::measure::trace::Tracer;
use crate::measure::variant::{MechanismState, TreatmentId};
use crate::op::BodyKind;
use crate::relocate::CodeError;
use crate::report::Report;
use crate::report::schema::{Failure, Unavailable};
use crate::suite::{Code, OpEntry, Suite, optimisation};

/// A phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Processes run a real kernel's workloads on the running kernel.
    RunningKernel,
    /// Workers take all comparisons.
    Cells,
    /// Workers take contended or undecided comparisons again.
    UndecidedCells {
        /// Number of these comparisons at the last checkpoint.
        comparisons: usize,
    },
    /// Workers take workloads.
    Workloads,
    /// Everything is measured; the report is made from the samples.
    Report,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::RunningKernel => f.write_str("running kernel"),
            Phase::Cells => f.write_str("cells"),
            Phase::UndecidedCells { comparisons } => write!(f, "undecided cells ({comparisons} comparisons)"),
            Phase::Workloads => f.write_str("workloads"),
            Phase::Report => f.write_str("estimates"),
        }
    }
}

/// Shows how far a run is.
pub(crate) trait Progress {
    /// Begins to show the run.
    fn begin(&mut self);
    /// Shows the time that passed; called several times a second.
    fn tick(&mut self);
    /// Shows that a phase began.
    fn enter(&mut self, phase: Phase);
    /// Counts a finished job, and shows its name.
    fn step(&mut self, phase: Phase, job: String);
    /// Shows a message.
    fn note(&mut self, message: &str);
    /// Shows the end of the run.
    fn finish(self);
}

/// A run in progress: the samples so far, and the conditions of the run.
pub(crate) struct Session<'a, P> {
    /// Collects samples.
    pub(crate) collector: Collector<'a, P>,
    ticks_per_second: f64,
    running_kernel: Option<Result<RunningKernel, String>>,
    no_counters: Option<String>,
    uncounted: Option<String>,
    started: SystemTime,
    began: Instant,
}

impl<'a, P: Progress> Session<'a, P> {
    /// Moves this process off the workers' CPU and begins the run.
    ///
    /// # Errors
    /// [`PinError`] where the plan's CPU cannot be used.
    pub(crate) fn begin(
        plan: &'a Plan,
        here: &HostContext,
        mut progress: P,
        writer: Option<SamplesWriter>,
    ) -> Result<Self, PinError> {
        if let Some(cpu) = plan.cpu
            && !keep_off(cpu, &here.probes)?
        {
            progress.note(STAYS);
        }
        progress.begin();
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
            undecided: 0,
            phase: Phase::Cells,
            plan,
        };
        Ok(Session {
            collector,
            ticks_per_second,
            running_kernel: None,
            no_counters: pmu_unavailable(),
            uncounted: Tracer::install().err().map(|error| error.to_string()),
            started: SystemTime::now(),
            began: Instant::now(),
        })
    }

    /// Whether hardware counters are available.
    #[must_use]
    pub(crate) fn counts_events(&self) -> bool {
        self.no_counters.is_none()
    }

    /// Measures the running kernel with `measure`, which calls its argument with the name of each workload. An error
    /// becomes a reason in the report.
    pub(crate) fn measure_running_kernel(
        &mut self,
        measure: impl FnOnce(&(dyn Fn(&str) + Sync)) -> Result<RunningKernel, String>,
    ) where
        P: Send,
    {
        let progress = Mutex::new(&mut self.collector.progress);
        let step = |workload: &str| {
            if let Ok(mut progress) = progress.lock() {
                progress.step(Phase::RunningKernel, workload.to_owned());
            }
        };
        self.running_kernel = Some(measure(&step));
    }

    /// Makes the report of the run; `whole` if nothing was cut short. `absent` lists the workloads that the plan lacks.
    pub(crate) fn finish(self, absent: Vec<Unavailable>, suite: &Suite, here: &HostContext, whole: bool) -> Report {
        let Session { collector, ticks_per_second, running_kernel, no_counters, uncounted, started, began } = self;
        let plan = collector.plan;
        let mut progress = collector.progress;
        progress.enter(Phase::Report);
        let (running_kernel, unpriced) = match running_kernel.transpose() {
            Ok(measured) => (measured, None),
            Err(reason) => (None, Some(Unavailable { what: "kernel time".to_owned(), reason })),
        };
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
                .chain(unpriced)
                .collect(),
            running_kernel,
        };
        if let Some(writer) = collector.writer {
            // A samples file that cannot be finished must not cost the report.
            writer.finish(&facts).unwrap_or_else(|error| progress.note(&error.to_string()));
        }
        let report = collector.estimators.report(plan, suite, facts);
        progress.finish();
        report
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
pub(crate) struct Collector<'a, P> {
    estimators: Estimators,
    /// Keeps the samples in a file, if `--samples` named one.
    writer: Option<SamplesWriter>,
    progress: P,
    failures: Vec<Failure>,
    refusal: Option<Refusal>,
    measured: Vec<bool>,
    workers: usize,
    workers_again: usize,
    /// Number of undecided comparisons at the last checkpoint.
    undecided: usize,
    /// The phase of the last job.
    phase: Phase,
    plan: &'a Plan,
}

impl<P> Collector<'_, P> {
    /// Returns the first failure, if no worker has measured anything.
    #[must_use]
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        let nothing = !self.measured.contains(&true) && !self.estimators.workloads.has_any();
        self.refusal.as_ref().filter(|_| nothing)
    }

    /// Returns the phase of a job.
    fn find_phase(&self, target: &Target) -> Phase {
        match target {
            Target::Workload(_) => Phase::Workloads,
            Target::Comparison(_) if self.workers_again > 0 => Phase::UndecidedCells { comparisons: self.undecided },
            Target::Comparison(_) => Phase::Cells,
        }
    }
}

/// Names what a job measures: the layouts of a comparison have the same name.
fn name_job(target: &Target) -> String {
    match target {
        Target::Comparison(Comparison { op, regime, body: BodyKind::Native, .. }) => format!("{op} {}", regime.name()),
        Target::Comparison(Comparison { op, regime, body, .. }) => format!("{op} {} {}", body.name(), regime.name()),
        Target::Workload(target) => target.workload.clone(),
    }
}

/// The reason why a build measures nothing.
pub struct Refusal {
    /// The message of the worker, or how it died.
    pub(crate) message: String,
    /// Whether the worker died; else it refused its assignment.
    pub(crate) is_death: bool,
}

impl<P: Progress> Sink for Collector<'_, P> {
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
        self.phase = self.find_phase(target);
        self.progress.step(self.phase, name_job(target));
    }

    fn failed(&mut self, WorkerFailure { failure, is_death }: WorkerFailure) {
        let place = failure.comparison.as_ref().map_or("between comparisons".to_owned(), |group| format!("at {group}"));
        self.progress.note(&format!("worker {} {place}: {}", failure.worker, failure.message));
        let refusal = || Refusal { message: failure.message.clone(), is_death };
        self.refusal.get_or_insert_with(refusal);
        self.failures.push(failure);
        self.progress.step(self.phase, "a failed job".to_owned());
    }

    fn waited(&mut self) {
        self.progress.tick();
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
        let undecided = self.estimators.undecided(self.plan);
        self.undecided = undecided.len();
        undecided
    }

    fn allocate(&mut self, left: f64) -> (Vec<Allocation>, f64) {
        self.estimators.allocate(self.plan, left)
    }
}
