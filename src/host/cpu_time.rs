//! CPU time of other processes between two points in time.

use super::Root;

const STAT: &str = "proc/stat";
const OWN: &str = "proc/self/stat";

/// Ticks per second in both files: USER_HZ, which is 100 on x86 whatever the kernel's own tick rate.
const TICKS_PER_SECOND: f64 = 100.0;

/// Shortest observation, in seconds. A tick is a tenth of it; at half of it an error of one tick would be a fifth of a
/// CPU.
const MIN_SECONDS: f64 = 0.1;

/// CPU time since boot of the CPUs that this process may use, and CPU time of this process; in ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuTime {
    cpus: u64,
    all: u64,
    busy: u64,
    own: u64,
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
}

impl CpuTime {
    /// Reads `/proc/stat` for the CPUs in `allowed` (all CPUs if it is empty), and `/proc/self/stat`.
    ///
    /// # Errors
    /// The reason why the times are unknown.
    pub fn read(root: &Root, allowed: &[u32]) -> Result<Self, String> {
        let text = root.text(STAT).map_err(|error| error.to_string())?;
        let wanted = |cpu: u32| allowed.is_empty() || allowed.contains(&cpu);
        let times = text.lines().filter_map(|line| {
            let (name, times) = line.split_once(' ')?;
            name.strip_prefix("cpu")?.parse().ok().filter(|cpu| wanted(*cpu))?;
            sum_busy_and_all(times)
        });
        let (mut cpus, mut busy, mut all) = (0, 0u64, 0u64);
        for cpu_times in times {
            cpus += 1;
            busy = busy.saturating_add(cpu_times.0);
            all = all.saturating_add(cpu_times.1);
        }
        if cpus == 0 {
            return Err(format!("/{STAT} has none of the CPUs that this process may use"));
        }
        let own = root.text(OWN).map_err(|error| error.to_string())?;
        let own = sum_own_ticks(&own).ok_or_else(|| format!("/{OWN} holds {own:?}"))?;
        Ok(CpuTime { cpus, all, busy, own })
    }

    /// Returns the CPU time of other processes since `before`. Ended children of this process count as this process.
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
        let others = busy.saturating_sub(self.own.saturating_sub(before.own));
        Ok(Others { seconds, cpus: self.cpus, busy_cpus: others as f64 / TICKS_PER_SECOND / seconds })
    }
}

/// Sums busy time and all time of a CPU over user, nice, system, idle, iowait, irq, softirq and steal. User and nice
/// include the guest times that follow (proc_stat(5)). Stolen time is not busy time: other guests had it.
fn sum_busy_and_all(times: &str) -> Option<(u64, u64)> {
    let times: Vec<u64> = times.split_whitespace().take(8).map(|it| it.parse().ok()).collect::<Option<_>>()?;
    let [user, nice, system, idle, iowait, irq, softirq, steal] = times[..] else { return None };
    let sum = |times: &[u64]| times.iter().try_fold(0u64, |sum, time| sum.checked_add(*time));
    let busy = sum(&[user, nice, system, irq, softirq])?;
    Some((busy, sum(&[busy, idle, iowait, steal])?))
}

/// Sums utime, stime, cutime and cstime: fields 14 to 17. Field 2, in parentheses, may hold anything
/// (proc_pid_stat(5)).
fn sum_own_ticks(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(") ")?;
    let times: Vec<u64> = fields.split(' ').skip(11).take(4).map(|it| it.parse().ok()).collect::<Option<_>>()?;
    (times.len() == 4).then(|| times.iter().try_fold(0u64, |sum, time| sum.checked_add(*time)))?
}
