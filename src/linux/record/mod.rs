//! Recordings: which hooks a real kernel calls, in which order, and what it executes in between.
//!
//! The kernel that never patches boots under the emulator with a plugin ([`plugin`]), which this program builds. A boot
//! executes every workload as `pvbench linux ab` does. In the middle of each, the plugin writes what a window of units
//! executes.
//!
//! ```text
//! entries, window -> trace (control)      where interrupts begin, what is recorded
//! plugin -> trace (sums, window)          a boot, and what the plugin wrote
//! trace -> convert -> recording -> file   classes, runs, lines; a compressed file a workload
//! recording -> statistics                 densities, distances, hot and cold call sites
//! ```

pub mod calls;
pub mod convert;
mod counters;
pub mod entries;
mod error;
pub mod file;
pub mod plugin;
pub mod recording;
pub mod shipped;
pub mod statistics;
pub mod trace;
pub mod window;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

pub use error::{RecordError, RecordingError};
use recording::{About, Kernel, Recording, Whole};
use trace::{Sums, Window};
use window::{REPETITION, WINDOWS, WindowPlan};

use super::boots::{self, Plan};
use super::count::{self, Counters};
use super::elf::Elf;
use super::error::LinuxError;
use super::guest::{Guest, sha256};
use super::hooks::{Hooks, Site};
use super::image::Image;
use super::output::Record;
use super::qemu::{Boot, CPU, Plugin, Qemu, QemuError};
use super::unpatch::{Unpatching, unpatch};
use super::workload::WORKLOADS;

/// The ending of the name of a recording.
pub const EXTENSION: &str = "pvrec";
/// Longest instruction, in bytes.
const MAX_INSTRUCTION_BYTES: usize = 15;
/// Bound on the file of a recording, in bytes.
pub const MAX_FILE_BYTES: usize = 2 << 20;

/// What is recorded.
#[derive(Clone, Debug)]
pub struct RecordPlan {
    /// Workloads, repetitions, scale and time limit, as for `pvbench linux ab`.
    pub plan: Plan,
    /// Units to record of each workload; `None` for the usual number.
    pub units: Option<u64>,
    /// Further boot parameters.
    pub append: String,
}

/// What a boot needs.
pub struct Tools<'a> {
    /// The emulator.
    pub qemu: &'a Qemu,
    /// The init process.
    pub guest: &'a Guest,
    /// The plugin.
    pub library: &'a Path,
    /// Folder for the kernel, the trace and the console.
    pub folder: &'a Path,
    /// Set to stop: a running boot ends at once.
    pub stop: &'a AtomicBool,
}

/// A kernel that never patches, and what the recorder needs to know of it.
pub struct Subject {
    elf: Elf<'static>,
    hooks: Hooks,
    sha256: String,
    entries: BTreeMap<u64, entries::Entry>,
    /// Addresses of the sites, in order.
    sites: Vec<u64>,
}

impl Subject {
    /// Reads a kernel, and makes the variant that never patches.
    ///
    /// # Errors
    /// If the file is no kernel with known call sites, cannot be started, or has unknown entries.
    pub fn read(path: &Path) -> Result<Subject, LinuxError> {
        let image = Image::read(path)?;
        let mut elf = Elf::of(path, image.vmlinux()?)?;
        let hooks = Hooks::of(&elf)?;
        elf.can_start()?;
        unpatch(&mut elf, &hooks, Unpatching::Noalt)?;
        let entries = entries::find(&elf)?;
        let mut sites: Vec<u64> = hooks.sites.iter().map(|site| site.address).collect();
        sites.sort_unstable();
        sites.dedup();
        Ok(Subject { elf, hooks, sha256: sha256(&image.bytes), entries, sites })
    }

    /// The name of the op that each site calls.
    fn ops(&self) -> BTreeMap<u64, String> {
        self.hooks.sites.iter().map(|site| (site.address, self.hooks.name(site.slot))).collect()
    }

    /// Boots the kernel and records the workloads of the plan, in their order.
    ///
    /// # Errors
    /// If the boot fails or the trace is malformed.
    pub fn record(&self, plan: &RecordPlan, tools: &Tools) -> Result<Vec<Recording>, LinuxError> {
        let chosen = choose(&plan.plan);
        let windows = list_windows(&chosen, plan);
        let booted = self.boot(&self.elf, &Counters::default(), &windows, plan, tools)?;
        let ops = self.ops();
        let file = File::open(&booted.trace).map_err(|source| file_error(&booted.trace, source))?;
        let mut trace = BufReader::with_capacity(1 << 20, file);
        let mut recordings = Vec::new();
        while let Some(window) = trace::read_window(&mut trace)? {
            let Some(workload) = chosen.get(window.repetition / plan.plan.reps as usize) else { continue };
            let about = self.about(workload, plan, tools, &booted, &window);
            recordings.push(convert::convert(
                &window,
                &ops,
                &|address| self.elf.at(address, MAX_INSTRUCTION_BYTES),
                about,
            )?);
        }
        // A trace has 230 MB, and nothing reads it again.
        let _ = fs::remove_file(&booted.trace);
        for recording in &recordings {
            let (own, counted) = (recording.count_instructions(), recording.about.instructions);
            if own != counted {
                return Err(disagree(&recording.about.workload, "instructions of the window", own, counted).into());
            }
        }
        if recordings.len() != chosen.len() {
            let what = format!("it has {} windows instead of {}", recordings.len(), chosen.len());
            return Err(trace::malformed(what).into());
        }
        Ok(recordings)
    }

