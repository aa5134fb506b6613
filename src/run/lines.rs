//! The lines of a worker, as they arrive. The parent polls the pipes itself, since a limit on processes may refuse a
//! thread.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStderr, ChildStdout};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::host::OwnTime;

/// Longest line in bytes. The samples of the largest comparison take a hundredth of it. A worker that writes more
/// without an end of line does not write samples.
const MAX_LINE_BYTES: usize = 64 << 20;
/// Bytes of a worker's standard error that its parent keeps.
const MAX_COMPLAINT_BYTES: usize = 4096;
/// Bytes per read: the capacity of a pipe.
const PIPE_BYTES: usize = 64 << 10;

/// An event from a worker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WorkerEvent {
    /// A line, without its end.
    Line(Vec<u8>),
    /// No line within the given time.
    Nothing,
    /// No line for longer than the worker may be silent.
    Silence,
    /// The worker's output is closed.
    End,
}

/// The output pipes of a worker.
pub(super) struct Lines {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// Bytes that belong to no line yet.
    pending: Vec<u8>,
    /// Leading bytes of `pending` that hold no end of line.
    searched: usize,
    complaint: Vec<u8>,
    silence: OwnTime,
    max_silence: Duration,
}

impl Lines {
    /// Takes the pipes of a worker, which may be silent for `max_silence` of this process's own time.
    pub(crate) fn new(child: &mut Child, max_silence: Duration) -> Self {
        Lines {
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            pending: Vec::new(),
            searched: 0,
            complaint: Vec::new(),
            silence: OwnTime::start(),
            max_silence,
        }
    }

    /// Returns the next line. It waits no longer than `patience`, and not at all where the pipe holds a line.
    ///
    /// # Errors
    /// [`io::Error`] where the pipe cannot be read, or a line is longer than [`MAX_LINE_BYTES`].
    pub(crate) fn next(&mut self, patience: Duration) -> io::Result<WorkerEvent> {
        loop {
            if let Some(line) = self.line() {
                self.silence.restart();
                return Ok(WorkerEvent::Line(line));
            }
            if self.pending.len() > MAX_LINE_BYTES {
                return Err(io::Error::other(format!("a line is longer than {MAX_LINE_BYTES} bytes")));
            }
            if self.stdout.is_none() {
                return Ok(WorkerEvent::End);
            }
            // Only an empty pipe means silence: a worker may have answered while this process was stopped.
            if !self.read(patience)? {
                let silent = self.silence.look() > self.max_silence;
                return Ok(if silent { WorkerEvent::Silence } else { WorkerEvent::Nothing });
            }
        }
    }

    /// Returns the bytes after the last line.
    pub(crate) fn unfinished(&self) -> &[u8] {
        &self.pending
    }

    /// Returns what the worker wrote to standard error so far.
    pub(crate) fn complaint(mut self) -> String {
        // Another process may hold the pipe open for ever, so only the present content counts.
        self.stdout = None;
        while self.stderr.is_some() && self.read(Duration::ZERO).unwrap_or(false) {}
        String::from_utf8_lossy(&self.complaint).trim().to_owned()
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let Some(end) = self.pending[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.pending.len();
            return None;
        };
        let rest = self.pending.split_off(self.searched + end + 1);
        let mut line = std::mem::replace(&mut self.pending, rest);
        line.pop();
        self.searched = 0;
        Some(line)
    }

