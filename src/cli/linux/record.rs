//! `pvbench linux record`: records which hooks a real kernel calls, and what it executes in between.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::{make_temporary_folder, recording, remove_kernels, run_until_stopped, tick_during};
use crate::cli::Done;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::FailedWrites;
use crate::cli::progress::ProgressLine;
use crate::linux::boots::Plan;
use crate::linux::error::LinuxError;
use crate::linux::find::{self, PACKAGE};
use crate::linux::guest::Guest;
use crate::linux::qemu::Qemu;
use crate::linux::record::recording::Recording;
use crate::linux::record::{EXTENSION, MAX_FILE_BYTES, RecordError, RecordPlan, Subject, Tools, plugin};
use crate::linux::workload::WORKLOADS;
use crate::report::write;
use crate::report::write::temporary::TemporaryFolder;
use crate::run::session::Progress as _;
use crate::select::select;

pub const EXAMPLES: &str = "Examples:
  pvbench linux record vmlinuz                         all workloads
  pvbench linux record --download --workload mmap_perf
  pvbench linux record vmlinuz --check                 compare with the kernel's own counters";

/// Options of `linux record`.
#[derive(Args)]
pub struct RecordArgs {
    /// bzImage (vmlinuz) or vmlinux (default: the kernel of this machine, from /boot or /usr/lib/modules)
    #[arg(value_name = "KERNEL", conflicts_with = "download")]
    kernel: Option<PathBuf>,
    /// Download a Debian kernel package with apt-get, and unpack it into a temporary folder
    #[arg(long, value_name = "PACKAGE", num_args = 0..=1, default_missing_value = PACKAGE)]
    download: Option<String>,
    /// Boot parameters
    #[arg(long, value_name = "PARAMETERS", default_value = "mitigations=off")]
    append: String,
    /// Folder for the recordings, a file for each workload
    #[arg(long, value_name = "DIR", default_value = "recordings")]
    out: PathBuf,
    /// Workloads: getppid, mmap_perf, fault, .. (globs, separated by commas)
    #[arg(long, value_name = "GLOB")]
    workload: Vec<String>,
    /// Units to record of each workload (default: 5 million instructions, or 1,000 units)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    units: Option<u64>,
    /// Repetitions of each workload; the window is in the second
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=8))]
    reps: u64,
    /// Units of each repetition, in percent of the default number
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000))]
    scale: u64,
    /// Seconds that a boot may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Boot the kernel once more with counters of its own, and compare all counts with those of the recorder
    #[arg(long)]
    check: bool,
    /// Print the statistics as JSON
    #[arg(long)]
    json: bool,
}

/// Records a kernel and prints the statistics.
pub fn record(args: &RecordArgs) -> Done {
    run_until_stopped(|stop| record_until(args, stop))
}

fn record_until(args: &RecordArgs, stop: &AtomicBool) -> Done {
    let plan = RecordPlan { plan: args.plan()?, units: args.units, append: args.append.clone() };
    let qemu = Qemu::find().map_err(LinuxError::from)?;
    let interface = plugin::interface(&qemu.version).map_err(LinuxError::from)?;
    write::prepare(&args.out)?;
    let folder = make_temporary_folder()?;
    let path = match (&args.kernel, &args.download) {
        (Some(path), _) => path.clone(),
        (None, Some(package)) => find::download(package, folder.path(), stop).map_err(LinuxError::from)?,
        (None, None) => find::installed(Path::new("/")).map_err(LinuxError::from)?,
    };
    let subject = Subject::read(&path)?;
    let guest = Guest::build(stop).map_err(LinuxError::from)?;
    let library = plugin::build(interface, stop)?;
    let tools = Tools { qemu: &qemu, guest: &guest, library: &library, folder: folder.path(), stop };
    let mut progress = ProgressLine::with_steps(1 + usize::from(args.check));
    progress.begin();
    let progress = Mutex::new(progress);
    let step = |what: &str, recordings: usize| {
        if let Ok(mut progress) = progress.lock() {
            progress.advance(what.to_owned(), format!("{recordings} workloads"));
        }
    };
    let made = tick_during(&progress, || {
        let recordings = subject.record(&plan, &tools)?;
        step("recorded", recordings.len());
        let mut checked = Vec::new();
        if args.check {
            checked = subject.check(&plan, &tools)?;
            step("checked", checked.len());
        }
        Ok((recordings, checked))
    });
    drop(progress);
    let (recordings, checked) = keep_logs(made, folder, stop)?;
    write_recordings(args, &recordings, &checked)
}

/// Keeps the folder with the console if the emulator failed: the message of the error names files in it.
fn keep_logs<T>(made: Result<T, LinuxError>, folder: TemporaryFolder, stop: &AtomicBool) -> Result<T, LinuxError> {
    if matches!(made, Err(LinuxError::Qemu(_))) && !stop.load(Ordering::Relaxed) {
        remove_kernels(&folder.keep());
    }
    made
}

fn write_recordings(args: &RecordArgs, recordings: &[Recording], checked: &[(&'static str, u64)]) -> Done {
    let files = pack(args, recordings)?;
    let mut unwritten = FailedWrites::default();
    unwritten.note(write::files(&args.out, &files));
    recording::print(recordings, args.json)?;
    if !args.json {
        recording::print_checked(checked)?;
        if unwritten.is_empty() {
            recording::print_files(&args.out, &files)?;
        }
    }
    Ok(unwritten.ended(Exit::Fine))
}

/// The files of recordings, with their names.
fn pack(args: &RecordArgs, recordings: &[Recording]) -> Result<Vec<(PathBuf, Vec<u8>)>, CliError> {
    let mut files = Vec::new();
    for recording in recordings {
        let bytes = recording.to_bytes()?;
        let workload = &recording.about.workload;
        // What cannot be read again is not written.
        if bytes.len() > MAX_FILE_BYTES || Recording::of(&args.out, &bytes).is_err() {
            let error = RecordError::TooLarge { workload: workload.clone(), bytes: bytes.len() };
            return Err(LinuxError::from(error).into());
        }
        files.push((PathBuf::from(format!("{workload}.{EXTENSION}")), bytes));
    }
    Ok(files)
}

impl RecordArgs {
    fn plan(&self) -> Result<Plan, CliError> {
        let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        let chosen = select("workload", &self.workload, &names)?;
        Ok(Plan {
            reps: self.reps,
            scale: self.scale,
            phases: 1,
            only: chosen.iter().fold(0, |bits, index| bits | 1 << index),
            timeout: Duration::from_secs(self.timeout),
            jobs: std::num::NonZeroUsize::MIN,
        })
    }
}
