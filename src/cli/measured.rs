//! A run at work: what is known before, what workers send, and the document of it.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::conditions::{Conditions, keep_off, worker_command};
use super::error::CliError;
use super::progress::Progress;
use super::run::Chosen;
use crate::estimate::{Estimator, WorkEstimator};
use crate::host::{Machine, Probes, Root, checks_with, pmu_unavailable};
use crate::measure::apart::apart;
use crate::measure::clock::Clock;
use crate::measure::explain::examples;
use crate::measure::loops::code_memory;
use crate::measure::parent::{Mishap, Observer};
use crate::measure::plan::{Group, Plan, Workers};
use crate::measure::trace::Tracer;
use crate::measure::wire::{GroupSamples, Task};
use crate::measure::work::{KernelColumn, WorkSamples};
use crate::measure::work_parent::{Share, run_all};
use crate::op::Meta;
use crate::patch::CodeError;
use crate::report::assemble::{self, Findings};
use crate::report::schema::{Absence, Failure};
use crate::report::write;
use crate::suite::{OpEntry, Suite};
use crate::workload;

/// So many other CPUs are tried: a core has two hyperthreads, or four.
const NEIGHBOURS: usize = 4;
/// So often each is tried: another guest that comes and goes can make two CPUs seem to share a core, and nothing makes two that do
/// seem to have one each.
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

    /// Another CPU to measure these workloads on at the same time: one that takes nothing from the first. None where the
    /// first was named, which leaves all others to whoever did so, or where a workload wants several for itself.
    pub fn beside(&self, conditions: &Conditions, suite: &Suite, workloads: &[String]) -> Option<usize> {
        let chosen = |entry: &&workload::Entry| workloads.iter().any(|name| *name == entry.meta.name);
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
        let apart = |other: &usize| (0..TRIES).any(|_| apart(cpu, *other, self.clock));
        others.into_iter().take(NEIGHBOURS).find(apart)
    }
}