    /// Waits for either pipe and reads its content. Returns whether there may be more to read.
    fn read(&mut self, patience: Duration) -> io::Result<bool> {
        let (stdout, stderr) = (self.stdout.as_ref().map(AsFd::as_fd), self.stderr.as_ref().map(AsFd::as_fd));
        let ready = poll_pipes([stdout, stderr], patience)?;
        let mut bytes = vec![0; PIPE_BYTES];
        if let (true, Some(pipe)) = (ready[0], &mut self.stdout) {
            match pipe.read(&mut bytes) {
                Ok(0) => self.stdout = None,
                Ok(read) => self.pending.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if let (true, Some(pipe)) = (ready[1], &mut self.stderr) {
            // The complaint is for a message only: an unreadable pipe gives none.
            match pipe.read(&mut bytes).unwrap_or(0) {
                0 => self.stderr = None,
                read => {
                    let room = MAX_COMPLAINT_BYTES.saturating_sub(self.complaint.len());
                    self.complaint.extend_from_slice(&bytes[..read.min(room)]);
                }
            }
        }
        // A worker that only writes to standard error still counts as silent.
        Ok(ready[0] || (ready[1] && self.stdout.is_none()))
    }
}

/// Waits until one of the pipes holds data or is closed, and returns which do.
fn poll_pipes(pipes: [Option<BorrowedFd>; 2], patience: Duration) -> io::Result<[bool; 2]> {
    let mut polled: Vec<PollFd> =
        pipes.iter().flatten().map(|pipe| PollFd::from_borrowed_fd(*pipe, PollFlags::IN)).collect();
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
    match poll(&mut polled, Some(&timeout)) {
        // A signal arrived: the caller checks whether to stop.
        Err(Errno::INTR) => return Ok([false; 2]),
        done => done?,
    };
    let mut found = polled.iter().map(|pipe| !pipe.revents().is_empty());
    Ok(pipes.map(|pipe| pipe.is_some() && found.next().unwrap_or(false)))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    /// A shell that plays a worker.
    fn worker(script: &str) -> (Child, Lines) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = Lines::new(&mut child, LONG);
        (child, lines)
    }

    fn next(lines: &mut Lines) -> WorkerEvent {
        lines.next(LONG).unwrap()
    }

    #[test]
    fn lines_arrive_in_order_and_an_unfinished_line_is_left_over() {
        let (mut child, mut lines) = worker("printf 'one\\n\\nthree\\nfour'; echo wrong >&2");
        let expected = ["one", "", "three"].map(|line| WorkerEvent::Line(line.into()));
        assert_eq!([next(&mut lines), next(&mut lines), next(&mut lines)], expected);
        // Standard error also ends a wait.
        while next(&mut lines) != WorkerEvent::End {}
        assert_eq!(lines.unfinished(), b"four");
        child.wait().unwrap();
        assert_eq!(lines.complaint(), "wrong");
    }

    #[test]
    fn a_full_pipe_of_complaints_does_not_block_a_worker() {
        let (mut child, mut lines) = worker("yes wrong | head -c 300000 >&2; echo done");
        let mut event = next(&mut lines);
        while event == WorkerEvent::Nothing {
            event = next(&mut lines);
        }
        assert_eq!(event, WorkerEvent::Line("done".into()));
        child.wait().unwrap();
        assert_eq!(lines.complaint().len(), MAX_COMPLAINT_BYTES);
    }

    #[test]
    fn a_worker_that_answered_while_its_parent_was_stopped_is_not_silent() {
        let (mut child, mut lines) = worker("echo answer; exec sleep infinity");
        let stopped = Duration::from_secs(3600);
        lines.max_silence = Duration::from_secs(60);
        assert_eq!(next(&mut lines), WorkerEvent::Line("answer".into()));
        lines.silence = OwnTime::from_before(stopped);
        assert_eq!(lines.next(Duration::ZERO).unwrap(), WorkerEvent::Nothing, "the stop is not the worker's");
        lines.max_silence = Duration::ZERO;
        lines.silence = OwnTime::from_before(stopped);
        assert_eq!(lines.next(Duration::ZERO).unwrap(), WorkerEvent::Silence);
        child.kill().unwrap();
        child.wait().unwrap();
        let (mut child, mut lines) = worker("echo answer");
        child.wait().unwrap();
        lines.max_silence = Duration::ZERO;
        lines.silence = OwnTime::from_before(stopped);
        assert_eq!(lines.next(Duration::ZERO).unwrap(), WorkerEvent::Line("answer".into()), "the pipe first");
    }

    #[test]
    fn reading_a_complaint_ends_although_another_process_holds_the_pipe() {
        let (mut child, mut lines) = worker("exec 1>&-; echo wrong >&2; sleep 600 & echo $! >&2");
        while next(&mut lines) != WorkerEvent::End {}
        child.wait().unwrap();
        let complaint = lines.complaint();
        let (wrong, sleeper) = complaint.split_once('\n').unwrap();
        assert_eq!(wrong, "wrong");
        // SAFETY: a signal to the process that the shell of this test started.
        unsafe { libc::kill(sleeper.parse().unwrap(), libc::SIGKILL) };
    }
}
