//! Who else uses the CPU: its sibling, other processes, the hypervisor.

use super::Check;
use crate::host::{CpuFacts, CpuTime, Others, Probes, Root, cpu_list};

/// Above this share of the allowed CPUs, other processes get into the workers' way: of two CPUs that is half of one.
/// Twice as much can hardly be taken from two workers that are busy all the time; half of it is what a desktop takes at
/// rest.
const BUSY: f64 = 0.25;

/// Above this share of stolen time (1 in 100), so many windows are hit that medians over rounds begin to move.
const STOLEN: f64 = 0.01;

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
                "see in lscpu -e whether CPUs share a core, and keep the other one idle",
            );
        }
    };
    let Some(all) = cpu_list::parse(&siblings) else {
        return Check::unknown(
            ID,
            format!("/{file} holds {siblings:?}, which is no list of CPUs"),
            "see in lscpu -e whether CPUs share a core, and keep the other one idle",
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
            format!("CPU {cpu} is shown alone on its core, as the hypervisor would have it"),
            "have the host pin virtual CPUs to whole cores; repeat at quiet times meanwhile",
        );
    }
    Check::ok(ID, format!("CPU {cpu} has its core to itself"))
}

pub(super) fn cpu_affinity(probes: &Probes) -> Check {
    const ID: &str = "cpu_affinity";
    match probes.cpus_allowed.as_deref() {
        Ok([]) => Check::unknown(ID, "sched_getaffinity names no CPU", "see Cpus_allowed_list in /proc/self/status"),
        Ok([only]) => Check::warning(
            ID,
            format!("only CPU {only} is allowed: the worker shares it with the parent process"),
            "allow a second CPU (taskset, the cpuset of the container, another virtual CPU)",
        ),
        Ok(many) => {
            Check::ok(ID, format!("{} CPUs are allowed, so that the worker can have one to itself", many.len()))
        }
        Err(error) => Check::unknown(
            ID,
            error.to_string(),
            "allow sched_getaffinity and sched_setaffinity in the seccomp profile, or pin with taskset",
        ),
    }
}

/// What other processes took since [`Probes::ask`]: for a run that is while it measured. The load average also holds
/// the work of this process, and of the compiler before it.
pub(super) fn load(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "load";
    let allowed = probes.cpus_allowed.as_deref().unwrap_or_default();
    let others = match &probes.cpu_time {
        Ok(before) => CpuTime::read(root, allowed).and_then(|now| now.others_since(before)),
        Err(reason) => Err(reason.clone()),
    };
    let Others { seconds, cpus, busy_cpus } = match others {
        Ok(others) => others,
        Err(reason) => return Check::unknown(ID, reason, "see in uptime and top what else runs"),
    };
    let detail = format!("other processes took {busy_cpus:.2} of {cpus} CPUs, over {seconds:.1} s");
    if busy_cpus > BUSY * cpus as f64 {
        Check::warning(ID, detail, "stop what else runs, or wait for it to end")
    } else {
        Check::ok(ID, detail)
    }
}

pub(super) fn steal(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "steal";
    let advice = "see the st column of vmstat 1 while measuring";
    let line = match root.line("proc/stat") {
        Ok(line) => line,
        Err(error) => return Check::unknown(ID, error.to_string(), advice),
    };
    let Some(share) = stolen_share(&line) else {
        return Check::unknown(ID, format!("/proc/stat begins with {line:?}"), advice);
    };
    let detail = format!("{:.2}% of the time since boot was stolen", share * 100.0);
    if share > STOLEN {
        Check::warning(ID, detail, "move to a host that is not overcommitted, or repeat at quiet times")
    } else if share == 0.0 && probes.cpu.hypervisor.is_some() {
        Check::unknown(
            ID,
            "no stolen time since boot, or none that the hypervisor reports",
            "judge by the floor of the report: it rises where time is stolen",
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
    let stay = "figures hold for code that does not leave the guest; take those of privileged instructions and of page \
                faults on bare metal";
    match cpu.hypervisor.as_deref() {
        // A Xen PV guest may see the CPUID of the bare machine; the kernel knows better.
        None => match root.line("sys/hypervisor/type") {
            Ok(kind) => Check::ok_with_advice(ID, format!("under {kind}, by /sys/hypervisor/type"), stay),
            Err(_) => Check::ok(ID, "no hypervisor shows itself"),
        },
        Some("TCGTCGTCGTCG") => Check::warning(
            ID,
            "QEMU without KVM: every instruction is translated, and cycles mean nothing",
            "use KVM (-accel kvm) or bare metal",
        ),
        Some("") => Check::unknown(ID, "a hypervisor that does not name itself", stay),
        Some(signature) => Check::ok_with_advice(ID, format!("under a hypervisor ({signature})"), stay),
    }
}