    /// Boots a variant of the kernel with its own counters, and compares them with those of the recorder. Returns the
    /// calls of each workload.
    ///
    /// # Errors
    /// If the kernel has no room for counters, the boot fails, or a count differs.
    pub fn check(&self, plan: &RecordPlan, tools: &Tools) -> Result<Vec<(&'static str, u64)>, LinuxError> {
        let mut elf = self.elf.clone();
        let counters = count::count(&mut elf, Some(&self.hooks)).map_err(RecordError::from)?;
        let chosen = choose(&plan.plan);
        let booted = self.boot(&elf, &counters, &vec![[0; 2]; list_windows(&chosen, plan).len()], plan, tools)?;
        let mut checked = Vec::new();
        for workload in chosen {
            let mut calls = 0;
            for (record, sums) in booted.of(workload.workload) {
                let counted = sums.kept + sums.cut;
                if counted != record.instructions {
                    return Err(disagree(workload.workload, "instructions", counted, record.instructions).into());
                }
                // The first counter is that of `rep` iterations, which the recorder does not count.
                let pairs = sums.own.iter().zip(&record.counters).skip(1);
                for (slot, (recorded, counted)) in counters.slots.iter().zip(pairs) {
                    if recorded != counted {
                        let what = format!("calls of {}", self.hooks.name(*slot));
                        return Err(disagree(workload.workload, &what, *recorded, *counted).into());
                    }
                    calls += counted;
                }
            }
            checked.push((workload.workload, calls));
        }
        Ok(checked)
    }

    /// Addresses of all sites in order, each with the number of its counter.
    fn list_sites(&self, counters: &Counters) -> Vec<[u64; 2]> {
        let number = |site: &Site| counters.slots.iter().position(|slot| *slot == site.slot).map_or(0, |at| at + 1);
        let sites: BTreeMap<u64, u64> =
            self.hooks.sites.iter().map(|site| (site.address, number(site) as u64)).collect();
        sites.into_iter().map(|(address, counter)| [address, counter]).collect()
    }

    fn boot(
        &self,
        elf: &Elf,
        counters: &Counters,
        windows: &[[u64; 2]],
        plan: &RecordPlan,
        tools: &Tools,
    ) -> Result<Booted, LinuxError> {
        let [kernel, archive, control, trace, sums] =
            ["kernel-recorded", "init.cpio", "control", "trace", "sums"].map(|name| tools.folder.join(name));
        let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes).map_err(|source| file_error(path, source));
        write(&kernel, &elf.bytes)?;
        write(&archive, &tools.guest.archive)?;
        // A kernel without counters of its own has no slots.
        let own = if counters.slots.is_empty() { 0 } else { counters.len() };
        write(&control, &trace::control(own, windows, &self.list_sites(counters), &self.entries))?;
        let environment =
            [("PVBENCH_CONTROL", control), ("PVBENCH_TRACE", trace.clone()), ("PVBENCH_SUMS", sums.clone())];
        let boot = Boot {
            name: "the recorded kernel",
            kernel: &kernel,
            archive: &archive,
            acpi: self.elf.has_acpi(),
            append: &plan.append,
            arguments: &boots::list_arguments(&plan.plan, 0, own),
            counters: own,
            timeout: plan.plan.timeout,
            plugin: Some(Plugin { library: tools.library, environment: &environment }),
        };
        let records = tools.qemu.run_until(&boot, tools.folder, "recorded", tools.stop);
        let records = records.map_err(|error| {
            // The folder may be kept for its console, and a trace is large.
            let _ = fs::remove_file(&trace);
            explain(error, &tools.qemu.version)
        })?;
        let bytes = fs::read(&sums).map_err(|source| file_error(&sums, source))?;
        let sums = trace::read_sums(&bytes, records.len(), self.sites.len(), own)?;
        Ok(Booted { records, sums, trace })
    }

    fn about(
        &self,
        workload: &WindowPlan,
        plan: &RecordPlan,
        tools: &Tools,
        booted: &Booted,
        window: &Window,
    ) -> About {
        let unit = WORKLOADS.iter().find(|it| it.name == workload.workload).map_or("unit", |it| it.unit);
        let own = booted.sums.get(window.repetition);
        let place = workload.place(plan.plan.scale, plan.units);
        let mut whole = Whole { reps: plan.plan.reps, scale_percent: plan.plan.scale, ..Whole::default() };
        for (record, sums) in booted.of(workload.workload).filter(|(record, _)| record.rep > 0) {
            whole.units += record.units;
            whole.instructions += record.instructions;
            whole.interrupts += sums.cut;
            whole.unexplained += record.instructions as i64 - (sums.kept + sums.cut) as i64;
            for site in &self.hooks.sites {
                let Ok(index) = self.sites.binary_search(&site.address) else { continue };
                for (all, calls) in [(&mut whole.calls, &sums.calls), (&mut whole.calls_in_interrupts, &sums.calls_cut)]
                {
                    if let Some(calls) = calls.get(index).filter(|calls| **calls > 0) {
                        *all.entry(self.hooks.name(site.slot)).or_default() += calls;
                    }
                }
            }
        }
        About {
            workload: workload.workload.to_owned(),
            unit: unit.to_owned(),
            units: place.count_units(plan.plan.scale, workload, own.map_or(0, |sums| sums.syscalls)),
            kernel: Kernel {
                release: self.elf.banner(),
                sha256: self.sha256.clone(),
                layout: self.hooks.recognised(),
                append: plan.append.clone(),
                qemu: tools.qemu.version.clone(),
                cpu: CPU.to_owned(),
                init_sha256: tools.guest.sha256.clone(),
            },
            ops: Vec::new(),
            privileged: Vec::new(),
            instructions: own.map_or(0, |sums| sums.window_kept),
            interrupts: own.map_or(0, |sums| sums.window_cut),
            whole,
        }
    }
}

