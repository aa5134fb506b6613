//! Programs that this one starts: they end with it, and where it is to stop.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process_group, set_parent_process_death_signal};

/// How often a program that runs is looked at.
pub const GLANCE: Duration = Duration::from_millis(20);

/// Has the program end when this thread does, however that comes. It gets a process group of its own: Ctrl-C on the
/// terminal is this process's to handle, and [`end`] reaches what the program starts, too.
pub fn bind(command: &mut Command) -> &mut Command {
    let parent = getpid();
    let bound = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that was killed before that call sends no signal any more.
        if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec only these system calls are made, and nothing is allocated.
    unsafe { command.process_group(0).pre_exec(bound) }
}

/// Ends a program that was started by way of [`bind`], with all that it started.
///
/// # Errors
/// Where it cannot be waited for.
pub fn end(child: &mut Child) -> io::Result<()> {
    // Fails only where all have ended by themselves; waiting tells.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait().map(|_| ())
}

/// Runs a program to its end and keeps what it prints, or ends it once `stop` is set.
///
/// # Errors
/// Where it cannot be started, or was stopped: `ErrorKind::Interrupted`.
pub fn output(command: &mut Command, stop: &AtomicBool) -> io::Result<Output> {
    // Files and no pipes: whatever the program leaves behind may hold a pipe open.
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
    Ok(Output { status, stdout: whole(&mut stdout)?, stderr: whole(&mut stderr)? })
}

fn whole(file: &mut File) -> io::Result<Vec<u8>> {
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
    fn what_a_program_prints_is_kept_with_its_status() {
        let output = output(&mut shell("echo out; echo err >&2; exit 3"), &AtomicBool::new(false)).unwrap();
        let Output { status, stdout, stderr } = output;
        assert_eq!((status.code(), &stdout[..], &stderr[..]), (Some(3), &b"out\n"[..], &b"err\n"[..]));
    }

    #[test]
    fn a_program_that_is_stopped_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        // Both have the pipe open for writing: reading ends when both have.
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
