//! Programs that instruction counts of the benches need: their paths and versions.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};

use super::{OwnTime, Root};

/// The series of iai-callgrind-runner that matches iai-callgrind in the benches. The runner refuses any version other
/// than the library's own.
pub const IAI_CALLGRIND_SERIES: &str = "0.16";

/// Longest time of `valgrind --version`, which prints a line and ends; a program that takes longer is broken.
const MAX_RUN_TIME: Duration = Duration::from_secs(5);

/// Interval at which the status of a started program is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A program found on the PATH.
#[derive(Debug)]
pub struct FoundTool {
    /// The path, as seen from the root.
    pub path: PathBuf,
    /// The version, such as `3.19.0`.
    pub version: Result<String, ToolError>,
}

/// Why the version of a program is unknown.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The program cannot be started or waited for.
    #[error("it cannot be run: {0}")]
    Run(#[from] io::Error),
    /// The program did not end in time.
    #[error("it did not end within {} s", MAX_RUN_TIME.as_secs())]
    Hung,
    /// The program ended with a failure.
    #[error("it failed: {0}")]
    Failed(ExitStatus),
    /// The program did not print a version.
    #[error("it printed {0:?} instead of a version")]
    NoVersion(String),
    /// The record of `cargo install` is missing.
    #[error("there is no record of cargo install beside it")]
    NoRecord,
}

/// Finds the first executable file `name` in the absolute folders of `path`, the PATH variable.
pub(super) fn find(root: &Root, path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path).filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(
        |candidate| {
            std::fs::metadata(root.locate(candidate))
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        },
    )
}

/// Finds Valgrind on `path` and asks it for its version.
pub(super) fn find_valgrind(root: &Root, path: &OsStr) -> Option<FoundTool> {
    let found = find(root, path, "valgrind")?;
    let mut command = Command::new(root.locate(&found));
    command.arg("--version");
    let version = read_first_line(command, MAX_RUN_TIME).and_then(parse_valgrind_version);
    Some(FoundTool { path: found, version })
}

/// Parses the version line of Valgrind: `valgrind-3.19.0`.
fn parse_valgrind_version(line: String) -> Result<String, ToolError> {
    match line.strip_prefix("valgrind-") {
        Some(version) => Ok(version.to_owned()),
        None => Err(ToolError::NoVersion(line)),
    }
}

/// Finds the runner of iai-callgrind on `path`. It has no `--version`; its version comes from the record of `cargo
/// install`.
pub(super) fn find_iai_callgrind_runner(root: &Root, path: &OsStr) -> Option<FoundTool> {
    let found = find(root, path, "iai-callgrind-runner")?;
    let version = read_recorded_version(root, &found).ok_or(ToolError::NoRecord);
    Some(FoundTool { path: found, version })
}

/// Reads the version in `.crates.toml`, the record of `cargo install` in the folder above `bin`. Its keys are
/// `"name version (source)"`.
fn read_recorded_version(root: &Root, program: &Path) -> Option<String> {
    let record = program.parent()?.parent()?.join(".crates.toml");
    let text = root.text(record).ok()?;
    text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix("\"iai-callgrind-runner ")?;
        Some(rest.split_once(' ')?.0.to_owned())
    })
}

/// Runs a command and returns the first line that it prints. The size of the pipe bounds its output, `max_time` its
/// time.
fn read_first_line(mut command: Command, max_time: Duration) -> Result<String, ToolError> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let status = match wait(&mut child, max_time) {
        Ok(Some(status)) => status,
        ended => {
            // The kill fails if the child has ended by itself, so the result of waiting is checked first.
            let killed = child.kill();
            child.wait()?;
            killed?;
            ended?;
            return Err(ToolError::Hung);
        }
    };
    if !status.success() {
        return Err(ToolError::Failed(status));
    }
    let mut bytes = [0; 256];
    let mut filled = 0;
    if let Some(mut stdout) = child.stdout.take() {
        // A grandchild may hold the pipe open for ever, so only output before the end of the child is read.
        fcntl_setfl(&stdout, OFlags::NONBLOCK).map_err(io::Error::from)?;
        filled = match stdout.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            read => read?,
        };
    }
    let text = String::from_utf8_lossy(&bytes[..filled]);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Waits for a child; `None` if it does not end within `max_time`.