/// Measures a plan and makes the document of what it found.
pub fn measure(plan: &Plan, work: &Chosen, suite: &Suite, here: &Here, stop: &AtomicBool) -> Result<Vec<u8>, CliError> {
    let progress = match plan.workers {
        Workers::Exactly(workers) => Progress::of_steps((plan.groups.len() + work.plan.workloads.len()) * workers),
        Workers::Within(time) => Progress::of_time(time + work.plan.workers.left(Duration::ZERO)),
    };
    let mut measured = Measured::begin(plan, here, progress)?;
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
    pub fn begin(plan: &'a Plan, here: &Here, progress: Progress) -> Result<Self, CliError> {
        if let Some(cpu) = plan.cpu {
            keep_off(cpu, &here.probes)?;
        }
        let ticks_per_second = here.clock.ticks_per_second(Duration::from_millis(100));
        let collector = Collector {
            estimator: Estimator::default(),
            progress,
            failures: Vec::new(),
            measured: vec![false; plan.groups.len()],
            work: WorkEstimator::default(),
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
        let metas: Vec<Meta> = ops.iter().map(|op| op.meta).collect();
        let planned: Vec<&OpEntry> =
            ops.iter().filter(|op| plan.groups.iter().any(|group| group.op == op.meta.name)).collect();
        let estimates = collector.estimator.finish(plan, &metas, ticks_per_second);
        let workload_metas: Vec<workload::Meta> = suite.workloads().iter().map(|entry| entry.meta).collect();
        let workloads =
            collector.work.finish(&workload_metas, &work.plan.kernels, &estimates.cells, plan.seed, ticks_per_second);
        let findings = Findings {
            workloads,
            estimates,
            clock: here.clock.name(),
            clock_reason: here.clock_reason.clone(),
            ticks_per_second,
            // Whole seconds: nobody compares runs by less.
            started: humantime::format_rfc3339_seconds(started.max(UNIX_EPOCH)).to_string(),
            duration_seconds: began.elapsed().as_secs_f64(),
            complete: whole
                && collector.measured.iter().all(|measured| *measured)
                && collector.work.has_all(&work.plan.workloads),
            machine: Machine::read_probed(&Root::default(), &here.probes),
            environment: checks_with(&Root::default(), &here.probes),
            examples: examples(&planned, &plan.columns).unwrap_or_default(),
            workers: collector.workers,
            workers_again: collector.workers_again,
            beside: work.plan.beside,
            failures: collector.failures,
            absent: absences(no_counters, here.immovable.as_ref(), uncounted, (work, suite))
                .into_iter()
                .chain(out_of_place(&planned))
                .collect(),
        };
        Ok(write::json(&assemble::report(plan, ops, &suite.mechanism_metas(), findings))?)
    }
}

fn absences(
    no_counters: Option<String>,
    immovable: Option<&CodeError>,
    uncounted: Option<String>,
    (work, suite): (&Chosen, &Suite),
) -> Vec<Absence> {
    let mut absent = work.absent.clone();
    if let Some(reason) = immovable {
        let what = "layouts and patched states".to_owned();
        absent.push(Absence { what, reason: format!("loops ran where the linker put them: {reason}") });
    }
    if let Some(reason) = no_counters {
        absent.push(Absence { what: "hardware counters".to_owned(), reason });
    }
    if let Some(reason) = uncounted {
        absent.push(Absence { what: "instruction counts".to_owned(), reason });
    }
    if work.plan.workloads.is_empty() {
        let reason = if suite.workloads().is_empty() {
            format!("suite {} has none; .workload::<..>() adds one", suite.name())
        } else {
            "ops, regimes or another body than native were named, and no workload".to_owned()
        };
        absent.push(Absence { what: "workloads".to_owned(), reason });
    }
    absent
}

/// Ops whose body is not in place even with `inline`, which all else is held against.
fn out_of_place(planned: &[&OpEntry]) -> Vec<Absence> {
    let absence = |op: &&OpEntry| Absence {
        what: format!("body of {} in place", op.meta.name),
        reason:
            "with inline, too, it calls another function: mark that #[inline] or build with lto, and name the function \
                 itself where it is called through a pointer"
                .to_owned(),
    };
    planned.iter().filter(|op| op.calls_out()).map(absence).collect()
}

/// Takes what workers send.
pub struct Collector<'a> {
    estimator: Estimator,
    work: WorkEstimator,
    progress: Progress,
    failures: Vec<Failure>,
    measured: Vec<bool>,
    workers: usize,
    workers_again: usize,
    plan: &'a Plan,
}

impl Collector<'_> {
    /// What the first worker said, where none has measured anything.
    pub fn refusal(&self) -> Option<&str> {
        let nothing = !self.measured.contains(&true) && !self.work.has_any();
        self.failures.first().filter(|_| nothing).map(|failure| failure.message.as_str())
    }
}

impl Observer for Collector<'_> {
    fn samples(&mut self, worker: usize, group: &Group, samples: GroupSamples) {
        self.estimator.add(worker, group, samples);
        if let Some(index) = self.plan.groups.iter().position(|planned| planned == group) {
            self.measured[index] = true;
        }
        self.progress.step();
    }

    fn quiet_from(&self) -> f64 {
        self.estimator.quiet_from()
    }

    fn worked(&mut self, worker: usize, workload: &str, samples: WorkSamples) {
        self.work.add(worker, workload, samples);
        self.progress.step();
    }

    fn worth(&mut self, kernels: &[KernelColumn], left: f64) -> (Vec<Share>, f64) {
        self.work.worth(kernels, left)
    }

    fn mishap(&mut self, mishap: Mishap) {
        let place = mishap.group.as_deref().unwrap_or("between groups");
        self.progress.note(&format!("worker {} at {place}: {}", mishap.worker, mishap.message));
        self.failures.push(Failure { worker: mishap.worker, group: mishap.group, message: mishap.message });
        self.progress.step();
    }

    fn through(&mut self) {
        self.workers += 1;
    }

    fn wanting(&mut self) -> Vec<Task> {
        self.estimator.wanting(self.plan)
    }

    fn again(&mut self, _: usize) {
        self.workers_again += 1;
    }
}
