//! Child processes that end with this process, or when a stop flag is set.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process_group, set_parent_process_death_signal};

/// Interval at which the status of a child is polled.
pub(crate) const GLANCE: Duration = Duration::from_millis(20);

/// Makes the kernel kill the child when this thread ends, for whatever reason. The child gets its own process group:
/// this process handles Ctrl-C of the terminal, and [`end`] also ends children of the child.
pub fn bind(command: &mut Command) -> &mut Command {
    let parent = getpid();
    let bound = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // If the parent was killed before that call, no signal will come.
        if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec only these system calls are made, and nothing is allocated.
    unsafe { command.process_group(0).pre_exec(bound) }
}

/// Kills a child that was started with [`bind`], with its process group.
///
/// # Errors
/// The child cannot be waited for.
pub fn end(child: &mut Child) -> io::Result<()> {
    // This fails only if all processes of the group have ended by themselves.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait().map(|_| ())
}

/// Runs a program and returns its output and status; kills it once `stop` is set.
///
/// # Errors
/// The program cannot be started, or was stopped (`ErrorKind::Interrupted`).
pub fn output(command: &mut Command, stop: &AtomicBool) -> io::Result<Output> {
    // Output goes to files: processes that the program leaves behind could hold a pipe open.
    let [mut stdout, mut stderr] = [tempfile::tempfile()?, tempfile::tempfile()?];
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = bind(command).spawn()?;
    let status = loop {
        if stop.load(Ordering::Relaxed) {
            end(&mut child)?;
            return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(GLANCE);
    };
    Ok(Output { status, stdout: read_all(&mut stdout)?, stderr: read_all(&mut stderr)? })
}

/// Reads a file from its beginning.
fn read_all(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_returns_both_streams_and_the_status() {
        let output = output(&mut shell("echo out; echo err >&2; exit 3"), &AtomicBool::new(false)).unwrap();
        let Output { status, stdout, stderr } = output;
        assert_eq!((status.code(), &stdout[..], &stderr[..]), (Some(3), &b"out\n"[..], &b"err\n"[..]));
    }

    #[test]
    fn a_stopped_program_ends_with_all_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        // Both processes have the pipe open for writing, so reading ends when both have ended.
        let script = format!("exec > {}; echo up; sleep infinity & sleep infinity", fifo.display());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| output(&mut shell(&script), &stop));
            let mut file = File::open(&fifo).unwrap();
            let mut said = [0; 3];
            file.read_exact(&mut said).unwrap();
            stop.store(true, Ordering::Relaxed);
            assert_eq!(run.join().unwrap().unwrap_err().kind(), io::ErrorKind::Interrupted);
            assert_eq!(file.read_to_end(&mut Vec::new()).unwrap(), 0);
        });
    }
}
