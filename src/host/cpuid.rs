//! What the CPUID instruction says about the time stamp counter and about a hypervisor.

use std::arch::x86_64::{__cpuid_count, _mm_lfence, _rdtsc};

use rustix::process::{TimeStampCounterReadability, time_stamp_counter_readability};

use super::Root;

/// Reads of the time stamp counter that must never go backwards.
const TSC_READS: usize = 4096;

/// Hypervisors that give the frequency of the time stamp counter in kHz in EAX of leaf 0x40000010, VMware's timing leaf
/// that others took over (VMware's "Mechanisms to determine if software is running in a VMware virtual machine").
/// Elsewhere, as under Hyper-V, the leaf may mean something else.
const TIMING_LEAF: [&str; 3] = ["VMwareVMware", "KVMKVMKVM", "ACRNACRNACRN"];

/// EAX, EBX, ECX and EDX after a CPUID instruction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registers {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// Something that answers CPUID: this CPU, or a recorded one in tests.
pub trait Cpuid {
    /// The registers at `leaf`, subleaf 0. Asked above the highest leaf a CPU may answer with anything; the callers
    /// here look at the highest leaf first.
    fn leaf(&self, leaf: u32) -> Registers;
}

/// The CPU this runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct NativeCpuid;

impl Cpuid for NativeCpuid {
    fn leaf(&self, leaf: u32) -> Registers {
        let answer = __cpuid_count(leaf, 0);
        Registers { eax: answer.eax, ebx: answer.ebx, ecx: answer.ecx, edx: answer.edx }
    }
}

/// Whether it has the instruction SERIALIZE (leaf 7 EDX bit 14; Intel SDM volume 2, CPUID).
pub fn has_serialize(cpu: &impl Cpuid) -> bool {
    const LEAF: u32 = 7;
    cpu.leaf(0).eax >= LEAF && cpu.leaf(LEAF).edx >> 14 & 1 == 1
}

/// What is known of the CPU's clock and of a hypervisor below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuFacts {
    /// The signature of the hypervisor where the hypervisor bit (leaf 1, ECX bit 31) is set; empty where it gives none.
    pub hypervisor: Option<String>,
    /// RDTSC is there and this process may execute it (`prctl(PR_GET_TSC)`).
    pub tsc_readable: bool,
    /// It ticks at one rate whatever the frequency of the core: promised by leaf 0x80000007 EDX bit 8, or on Intel by
    /// family and model.
    pub tsc_constant: bool,
    /// It is constant and does not stop in deep sleep states: leaf 0x80000007 EDX bit 8 ("invariant TSC").
    pub tsc_invariant: bool,
    /// A few thousand reads in a row never went backwards; `None` where it was not read.
    pub tsc_monotonic: Option<bool>,
    /// Ticks per second where CPUID gives it (leaf 0x15, or a hypervisor's leaf 0x40000010).
    pub tsc_hz: Option<u64>,
    /// Whether the kernel still offers `tsc` among its clock sources; its watchdog takes it away where sockets
    /// disagree. `None` where the list cannot be read.
    pub tsc_kept_by_kernel: Option<bool>,
}

impl CpuFacts {
    /// The facts of this CPU, with what the kernel under `root` thinks of its clock.
    pub fn read(root: &Root) -> Self {
        let mut facts = Self::decode(&NativeCpuid);
        // Where the question itself is refused, the default of Linux holds: readable.
        facts.tsc_readable &= time_stamp_counter_readability() != Ok(TimeStampCounterReadability::RaiseSIGSEGV);
        if facts.tsc_readable {
            facts.tsc_monotonic = Some(never_backwards((0..TSC_READS).map(|_| ticks())));
        }
        facts.tsc_kept_by_kernel = root
            .line("sys/devices/system/clocksource/clocksource0/available_clocksource")
            .ok()
            .map(|sources| sources.split_whitespace().any(|source| source == "tsc"));
        facts
    }

