//! Check that a program is a build of a suite, by the line that it prints for `--version`.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::error::CliError;
use crate::suite::Suite;

/// The text after the name of a suite in its `--version`: the tool and its version.
pub(crate) const VERSION: &str = concat!("(pvbench ", env!("CARGO_PKG_VERSION"), ")");

/// Seconds that a program may take to print its version. It takes milliseconds; a fifth of this is still enough on a
/// busy machine, ten times as much would look like a hang.
const MAX_ANSWER_SECONDS: u64 = 5;
/// Bytes that are read of the answer; a version line is shorter than 100.
const MAX_ANSWER_BYTES: u64 = 4096;

/// Checks that a program is a build of this suite.
///
/// # Errors
/// The program cannot be run, or is not a build of this suite; the message says which program to name.
pub fn check(binary: &Path, suite: &Suite) -> Result<(), CliError> {
    let name = binary.display();
    let said = ask_version(binary).map_err(|error| CliError::Usage(format!("cannot run {name}: {error}")))?;
    let usage = |message: String| Err(CliError::Usage(message));
    let Some(said) = said else {
        return usage(format!(
            "{name} is not a build of {}: it did not end within {MAX_ANSWER_SECONDS} s of --version; name the \
             program of a suite",
            suite.name()
        ));
    };
    match parse_suite(&said) {
        Some(other) if other == suite.name() => Ok(()),
        Some(other) => usage(format!(
            "{name} is a build of suite {other}, but this program is a build of {}; name two builds of the same suite",
            suite.name()
        )),
        None => usage(format!(
            "{name} is not a build of {}: its --version names no suite; name the program of a suite, built with this \
             or a later version of pvbench",
            suite.name()
        )),
    }
}

/// Parses the name of a suite from a version line: `uart (pvbench 0.1.0)`, or `pvbench 0.1.0` of the built-in suite.
fn parse_suite(said: &str) -> Option<&str> {
    let words: Vec<&str> = said.lines().next()?.split(' ').collect();
    let is_version = |word: &str| word.split('.').count() == 3 && word.starts_with(|c: char| c.is_ascii_digit());
    match words[..] {
        ["pvbench", version] if is_version(version) => Some("pvbench"),
        [name, "(pvbench", version] => version.strip_suffix(')').filter(|version| is_version(version)).map(|_| name),
        _ => None,
    }
}

/// Returns what a program prints for `--version`; `None` if it does not end in time.
fn ask_version(binary: &Path) -> std::io::Result<Option<String>> {
    let mut command = Command::new(binary);
    // With a process group of its own, its children are killed with it.
    command.arg("--version").process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let (sender, receiver) = channel();
    let mut reader = Ok(());
    if let Some(stdout) = child.stdout.take() {
        // Descendants that left the process group may hold the pipe open; then this thread stays behind.
        let read = move || {
            let mut said = Vec::new();
            let read = stdout.take(MAX_ANSWER_BYTES).read_to_end(&mut said);
            // After the timeout nobody receives.
            let _ = sender.send(read.map(|_| String::from_utf8_lossy(&said).into_owned()));
        };
        // If no thread can be started, nothing is sent, and the error is returned below.
        reader = thread::Builder::new().spawn(read).map(drop);
    }
    let said = receiver.recv_timeout(Duration::from_secs(MAX_ANSWER_SECONDS));
    // The answer is complete, so the group is killed; this fails harmlessly if the program has ended by itself. The
    // program is not waited for before, so its process id is still its own.
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    let _ = child.wait();
    reader?;
    said.ok().transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_line_names_its_suite() {
        assert_eq!(parse_suite(&format!("uart {VERSION}\n")), Some("uart"));
        assert_eq!(parse_suite("uart_hal (pvbench 1.20.3)\n"), Some("uart_hal"));
        assert_eq!(parse_suite("pvbench 0.1.0\n"), Some("pvbench"));
        for other in ["", "\n", "ls (GNU coreutils) 9.1\n", "uart 0.1.0\n", "uart (pvbench )\n", "pvbench is here\n"] {
            assert_eq!(parse_suite(other), None, "{other:?}");
        }
    }
}
