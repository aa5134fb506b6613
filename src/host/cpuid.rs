//! Facts from the CPUID instruction about the time stamp counter and the hypervisor.

use std::arch::x86_64::{__cpuid_count, _mm_lfence, _rdtsc};

use rustix::process::{TimeStampCounterReadability, time_stamp_counter_readability};

use super::Root;

/// Number of reads of the time stamp counter in the test that it never goes backwards.
const TSC_READS: usize = 4096;

/// Signatures of hypervisors with the frequency of the time stamp counter, in kHz, in EAX of leaf 0x40000010. VMware
/// defined this timing leaf ("Mechanisms to determine if software is running in a VMware virtual machine"), and others
/// adopted it. Under other hypervisors, such as Hyper-V, the leaf may have another meaning.
const TIMING_LEAF_HYPERVISORS: [&str; 3] = ["VMwareVMware", "KVMKVMKVM", "ACRNACRNACRN"];

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

/// A source of CPUID answers: this CPU, or recorded answers in tests.
pub trait Cpuid {
    /// Returns the registers at `leaf`, subleaf 0. Above its highest leaf a CPU may answer anything, so callers check
    /// the highest leaf first.
    fn leaf(&self, leaf: u32) -> Registers;
}

/// The CPU that this process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NativeCpuid;

impl Cpuid for NativeCpuid {
    fn leaf(&self, leaf: u32) -> Registers {
        let answer = __cpuid_count(leaf, 0);
        Registers { eax: answer.eax, ebx: answer.ebx, ecx: answer.ecx, edx: answer.edx }
    }
}

/// Whether a CPU has the instruction SERIALIZE (leaf 7 EDX bit 14; Intel SDM volume 2, CPUID).
pub fn has_serialize(cpu: &impl Cpuid) -> bool {
    const LEAF: u32 = 7;
    cpu.leaf(0).eax >= LEAF && cpu.leaf(LEAF).edx >> 14 & 1 == 1
}

/// Facts about the CPU's clock and about the hypervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuFacts {
    /// The signature of the hypervisor if the hypervisor bit (leaf 1, ECX bit 31) is set; may be empty.
    pub hypervisor: Option<String>,
    /// RDTSC exists and this process may execute it (`prctl(PR_GET_TSC)`).
    pub tsc_readable: bool,
    /// The counter ticks at a constant rate whatever the frequency of the core. Leaf 0x80000007 EDX bit 8 guarantees
    /// it, on Intel also family and model.
    pub tsc_constant: bool,
    /// The counter is constant and runs in deep sleep states: leaf 0x80000007 EDX bit 8 ("invariant TSC").
    pub tsc_invariant: bool,
    /// 4,096 reads in a row never went backwards; `None` if the counter was not read.
    pub tsc_monotonic: Option<bool>,
    /// Ticks per second, if CPUID has them (leaf 0x15, or a hypervisor's leaf 0x40000010).
    pub tsc_hz: Option<u64>,
    /// Whether the kernel offers `tsc` as a clock source; its watchdog removes it if sockets disagree. `None` if the
    /// list cannot be read.
    pub tsc_kept_by_kernel: Option<bool>,
}

impl CpuFacts {
    /// Reads the facts of this CPU, and the clock sources of the kernel under `root`.
    pub(crate) fn read(root: &Root) -> Self {
        let mut facts = Self::decode(&NativeCpuid);
        // If the call itself is refused, the default of Linux applies: readable.
        facts.tsc_readable &= time_stamp_counter_readability() != Ok(TimeStampCounterReadability::RaiseSIGSEGV);
        if facts.tsc_readable {
            facts.tsc_monotonic = Some(is_monotonic((0..TSC_READS).map(|_| read_ticks())));
        }
        facts.tsc_kept_by_kernel = root
            .line("sys/devices/system/clocksource/clocksource0/available_clocksource")
            .ok()
            .map(|sources| sources.split_whitespace().any(|source| source == "tsc"));
        facts
    }

