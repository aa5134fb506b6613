//! A process that runs one workload: windows of units in, time stamps out (`src/linux/guest/native.rs`).

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use perf_event::events::Hardware;
use perf_event::{Builder, Counter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::host::child;

/// Name of the program in its folder: it starts and opens itself by this name.
pub(super) const PROGRAM: &str = "init";
/// Longest time until a window answers. Windows take milliseconds.
const ANSWER: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Why a workload was not measured.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The process could not be started.
    #[error("its process cannot be started: {0}; is the folder of XDG_CACHE_HOME mounted noexec?")]
    Start(#[source] io::Error),
    /// The process ended, or its pipe failed.
    #[error("its process ended ({0}): a filter of system calls (seccomp) may forbid a call of the workload")]
    Ended(#[source] io::Error),
    /// The process does not answer.
    #[error("its process has not answered in {} s: a system call of the workload does not return", ANSWER.tv_sec)]
    Hangs,
    /// A system call failed.
    #[error("a system call of the workload failed: {0}")]
    Refused(#[source] io::Error),
}

/// A running process. It is killed with its children on drop.
pub(super) struct Process {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    /// Counters of all cycles, and of those in user mode.
    counters: Option<[Counter; 2]>,
}

impl Process {
    /// Starts the program in `folder` for the workload with this index. It runs on the CPUs of the calling thread.
    pub(super) fn start(folder: &Path, workload: usize) -> Result<Self, ProcessError> {
        let mut command = Command::new(folder.join(PROGRAM));
        command.arg(format!("only={}", 1u64 << workload)).current_dir(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = child::bind(&mut command).spawn().map_err(ProcessError::Start)?;
        let missing = || ProcessError::Start(io::Error::other("it has no pipes"));
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let counters = open_counters(child.id());
        let mut process = Process { child, input, output, counters };
        // The process waits for this word, so that the counters also see the processes that it starts.
        process.input.write_all(&0u64.to_le_bytes()).map_err(ProcessError::Ended)?;
        Ok(process)
    }

    /// Runs a window of units and returns its time in ticks of the time stamp counter.
    pub(super) fn window(&mut self, units: u64) -> Result<u64, ProcessError> {
        self.input.write_all(&units.to_le_bytes()).map_err(ProcessError::Ended)?;
        let mut fds = [PollFd::new(&self.output, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&ANSWER)).map_err(|error| ProcessError::Ended(error.into()))?;
        if ready == 0 {
            return Err(ProcessError::Hangs);
        }
        let mut bytes = [0u8; 24];
        self.output.read_exact(&mut bytes).map_err(ProcessError::Ended)?;
        let (words, _) = bytes.as_chunks::<8>();
        let [before, after, failed] =
            [0, 1, 2].map(|index: usize| words.get(index).map_or(0, |it| u64::from_le_bytes(*it)));
        if failed != 0 {
            let error = i32::try_from(failed).unwrap_or(i32::MAX);
            return Err(ProcessError::Refused(io::Error::from_raw_os_error(error)));
        }
        Ok(after.saturating_sub(before))
    }

    /// Share of the cycles so far that the kernel took; `None` without counters.
    pub(super) fn kernel_share(&mut self) -> Option<f64> {
        let [all, user] = self.counters.as_mut()?;
        let [all, user] = [all.read().ok()? as f64, user.read().ok()? as f64];
        (all > 0.0 && user > 0.0 && user <= all).then_some((all - user) / all)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = child::end(&mut self.child);
    }
}

/// Opens the counters of a process and of those that it will start; `None` where the machine or its settings do not
/// allow it.
fn open_counters(process: u32) -> Option<[Counter; 2]> {
    let process = i32::try_from(process).ok()?;
    let open = |with_kernel: bool| {
        let mut builder = Builder::new().kind(Hardware::CPU_CYCLES).observe_pid(process);
        builder.inherit(true);
        builder.exclude_kernel(!with_kernel);
        let mut counter = builder.build().ok()?;
        counter.enable().ok()?;
        Some(counter)
    };
    Some([open(true)?, open(false)?])
}
