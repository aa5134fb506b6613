//! A kernel where none was named: that of this machine, or Debian's, where the user says so.

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
/// Where kernels lie under a root: Debian to 13 and Ubuntu have them in `/boot`, Debian since 14, Fedora, Arch and
/// openSUSE beside their modules.
const MODULES: [&str; 2] = ["lib/modules", "usr/lib/modules"];
/// The same, for messages.
const PLACES: &str = "/boot/vmlinuz*, /lib/modules/*/vmlinuz, /usr/lib/modules/*/vmlinuz";
/// What packages begin with that hold a kernel, or depend on one that does. Since Debian 14 linux-image-* is empty and
/// linux-binary-* has the file.
const KERNEL_PACKAGES: [&str; 2] = ["linux-image-", "linux-binary-"];
/// So many packages are looked at, at most; Debian has three on the way to a kernel.
const MAX_PACKAGES: usize = 8;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// None in the folders.
    #[error(
        "no kernel was named and {} has none ({PLACES}); name a vmlinuz, or --download {PACKAGE} (Debian, through apt-get)",
        root.display()
    )]
    None {
        /// The root of what was searched.
        root: PathBuf,
    },
    /// There are some, for others.
    #[error("no kernel was named and {} cannot be read: {source}; copy it as root, or name another vmlinuz", path.display())]
    Unreadable {
        /// The newest.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program that downloads could not be run.
    #[error("{program} cannot be run: {source}; --download needs apt-get and dpkg-deb, so Debian or its kin")]
    Run {
        /// Which.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A folder for what is downloaded.
    #[error("{}: {source}; TMPDIR names another folder", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
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
    /// No package holds a kernel.
    #[error("no kernel ({PLACES}) in {}; name the package that holds the file", packages.join(", "))]
    NoKernel {
        /// Those that were downloaded.
        packages: Vec<String>,
    },
}

impl FindError {
    /// Whether what was named is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, FindError::None { .. } | FindError::Unreadable { .. } | FindError::NoKernel { .. })
    }
}

/// The running kernel's file under a root (`/`), else that of the newest version that can be read.
///
/// # Errors
/// [`FindError::None`], [`FindError::Unreadable`]
pub fn installed(root: &Path) -> Result<PathBuf, FindError> {
    let running = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut kernels = kernels(root);
    kernels.sort_by(|a, b| {
        let is_running = |kernel: &Kernel| kernel.version.as_os_str() == running.trim();
        is_running(a)
            .cmp(&is_running(b))
            .then_with(|| compare(&a.version, &b.version))
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

/// A file that is named as kernels are.
struct Kernel {
    version: OsString,
    path: PathBuf,
}

fn kernels(root: &Path) -> Vec<Kernel> {
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
    // Files only: what opening a pipe waits for may never come.
    kernels.retain(|kernel| kernel.path.metadata().is_ok_and(|file| file.is_file()));
    kernels
}

/// Versions in their order: 6.9 before 6.12.
fn compare(a: &OsStr, b: &OsStr) -> Ordering {
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

/// Downloads Debian packages, that of this name and those that hold kernels among what it depends on, into `folder`,
/// and unpacks them until there is a kernel. Nothing is installed, no root is needed. What is at work ends as soon as
/// `stop` is set.
///
/// # Errors
/// Where apt-get or dpkg-deb fail or are stopped, or there is no kernel in them.
pub fn download(package: &str, folder: &Path, stop: &AtomicBool) -> Result<PathBuf, FindError> {
    let packages = packages(package, folder, stop)?;
    // What others depend on is more likely to hold the file.
    for (index, name) in packages.iter().enumerate().rev() {
        // A folder of its own: apt-get chooses the name of the file.
        let own = folder.join(format!("package-{index}"));
        let failed = |source| FindError::Folder { path: own.clone(), source };
        std::fs::create_dir(&own).map_err(failed)?;
        output("apt-get", &["download".as_ref(), "-qq".as_ref(), name.as_ref()], &own, stop)?;
        let mut files = std::fs::read_dir(&own).map_err(failed)?.filter_map(Result::ok).map(|entry| entry.path());
        let Some(file) = files.find(|path| path.extension().is_some_and(|it| it == "deb")) else { continue };
        let root = own.join("root");
        output("dpkg-deb", &["-x".as_ref(), file.as_os_str(), root.as_os_str()], &own, stop)?;
        match installed(&root) {
            Err(FindError::None { .. }) => {}
            found => return found,
        }
    }
    Err(FindError::NoKernel { packages })
}

/// A package, and those among what it depends on that may hold a kernel, as near as they are.
fn packages(package: &str, folder: &Path, stop: &AtomicBool) -> Result<Vec<String>, FindError> {
    let mut packages = vec![package.to_owned()];
    let mut next = 0;
    while let Some(name) = packages.get(next).filter(|_| packages.len() < MAX_PACKAGES).cloned() {
        let text = output("apt-cache", &["depends".as_ref(), "--important".as_ref(), name.as_ref()], folder, stop)?;
        for line in text.lines() {
            // `  Depends: a`, ` |Depends: a` where another would do, `  PreDepends: a`.
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

fn output(program: &'static str, arguments: &[&OsStr], folder: &Path, stop: &AtomicBool) -> Result<String, FindError> {
    let mut command = Command::new(program);
    let done = child::output(command.args(arguments).current_dir(folder).env("LC_ALL", "C"), stop);
    let done = done.map_err(|source| FindError::Run { program, source })?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).lines().last().unwrap_or("it said nothing").to_owned();
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
        sorted.sort_by(|a, b| compare(a.as_ref(), b.as_ref()));
        assert_eq!(sorted, order);
    }
}