    /// Decodes the facts that come from CPUID alone; the others are `None`.
    pub fn decode(cpuid: &impl Cpuid) -> Self {
        let highest = cpuid.leaf(0);
        let basic = cpuid.leaf(1);
        let extended = cpuid.leaf(0x8000_0000).eax;
        // The signature of the vendor is in EBX, EDX, ECX.
        let intel = signature_text([highest.ebx, highest.edx, highest.ecx]) == "GenuineIntel";
        let tsc_invariant = extended >= 0x8000_0007 && cpuid.leaf(0x8000_0007).edx & (1 << 8) != 0;
        let hypervised = basic.ecx & (1 << 31) != 0;
        let hypervisor = hypervised.then(|| {
            let answer = cpuid.leaf(0x4000_0000);
            signature_text([answer.ebx, answer.ecx, answer.edx])
        });
        Self {
            tsc_readable: basic.edx & (1 << 4) != 0,
            tsc_constant: tsc_invariant || (intel && is_constant_on_intel(basic.eax)),
            tsc_invariant,
            tsc_monotonic: None,
            tsc_hz: read_crystal_hz(cpuid, highest.eax).or_else(|| read_hypervisor_hz(cpuid, hypervisor.as_deref()?)),
            hypervisor,
            tsc_kept_by_kernel: None,
        }
    }
}

/// Whether an Intel CPU without the invariant bit has a constant TSC: family 15 from model 3, family 6 from model 14
/// (Intel SDM volume 3, "Time-Stamp Counter"; Linux has the same bounds in arch/x86/kernel/cpu/intel.c).
fn is_constant_on_intel(signature: u32) -> bool {
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

/// Computes the frequency from leaf 0x15: crystal frequency (ECX) times EBX / EAX. Any of the three is 0 if it is not
/// enumerated (Intel SDM volume 2, CPUID).
fn read_crystal_hz(cpuid: &impl Cpuid, highest: u32) -> Option<u64> {
    if highest < 0x15 {
        return None;
    }
    let Registers { eax, ebx, ecx, .. } = cpuid.leaf(0x15);
    if eax == 0 || ebx == 0 || ecx == 0 {
        return None;
    }
    Some(u64::from(ecx) * u64::from(ebx) / u64::from(eax))
}

/// Reads the frequency from the timing leaf of a hypervisor.
fn read_hypervisor_hz(cpuid: &impl Cpuid, hypervisor: &str) -> Option<u64> {
    const TIMING: u32 = 0x4000_0010;
    if !TIMING_LEAF_HYPERVISORS.contains(&hypervisor) || cpuid.leaf(0x4000_0000).eax < TIMING {
        return None;
    }
    match cpuid.leaf(TIMING).eax {
        0 => None,
        khz => Some(u64::from(khz) * 1000),
    }
}

/// Converts the twelve bytes of a signature to text, without padding; control characters become `?`.
fn signature_text(words: [u32; 3]) -> String {
    let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    String::from_utf8_lossy(&bytes)
        .trim_matches(|c: char| c == '\0' || c == ' ')
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// Reads the time stamp counter, with a fence so that consecutive reads execute in order.
fn read_ticks() -> u64 {
    // SAFETY: neither instruction accesses memory. LFENCE belongs to SSE2, which every x86-64 CPU has. RDTSC is
    // executed only where CPUID says it exists and prctl(PR_GET_TSC) says that it does not raise SIGSEGV: see
    // `CpuFacts::read`.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// Whether a clock advanced, and never went backwards.
fn is_monotonic(reads: impl IntoIterator<Item = u64>) -> bool {
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
    use super::is_monotonic;

    #[test]
    fn a_coarse_clock_with_repeated_values_is_monotonic() {
        assert!(is_monotonic([5, 5, 5, 31, 31]));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_is_not_monotonic() {
        assert!(!is_monotonic([5, 5, 5]));
        assert!(!is_monotonic([5, 7, 6, 9]));
        assert!(!is_monotonic([]));
    }
}
