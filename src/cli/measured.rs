//! A run at work: what is known before, what workers send, and the document of it.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::conditions::{Conditions, keep_off, worker_command};
use super::error::{self, CliError};
use super::progress::Progress;
use super::run::Chosen;
use crate::clock::Clock;
use crate::host::{Check, Machine, Probes, Root, checks_with, pmu_unavailable};
use crate::measure::explain::examples;
use crate::measure::loops::code_memory;
use crate::measure::parent::{Sink, WorkerFailure};
use crate::measure::plan::{Comparison, Plan, Workers};
use crate::measure::separate_cores::have_separate_cores;
use crate::measure::trace::Tracer;
use crate::measure::wire::{ComparisonSamples, Task};
use crate::measure::work::{KernelVariant, WorkSamples};
use crate::measure::work_parent::{Allocation, run_all};
use crate::patch::CodeError;
use crate::report::schema::{Failure, Unavailable};
use crate::report::write;
use crate::run::assemble::Samples;
use crate::run::report::{Facts, listings};
use crate::run::samples::SamplesWriter;
use crate::suite::{Code, OpEntry, Suite, optimisation};
use crate::workload;

/// So many other CPUs are tried: a core has two hyperthreads, or four.
const NEIGHBOURS: usize = 4;
/// So often each is tried: another guest that comes and goes can make two CPUs seem to share a core, and nothing makes
/// two that do seem to have one each.
const TRIES: usize = 3;

/// What is known of machine and clock before anything is measured.
pub struct Here {
    /// The machine's answers.
    probes: Probes,
    /// What windows are timed with.
    pub clock: Clock,
    clock_reason: Option<String>,
    /// Why loops cannot be copied.
    immovable: Option<CodeError>,
}

impl Here {
    /// Asks, and chooses CPU and clock as the options say.
    pub fn ask(conditions: &Conditions) -> Self {
        let mut probes = Probes::ask(&Root::default());
        let (clock, clock_reason) = Clock::choose(conditions.clock);
        if let Some(cpu) = conditions.cpu {
            probes.measuring_cpu = u32::try_from(cpu).ok();
        }
        Here { probes, clock, clock_reason, immovable: code_memory().err() }
    }

    /// Whether loops can be copied to where they are wanted.
    pub fn movable(&self) -> bool {
        self.immovable.is_none()
    }

    /// The CPU to measure on.
    pub fn cpu(&self, conditions: &Conditions) -> Option<usize> {
        conditions.cpu.or(self.probes.measuring_cpu.map(|cpu| cpu as usize))
    }

    /// Another CPU to measure these workloads on at the same time: one that takes nothing from the first. None where
    /// the first was named, which leaves all others to whoever did so, or where a workload wants several for itself.
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
        // Interrupts go to the first ones.
        others.sort_unstable_by(|a, b| b.cmp(a));
        let apart = |other: &usize| (0..TRIES).any(|_| have_separate_cores(cpu, *other, self.clock));
        others.into_iter().take(NEIGHBOURS).find(apart)
    }
}

/// Measures a plan and makes the document of what it found.
/// `writer` keeps the samples, too.
pub fn measure(
    plan: &Plan,
    work: &Chosen,
    suite: &Suite,
    here: &Here,
    writer: Option<SamplesWriter>,
    stop: &AtomicBool,
) -> Result<Vec<u8>, CliError> {
    let progress = match plan.workers {
        Workers::Exactly(workers) => Progress::of_steps((plan.comparisons.len() + work.plan.workloads.len()) * workers),
        Workers::Within(time) => Progress::of_time(time + work.plan.workers.left(Duration::ZERO)),
    };
    let mut measured = Measured::begin(plan, here, progress, writer)?;
    let Measured { collector, no_counters, .. } = &mut measured;
    let count = no_counters.is_none();
    let whole = run_all(plan, &work.plan, &worker_command, count, stop, collector)?;
    measured.document(work, suite, here, whole)
}

/// A run at work: what came in, and what it was measured with.
pub struct Measured<'a> {
    /// Takes samples.
    pub collector: Collector<'a>,
    ticks_per_second: f64,
    no_counters: Option<String>,
    uncounted: Option<String>,
    started: SystemTime,
    began: Instant,
}

impl<'a> Measured<'a> {
    /// Moves this process off the workers' CPU, and begins.
    pub fn begin(
        plan: &'a Plan,
        here: &Here,
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
            measured: vec![false; plan.comparisons.len()],
            samples: Samples::default(),
            writer,
            workers: 0,
            workers_again: 0,
            plan,
        };
        Ok(Measured {
            collector,
            ticks_per_second,
            no_counters: pmu_unavailable(),
            uncounted: Tracer::install().err().map(|error| error.to_string()),
            started: SystemTime::now(),
            began: Instant::now(),
        })
    }

    /// The document of what came in; `whole` where nothing was cut short.
    pub fn document(self, work: &Chosen, suite: &Suite, here: &Here, whole: bool) -> Result<Vec<u8>, CliError> {
        let Measured { collector, ticks_per_second, no_counters, uncounted, started, began } = self;
        let plan = collector.plan;
        collector.progress.finish();
        let ops = suite.ops();
        let planned: Vec<&OpEntry> =
            ops.iter().filter(|op| plan.comparisons.iter().any(|group| group.op == op.meta.name)).collect();
        let facts = Facts {
            clock: here.clock.name().to_owned(),
            clock_reason: here.clock_reason.clone(),
            ticks_per_second,
            // Whole seconds: nobody compares runs by less.
            started: humantime::format_rfc3339_seconds(started.max(UNIX_EPOCH)).to_string(),
            duration_seconds: began.elapsed().as_secs_f64(),
            complete: whole
                && collector.measured.iter().all(|measured| *measured)
                && collector.samples.workloads.has_all(&work.plan.workloads),
            machine: Machine::read_probed(&Root::default(), &here.probes),
            environment: environment(suite, &planned, here),
            listings: listings(&examples(&planned, &plan.variants).unwrap_or_default()),
            workers: collector.workers,
            workers_again: collector.workers_again,
            second_cpu: work.plan.second_cpu,
            failures: collector.failures,
            absent: absences(no_counters, here.immovable.as_ref(), uncounted, (work, suite))
                .into_iter()
                .chain(out_of_place(&planned))
                .collect(),
        };
        if let Some(writer) = collector.writer {
            // The report is worth more than the file it could be made from again.
            writer.finish(&facts).unwrap_or_else(|error| error::warn(&error.to_string()));
        }
        Ok(write::json(&collector.samples.report(plan, &work.plan.kernels, suite, facts))?)
    }
}

