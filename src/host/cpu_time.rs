//! What the CPUs did between two times, and how much of it for other processes than this one.

use super::Root;

const STAT: &str = "proc/stat";
const OWN: &str = "proc/self/stat";

/// Ticks of a second in both files: USER_HZ, which is 100 on x86 whatever the kernel's own rate.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds. A tick more or less of a CPU is a tenth of this; at half of it an idle CPU may look a fifth busy.
const MIN_SECONDS: f64 = 0.1;

/// What the CPUs that this process may use did since the machine was started, and what this process took; in ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuTime {
    cpus: u64,
    all: u64,
    busy: u64,
    own: u64,
}

/// What other processes took of the CPUs in a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Others {
    /// How long it was.
    pub seconds: f64,
    /// CPUs that this process may use.
    pub cpus: u64,
    /// How many of them others kept busy, on average.
    pub busy_cpus: f64,
}

impl CpuTime {
    /// What stands in `/proc/stat` of the CPUs `allowed`, or of all where none is named, and in `/proc/self/stat`.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn read(root: &Root, allowed: &[u32]) -> Result<Self, String> {
        let text = root.text(STAT).map_err(|error| error.to_string())?;
        let wanted = |cpu: u32| allowed.is_empty() || allowed.contains(&cpu);
        let times = text.lines().filter_map(|line| {
            let (name, times) = line.split_once(' ')?;
            name.strip_prefix("cpu")?.parse().ok().filter(|cpu| wanted(*cpu))?;
            busy_and_all(times)
        });
        let (mut cpus, mut busy, mut all) = (0, 0u64, 0u64);
        for of_cpu in times {
            cpus += 1;
            busy = busy.saturating_add(of_cpu.0);
            all = all.saturating_add(of_cpu.1);
        }
        if cpus == 0 {
            return Err(format!("/{STAT} names none of the CPUs that this process may use"));
        }
        let own = root.text(OWN).map_err(|error| error.to_string())?;
        let own = own_ticks(&own).ok_or_else(|| format!("/{OWN} holds {own:?}"))?;
        Ok(CpuTime { cpus, all, busy, own })
    }

    /// What others took since `before`. This process's own time counts with that of all its children that have ended.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn others_since(&self, before: &CpuTime) -> Result<Others, String> {
        if self.cpus != before.cpus || self.all < before.all {
            return Err("CPUs came or went meanwhile".to_owned());
        }
        let seconds = (self.all - before.all) as f64 / self.cpus as f64 / TICKS_PER_SECOND;
        if seconds < MIN_SECONDS {
            return Err(format!("{seconds:.2} s are too short to tell what other processes take"));
        }
        let busy = self.busy.saturating_sub(before.busy);
        let others = busy.saturating_sub(self.own.saturating_sub(before.own));
        Ok(Others { seconds, cpus: self.cpus, busy_cpus: others as f64 / TICKS_PER_SECOND / seconds })
    }
}

/// Of user, nice, system, idle, iowait, irq, softirq, steal; the guest times after them are in user and nice already
/// (proc_stat(5)). Stolen time is another guest's, and no process's of this machine.
fn busy_and_all(times: &str) -> Option<(u64, u64)> {
    let times: Vec<u64> = times.split_whitespace().take(8).map(|it| it.parse().ok()).collect::<Option<_>>()?;
    let [user, nice, system, idle, iowait, irq, softirq, steal] = times[..] else { return None };
    let sum = |times: &[u64]| times.iter().try_fold(0u64, |sum, time| sum.checked_add(*time));
    let busy = sum(&[user, nice, system, irq, softirq])?;
    Some((busy, sum(&[busy, idle, iowait, steal])?))
}

/// utime, stime, cutime, cstime: fields 14 to 17, the second in parentheses that may hold anything (proc_pid_stat(5)).
fn own_ticks(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(") ")?;
    let times: Vec<u64> = fields.split(' ').skip(11).take(4).map(|it| it.parse().ok()).collect::<Option<_>>()?;
    (times.len() == 4).then(|| times.iter().try_fold(0u64, |sum, time| sum.checked_add(*time)))?
}
