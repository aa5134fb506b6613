//! Lines of `perf script`.

use std::borrow::Cow;
use std::ops::Range;

/// A file in the memory of a process, as a line has it.
pub(super) struct ParsedMapping<'a> {
    pub(super) process: u64,
    pub(super) range: Range<u64>,
    pub(super) offset: u64,
    pub(super) build_id: Option<&'a str>,
    pub(super) is_code: bool,
    pub(super) path: &'a str,
}

/// Parses `2 12/12: [0x1000(0x20) @ 0x3000 fe:00 5 6]: r-xp /bin/app`, or with `<build id>` instead of the numbers of
/// device and file.
pub(super) fn parse_mapping(text: &str) -> Option<ParsedMapping<'_>> {
    let (head, rest) = text.split_once(": [")?;
    let (place, rest) = rest.split_once("]: ")?;
    let process = head.trim_start_matches('2').trim().split('/').next()?;
    // The kernel's own is -1.
    let process = process.parse::<i64>().ok()?.unsigned_abs();
    let (start, place) = place.split_once('(')?;
    let (length, place) = place.split_once(") @ ")?;
    let mut place = place.split(' ');
    let (start, length, offset) = (hexadecimal(start)?, hexadecimal(length)?, hexadecimal(place.next()?)?);
    let build_id = place.next().and_then(|word| word.strip_prefix('<')?.strip_suffix('>'));
    let (access, path) = rest.split_once(' ')?;
    let range = start..start.checked_add(length)?;
    let path = path.trim_end_matches(['\n', '\r']);
    Some(ParsedMapping { process, range, offset, build_id, is_code: access.contains('x'), path })
}

/// Parses the head of `0x1000/0x2000/P/-/-/3`.
pub(super) fn parse_record(word: &str) -> Option<(u64, u64)> {
    let mut parts = word.split('/');
    let (from, to) = (parts.next()?, parts.next()?);
    parts.next()?;
    Some((hexadecimal(from.strip_prefix("0x")?)?, hexadecimal(to)?))
}

/// Parses the name of an event: a word with a colon at its end that is no time.
pub(super) fn parse_event(word: &str) -> Option<&str> {
    let name = word.strip_suffix(':')?;
    let is_time = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (!is_time).then_some(name)
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// A line without the files that `-F dso` writes in parentheses, which have slashes and spaces.
pub(super) fn without_files(line: &str) -> Cow<'_, str> {
    if !line.contains('(') {
        return line.into();
    }
    let mut depth = 0_usize;
    let keep = |c: &char| {
        depth = if *c == '(' { depth + 1 } else { depth };
        let is_kept = depth == 0;
        depth = if *c == ')' { depth.saturating_sub(1) } else { depth };
        is_kept
    };
    line.chars().filter(keep).collect::<String>().into()
}
