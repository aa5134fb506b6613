//! Checks of other users of the CPU: its sibling, other processes, the hypervisor.

use super::Check;
use crate::host::{CpuFacts, CpuTime, Others, Probes, Root, cpu_list};

/// Share of the allowed CPUs (0 to 1) above which other processes disturb the workers; with two CPUs it is half of a
/// CPU. Other processes can hardly take twice this share while two workers are busy; a desktop at rest takes half of
/// it.
const MAX_LOAD_SHARE: f64 = 0.25;

/// Share of stolen time (0 to 1) above which so many windows are disturbed that medians over rounds begin to shift.
const MAX_STOLEN_SHARE: f64 = 0.01;

pub(super) fn smt_sibling(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "smt_sibling";
    let cpu = probes.measuring_cpu.unwrap_or(0);
    let file = format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    let siblings = match root.line(&file) {
        Ok(list) => list,
        Err(error) => {
            return Check::unknown(
                ID,
                error.to_string(),
                "check with lscpu -e whether CPUs share a core, and keep the other one idle",
            );
        }
    };
    let Some(all) = cpu_list::parse(&siblings) else {
        return Check::unknown(
            ID,
            format!("/{file} holds {siblings:?}, which is not a list of CPUs"),
            "check with lscpu -e whether CPUs share a core, and keep the other one idle",
        );
    };
    let others: Vec<String> = all.iter().filter(|&&other| other != cpu).map(u32::to_string).collect();
    if let Some(first) = others.first() {
        return Check::warning(
            ID,
            format!("CPU {cpu} shares its core with CPU {}, which is online", others.join(", ")),
            format!("echo 0 > /sys/devices/system/cpu/cpu{first}/online, or keep it idle"),
        );
    }
    if probes.cpu.hypervisor.is_some() {
        return Check::unknown(
            ID,
            format!("CPU {cpu} has its core to itself, according to the hypervisor"),
            "make the host pin virtual CPUs to whole cores; until then repeat runs at times of low load",
        );
    }
    Check::ok(ID, format!("CPU {cpu} has its core to itself"))
}

pub(super) fn cpu_affinity(probes: &Probes) -> Check {
    const ID: &str = "cpu_affinity";
    match probes.cpus_allowed.as_deref() {
        Ok([]) => {
            Check::unknown(ID, "sched_getaffinity returned no CPU", "check Cpus_allowed_list in /proc/self/status")
        }
        Ok([only]) => Check::warning(
            ID,
            format!("only CPU {only} is allowed, so the worker shares it with the parent process"),
            "allow a second CPU (taskset, the cpuset of the container, another virtual CPU)",
        ),
        Ok(many) => Check::ok(ID, format!("{} CPUs are allowed, so the worker can have one to itself", many.len())),
        Err(error) => Check::unknown(
            ID,
            error.to_string(),
            "allow sched_getaffinity and sched_setaffinity in the seccomp profile, or pin with taskset",
        ),
    }
}

/// Checks the CPU time of other processes since [`Probes::ask`], which in a run covers the measurement. The load
/// average would include this process, and a compiler that ran before it.
pub(super) fn load(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "load";
    let allowed = probes.cpus_allowed.as_deref().unwrap_or_default();
    let others = match &probes.cpu_time {
        Ok(before) => CpuTime::read(root, allowed).and_then(|now| now.others_since(before)),
        Err(reason) => Err(reason.clone()),
    };
    let Others { seconds, cpus, busy_cpus } = match others {
        Ok(others) => others,
        Err(reason) => return Check::unknown(ID, reason, "find other processes with uptime and top"),
    };
    let detail = format!("other processes took {busy_cpus:.2} of {cpus} CPUs, over {seconds:.1} s");
    if busy_cpus > MAX_LOAD_SHARE * cpus as f64 {
        Check::warning(ID, detail, "stop other processes, or wait until they end")
    } else {
        Check::ok(ID, detail)
    }
}

pub(super) fn steal(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "steal";
    let advice = "watch the column st of vmstat 1 during a run";
    let line = match root.line("proc/stat") {
        Ok(line) => line,
        Err(error) => return Check::unknown(ID, error.to_string(), advice),
    };
    let Some(share) = stolen_share(&line) else {
        return Check::unknown(ID, format!("/proc/stat begins with {line:?}"), advice);
    };
    let detail = format!("{:.2}% of the time since boot was stolen", share * 100.0);
    if share > MAX_STOLEN_SHARE {
        Check::warning(ID, detail, "move to a host that is not overcommitted, or repeat runs at times of low load")
    } else if share == 0.0 && probes.cpu.hypervisor.is_some() {
        Check::unknown(
            ID,
            "no stolen time since boot, unless the hypervisor hides it",
            "check the floor of the report: it rises if time is stolen",
        )
    } else {
        Check::ok(ID, detail)
    }
}

/// Steal over all time in the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; the
/// guest times after them are already in user and nice (proc_stat(5)).
fn stolen_share(line: &str) -> Option<f64> {
    let mut words = line.split_whitespace();
    if words.next() != Some("cpu") {
        return None;
    }
    let times: Vec<f64> =
        words.take(8).map(|it| it.parse::<u64>().map(|ticks| ticks as f64)).collect::<Result<_, _>>().ok()?;
    let steal = times.get(7)?;
    let all: f64 = times.iter().sum();
    (all > 0.0).then(|| steal / all)
}

pub(super) fn virtualised(root: &Root, cpu: &CpuFacts) -> Check {
    const ID: &str = "virtualised";
    let stay = "results hold for code that stays in the guest; measure privileged instructions and page faults on bare \
                metal";
    match cpu.hypervisor.as_deref() {
        // A Xen PV guest may see the CPUID of the bare machine; /sys/hypervisor shows that it is a guest.
        None => match root.line("sys/hypervisor/type") {
            Ok(kind) => Check::ok_with_advice(ID, format!("under {kind}, by /sys/hypervisor/type"), stay),
            Err(_) => Check::ok(ID, "CPUID and /sys show no hypervisor"),
        },
        Some("TCGTCGTCGTCG") => Check::warning(
            ID,
            "QEMU without KVM: every instruction is translated, so cycles mean nothing",
            "use KVM (-accel kvm) or bare metal",
        ),
        Some("") => Check::unknown(ID, "under a hypervisor that does not name itself", stay),
        Some(signature) => Check::ok_with_advice(ID, format!("under a hypervisor ({signature})"), stay),
    }
}
