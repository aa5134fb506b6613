//! `pvbench linux`: counts instructions and hook calls of real kernels, and records them. Each subcommand has a file.

mod ab;
mod native;
mod record;
mod recording;
mod replay;
mod run;
mod show;
mod sites;
mod unpatch;

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Done;
use super::error::CliError;
use super::inherited::stop_on_signals;
use super::progress::ProgressLine;
use crate::linux::boots::{BootContext, Plan};
use crate::linux::compare::{KernelComparison, Subject};
use crate::linux::error::LinuxError;
use crate::linux::guest::Guest;
use crate::linux::qemu::Qemu;
use crate::linux::workload::WORKLOADS;
use crate::report::linux::Linux;
use crate::report::write::temporary::TemporaryFolder;
use crate::run::session::Progress as _;
use crate::select::select;
use crate::suite::Suite;

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench linux ab                                     this machine's kernel, patched and unpatched
  pvbench linux ab --download                          Debian's cloud kernel
  pvbench linux run a/vmlinuz b/vmlinuz                two kernels
  pvbench linux run vmlinuz --append init_on_alloc=0 --append init_on_alloc=1
  pvbench linux record vmlinuz                         what is executed between hooks
  pvbench linux native                                 the same workloads on the running kernel
  pvbench linux sites vmlinuz
  pvbench linux unpatch vmlinuz --out folder/";

/// Options of `linux`.
#[derive(Args)]
pub struct LinuxArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Count the cost of pv_ops in one kernel: as it boots, and never patched
    #[command(after_help = ab::EXAMPLES)]
    Ab(ab::AbArgs),
    /// Boot kernels and count the instructions of each workload
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// Record which hooks a kernel calls in each workload, and what it executes in between
    #[command(after_help = record::EXAMPLES)]
    Record(record::RecordArgs),
    /// Print the statistics of recordings
    #[command(after_help = recording::EXAMPLES)]
    Recording(recording::RecordingArgs),
    /// Time the workloads on the kernel that is running
    #[command(after_help = native::EXAMPLES)]
    Native(native::NativeArgs),
    /// Replay recordings in time: cycles per hook in Linux's surroundings (experimental)
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::ReplayArgs),
    /// List the call sites of pv_ops in a kernel, by op and by patched form
    #[command(after_help = sites::EXAMPLES)]
    Sites(sites::SitesArgs),
    /// Write variants of a kernel that never patch pv_ops
    #[command(after_help = unpatch::EXAMPLES)]
    Unpatch(unpatch::UnpatchArgs),
}

/// Runs a subcommand.
pub fn linux(args: &LinuxArgs, suite: &Suite) -> Done {
    match &args.command {
        Command::Ab(args) => ab::ab(args),
        Command::Run(args) => run::run(args),
        Command::Record(args) => record::record(args),
        Command::Recording(args) => recording::recording(args),
        Command::Native(args) => native::native(args),
        Command::Replay(args) => replay::replay(args, suite),
        Command::Sites(args) => sites::sites(args),
        Command::Unpatch(args) => unpatch::unpatch(args),
    }
}

/// Runs work that a signal stops. An error after the signal is reported as the interruption.
fn run_until_stopped(work: impl FnOnce(&AtomicBool) -> Done) -> Done {
    let stop = stop_on_signals()?;
    let done = work(&stop);
    if done.is_err() && stop.load(Ordering::Relaxed) { Err(LinuxError::Interrupted.into()) } else { done }
}

/// Options of commands that boot kernels.
#[derive(Args)]
struct BootArgs {
    /// Workloads: getppid, mmap_perf, fault, .. (globs, separated by commas)
    #[arg(long, value_name = "GLOB")]
    workload: Vec<String>,
    /// Repetitions of each workload; the first, a quarter as long, is dropped
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=8))]
    reps: u64,
    /// Units of each workload, in percent of the default number
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000))]
    scale: u64,
    /// Boots of each kernel, each with another phase of the timer's tick
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=64))]
    phases: u64,
    /// Number of boots at the same time (default: one per CPU)
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Seconds that a boot may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Skip the boot that counts calls of hooks and iterations of `rep` instructions
    #[arg(long)]
    no_calls: bool,
}

