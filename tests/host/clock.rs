//! Checks of the time stamp counter, and what `cpuid` says of it.

use super::*;

#[test]
fn a_counter_without_guarantees_is_a_warning_on_bare_metal_and_unknown_in_a_guest() {
    let unguaranteed = || {
        Made::fit().probed(|probes| {
            probes.cpu.tsc_constant = false;
            probes.cpu.tsc_invariant = false;
        })
    };
    for id in ["tsc_constant", "tsc_invariant"] {
        unguaranteed().says(id, Status::Warning, "not guaranteed");
        unguaranteed().guest().says(id, Status::Unknown, "hypervisor");
    }
    unguaranteed().says("clock", Status::Warning, "clock of the operating system");
    unguaranteed().guest().says("clock", Status::Unknown, "clock of the operating system");
}

#[test]
fn an_observed_fault_of_the_counter_is_a_warning_in_a_guest_too() {
    let backwards = Made::fit().guest().probed(|it| it.cpu.tsc_monotonic = Some(false));
    backwards.says("clock", Status::Warning, "backwards");
    let given_up = Made::fit().guest().probed(|it| it.cpu.tsc_kept_by_kernel = Some(false));
    given_up.says("clock", Status::Warning, "kernel");
    let forbidden = Made::fit().probed(|it| {
        it.cpu.tsc_readable = false;
        it.cpu.tsc_monotonic = None;
    });
    forbidden.says("clock", Status::Warning, "cannot be read");
}

#[test]
fn the_time_stamp_counter_is_the_clock_only_if_all_conditions_hold() {
    assert_eq!(clock_choice(&good_clock()), ClockChoice::Tsc);
    let unlisted = CpuFacts { tsc_kept_by_kernel: None, ..good_clock() };
    assert_eq!(clock_choice(&unlisted), ClockChoice::Tsc);
    for (wrong, word) in [
        (CpuFacts { tsc_readable: false, ..good_clock() }, "cannot be read"),
        (CpuFacts { tsc_constant: false, ..good_clock() }, "constant rate"),
        (CpuFacts { tsc_invariant: false, ..good_clock() }, "sleep"),
        (CpuFacts { tsc_monotonic: Some(false), ..good_clock() }, "backwards"),
        (CpuFacts { tsc_monotonic: None, ..good_clock() }, "not tested"),
        (CpuFacts { tsc_kept_by_kernel: Some(false), ..good_clock() }, "kernel"),
    ] {
        match clock_choice(&wrong) {
            ClockChoice::Os { reason } => assert!(reason.contains(word), "{word:?} in {reason:?}"),
            ClockChoice::Tsc => panic!("the counter was chosen: {wrong:?}"),
        }
    }
}

/// Recorded answers of CPUID; other leaves are zero.
struct Recorded(BTreeMap<u32, [u32; 4]>);

impl Cpuid for Recorded {
    fn leaf(&self, leaf: u32) -> Registers {
        let [eax, ebx, ecx, edx] = self.0.get(&leaf).copied().unwrap_or_default();
        Registers { eax, ebx, ecx, edx }
    }
}

fn decode(leaves: &[(u32, [u32; 4])]) -> CpuFacts {
    CpuFacts::decode(&Recorded(leaves.iter().copied().collect()))
}

/// The registers of a leaf with a signature: `eax`, then twelve letters in the other registers in this order.
fn named(eax: u32, name: &[u8; 12]) -> [u32; 4] {
    let word = |at: usize| u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]);
    [eax, word(0), word(4), word(8)]
}

const INTEL: [u32; 4] = [0x16, 0x756e_6547, 0x6c65_746e, 0x4965_6e69];
const AMD: [u32; 4] = [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65];
const TSC: u32 = 1 << 4;
const HYPERVISOR: u32 = 1 << 31;

