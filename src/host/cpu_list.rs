//! Parser of the kernel's lists of CPUs, as in `/sys/devices/system/cpu/online`: `0-3,8,10-11`.

/// Largest CPU number that is accepted. Linux on x86 supports 8192 CPUs (`NR_CPUS` in arch/x86/Kconfig).
const MAX_CPU: u32 = 65_535;

/// Parses a list of CPUs, in the written order; `None` if the text is malformed.
pub(super) fn parse(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u32 = first.trim().parse().ok()?;
        let last: u32 = last.trim().parse().ok()?;
        if first > last || last > MAX_CPU {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lists_of_ranges_and_single_cpus_are_parsed() {
        assert_eq!(parse("0-2,7\n"), Some(vec![0, 1, 2, 7]));
        assert_eq!(parse("0"), Some(vec![0]));
    }

    #[test]
    fn malformed_lists_are_refused() {
        for text in ["", "a", "3-1", "0-4294967295", "1,", "0-"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