/// What a boot gave.
struct Booted {
    records: Vec<Record>,
    sums: Vec<Sums>,
    trace: PathBuf,
}

impl Booted {
    /// The repetitions of a workload: by the guest, and by the recorder.
    fn of<'a>(&'a self, workload: &'a str) -> impl Iterator<Item = (&'a Record, &'a Sums)> {
        self.records.iter().zip(&self.sums).filter(move |(record, _)| record.workload == workload)
    }
}

/// The workloads of a plan, in order.
fn choose(plan: &Plan) -> Vec<&'static WindowPlan> {
    WINDOWS.iter().enumerate().filter(|(index, _)| plan.only >> index & 1 == 1).map(|(_, workload)| workload).collect()
}

/// The windows of all repetitions; empty ones record nothing.
fn list_windows(chosen: &[&WindowPlan], plan: &RecordPlan) -> Vec<[u64; 2]> {
    let of_workload = |workload: &&WindowPlan| {
        let place = workload.place(plan.plan.scale, plan.units);
        (0..plan.plan.reps).map(move |rep| if rep == REPETITION { place.calls } else { [0; 2] })
    };
    chosen.iter().flat_map(of_workload).collect()
}

fn disagree(workload: &str, what: &str, recorded: u64, counted: u64) -> RecordError {
    RecordError::Check { workload: workload.to_owned(), what: what.to_owned(), recorded, counted }
}

fn file_error(path: &Path, source: std::io::Error) -> LinuxError {
    LinuxError::File { path: path.to_owned(), source }
}

/// Recognises the refusals of an emulator that has no plugins, or another interface.
fn explain(error: QemuError, version: &str) -> LinuxError {
    let QemuError::Refused { said, .. } = &error else { return error.into() };
    let (version, said) = (version.to_owned(), said.clone());
    if said.contains("plugin") && (said.contains("invalid option") || said.contains("not enabled in this build")) {
        return RecordError::NoPlugins { version, said }.into();
    }
    if said.contains("plugin") {
        return RecordError::Refused { version, said }.into();
    }
    error.into()
}

/// Reads recordings: files, or all of a folder by name.
///
/// # Errors
/// If one cannot be read, or a folder has none.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Recording>, RecordingError> {
    let mut recordings = Vec::new();
    for path in paths {
        if !path.is_dir() {
            recordings.push(Recording::read(path)?);
            continue;
        }
        let entries = fs::read_dir(path).map_err(|source| RecordingError::Read { path: path.clone(), source })?;
        let mut files: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == EXTENSION));
        files.sort();
        if files.is_empty() {
            return Err(RecordingError::None { path: path.clone() });
        }
        for file in files {
            recordings.push(Recording::read(&file)?);
        }
    }
    let order = |recording: &Recording| WINDOWS.iter().position(|it| it.workload == recording.about.workload);
    recordings.sort_by_key(|recording| order(recording).unwrap_or(WINDOWS.len()));
    Ok(recordings)
}
