//! `pvbench linux ab`: compares a kernel with itself, patched and never patched.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;

use super::{BootArgs, make_temporary_folder, run_until_stopped, show};
use crate::cli::Done;
use crate::cli::exit::Exit;
use crate::cli::output::FailedWrites;
use crate::estimate::linux::predictions;
use crate::linux::compare::Subject;
use crate::linux::error::LinuxError;
use crate::linux::find::{self, PACKAGE};
use crate::linux::unpatch::Unpatching;
use crate::report::{read, render, stale, write};

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench linux ab                                     this machine's kernel, patched and unpatched
  pvbench linux ab --download                          Debian's cloud kernel
  pvbench linux ab vmlinuz --workload 'fault,mmap_*'   two workloads of a kernel of your own";

/// Options of `linux ab`.
#[derive(Args)]
pub struct AbArgs {
    /// bzImage (vmlinuz) or vmlinux (default: the kernel of this machine, from /boot or /usr/lib/modules)
    #[arg(value_name = "KERNEL", conflicts_with = "download")]
    kernel: Option<PathBuf>,
    /// Download a Debian kernel package with apt-get, and unpack it into a temporary folder
    #[arg(long, value_name = "PACKAGE", num_args = 0..=1, default_missing_value = PACKAGE)]
    download: Option<String>,
    /// Boot parameters
    #[arg(long, value_name = "PARAMETERS", default_value = "mitigations=off")]
    append: String,
    /// Report to add the counts to (default: the report in --out, if any)
    #[arg(long, value_name = "REPORT.json")]
    report: Option<PathBuf>,
    /// Folder for linux.json and for the report, if any
    #[arg(long, value_name = "DIR", default_value = "reports/latest")]
    out: PathBuf,
    #[command(flatten)]
    boot: BootArgs,
}

/// Compares a kernel with variants of itself that never patch pv_ops.
pub fn ab(args: &AbArgs) -> Done {
    run_until_stopped(|stop| compare(args, stop))
}

fn compare(args: &AbArgs, stop: &AtomicBool) -> Done {
    let own = args.out.join("report.json");
    let report = args.report.as_deref().or_else(|| own.is_file().then_some(own.as_path()));
    // A report that cannot be read ends the command before it boots kernels.
    let report = report.map(read::report).transpose()?;
    write::prepare(&args.out)?;
    let folder = make_temporary_folder()?;
    let path = find_kernel(args, folder.path(), stop)?;
    let subjects = Unpatching::ALL.map(|variant| Subject {
        name: variant.name().to_owned(),
        path: path.clone(),
        variant,
        append: args.append.clone(),
        // All three variants execute the same hooks, so one of them is counted.
        counted: variant == Unpatching::Noalt && !args.boot.no_calls,
    });
    let mut linux = args.boot.compare(&subjects, stop)?;
    let mut unwritten = FailedWrites::default();
    let mut files = Vec::new();
    if let Some(text) = unwritten.note(show::json(&linux)) {
        files.push((PathBuf::from("linux.json"), text));
    }
    let has_report = report.is_some();
    if let Some(mut report) = report {
        linux.predictions = predictions(&linux, &report.cells);
        report.linux = Some(linux.clone());
        files.extend(unwritten.note(render::files(&report)).unwrap_or_default());
        files.extend(unwritten.note(write::json(&report)).map(|text| ("report.json".into(), text)));
    }
    show::print(&linux, &linux.predictions)?;
    // Without a report, the page and plots in the folder belong to another report and stay.
    unwritten.note(if has_report { stale::replace(&args.out, files) } else { write::files(&args.out, &files) });
    if unwritten.is_empty() {
        show::print_paths(&args.out, has_report)?;
    }
    Ok(unwritten.ended(Exit::Fine))
}

fn find_kernel(args: &AbArgs, folder: &Path, stop: &AtomicBool) -> Result<PathBuf, LinuxError> {
    Ok(match (&args.kernel, &args.download) {
        (Some(path), _) => path.clone(),
        (None, Some(package)) => find::download(package, folder, stop)?,
        (None, None) => find::installed(Path::new("/"))?,
    })
}
