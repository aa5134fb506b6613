//! A kernel where none was named: that of this machine, or Debian's, where the user says so.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use crate::host::child;

/// Debian's name for its kernel without drivers for real hardware.
pub const PACKAGE: &str = "linux-image-cloud-amd64";

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// None in the folder.
    #[error(
        "no kernel was named and there is none to be read in {}; name a vmlinuz, or --download {PACKAGE} (Debian, through \
         apt-get)",
        folder.display()
    )]
    None {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A program that downloads could not be run.
    #[error("{program} cannot be run: {source}; --download needs apt-get and dpkg-deb, so Debian or its kin")]
    Run {
        /// Which.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It failed.
    #[error("{command} failed: {said}; `apt-get update` refreshes what there is")]
    Failed {
        /// What was run.
        command: String,
        /// What it said last.
        said: String,
    },
    /// The package holds no kernel.
    #[error("the package {package} holds no kernel: no boot/vmlinuz-* and no package that does in its dependencies")]
    NoKernel {
        /// Which.
        package: String,
    },
}

impl FindError {
    /// Whether what was named is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, FindError::None { .. } | FindError::NoKernel { .. })
    }
}

/// The running kernel's file, else the last by name that can be read.
///
/// # Errors
/// [`FindError::None`]
pub fn installed(folder: &Path) -> Result<PathBuf, FindError> {
    let running = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let own = folder.join(format!("vmlinuz-{}", running.trim()));
    if is_readable(&own) {
        return Ok(own);
    }
    last(folder).ok_or_else(|| FindError::None { folder: folder.to_owned() })
}

fn last(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let kernels = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz-"));
    kernels.map(|entry| entry.path()).filter(|path| is_readable(path)).max()
}

fn is_readable(path: &Path) -> bool {
    std::fs::File::open(path).is_ok_and(|file| file.metadata().is_ok_and(|file| file.is_file()))
}

/// Downloads a Debian package, or what it depends on, into `folder` and unpacks the kernel. Nothing is installed, no root
/// is needed. What is at work ends as soon as `stop` is set.
///
/// # Errors
/// Where apt-get or dpkg-deb fail or are stopped, or there is no kernel in it.
pub fn download(package: &str, folder: &Path, stop: &AtomicBool) -> Result<PathBuf, FindError> {
    let output = |program, arguments: &[&str], folder: &Path| output(program, arguments, folder, stop);
    let no_kernel = || FindError::NoKernel { package: package.to_owned() };
    // A package without a version in its name depends on the newest one that has one.
    let text = output("apt-cache", &["depends", "--important", package], folder)?;
    let mut depends = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let name = depends.find(|it| it.starts_with("linux-image-")).unwrap_or(package);
    output("apt-get", &["download", "-qq", name], folder)?;
    let entries = std::fs::read_dir(folder).map_err(|source| FindError::Run { program: "apt-get", source })?;
    let mut packages = entries.filter_map(Result::ok).map(|entry| entry.path());
    let file = packages.find(|path| path.extension().is_some_and(|it| it == "deb")).ok_or_else(no_kernel)?;
    output("dpkg-deb", &["-x", &file.to_string_lossy(), "."], folder)?;
    last(&folder.join("boot")).ok_or_else(no_kernel)
}

fn output(program: &'static str, arguments: &[&str], folder: &Path, stop: &AtomicBool) -> Result<String, FindError> {
    let mut command = Command::new(program);
    let done = child::output(command.args(arguments).current_dir(folder).env("LC_ALL", "C"), stop);
    let done = done.map_err(|source| FindError::Run { program, source })?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).lines().last().unwrap_or("it said nothing").to_owned();
        return Err(FindError::Failed { command: format!("{program} {}", arguments.join(" ")), said });
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
