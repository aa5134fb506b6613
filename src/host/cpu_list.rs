//! The kernel's list format for CPUs, as in `/sys/devices/system/cpu/online`: `0-3,8,10-11`.

/// A range in such a file is refused above this: Linux on x86 goes to 8192 CPUs (`NR_CPUS` in arch/x86/Kconfig).
const HIGHEST: u32 = 65_535;

/// The CPUs of a list, in the order written; `None` where the text is no such list.
pub(super) fn parse(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u32 = first.trim().parse().ok()?;
        let last: u32 = last.trim().parse().ok()?;
        if first > last || last > HIGHEST {
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
    fn ranges_and_single_cpus_are_read() {
        assert_eq!(parse("0-2,7\n"), Some(vec![0, 1, 2, 7]));
        assert_eq!(parse("0"), Some(vec![0]));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "a", "3-1", "0-4294967295", "1,", "0-"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
