//! The default kernel: that of this machine, or with `--download` that of Debian.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use crate::host::child;

/// Debian's name for its kernel without drivers for real hardware.
pub const PACKAGE: &str = "linux-image-cloud-amd64";
/// Folders with a kernel and its modules, under the root: Debian since 14, Fedora, Arch and openSUSE. Debian to 13 and
/// Ubuntu have kernels in `/boot`.
const MODULES: [&str; 2] = ["lib/modules", "usr/lib/modules"];
/// All searched paths, for messages.
const SEARCHED: &str = "/boot/vmlinuz*, /lib/modules/*/vmlinuz, /usr/lib/modules/*/vmlinuz";
/// Prefixes of packages that hold a kernel or depend on one that does. Since Debian 14, linux-image-* is empty and
/// linux-binary-* has the file.
const KERNEL_PACKAGES: [&str; 2] = ["linux-image-", "linux-binary-"];
/// Bound on the number of packages. In Debian, a kernel is the third of its chain of dependencies at most.
const MAX_PACKAGES: usize = 8;

/// Why no kernel was found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The folders have no kernel.
    #[error(
        "no kernel was named, and none was found under {} ({SEARCHED}); name a vmlinuz, or pass --download {PACKAGE} \
         (Debian, through apt-get)",
        root.display()
    )]
    None {
        /// The root of the search.
        root: PathBuf,
    },
    /// The kernel cannot be read.
    #[error(
        "no kernel was named, and {} cannot be read: {source}; copy it as root, or name another vmlinuz",
        path.display()
    )]
    Unreadable {
        /// The newest kernel.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A program for the download cannot be run.
    #[error("{program} cannot be run: {source}; --download needs apt-get and dpkg-deb (Debian and its derivatives)")]
    Run {
        /// The program.
        program: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The folder for downloads cannot be used.
    #[error("{} cannot be used: {source}; set TMPDIR to another folder", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A program for the download failed.
    #[error("{command} failed: {said}; refresh the list of packages with `apt-get update`")]
    Failed {
        /// The command.
        command: String,
        /// Its last line of output.
        said: String,
    },
    /// The downloaded packages have no kernel.
    #[error("no kernel ({SEARCHED}) was found in {}; name the package that holds the file", packages.join(", "))]
    NoKernel {
        /// The downloaded packages.
        packages: Vec<String>,
    },
}

impl FindError {
    /// Whether the input is at fault (exit code 2), not the download (exit code 4).
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, FindError::None { .. } | FindError::Unreadable { .. } | FindError::NoKernel { .. })
    }
}

/// The file of the running kernel under a root (`/`), else that of the newest readable version.
///
/// # Errors
/// [`FindError::None`], [`FindError::Unreadable`]
pub fn installed(root: &Path) -> Result<PathBuf, FindError> {
    let running = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut kernels = list_kernels(root);
    kernels.sort_by(|a, b| {
        let is_running = |kernel: &Kernel| kernel.version.as_os_str() == running.trim();
        is_running(a)
            .cmp(&is_running(b))
            .then_with(|| compare_versions(&a.version, &b.version))
            .then_with(|| a.path.cmp(&b.path))
    });
    let mut unreadable = None;
    for kernel in kernels.into_iter().rev() {
        match std::fs::File::open(&kernel.path) {
            Ok(_) => return Ok(kernel.path),
            Err(source) => unreadable = unreadable.or(Some(FindError::Unreadable { path: kernel.path, source })),
        }
    }
    Err(unreadable.unwrap_or_else(|| FindError::None { root: root.to_owned() }))
}

/// A file with the name of a kernel.
struct Kernel {
    version: OsString,
    path: PathBuf,
}

fn list_kernels(root: &Path) -> Vec<Kernel> {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut kernels = Vec::new();
    for entry in entries(&root.join("boot")) {
        let name = entry.file_name();
        let Some(version) = name.as_bytes().strip_prefix(b"vmlinuz") else { continue };
        let version = OsStr::from_bytes(version.strip_prefix(b"-").unwrap_or(version)).to_owned();
        kernels.push(Kernel { version, path: entry.path() });
    }
    for entry in MODULES.iter().flat_map(|folder| entries(&root.join(folder))) {
        kernels.push(Kernel { version: entry.file_name(), path: entry.path().join("vmlinuz") });
    }
    // Regular files only: opening a pipe could wait forever.
    kernels.retain(|kernel| kernel.path.metadata().is_ok_and(|file| file.is_file()));
    kernels
}

