//! The lines that a worker writes, as they come. The parent polls the pipes itself: a thread for that may be refused by
//! a limit on processes.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStderr, ChildStdout};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::host::OwnTime;

/// Bytes of a line: the samples of the dearest group are a hundredth of it. A worker that writes more without an end of
/// a line writes no samples.
const MAX_LINE: usize = 64 << 20;
/// Bytes of its complaints that a worker's parent keeps.
const MAX_COMPLAINT: usize = 4096;
/// Bytes of a read: what a pipe holds.
const PIPE: usize = 64 << 10;

/// What came from a worker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A line, without its end.
    Line(Vec<u8>),
    /// Nothing in the time that was given.
    Nothing,
    /// Nothing for longer than it may be silent.
    Silence,
    /// Its output is closed.
    End,
}

/// Both pipes of a worker.
pub(super) struct Lines {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// What was read and is in no line yet.
    pending: Vec<u8>,
    /// So many bytes of it hold no end of a line.
    searched: usize,
    complaint: Vec<u8>,
    silence: OwnTime,
    max_silence: Duration,
}

impl Lines {
    /// Takes the pipes of a worker, which may be silent for `max_silence` of this process's own time.
    pub fn of(child: &mut Child, max_silence: Duration) -> Self {
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

    /// The next line. Waits no longer than `patience`, and not at all where the pipe holds one.
    ///
    /// # Errors
    /// Where the pipe cannot be read, or holds a line without end.
    pub fn next(&mut self, patience: Duration) -> io::Result<Heard> {
        loop {
            if let Some(line) = self.line() {
                self.silence.restart();
                return Ok(Heard::Line(line));
            }
            if self.pending.len() > MAX_LINE {
                return Err(io::Error::other(format!("a line of more than {MAX_LINE} bytes")));
            }
            if self.stdout.is_none() {
                return Ok(Heard::End);
            }
            // Only an empty pipe is silence: a worker may have answered while this process was stopped.
            if !self.read(patience)? {
                let silent = self.silence.look() > self.max_silence;
                return Ok(if silent { Heard::Silence } else { Heard::Nothing });
            }
        }
    }

    /// What stands behind the last line.
    pub fn unfinished(&self) -> &[u8] {
        &self.pending
    }

    /// What the worker wrote to standard error, until now.
    pub fn complaint(mut self) -> String {
        // A process of its own may hold the pipe open for ever: what is there now is all that counts.
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

    /// Waits for either pipe and reads what it holds. Returns whether there may be more to read.
    fn read(&mut self, patience: Duration) -> io::Result<bool> {
        let (stdout, stderr) = (self.stdout.as_ref().map(AsFd::as_fd), self.stderr.as_ref().map(AsFd::as_fd));
        let ready = ready([stdout, stderr], patience)?;
        let mut bytes = vec![0; PIPE];
        if let (true, Some(pipe)) = (ready[0], &mut self.stdout) {
            match pipe.read(&mut bytes) {
                Ok(0) => self.stdout = None,
                Ok(read) => self.pending.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if let (true, Some(pipe)) = (ready[1], &mut self.stderr) {
            // The complaint is for a message only: a pipe that cannot be read gives none.
            match pipe.read(&mut bytes).unwrap_or(0) {
                0 => self.stderr = None,
                read => {
                    let room = MAX_COMPLAINT.saturating_sub(self.complaint.len());
                    self.complaint.extend_from_slice(&bytes[..read.min(room)]);
                }
            }
        }
        // A worker that only complains is not heard of.
        Ok(ready[0] || (ready[1] && self.stdout.is_none()))
    }
}

/// Which of the pipes hold something or are closed, once one of them does or is.
fn ready(pipes: [Option<BorrowedFd>; 2], patience: Duration) -> io::Result<[bool; 2]> {
    let mut polled: Vec<PollFd> =
        pipes.iter().flatten().map(|pipe| PollFd::from_borrowed_fd(*pipe, PollFlags::IN)).collect();
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
    match poll(&mut polled, Some(&timeout)) {
        // A signal: the caller looks whether it is to stop.
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

    /// A worker played by a shell.
    fn worker(script: &str) -> (Child, Lines) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = Lines::of(&mut child, LONG);
        (child, lines)
    }

    fn next(lines: &mut Lines) -> Heard {
        lines.next(LONG).unwrap()
    }

    #[test]
    fn lines_come_in_order_and_what_has_no_end_is_left_over() {
        let (mut child, mut lines) = worker("printf 'one\\n\\nthree\\nfour'; echo wrong >&2");
        let expected = ["one", "", "three"].map(|line| Heard::Line(line.into()));
        assert_eq!([next(&mut lines), next(&mut lines), next(&mut lines)], expected);
        // Complaints end a wait, too.
        while next(&mut lines) != Heard::End {}
        assert_eq!(lines.unfinished(), b"four");
        child.wait().unwrap();
        assert_eq!(lines.complaint(), "wrong");
    }

    #[test]
    fn a_worker_that_complains_without_end_is_not_stopped_by_its_full_pipe() {
        let (mut child, mut lines) = worker("yes wrong | head -c 300000 >&2; echo done");
        let mut heard = next(&mut lines);
        while heard == Heard::Nothing {
            heard = next(&mut lines);
        }
        assert_eq!(heard, Heard::Line("done".into()));
        child.wait().unwrap();
        assert_eq!(lines.complaint().len(), MAX_COMPLAINT);
    }

    #[test]
    fn a_worker_that_answered_while_this_process_was_stopped_is_heard_and_not_silent() {
        let (mut child, mut lines) = worker("echo answer; exec sleep infinity");
        let stopped = Duration::from_secs(3600);
        lines.max_silence = Duration::from_secs(60);
        assert_eq!(next(&mut lines), Heard::Line("answer".into()));
        lines.silence = OwnTime::from_before(stopped);
        assert_eq!(lines.next(Duration::ZERO).unwrap(), Heard::Nothing, "the stop is not the worker's");
        lines.max_silence = Duration::ZERO;
        lines.silence = OwnTime::from_before(stopped);
        assert_eq!(lines.next(Duration::ZERO).unwrap(), Heard::Silence);
        child.kill().unwrap();
        child.wait().unwrap();
        let (mut child, mut lines) = worker("echo answer");
        child.wait().unwrap();
        lines.max_silence = Duration::ZERO;
        lines.silence = OwnTime::from_before(stopped);
        assert_eq!(lines.next(Duration::ZERO).unwrap(), Heard::Line("answer".into()), "the pipe first");
    }

    #[test]
    fn a_complaint_ends_where_another_process_holds_the_pipe() {
        let (mut child, mut lines) = worker("exec 1>&-; echo wrong >&2; sleep 600 & echo $! >&2");
        while next(&mut lines) != Heard::End {}
        child.wait().unwrap();
        let complaint = lines.complaint();
        let (wrong, sleeper) = complaint.split_once('\n').unwrap();
        assert_eq!(wrong, "wrong");
        // SAFETY: a signal to the process that the shell of this test started.
        unsafe { libc::kill(sleeper.parse().unwrap(), libc::SIGKILL) };
    }
}
