//! Checks of other users of the CPU: its sibling, other processes, the hypervisor.

use super::Check;
use crate::host::{CpuFacts, CpuTime, Others, Probes, Root, cpu_list};

/// Share of the allowed CPUs (0 to 1) above which other processes disturb the workers; with two CPUs it is half of a
/// CPU. Other processes can hardly take twice this share while two workers are busy; a desktop at rest takes half of
/// it.
const MAX_LOAD_SHARE: f64 = 0.25;

/// Share of stolen time (0 to 1) above which medians over blocks begin to shift: the hypervisor then interrupts many
/// windows, and an interrupted window is too long.
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
            "a busy sibling takes up to half of the core: overheads grow by up to their own size, and blocks that it \
             contends are dropped",
            format!("`echo 0 | sudo tee /sys/devices/system/cpu/cpu{first}/online`, or keep CPU {first} idle"),
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
            "windows that the parent interrupts are dropped, and workloads have one CPU instead of two: intervals are \
             wider",
            "`taskset -pc 0-$(($(nproc --all) - 1)) $$`, or allow a second CPU in the cpuset of the container",
        ),
        Ok(many) => Check::ok(ID, format!("{} CPUs are allowed, so the worker can have one to itself", many.len())),
        Err(error) => Check::unknown(
            ID,
            error.to_string(),
            "allow sched_getaffinity and sched_setaffinity in the seccomp profile, or pin with taskset",
        ),
    }
}

/// Checks the CPU time of other processes since [`Probes::ask`]: a second in `doctor`, the measurement in a run. The
/// load average would include this process, its ancestors, and a compiler that ran before it.
pub(super) fn load(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "load";
    let Others { seconds, cpus, busy_cpus, .. } = match observe(root, probes) {
        Ok(others) => others,
        Err(reason) => return Check::unknown(ID, reason, "find other processes with top"),
    };
    let detail = format!("other processes took {busy_cpus:.2} of {cpus} CPUs, over {seconds:.1} s");
    if busy_cpus > MAX_LOAD_SHARE * cpus as f64 {
        Check::warning(
            ID,
            detail,
            "windows that another process interrupts are dropped, and its use of caches slows the others: intervals \
             are wider, and cold and workload numbers are higher",
            "`ps -eo pid,pcpu,args --sort=-pcpu | head` lists them: stop them, or wait until they end",
        )
    } else {
        Check::ok(ID, detail)
    }
}

/// Checks the stolen time since [`Probes::ask`]. The share since boot would include other hours of the host.
pub(super) fn steal(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "steal";
    let Others { seconds, stolen, .. } = match observe(root, probes) {
        Ok(others) => others,
        Err(reason) => return Check::unknown(ID, reason, "watch the column st of vmstat 1 during a run"),
    };
    let detail = format!("{:.2}% of the time was stolen, over {seconds:.1} s", stolen * 100.0);
    if stolen > MAX_STOLEN_SHARE {
        Check::warning(
            ID,
            detail,
            "windows in which the hypervisor took the CPU away are too long: medians shift up, and intervals are wider",
            "`vmstat 1` shows it in column st: repeat at times of low load, or move to a host with free CPUs",
        )
    } else if stolen == 0.0 && probes.cpu.hypervisor.is_some() {
        Check::unknown(
            ID,
            format!("no stolen time over {seconds:.1} s, unless the hypervisor hides it"),
            "check the floor of the report: it rises if time is stolen",
        )
    } else {
        Check::ok(ID, detail)
    }
}

/// Returns what other processes and the hypervisor took since [`Probes::ask`].
fn observe(root: &Root, probes: &Probes) -> Result<Others, String> {
    let before = probes.cpu_time.as_ref().map_err(Clone::clone)?;
    CpuTime::read(root, probes.cpus_allowed.as_deref().unwrap_or_default())?.others_since(before)
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
            "QEMU without KVM: every instruction is translated",
            "cycles are those of the translator, and no number of a report holds for a CPU",
            "start the guest with `qemu-system-x86_64 -accel kvm -cpu host`, or measure on bare metal",
        ),
        Some("") => Check::unknown(ID, "under a hypervisor that does not name itself", stay),
        Some(signature) => Check::ok_with_advice(ID, format!("under a hypervisor ({signature})"), stay),
    }
}
