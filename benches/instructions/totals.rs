//! Instructions per op and per unit, from the totals of callgrind.

use std::path::Path;

use super::arguments::mechanisms;
use super::selection::Pairs;
use super::{LOOPS, Subject};

/// Prints the instructions per op and per unit: the difference of the counts at two lengths, by that of the lengths.
pub fn print(folder: &Path, subjects: &[&Subject], pairs: Pairs) {
    let (loops, workloads): (Vec<_>, Vec<_>) =
        subjects.iter().copied().partition(|subject| LOOPS.iter().any(|counted| counted.name == subject.name));
    if !loops.is_empty() {
        println!("\ninstructions per op (loop included), regime throughput, and above inline:");
        loops.iter().for_each(|subject| print_subject(folder, subject, pairs));
    }
    if !workloads.is_empty() {
        println!("\ninstructions per unit of a workload, and above inline:");
        workloads.iter().for_each(|subject| print_subject(folder, subject, pairs));
    }
}

fn print_subject(folder: &Path, subject: &Subject, pairs: Pairs) {
    let (name, mut inline) = (subject.name, None);
    let folder = folder.join(name).join(if pairs == Pairs::All { "all" } else { "some" });
    for mechanism in mechanisms(subject, pairs) {
        let group = if subject.mechanisms[0].contains(&mechanism) { "deciding" } else { "others" };
        let function = if group == "deciding" { "count" } else { "count_others" };
        let counted = |length: &str| read_total(&folder.join(group), function, &format!("{mechanism}_{length}"));
        let (Some(short), Some(long)) = (counted("short"), counted("long")) else { continue };
        let each = (long as f64 - short as f64) / subject.between as f64;
        let inline = *inline.get_or_insert(each);
        println!("{name:16} {mechanism:14} {each:10.3} {:+10.3}", each - inline);
    }
    if inline.is_none() {
        println!("{name:16} not counted: there is no callgrind output in {}", folder.display());
    }
}

/// Total instructions of one benchmark, from the `summary:` or `totals:` line of its callgrind output.
fn read_total(folder: &Path, function: &str, bench: &str) -> Option<u64> {
    let path = folder.join(format!("{function}.{bench}")).join(format!("callgrind.{function}.{bench}.out"));
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")))?;
    line.split_whitespace().next()?.parse().ok()
}