#[test]
fn serialize_is_read_only_if_its_leaf_exists() {
    let has = |leaves: &[(u32, [u32; 4])]| has_serialize(&Recorded(leaves.iter().copied().collect()));
    let features = (7, [0, 0, 0, 1 << 14]);
    assert!(has(&[(0, INTEL), features]));
    assert!(!has(&[(0, INTEL), (7, [0, 0, 0, !(1 << 14)])]));
    assert!(!has(&[(0, [6, 0, 0, 0]), features]), "what a CPU answers above its highest leaf means nothing");
}

#[test]
fn cpuid_of_an_amd_guest_under_kvm_is_decoded() {
    let facts = decode(&[
        (0, AMD),
        (1, [0x00a1_0f11, 0, HYPERVISOR, TSC]),
        (0x4000_0000, named(0x4000_0010, b"KVMKVMKVM\0\0\0")),
        (0x4000_0010, [2_596_144, 0, 0, 0]),
        (0x8000_0000, [0x8000_0021, 0, 0, 0]),
        (0x8000_0007, [0, 0, 0, 1 << 8]),
    ]);
    assert_eq!(facts.hypervisor.as_deref(), Some("KVMKVMKVM"));
    assert!(facts.tsc_readable && facts.tsc_constant && facts.tsc_invariant);
    assert_eq!(facts.tsc_hz, Some(2_596_144_000));
    assert_eq!(facts.tsc_monotonic, None);
}

#[test]
fn the_frequency_is_absent_if_its_leaf_is_missing_zero_or_of_another_hypervisor() {
    let guest = |highest, name| {
        decode(&[(1, [0, 0, HYPERVISOR, TSC]), (0x4000_0000, named(highest, name)), (0x4000_0010, [1000, 0, 0, 0])])
    };
    assert_eq!(guest(0x4000_0010, b"VMwareVMware").tsc_hz, Some(1_000_000));
    assert_eq!(guest(0x4000_0001, b"VMwareVMware").tsc_hz, None);
    assert_eq!(guest(0x4000_0010, b"Microsoft Hv").tsc_hz, None);
    // Without the hypervisor bit the leaves of hypervisors have no meaning.
    let bare = decode(&[(0x4000_0000, named(0x4000_0010, b"VMwareVMware")), (0x4000_0010, [1000, 0, 0, 0])]);
    assert_eq!((bare.tsc_hz, bare.hypervisor), (None, None));
    // The crystal: 24 MHz times 176 / 2; the frequency is unknown if that of the crystal is 0.
    assert_eq!(decode(&[(0, INTEL), (0x15, [2, 176, 24_000_000, 0])]).tsc_hz, Some(2_112_000_000));
    assert_eq!(decode(&[(0, INTEL), (0x15, [2, 176, 0, 0])]).tsc_hz, None);
    assert_eq!(decode(&[(0, AMD), (0x15, [2, 176, 24_000_000, 0])]).tsc_hz, None);
}

#[test]
fn the_invariant_bit_counts_only_if_its_leaf_exists() {
    let extended = |highest| decode(&[(0, AMD), (0x8000_0000, [highest, 0, 0, 0]), (0x8000_0007, [0, 0, 0, 1 << 8])]);
    assert!(extended(0x8000_0007).tsc_invariant);
    assert!(!extended(0x8000_0006).tsc_invariant);
}

#[test]
fn the_model_decides_for_old_intel_cpus_but_not_for_amd_cpus() {
    let constant = |vendor, signature| {
        let facts = decode(&[(0, vendor), (1, [signature, 0, 0, TSC])]);
        assert!(!facts.tsc_invariant);
        facts.tsc_constant
    };
    // Core 2 (family 6 model 15), Pentium M (family 6 model 13), Prescott (15, 3), Willamette (15, 1).
    assert!(constant(INTEL, 0x6f6));
    assert!(!constant(INTEL, 0x6d6));
    assert!(constant(INTEL, 0xf34));
    assert!(!constant(INTEL, 0xf12));
    assert!(!constant(AMD, 0xf34));
}
