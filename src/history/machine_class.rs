//! Machine classes: what splits a series.
//!
//! A class is vendor, family, model, stepping, hypervisor and threads per core, as a name for folders:
//! `amd-25-17-1-kvm-smt1`. Everything else of a machine that changes, such as microcode, kernel or mitigations, is an
//! event on the axis of a series.

use crate::host::{Check, Machine};

/// Vendors of CPUs by their signature, with their short names.
const VENDORS: [(&str, &str); 6] = [
    ("AuthenticAMD", "amd"),
    ("GenuineIntel", "intel"),
    ("HygonGenuine", "hygon"),
    ("CentaurHauls", "centaur"),
    ("  Shanghai  ", "zhaoxin"),
    ("Shanghai", "zhaoxin"),
];

/// Hypervisors by their signature, with their short names.
const HYPERVISORS: [(&str, &str); 9] = [
    ("KVMKVMKVM", "kvm"),
    ("Linux KVM Hv", "kvm-hyperv"),
    ("Microsoft Hv", "hyperv"),
    ("VMwareVMware", "vmware"),
    ("XenVMMXenVMM", "xen"),
    ("TCGTCGTCGTCG", "tcg"),
    ("bhyve bhyve", "bhyve"),
    ("ACRNACRNACRN", "acrn"),
    ("", "guest"),
];

/// Name of a machine without a hypervisor.
const BARE_METAL: &str = "metal";
/// Stands for a part that is not known.
const UNKNOWN: &str = "unknown";
/// Maximum length of the name of a vendor or hypervisor.
const MAX_PART: usize = 16;
/// Maximum length of a class.
const MAX_CLASS: usize = 80;

/// The check that older reports have in place of `threads_per_core`.
const SIBLING_CHECK: &str = "smt_sibling";

/// The class of a machine. Older reports have the number of threads per core only in their checks.
#[must_use]
pub fn machine_class(machine: &Machine, environment: &[Check]) -> String {
    let vendor = machine.cpu_vendor.as_deref().map_or_else(|| UNKNOWN.to_owned(), |name| short(name, &VENDORS));
    let number = |number: Option<u32>| number.map_or_else(|| UNKNOWN.to_owned(), |number| number.to_string());
    let hypervisor =
        machine.virtualised.as_deref().map_or_else(|| BARE_METAL.to_owned(), |name| short(name, &HYPERVISORS));
    let threads = machine.threads_per_core.or_else(|| threads_by_check(environment));
    let [family, model, stepping] = [machine.cpu_family, machine.cpu_model_number, machine.cpu_stepping].map(number);
    format!("{vendor}-{family}-{model}-{stepping}-{hypervisor}-smt{}", number(threads))
}

/// Whether a text can be a class, and so the name of a folder of a store.
#[must_use]
pub fn is_machine_class(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_CLASS).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(is_fit)
}

/// The short name of a signature; that of an unknown one is made of its letters and digits.
fn short(signature: &str, known: &[(&str, &str)]) -> String {
    let is = |(long, _): &&(&str, &str)| signature.trim_end() == long.trim_end();
    if let Some((_, short)) = known.iter().find(is) {
        return (*short).to_owned();
    }
    let letters = signature.chars().filter(char::is_ascii_alphanumeric).take(MAX_PART);
    let name: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    if name.is_empty() { UNKNOWN.to_owned() } else { name }
}

/// Threads per core by the words of the check `smt_sibling`.
fn threads_by_check(environment: &[Check]) -> Option<u32> {
    let detail = &environment.iter().find(|check| check.id == SIBLING_CHECK)?.detail;
    if detail.contains("has its core to itself") {
        return Some(1);
    }
    let (_, others) = detail.split_once("shares its core with CPU ")?;
    let others = others.strip_suffix(", which is online")?;
    u32::try_from(others.split(", ").count() + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Status;

    fn machine(vendor: &str, hypervisor: Option<&str>, threads: Option<u32>) -> Machine {
        let json = serde_json::json!({
            "cpu_vendor": vendor, "cpu_family": 25, "cpu_model_number": 17, "cpu_stepping": 1,
            "virtualised": hypervisor, "threads_per_core": threads,
        });
        serde_json::from_value(json).unwrap()
    }

    fn check(detail: &str) -> [Check; 1] {
        let (id, detail) = (SIBLING_CHECK.to_owned(), detail.to_owned());
        [Check { id, detail, status: Status::Unknown, effect: None, advice: None }]
    }

    #[test]
    fn a_class_names_what_splits_a_series() {
        let class = machine_class(&machine("AuthenticAMD", Some("KVMKVMKVM"), Some(2)), &[]);
        assert_eq!(class, "amd-25-17-1-kvm-smt2");
        assert_eq!(machine_class(&machine("GenuineIntel", None, Some(1)), &[]), "intel-25-17-1-metal-smt1");
        let nothing: Machine = serde_json::from_str("{}").unwrap();
        let class = machine_class(&nothing, &[]);
        assert_eq!(class, "unknown-unknown-unknown-unknown-metal-smtunknown");
        assert!(is_machine_class(&class));
    }

    #[test]
    fn older_reports_tell_the_threads_by_their_check() {
        let old = machine("AuthenticAMD", Some("KVMKVMKVM"), None);
        let class = |detail| machine_class(&old, &check(detail));
        assert_eq!(class("CPU 1 has its core to itself, according to the hypervisor"), "amd-25-17-1-kvm-smt1");
        assert_eq!(class("CPU 1 shares its core with CPU 5, which is online"), "amd-25-17-1-kvm-smt2");
        assert_eq!(class("CPU 1 shares its core with CPU 5, 9, 13, which is online"), "amd-25-17-1-kvm-smt4");
        assert_eq!(class("no such file"), "amd-25-17-1-kvm-smtunknown");
    }

    #[test]
    fn a_signature_with_markup_or_a_path_makes_a_harmless_name() {
        let class = machine_class(&machine("../<b>EVIL", Some("/etc/passwd and more than that"), Some(1)), &[]);
        assert_eq!(class, "bevil-25-17-1-etcpasswdandmore-smt1");
        assert!(is_machine_class(&class));
        for bad in ["", "..", "a/b", "A", "-x", "a b", &"x".repeat(81)] {
            assert!(!is_machine_class(bad), "{bad}");
        }
    }
}
