//! Comparison of kernels: each is prepared, booted, and compared with the first.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::boots::{self, BootContext, Phases, Plan, PreparedBoots};
use super::count::{self, Counters};
use super::elf::Elf;
use super::error::LinuxError;
use super::guest::{Guest, sha256};
use super::hooks::{Hooks, HooksError};
use super::image::{Image, ImageKind};
use super::output::Record;
use super::qemu::{APPEND, CPU, Qemu};
use super::unpatch::{Unpatching, unpatch};
use super::workload::{GuestWorkload, WORKLOADS};
use crate::report::linux::{Linux, LinuxCount, LinuxKernel, LinuxWorkload};
use crate::stats::Interval;

/// A kernel of the comparison, as the user names it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name in tables.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The variant to make of it.
    pub variant: Unpatching,
    /// Further boot parameters.
    pub append: String,
    /// Whether a boot of its own counts its hooks and the rounds of its `rep` instructions.
    pub counted: bool,
}

/// A kernel that is written to disk and described.
struct Prepared {
    about: LinuxKernel,
    ready: PreparedBoots,
    counting: Option<Counting>,
}

/// A variant with counters.
struct Counting {
    ready: PreparedBoots,
    counters: Counters,
    hooks: Option<Hooks>,
}

/// The kernels of a comparison, ready to boot.
pub struct KernelComparison {
    prepared: Vec<Prepared>,
}

impl KernelComparison {
    /// Unpacks the kernels into `folder` and makes their variants, with and without counters.
    ///
    /// # Errors
    /// If a file is not a kernel, cannot be started or unpatched, or a variant cannot be written.
    pub fn prepare(subjects: &[Subject], folder: &Path) -> Result<KernelComparison, LinuxError> {
        let mut files: BTreeMap<PathBuf, File> = BTreeMap::new();
        for subject in subjects {
            if !files.contains_key(&subject.path) {
                files.insert(subject.path.clone(), File::read(&subject.path)?);
            }
        }
        // All kernels are started in the same way: unpacked if all can be.
        let unpacked = files.values().all(|file| file.elf.can_start().is_ok());
        if !unpacked {
            let named = |kind| {
                let path = files.values().find(|file| file.image.kind == kind).map(|file| &file.image.path);
                path.map(|path| path.display().to_string())
            };
            match (named(ImageKind::BzImage), named(ImageKind::Vmlinux)) {
                (Some(bz), Some(elf)) => return Err(LinuxError::Mixed { bz, elf }),
                (None, _) => files.values().try_for_each(|file| file.elf.can_start())?,
                (Some(_), None) => {}
            }
            if subjects.iter().any(|subject| subject.variant != Unpatching::Stock) {
                files.values().try_for_each(|file| file.elf.can_start())?;
            }
        }
        let acpi = files.values().all(|file| file.elf.has_acpi());
        let prepare = |(index, subject): (usize, &Subject)| {
            let Some(file) = files.get(&subject.path) else { return Err(LinuxError::Interrupted) };
            prepare_kernel(subject, file, unpacked, acpi, &folder.join(format!("kernel-{index}")))
        };
        Ok(KernelComparison { prepared: subjects.iter().enumerate().map(prepare).collect::<Result<_, _>>()? })
    }

    /// Number of boots.
    #[must_use]
    pub fn boots(&self, plan: &Plan) -> usize {
        self.prepared.iter().map(|it| plan.phases + usize::from(it.counting.is_some())).sum()
    }