impl BootArgs {
    fn plan(&self) -> Result<Plan, CliError> {
        let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        let chosen = select("workload", &self.workload, &names)?;
        let one = NonZeroUsize::MIN;
        Ok(Plan {
            reps: self.reps,
            scale: self.scale,
            phases: self.phases as usize,
            only: chosen.iter().fold(0, |bits, index| bits | 1 << index),
            timeout: Duration::from_secs(self.timeout),
            jobs: self.jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(one),
        })
    }

    /// Prepares and boots the kernels, and returns the counts. The console logs of a failed boot are kept.
    fn compare(&self, subjects: &[Subject], stop: &AtomicBool) -> Result<Linux, CliError> {
        let plan = self.plan()?;
        let qemu = Qemu::find().map_err(LinuxError::from)?;
        let guest = Guest::build(stop).map_err(LinuxError::from)?;
        let folder = make_temporary_folder()?;
        let result = boot_kernels(subjects, &plan, (&qemu, &guest), folder.path(), stop);
        if matches!(result, Err(LinuxError::Qemu(_))) && !stop.load(Ordering::Relaxed) {
            // The message of the error names files in this folder.
            remove_kernels(&folder.keep());
        }
        Ok(result?)
    }
}

/// Interval at which the progress of boots is updated.
const TICK: Duration = Duration::from_millis(200);

fn boot_kernels(
    subjects: &[Subject],
    plan: &Plan,
    (qemu, guest): (&Qemu, &Guest),
    folder: &Path,
    stop: &AtomicBool,
) -> Result<Linux, LinuxError> {
    let archive = folder.join("init.cpio");
    std::fs::write(&archive, &guest.archive).map_err(|source| LinuxError::File { path: archive.clone(), source })?;
    let comparison = KernelComparison::prepare(subjects, folder)?;
    let mut progress = ProgressLine::with_steps(comparison.boots(plan));
    progress.begin();
    let progress = Mutex::new(progress);
    let step = |ended, boots| {
        if let Ok(mut progress) = progress.lock() {
            progress.advance("boots".to_owned(), format!("{ended} of {boots}"));
        }
    };
    let context = BootContext { qemu, archive: &archive, folder, progress: &step, stop };
    tick_during(&progress, || comparison.run(plan, guest, qemu, &context))
}

/// Does work while another thread updates the progress. Without that thread, lines come at the end of boots only.
fn tick_during<T>(progress: &Mutex<ProgressLine>, work: impl FnOnce() -> T) -> T {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let ticker = thread::Builder::new().spawn_scoped(scope, || {
            while !ended.load(Ordering::Relaxed) {
                thread::sleep(TICK);
                if let Ok(mut progress) = progress.lock() {
                    progress.tick();
                }
            }
        });
        drop(ticker);
        let done = work();
        ended.store(true, Ordering::Relaxed);
        done
    })
}

fn make_temporary_folder() -> Result<TemporaryFolder, LinuxError> {
    let parent = std::env::temp_dir();
    TemporaryFolder::new(&parent, "linux").map_err(|source| LinuxError::File { path: parent, source })
}

/// Removes the kernels from a kept folder: they are large, and can be made again. The console logs stay.
fn remove_kernels(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"kernel-")) {
        // A kernel that cannot be removed does no harm.
        let _ = std::fs::remove_file(entry.path());
    }
}

/// Returns a name for each kernel: its file name, or its path if several have that file name.
fn name_kernels(paths: &[std::path::PathBuf]) -> Vec<String> {
    let own = |path: &Path| path.file_name().map_or_else(String::new, to_text);
    let all: Vec<String> = paths.iter().map(|path| own(path)).collect();
    let is_one = |name: &String| all.iter().filter(|other| *other == name).count() == 1;
    let name = |(path, own): (&std::path::PathBuf, &String)| {
        if is_one(own) { own.clone() } else { to_text(path.as_os_str()) }
    };
    paths.iter().zip(&all).map(name).collect()
}

/// Converts a name to text, with escapes for bytes that are not UTF-8, so that two files never have the same name.
fn to_text(text: &OsStr) -> String {
    text.to_str().map_or_else(|| text.as_encoded_bytes().escape_ascii().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn two_files_never_have_the_same_name() {
        let paths: Vec<PathBuf> =
            [&b"a/vmlinuz"[..], b"b/vmlinuz", b"x\xff", b"x\xfe", b"y"].map(|it| OsStr::from_bytes(it).into()).to_vec();
        assert_eq!(name_kernels(&paths), ["a/vmlinuz", "b/vmlinuz", "x\\xff", "x\\xfe", "y"]);
    }
}