fn absences(
    no_counters: Option<String>,
    immovable: Option<&CodeError>,
    uncounted: Option<String>,
    (work, suite): (&Chosen, &Suite),
) -> Vec<Unavailable> {
    let mut absent = work.absent.clone();
    if let Some(reason) = immovable {
        let what = "layouts and patched states".to_owned();
        absent.push(Unavailable { what, reason: format!("loops ran where the linker put them: {reason}") });
    }
    if let Some(reason) = no_counters {
        absent.push(Unavailable { what: "hardware counters".to_owned(), reason });
    }
    if let Some(reason) = uncounted {
        absent.push(Unavailable { what: "instruction counts".to_owned(), reason });
    }
    if work.plan.workloads.is_empty() {
        let reason = if suite.workloads().is_empty() {
            format!("suite {} has none; .workload::<..>() adds one", suite.name())
        } else {
            "ops, regimes or another body than native were named, and no workload".to_owned()
        };
        absent.push(Unavailable { what: "workloads".to_owned(), reason });
    }
    absent
}

/// The conditions of measuring: the machine's checks, and that of the planned ops' code. Without planned ops it is the
/// code of all ops, since workloads call any of them.
fn environment(suite: &Suite, planned: &[&OpEntry], here: &Here) -> Vec<Check> {
    let mut checks = checks_with(&Root::default(), &here.probes);
    checks.push(match planned {
        [] => optimisation(suite.ops().iter()),
        _ => optimisation(planned.iter().copied()),
    });
    checks
}

/// Ops whose body is not in place even with `inline`, which all else is held against.
fn out_of_place(planned: &[&OpEntry]) -> Vec<Unavailable> {
    let absence = |op: &&OpEntry| Unavailable {
        what: format!("body of {} in place", op.meta.name),
        reason:
            "with inline, too, it calls another function: mark that #[inline] or build with lto, and name the function \
                 itself where it is called through a pointer"
                .to_owned(),
    };
    // Unoptimised code has no body in place, and a warning of its own.
    planned.iter().filter(|op| op.code() != Code::Unoptimised && op.calls_out()).map(absence).collect()
}

/// Takes what workers send.
pub struct Collector<'a> {
    samples: Samples,
    /// Keeps them in a file, where one was named.
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
    /// What went wrong first, where no worker has measured anything.
    pub fn refusal(&self) -> Option<&Refusal> {
        let nothing = !self.measured.contains(&true) && !self.samples.workloads.has_any();
        self.refusal.as_ref().filter(|_| nothing)
    }
}

/// Why a build measures nothing.
pub struct Refusal {
    /// What a worker said, or how it died.
    pub message: String,
    /// Whether it died; else it said that it cannot do what it was asked for.
    pub is_death: bool,
}

impl Sink for Collector<'_> {
    fn samples(&mut self, worker: usize, group: &Comparison, samples: ComparisonSamples, raw: &[u8]) {
        if let Some(writer) = &mut self.writer {
            writer.write_comparison(worker, group, raw);
        }
        self.samples.cells.add(worker, group, samples);
        if let Some(index) = self.plan.comparisons.iter().position(|planned| planned == group) {
            self.measured[index] = true;
        }
        self.progress.step();
    }

    fn min_adds_per_cycle(&self) -> f64 {
        self.samples.cells.min_adds_per_cycle()
    }

    fn worked(&mut self, worker: usize, workload: &str, samples: WorkSamples, raw: &[u8]) {
        if let Some(writer) = &mut self.writer {
            writer.write_workload(worker, workload, raw);
        }
        self.samples.workloads.add(worker, workload, samples);
        self.progress.step();
    }

    fn allocate(&mut self, kernels: &[KernelVariant], left: f64) -> (Vec<Allocation>, f64) {
        self.samples.workloads.allocate(kernels, left)
    }

    fn failed(&mut self, mishap: WorkerFailure) {
        let place = mishap.group.as_deref().unwrap_or("between groups");
        self.progress.note(&format!("worker {} at {place}: {}", mishap.worker, mishap.message));
        let refusal = || Refusal { message: mishap.message.clone(), is_death: mishap.is_death };
        self.refusal.get_or_insert_with(refusal);
        self.failures.push(Failure { worker: mishap.worker, group: mishap.group, message: mishap.message });
        self.progress.step();
    }

    fn through(&mut self) {
        self.workers += 1;
    }

    fn next_tasks(&mut self) -> Vec<Task> {
        self.samples.cells.next_tasks(self.plan)
    }

    fn again(&mut self, _: usize) {
        self.workers_again += 1;
    }
}
