//! Programs that the instruction counts need: where they are and which version.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};

use super::{OwnTime, Root};

/// The series of iai-callgrind-runner that goes with the iai-callgrind of the benches; the runner refuses any other
/// version than the library's own.
pub const IAI_CALLGRIND_SERIES: &str = "0.16";

/// `valgrind --version` prints a line and ends; one that takes longer than this is broken.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a program that was started is looked at.
const GLANCE: Duration = Duration::from_millis(2);

/// A program found on the PATH.
#[derive(Debug)]
pub struct FoundTool {
    /// Where, seen from the root.
    pub path: PathBuf,
    /// Its version, as `3.19.0`.
    pub version: Result<String, ToolError>,
}

/// Why the version of a program is not known.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started or watched.
    #[error("it cannot be run: {0}")]
    Run(#[from] io::Error),
    /// It did not end.
    #[error("it did not end within {} s", PATIENCE.as_secs())]
    Hung,
    /// It ended with a failure.
    #[error("it failed: {0}")]
    Failed(ExitStatus),
    /// It printed something else.
    #[error("it printed no version but {0:?}")]
    NoVersion(String),
    /// There is no record by cargo of what it installed.
    #[error("no record of cargo install beside it")]
    NoRecord,
}

/// The first executable file called `name` in the absolute folders of `path`, the PATH variable.
pub(super) fn find(root: &Root, path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path).filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(
        |candidate| {
            std::fs::metadata(root.locate(candidate))
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        },
    )
}

/// Valgrind on `path`, asked for its version.
pub(super) fn valgrind(root: &Root, path: &OsStr) -> Option<FoundTool> {
    let found = find(root, path, "valgrind")?;
    let mut command = Command::new(root.locate(&found));
    command.arg("--version");
    let version = first_line(command, PATIENCE).and_then(valgrind_version);
    Some(FoundTool { path: found, version })
}

/// Valgrind prints `valgrind-3.19.0`.
fn valgrind_version(line: String) -> Result<String, ToolError> {
    match line.strip_prefix("valgrind-") {
        Some(version) => Ok(version.to_owned()),
        None => Err(ToolError::NoVersion(line)),
    }
}

/// The runner of iai-callgrind on `path`. It has no `--version`; cargo's record of what it installed is read instead.
pub(super) fn iai_callgrind_runner(root: &Root, path: &OsStr) -> Option<FoundTool> {
    let found = find(root, path, "iai-callgrind-runner")?;
    let version = recorded_version(root, &found).ok_or(ToolError::NoRecord);
    Some(FoundTool { path: found, version })
}

/// The version in `.crates.toml`, which `cargo install` keeps in the folder above `bin`; its keys read
/// `"name version (source)"`.
fn recorded_version(root: &Root, program: &Path) -> Option<String> {
    let record = program.parent()?.parent()?.join(".crates.toml");
    let text = root.text(record).ok()?;
    text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix("\"iai-callgrind-runner ")?;
        Some(rest.split_once(' ')?.0.to_owned())
    })
}

/// The first line that a command prints. The pipe bounds what it can print, `patience` how long it can take.
fn first_line(mut command: Command, patience: Duration) -> Result<String, ToolError> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let status = match wait(&mut child, patience) {
        Ok(Some(status)) => status,
        ended => {
            // It may have ended by itself meanwhile, so that a failure to kill it says nothing; waiting tells.
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
        // A grandchild may hold the pipe open for ever; what is there after the end of the child is all that counts.
        fcntl_setfl(&stdout, OFlags::NONBLOCK).map_err(io::Error::from)?;
        filled = match stdout.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            read => read?,
        };
    }
    let text = String::from_utf8_lossy(&bytes[..filled]);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// The status of a child that ends in time, `None` of one that does not.
fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let mut waited = OwnTime::start();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if waited.look() > patience {
            return Ok(None);
        }
        std::thread::sleep(GLANCE);
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
    fn only_executable_files_of_absolute_folders_are_found() {
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
    fn a_record_is_read_in_a_folder_whose_name_is_no_utf_8() {
        use std::os::unix::ffi::OsStrExt;
        let home = Path::new(OsStr::from_bytes(b"/home,\xff"));
        let (_folder, root) = rooted(home.join("bin/iai-callgrind-runner"), 0o755);
        fs::write(root.locate(home.join(".crates.toml")), "\"iai-callgrind-runner 0.16.1 (x)\" = []\n").unwrap();
        let found = iai_callgrind_runner(&root, home.join("bin").as_os_str()).unwrap();
        assert_eq!(found.version.unwrap(), "0.16.1");
    }

    #[test]
    fn the_version_of_the_runner_is_that_of_cargos_record() {
        let (_folder, root) = rooted("home/.cargo/bin/iai-callgrind-runner", 0o755);
        let path = OsStr::new("/home/.cargo/bin");
        let unrecorded = iai_callgrind_runner(&root, path).unwrap();
        assert!(matches!(unrecorded.version, Err(ToolError::NoRecord)));
        fs::write(
            root.locate("home/.cargo/.crates.toml"),
            "[v1]\n\"other 1.0.0 (registry+x)\" = [\"other\"]\n\
             \"iai-callgrind-runner 0.16.1 (registry+x)\" = [\"iai-callgrind-runner\"]\n",
        )
        .unwrap();
        let recorded = iai_callgrind_runner(&root, path).unwrap();
        assert_eq!(recorded.version.unwrap(), "0.16.1");
    }

    #[test]
    fn a_program_that_fails_or_is_none_is_an_error() {
        let failing = first_line(Command::new("/bin/false"), PATIENCE);
        assert!(matches!(failing, Err(ToolError::Failed(_))));
        let (_folder, root) = rooted("bin/valgrind", 0o755);
        let empty = valgrind(&root, OsStr::new("/bin")).unwrap();
        assert!(matches!(empty.version, Err(ToolError::Run(_))));
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let mut sleeper = Command::new("/bin/sleep");
        sleeper.arg("infinity");
        let hung = first_line(sleeper, Duration::ZERO);
        assert!(matches!(hung, Err(ToolError::Hung)));
    }

    #[test]
    fn the_first_line_is_the_version_and_anything_but_valgrinds_is_none() {
        let printed = |text| {
            let mut echo = Command::new("/bin/echo");
            echo.arg(text);
            valgrind_version(first_line(echo, PATIENCE).unwrap())
        };
        assert_eq!(printed("valgrind-3.19.0\nmore").unwrap(), "3.19.0");
        assert!(matches!(printed("3.19.0"), Err(ToolError::NoVersion(it)) if it == "3.19.0"));
        assert!(matches!(printed(""), Err(ToolError::NoVersion(it)) if it.is_empty()));
    }
}