/// Orders versions by their numbers: 6.9 before 6.12.
fn compare_versions(a: &OsStr, b: &OsStr) -> Ordering {
    let parts = |text: &OsStr| -> Vec<(u64, Vec<u8>)> {
        let mut parts: Vec<(u64, Vec<u8>)> = vec![(0, Vec::new())];
        for byte in text.as_bytes() {
            match (byte.is_ascii_digit(), parts.last_mut()) {
                (true, Some((number, text))) if text.is_empty() => {
                    *number = number.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
                }
                (true, _) => parts.push((u64::from(byte - b'0'), Vec::new())),
                (false, Some((_, text))) => text.push(*byte),
                (false, None) => {}
            }
        }
        parts
    };
    parts(a).cmp(&parts(b))
}

/// Downloads a Debian package and those of its dependencies that may hold a kernel into `folder`, and unpacks them
/// until it finds a kernel. It installs nothing and needs no root. Running programs end as soon as `stop` is set.
///
/// # Errors
/// If apt-get or dpkg-deb fails or is stopped, or no package has a kernel.
pub fn download(package: &str, folder: &Path, stop: &AtomicBool) -> Result<PathBuf, FindError> {
    let packages = list_packages(package, folder, stop)?;
    // The last dependency of the chain is the most likely to hold the file.
    for (index, name) in packages.iter().enumerate().rev() {
        // One folder per package: apt-get chooses the name of the file.
        let own = folder.join(format!("package-{index}"));
        let failed = |source| FindError::Folder { path: own.clone(), source };
        std::fs::create_dir(&own).map_err(failed)?;
        run_program("apt-get", &["download".as_ref(), "-qq".as_ref(), name.as_ref()], &own, stop)?;
        let mut files = std::fs::read_dir(&own).map_err(failed)?.filter_map(Result::ok).map(|entry| entry.path());
        let Some(file) = files.find(|path| path.extension().is_some_and(|it| it == "deb")) else { continue };
        let root = own.join("root");
        run_program("dpkg-deb", &["-x".as_ref(), file.as_os_str(), root.as_os_str()], &own, stop)?;
        match installed(&root) {
            Err(FindError::None { .. }) => {}
            found => return found,
        }
    }
    Err(FindError::NoKernel { packages })
}

/// A package and those of its dependencies that may hold a kernel, in breadth-first order.
fn list_packages(package: &str, folder: &Path, stop: &AtomicBool) -> Result<Vec<String>, FindError> {
    let mut packages = vec![package.to_owned()];
    let mut next = 0;
    while let Some(name) = packages.get(next).filter(|_| packages.len() < MAX_PACKAGES).cloned() {
        let text =
            run_program("apt-cache", &["depends".as_ref(), "--important".as_ref(), name.as_ref()], folder, stop)?;
        for line in text.lines() {
            // `  Depends: a`, ` |Depends: a` for alternatives, `  PreDepends: a`.
            let depends = line.trim_start_matches([' ', '|']).split_once("Depends: ").map(|(_, name)| name.trim());
            let kernel = depends.filter(|it| KERNEL_PACKAGES.iter().any(|prefix| it.starts_with(prefix)));
            if let Some(kernel) = kernel.filter(|it| !packages.iter().any(|known| known == it)) {
                packages.push(kernel.to_owned());
            }
        }
        next += 1;
    }
    Ok(packages)
}

/// Runs a program in `folder` and returns its output.
fn run_program(
    program: &'static str,
    arguments: &[&OsStr],
    folder: &Path,
    stop: &AtomicBool,
) -> Result<String, FindError> {
    let mut command = Command::new(program);
    let done = child::output(command.args(arguments).current_dir(folder).env("LC_ALL", "C"), stop);
    let done = done.map_err(|source| FindError::Run { program, source })?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).lines().last().unwrap_or("it printed nothing").to_owned();
        let words: Vec<String> = arguments.iter().map(|it| it.to_string_lossy().into_owned()).collect();
        return Err(FindError::Failed { command: format!("{program} {}", words.join(" ")), said });
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let order =
            ["", "0-rescue-7c", "linux", "6.1.0-9-amd64", "6.1.0-57-amd64", "6.9.1", "6.12.117+deb13", "7.2.13"];
        let mut sorted = order;
        sorted.reverse();
        sorted.sort_by(|a, b| compare_versions(a.as_ref(), b.as_ref()));
        assert_eq!(sorted, order);
    }
}