    /// The facts that CPUID alone gives; those of reading the clock and of the kernel's view of it are left open.
    pub fn decode(cpuid: &impl Cpuid) -> Self {
        let highest = cpuid.leaf(0);
        let basic = cpuid.leaf(1);
        let extended = cpuid.leaf(0x8000_0000).eax;
        // The vendor reads EBX, EDX, ECX.
        let intel = text([highest.ebx, highest.edx, highest.ecx]) == "GenuineIntel";
        let tsc_invariant = extended >= 0x8000_0007 && cpuid.leaf(0x8000_0007).edx & (1 << 8) != 0;
        let hypervised = basic.ecx & (1 << 31) != 0;
        let hypervisor = hypervised.then(|| {
            let answer = cpuid.leaf(0x4000_0000);
            text([answer.ebx, answer.ecx, answer.edx])
        });
        Self {
            tsc_readable: basic.edx & (1 << 4) != 0,
            tsc_constant: tsc_invariant || (intel && constant_on_intel(basic.eax)),
            tsc_invariant,
            tsc_monotonic: None,
            tsc_hz: crystal_hz(cpuid, highest.eax).or_else(|| told_hz(cpuid, hypervisor.as_deref()?)),
            hypervisor,
            tsc_kept_by_kernel: None,
        }
    }
}

/// Whether an Intel CPU without the invariant bit has a constant TSC: family 15 from model 3, family 6 from model 14
/// (Intel SDM volume 3, "Time-Stamp Counter"; Linux has the same bounds in arch/x86/kernel/cpu/intel.c).
fn constant_on_intel(signature: u32) -> bool {
    let family = (signature >> 8) & 0xf;
    let model = ((signature >> 4) & 0xf) | ((signature >> 12) & 0xf0);
    // The extended family (bits 20..28) counts only in family 15, and is 0 in all of NetBurst.
    let extended_family = (signature >> 20) & 0xff;
    match family {
        6 => model >= 0xe,
        15 => extended_family == 0 && model >= 3,
        _ => false,
    }
}

/// Leaf 0x15: crystal frequency (ECX) times the ratio EBX / EAX; any of the three may be 0 for "not told" (Intel SDM
/// volume 2, CPUID).
fn crystal_hz(cpuid: &impl Cpuid, highest: u32) -> Option<u64> {
    if highest < 0x15 {
        return None;
    }
    let Registers { eax, ebx, ecx, .. } = cpuid.leaf(0x15);
    if eax == 0 || ebx == 0 || ecx == 0 {
        return None;
    }
    Some(u64::from(ecx) * u64::from(ebx) / u64::from(eax))
}

/// What a hypervisor tells in its timing leaf.
fn told_hz(cpuid: &impl Cpuid, hypervisor: &str) -> Option<u64> {
    const TIMING: u32 = 0x4000_0010;
    if !TIMING_LEAF.contains(&hypervisor) || cpuid.leaf(0x4000_0000).eax < TIMING {
        return None;
    }
    match cpuid.leaf(TIMING).eax {
        0 => None,
        khz => Some(u64::from(khz) * 1000),
    }
}

/// Twelve bytes of a signature as text, without padding, with anything unprintable replaced.
fn text(words: [u32; 3]) -> String {
    let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    String::from_utf8_lossy(&bytes)
        .trim_matches(|c: char| c == '\0' || c == ' ')
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// One read of the time stamp counter, fenced so that reads in a row are made in order.
fn ticks() -> u64 {
    // SAFETY: neither touches memory. LFENCE belongs to SSE2, which every x86-64 CPU has. RDTSC is executed only where
    // CPUID says it exists and prctl(PR_GET_TSC) says that it does not raise SIGSEGV: see `CpuFacts::read`.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// Whether a clock moved, and never backwards.
fn never_backwards(reads: impl IntoIterator<Item = u64>) -> bool {
    let mut reads = reads.into_iter();
    let Some(first) = reads.next() else {
        return false;
    };
    let mut last = first;
    for read in reads {
        if read < last {
            return false;
        }
        last = read;
    }
    last > first
}

#[cfg(test)]
mod tests {
    use super::never_backwards;

    #[test]
    fn a_coarse_clock_that_repeats_itself_is_monotonic() {
        assert!(never_backwards([5, 5, 5, 31, 31]));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_is_not_monotonic() {
        assert!(!never_backwards([5, 5, 5]));
        assert!(!never_backwards([5, 7, 6, 9]));
        assert!(!never_backwards([]));
    }
}