    /// Boots all kernels and returns the counts.
    ///
    /// # Errors
    /// If a boot fails or the run is interrupted.
    pub fn run(&self, plan: &Plan, guest: &Guest, qemu: &Qemu, context: &BootContext) -> Result<Linux, LinuxError> {
        let counting =
            self.prepared.iter().filter_map(|it| it.counting.as_ref().map(|counting| counting.ready.clone()));
        let all: Vec<PreparedBoots> = self.prepared.iter().map(|it| it.ready.clone()).chain(counting).collect();
        let mut phases = boots::boot_all(&all, plan, context)?;
        if context.stop.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(LinuxError::Interrupted);
        }
        let counted = phases.split_off(self.prepared.len());
        let mut counted = counted.into_iter();
        let counted: Vec<Option<Phases>> =
            self.prepared.iter().map(|it| it.counting.as_ref().and_then(|_| counted.next())).collect();
        let workloads = WORKLOADS.iter().enumerate().filter(|(index, _)| plan.only >> index & 1 == 1);
        let workloads = workloads.map(|(_, workload)| self.workload(workload, &phases, &counted));
        Ok(Linux {
            qemu: qemu.version.clone(),
            cpu: CPU.to_owned(),
            parameters: APPEND.to_owned(),
            init_sha256: guest.sha256.clone(),
            reps: plan.reps,
            scale_percent: plan.scale,
            phases: plan.phases,
            kernels: self.prepared.iter().map(|it| it.about.clone()).collect(),
            workloads: workloads.collect(),
            predictions: Vec::new(),
        })
    }

    fn workload(&self, workload: &GuestWorkload, phases: &[Phases], counted: &[Option<Phases>]) -> LinuxWorkload {
        let sums: Vec<Vec<Sum>> = phases.iter().map(|phases| sum_phases(phases, workload.name)).collect();
        // All variants of a kernel execute the same `rep` instructions. A variant without counters therefore takes the
        // rounds of a variant with counters, of the same file and with the same parameters.
        let counters = |index: usize| -> Option<(&Prepared, Sum)> {
            let own = &self.prepared.get(index)?.about;
            let like = |(_, other): &(usize, &Prepared)| {
                own.sha256 == other.about.sha256 && own.append == other.about.append && other.counting.is_some()
            };
            let (other, prepared) = self.prepared.iter().enumerate().find(like)?;
            let sum = sum_first_phase(counted.get(other)?.as_ref()?, workload.name)?;
            Some((prepared, sum))
        };
        let rounds =
            |index: usize| counters(index).and_then(|(_, sum)| Some(*sum.counters.first()? as f64 / sum.units as f64));
        let first = sums.first().cloned().unwrap_or_default();
        let mut counts = Vec::new();
        for (index, (prepared, own)) in self.prepared.iter().zip(&sums).enumerate() {
            let Some(per_unit) = average(own.iter().map(Sum::per_unit)) else { continue };
            let base = average(first.iter().map(Sum::per_unit));
            let as_one = rounds(index).map(|rounds| per_unit.estimate - rounds);
            let base_as_one = rounds(0).zip(base).map(|(rounds, base)| base.estimate - rounds);
            let percent = (index > 0).then(|| {
                let base = base?.estimate;
                let change = |(own, first): (&Sum, &Sum)| (own.per_unit() / first.per_unit() - 1.0) * 100.0;
                let phases = average(own.iter().zip(&first).map(change))?;
                let estimate = (per_unit.estimate / base - 1.0) * 100.0;
                Some(Interval { estimate, low: phases.low.min(estimate), high: phases.high.max(estimate) })
            });
            let percent_as_one = as_one.zip(base_as_one).filter(|_| index > 0);
            counts.push(LinuxCount {
                kernel: prepared.about.name.clone(),
                units: own.first().map_or(0, |sum| sum.units),
                instructions: own.iter().map(|sum| sum.instructions).collect(),
                per_unit,
                as_one,
                percent: percent.flatten(),
                percent_as_one: percent_as_one.map(|(own, base)| (own / base - 1.0) * 100.0),
            });
        }
        let calls = (0..self.prepared.len()).find_map(&counters).map(|(prepared, sum)| calls_per_unit(prepared, &sum));
        LinuxWorkload {
            name: workload.name.to_owned(),
            unit: workload.unit.to_owned(),
            summary: workload.summary.to_owned(),
            model: workload.model.map(|(name, _)| name.to_owned()),
            calls: calls.unwrap_or_default(),
            counts,
        }
    }
}

/// A kernel file with its ELF file and its hooks.
struct File {
    image: Image,
    elf: Elf<'static>,
    hooks: Result<Hooks, HooksError>,
}

impl File {
    fn read(path: &Path) -> Result<File, LinuxError> {
        let image = Image::read(path)?;
        let elf = Elf::of(path, image.vmlinux()?)?;
        let hooks = Hooks::of(&elf);
        Ok(File { image, elf, hooks })
    }
}

