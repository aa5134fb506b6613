//! Is a program a build of a suite, and of which? What it prints for `--version` says so.

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

/// What a suite prints for `--version` after its name: the tool, and its version.
pub const VERSION: &str = concat!("(pvbench ", env!("CARGO_PKG_VERSION"), ")");

/// Seconds that a program may take to print its version. It takes milliseconds; a tenth of this is still enough on a
/// busy machine, and ten times as much is a wait that nobody expects.
const ANSWER_SECONDS: u64 = 10;
/// Bytes that are read of an answer: a line is shorter than 100.
const MAX_ANSWER_BYTES: u64 = 4096;

/// Checks that a program is a build of this suite.
///
/// # Errors
/// What it is instead, and which program to name.
pub fn check(binary: &Path, suite: &Suite) -> Result<(), CliError> {
    let name = binary.display();
    let said = answer(binary).map_err(|error| CliError::Usage(format!("cannot run {name}: {error}")))?;
    let usage = |message: String| Err(CliError::Usage(message));
    let Some(said) = said else {
        return usage(format!(
            "{name} is no build of {}: it did not end within {ANSWER_SECONDS} s of --version; name the program of a \
             suite",
            suite.name()
        ));
    };
    match suite_of(&said) {
        Some(other) if other == suite.name() => Ok(()),
        Some(other) => usage(format!(
            "{name} is a build of suite {other}, and this is one of {}; name two builds of the same suite",
            suite.name()
        )),
        None => usage(format!(
            "{name} is no build of {}: it does not say so by --version; name the program of a suite, built with this \
             or a later version of pvbench",
            suite.name()
        )),
    }
}

/// The suite that a program is of, by what it printed: `uart (pvbench 0.1.0)`, or `pvbench 0.1.0` of the built-in one.
fn suite_of(said: &str) -> Option<&str> {
    let words: Vec<&str> = said.lines().next()?.split(' ').collect();
    let is_version = |word: &str| word.split('.').count() == 3 && word.starts_with(|c: char| c.is_ascii_digit());
    match words[..] {
        ["pvbench", version] if is_version(version) => Some("pvbench"),
        [name, "(pvbench", version] => version.strip_suffix(')').filter(|version| is_version(version)).map(|_| name),
        _ => None,
    }
}

/// What a program prints for `--version`; none where it does not end.
fn answer(binary: &Path) -> std::io::Result<Option<String>> {
    let mut command = Command::new(binary);
    // A group of its own, so that what it starts ends with it.
    command.arg("--version").process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let (sender, receiver) = channel();
    let mut reader = Ok(());
    if let Some(stdout) = child.stdout.take() {
        // Descendants of it that left its group may hold the pipe open; then the thread is left behind.
        let read = move || {
            let mut said = Vec::new();
            let read = stdout.take(MAX_ANSWER_BYTES).read_to_end(&mut said);
            // Nobody waits any longer where the time is up.
            let _ = sender.send(read.map(|_| String::from_utf8_lossy(&said).into_owned()));
        };
        // Without a thread for it, nobody sends: the answer is an error below.
        reader = thread::Builder::new().spawn(read).map(drop);
    }
    let said = receiver.recv_timeout(Duration::from_secs(ANSWER_SECONDS));
    // It has said all that is asked of it; where it has ended by itself, this fails and nothing is wrong. It is not
    // waited for until then, so that the number is still its own.
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
        assert_eq!(suite_of(&format!("uart {VERSION}\n")), Some("uart"));
        assert_eq!(suite_of("uart_hal (pvbench 1.20.3)\n"), Some("uart_hal"));
        assert_eq!(suite_of("pvbench 0.1.0\n"), Some("pvbench"));
        for other in ["", "\n", "ls (GNU coreutils) 9.1\n", "uart 0.1.0\n", "uart (pvbench )\n", "pvbench is here\n"] {
            assert_eq!(suite_of(other), None, "{other:?}");
        }
    }
}