fn wait(child: &mut Child, max_time: Duration) -> io::Result<Option<ExitStatus>> {
    let mut waited = OwnTime::start();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if waited.look() > max_time {
            return Ok(None);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A root with an empty file of `mode` at `path`.
    fn rooted(path: impl AsRef<Path>, mode: u32) -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        let file = root.locate(path.as_ref());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        (folder, root)
    }

    #[test]
    fn find_returns_executable_files_in_absolute_folders_only() {
        let path = OsStr::new("relative:/nowhere:/opt/bin");
        let found = |at, mode| {
            let (_folder, root) = rooted(at, mode);
            find(&root, path, "tool")
        };
        assert_eq!(found("opt/bin/tool", 0o755), Some(PathBuf::from("/opt/bin/tool")));
        assert_eq!(found("opt/bin/tool", 0o644), None);
        assert_eq!(found("relative/tool", 0o755), None);
        assert_eq!(found("opt/bin/tool/inside", 0o755), None);
    }

    #[test]
    fn a_record_is_read_in_a_folder_whose_name_is_not_utf_8() {
        use std::os::unix::ffi::OsStrExt;
        let home = Path::new(OsStr::from_bytes(b"/home,\xff"));
        let (_folder, root) = rooted(home.join("bin/iai-callgrind-runner"), 0o755);
        fs::write(root.locate(home.join(".crates.toml")), "\"iai-callgrind-runner 0.16.1 (x)\" = []\n").unwrap();
        let found = find_iai_callgrind_runner(&root, home.join("bin").as_os_str()).unwrap();
        assert_eq!(found.version.unwrap(), "0.16.1");
    }

    #[test]
    fn the_version_of_the_runner_comes_from_the_record_of_cargo_install() {
        let (_folder, root) = rooted("home/.cargo/bin/iai-callgrind-runner", 0o755);
        let path = OsStr::new("/home/.cargo/bin");
        let unrecorded = find_iai_callgrind_runner(&root, path).unwrap();
        assert!(matches!(unrecorded.version, Err(ToolError::NoRecord)));
        fs::write(
            root.locate("home/.cargo/.crates.toml"),
            "[v1]\n\"other 1.0.0 (registry+x)\" = [\"other\"]\n\
             \"iai-callgrind-runner 0.16.1 (registry+x)\" = [\"iai-callgrind-runner\"]\n",
        )
        .unwrap();
        let recorded = find_iai_callgrind_runner(&root, path).unwrap();
        assert_eq!(recorded.version.unwrap(), "0.16.1");
    }

    #[test]
    fn a_program_that_fails_or_cannot_be_run_is_an_error() {
        let failing = read_first_line(Command::new("/bin/false"), MAX_RUN_TIME);
        assert!(matches!(failing, Err(ToolError::Failed(_))));
        let (_folder, root) = rooted("bin/valgrind", 0o755);
        let empty = find_valgrind(&root, OsStr::new("/bin")).unwrap();
        assert!(matches!(empty.version, Err(ToolError::Run(_))));
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let mut sleeper = Command::new("/bin/sleep");
        sleeper.arg("infinity");
        let hung = read_first_line(sleeper, Duration::ZERO);
        assert!(matches!(hung, Err(ToolError::Hung)));
    }

    #[test]
    fn a_version_line_of_valgrind_is_parsed_and_any_other_line_is_refused() {
        let printed = |text| {
            let mut echo = Command::new("/bin/echo");
            echo.arg(text);
            parse_valgrind_version(read_first_line(echo, MAX_RUN_TIME).unwrap())
        };
        assert_eq!(printed("valgrind-3.19.0\nmore").unwrap(), "3.19.0");
        assert!(matches!(printed("3.19.0"), Err(ToolError::NoVersion(it)) if it == "3.19.0"));
        assert!(matches!(printed(""), Err(ToolError::NoVersion(it)) if it.is_empty()));
    }
}