fn prepare_kernel(
    subject: &Subject,
    file: &File,
    unpacked: bool,
    acpi: bool,
    path: &Path,
) -> Result<Prepared, LinuxError> {
    let mut elf = file.elf.clone();
    if subject.variant != Unpatching::Stock {
        match &file.hooks {
            Ok(hooks) => unpatch(&mut elf, hooks, subject.variant)?,
            // Errors cannot be cloned: reading the hooks again gives the same one.
            Err(_) => return Err(Hooks::of(&elf).err().map_or(LinuxError::Interrupted, LinuxError::from)),
        };
    }
    let ready = PreparedBoots {
        name: subject.name.clone(),
        path: path.to_owned(),
        acpi,
        append: subject.append.clone(),
        counters: 0,
    };
    write(path, if unpacked { &elf.bytes } else { &file.image.bytes })?;
    let mut about = LinuxKernel {
        name: subject.name.clone(),
        release: elf.banner(),
        sha256: sha256(&file.image.bytes),
        variant: subject.variant.name().to_owned(),
        append: subject.append.clone(),
        sites: file.hooks.as_ref().ok().map(|hooks| hooks.sites.len()),
        layout: file.hooks.as_ref().ok().map(Hooks::recognised),
        reps_counted: None,
        reps_left: None,
        uncounted: None,
    };
    let counting = if subject.counted { prepare_counting(&ready, file, &mut about)? } else { None };
    Ok(Prepared { about, ready, counting })
}

/// Prepares a variant with counters, always of the unpatched kernel.
fn prepare_counting(
    ready: &PreparedBoots,
    file: &File,
    about: &mut LinuxKernel,
) -> Result<Option<Counting>, LinuxError> {
    let mut elf = file.elf.clone();
    let hooks = file.hooks.as_ref().ok();
    let made = match hooks.map_or(Ok(()), |hooks| unpatch(&mut elf, hooks, Unpatching::Noalt).map(drop)) {
        Err(error) => Err(error.to_string()),
        Ok(()) if elf.can_start().is_err() => Err("the kernel has no PVH entry".to_owned()),
        Ok(()) => count::count(&mut elf, hooks).map_err(|error| error.to_string()),
    };
    let counters = match made {
        Ok(counters) => counters,
        Err(reason) => {
            about.uncounted = Some(reason);
            return Ok(None);
        }
    };
    about.reps_counted = Some(counters.reps);
    about.reps_left = Some(counters.reps_left);
    let path = ready.path.with_extension("counts");
    write(&path, &elf.bytes)?;
    let ready =
        PreparedBoots { name: format!("{}, counting", ready.name), path, counters: counters.len(), ..ready.clone() };
    Ok(Some(Counting { ready, counters, hooks: hooks.cloned() }))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), LinuxError> {
    fs::write(path, bytes).map_err(|source| LinuxError::File { path: path.to_owned(), source })
}

/// The sum of all repetitions of a workload in a boot except the first.
#[derive(Clone, Debug, Default)]
struct Sum {
    units: u64,
    instructions: u64,
    counters: Vec<u64>,
}

impl Sum {
    fn per_unit(&self) -> f64 {
        self.instructions as f64 / self.units as f64
    }
}

fn sum_phases(phases: &Phases, workload: &str) -> Vec<Sum> {
    phases.iter().filter_map(|records| sum_repetitions(records, workload)).collect()
}

fn sum_first_phase(phases: &Phases, workload: &str) -> Option<Sum> {
    sum_repetitions(phases.first()?, workload)
}

fn sum_repetitions(records: &[Record], workload: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    for record in records.iter().filter(|record| record.workload == workload && record.rep > 0) {
        sum.units += record.units;
        sum.instructions += record.instructions;
        sum.counters.resize(record.counters.len().max(sum.counters.len()), 0);
        for (sum, own) in sum.counters.iter_mut().zip(&record.counters) {
            *sum += own;
        }
    }
    (sum.units > 0).then_some(sum)
}

/// Calls of hooks per unit, by op.
fn calls_per_unit(prepared: &Prepared, sum: &Sum) -> BTreeMap<String, f64> {
    let Some(Counting { counters, hooks: Some(hooks), .. }) = &prepared.counting else { return BTreeMap::new() };
    let per_unit = |(slot, calls): (&usize, &u64)| (hooks.name(*slot), *calls as f64 / sum.units as f64);
    counters.slots.iter().zip(sum.counters.iter().skip(1)).map(per_unit).filter(|(_, calls)| *calls > 0.0).collect()
}

/// The mean of some values, with their smallest and largest as its bounds.
fn average(values: impl Iterator<Item = f64>) -> Option<Interval> {
    let values: Vec<f64> = values.collect();
    let (low, high) = (values.iter().copied().reduce(f64::min)?, values.iter().copied().reduce(f64::max)?);
    let estimate = (values.iter().sum::<f64>() / values.len() as f64).clamp(low, high);
    Some(Interval { estimate, low, high })
}
