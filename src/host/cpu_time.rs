//! CPU time of other processes, and stolen time, between two points in time.
//!
//! This process and its ancestors do not count as other processes: the shell, `cargo` and the terminal of a run are
//! busy because of it.

use std::collections::BTreeMap;

use super::Root;

const STAT: &str = "proc/stat";
const OWN: &str = "proc/self/stat";

/// Largest number of ancestors that are read. A process in a terminal, an editor and a container has about ten; a file
/// that names its own process as its parent would never end.
const MAX_ANCESTORS: usize = 64;

/// Ticks per second in both files: USER_HZ, which is 100 on x86 whatever the kernel's own tick rate.
const TICKS_PER_SECOND: f64 = 100.0;

/// Shortest observation, in seconds. A tick is a tenth of it; at half of it an error of one tick would be a fifth of a
/// CPU.
const MIN_SECONDS: f64 = 0.1;

/// CPU time since boot of the CPUs that this process may use, and CPU time of this process and of its ancestors; in
/// ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuTime {
    cpus: u64,
    all: u64,
    busy: u64,
    stolen: u64,
    own: u64,
    /// The ancestors' own time, without their ended children, by process id and start time.
    ancestors: BTreeMap<(u32, u64), u64>,
}

/// CPU time of other processes in an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Others {
    /// Length of the interval in seconds.
    pub(crate) seconds: f64,
    /// Number of CPUs that this process may use.
    pub(crate) cpus: u64,
    /// Average number of these CPUs that other processes kept busy.
    pub(crate) busy_cpus: f64,
    /// Share of the time of these CPUs that the hypervisor gave to other guests, 0 to 1.
    pub(crate) stolen: f64,
}

impl CpuTime {
    /// Reads `/proc/stat` for the CPUs in `allowed` (all CPUs if it is empty), `/proc/self/stat`, and the same file of
    /// each ancestor. An ancestor whose file cannot be read counts as another process.
    ///
    /// # Errors
    /// The reason why the times are unknown.
    pub fn read(root: &Root, allowed: &[u32]) -> Result<Self, String> {
        let text = root.text(STAT).map_err(|error| error.to_string())?;
        let wanted = |cpu: u32| allowed.is_empty() || allowed.contains(&cpu);
        let times = text.lines().filter_map(|line| {
            let (name, times) = line.split_once(' ')?;
            name.strip_prefix("cpu")?.parse().ok().filter(|cpu| wanted(*cpu))?;
            Times::sum(times)
        });
        let (mut cpus, mut busy, mut stolen, mut all) = (0, 0u64, 0u64, 0u64);
        for cpu_times in times {
            cpus += 1;
            busy = busy.saturating_add(cpu_times.busy);
            stolen = stolen.saturating_add(cpu_times.stolen);
            all = all.saturating_add(cpu_times.all);
        }
        if cpus == 0 {
            return Err(format!("/{STAT} has none of the CPUs that this process may use"));
        }
        let text = root.text(OWN).map_err(|error| error.to_string())?;
        let process = ProcessTime::parse(&text).ok_or_else(|| format!("/{OWN} holds {text:?}"))?;
        let own = process.own.saturating_add(process.ended_children);
        let mut ancestors = BTreeMap::new();
        let mut parent = process.parent;
        while parent != 0 && ancestors.len() < MAX_ANCESTORS {
            let text = root.text(format!("proc/{parent}/stat")).unwrap_or_default();
            let Some(process) = ProcessTime::parse(&text) else { break };
            if ancestors.insert((parent, process.started), process.own).is_some() {
                break;
            }
            parent = process.parent;
        }
        Ok(CpuTime { cpus, all, busy, stolen, own, ancestors })
    }

    /// Returns the CPU time of other processes since `before`. Ended children of this process count as this process;
    /// those of its ancestors do not, for they may have run before.
    ///
    /// # Errors
    /// The reason why the time is unknown.
    pub(crate) fn others_since(&self, before: &CpuTime) -> Result<Others, String> {
        if self.cpus != before.cpus || self.all < before.all {
            return Err("the number of CPUs changed during the observation".to_owned());
        }
        let seconds = (self.all - before.all) as f64 / self.cpus as f64 / TICKS_PER_SECOND;
        if seconds < MIN_SECONDS {
            return Err(format!(
                "an observation of {seconds:.2} s is too short to measure the load of other processes"
            ));
        }
        let busy = self.busy.saturating_sub(before.busy);
        let ancestors =
            self.ancestors.iter().filter_map(|(id, now)| Some(now.saturating_sub(*before.ancestors.get(id)?)));
        let own = ancestors.fold(self.own.saturating_sub(before.own), u64::saturating_add);
        Ok(Others {
            seconds,
            cpus: self.cpus,
            busy_cpus: busy.saturating_sub(own) as f64 / TICKS_PER_SECOND / seconds,
            stolen: self.stolen.saturating_sub(before.stolen) as f64 / (self.all - before.all) as f64,
        })
    }
}

/// Times of a CPU since boot.
struct Times {
    busy: u64,
    stolen: u64,
    all: u64,
}

impl Times {
    /// Sums the fields user, nice, system, idle, iowait, irq, softirq and steal. User and nice include the guest times
    /// that follow (proc_stat(5)). Stolen time is not busy time: other guests had it.
    fn sum(times: &str) -> Option<Self> {
        let times: Vec<u64> = times.split_whitespace().take(8).map(|it| it.parse().ok()).collect::<Option<_>>()?;
        let [user, nice, system, idle, iowait, irq, softirq, stolen] = times[..] else { return None };
        let sum = |times: &[u64]| times.iter().try_fold(0u64, |sum, time| sum.checked_add(*time));
        let busy = sum(&[user, nice, system, irq, softirq])?;
        Some(Times { busy, stolen, all: sum(&[busy, idle, iowait, stolen])? })
    }
}

/// CPU time of a process, from its `/proc/PID/stat`.
struct ProcessTime {
    parent: u32,
    /// Ticks from boot to its start: with the process id, it names a process.
    started: u64,
    own: u64,
    ended_children: u64,
}

impl ProcessTime {
    /// Parses ppid, utime, stime, cutime, cstime and starttime: fields 4, 14 to 17 and 22. Field 2, in parentheses, may
    /// hold anything (proc_pid_stat(5)).
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(ProcessTime {
            parent: number(4)?.try_into().ok()?,
            started: number(22)?,
            own: number(14)?.checked_add(number(15)?)?,
            ended_children: number(16)?.checked_add(number(17)?)?,
        })
    }
}
