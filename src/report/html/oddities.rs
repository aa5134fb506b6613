//! What is odd in a report, found by rule: each with a line that says what it is, or that it is not understood.

use std::collections::BTreeMap;

use super::distance::{self, list_far_bodies};
use super::faster::list_faster;
use super::stubs::{self, list_cheaper_stubs};
use crate::regime::Regime;
use crate::report::Report;
use crate::report::answer::difference_of;
use crate::report::plots::grid::{Column, Grid};
use crate::report::plots::number::{clipped, fixed, interval_ends, plain, plural, signed};
use crate::report::schema::{Listing, WorkloadKernel, WorkloadResult};
use crate::report::subject::mechanism;

/// Maximum number of instances that are shown for each kind of oddity.
const MAX_SHOWN: usize = 6;
/// Maximum number of ops that are shown for a cause. Each stands for all of its cells.
const MAX_OPS: usize = 20;
/// Maximum number of ops that are shown without a cause.
const MAX_UNKNOWN: usize = 12;
/// A prediction is far from the measurement if it differs by more than this share of it, and by more than
/// [`FAR_POINTS`]. At half of both, a third of all predictions are named; at twice, only those of the densest workload.
const FAR_SHARE: f64 = 0.5;
/// See [`FAR_SHARE`]. In percentage points.
const FAR_POINTS: f64 = 2.0;

/// A kind of oddity with its instances.
pub struct Oddity {
    pub title: &'static str,
    /// The first instances, the clearest one first.
    pub shown: Vec<String>,
    /// Number of further instances.
    pub more: usize,
    /// What it is, or that it is not understood.
    pub meaning: &'static str,
}

fn oddity(title: &'static str, all: Vec<String>, meaning: &'static str) -> Option<Oddity> {
    up_to(MAX_SHOWN, title, all, meaning)
}

fn up_to(max: usize, title: &'static str, mut all: Vec<String>, meaning: &'static str) -> Option<Oddity> {
    let more = all.len().saturating_sub(max);
    all.truncate(max);
    (!all.is_empty()).then_some(Oddity { title, shown: all, more, meaning })
}

/// Why a call of one body is cheaper than copies of it that wait for one another. `scripts/causes.py` shows it.
const WAITS: &str = "Each call reads a word that the call before has just written. Inline has eight copies of the \
    body in its loop, and each reads what another copy wrote. Behind a call all sites share one body, and the CPU \
    hands a value on sooner where the same two instructions store and load it. Shown with machine code alone, on an \
    AMD EPYC (Zen 4): calls of a copy per site and NOPs in place gain less than half as much, and a loop with a \
    single copy in place is about as fast or faster (docs/validation.md).";
/// Why a pause helps.
const PAUSES: &str = "These ops wait, for a fence, for an earlier store or for a result, and the instructions of a \
    call are a pause between two of them. Shown with machine code alone, on an AMD EPYC (Zen 4): NOPs in place take \
    off half of it or more.";
/// Why a body with a loop can take less time behind a call.
const LOOPS: &str = "The gain comes from the iterations, not from the call. Of init_IRQ's 224 iterations, each takes \
    3.0 cycles behind an indirect call and 3.1 in place; with 8 iterations nothing is gained (docs/validation.md, on \
    an AMD EPYC). Whether the place of the code or the prediction of its branches makes it is not known.";

/// The oddities of a report.
pub fn list_oddities(report: &Report, grid: &Grid) -> Vec<Oddity> {
    let faster = list_faster(report);
    let found = [
        oddity(
            "More steps, and cheaper",
            list_cheaper(report, grid),
            "In the random regimes a plain indirect call pays mispredictions, and a retpoline pays the same whatever \
             the target is. In the other regimes it is not understood. Where dyn is cheaper than direct, the compiler \
             chooses the registers of the call, and direct is assembly with a fixed list of lost registers; that may \
             be the cause.",
        ),
        oddity(
            "Equal instructions at two costs",
            list_equal_code(report, grid),
            "The mechanisms have the same instructions at other addresses: another place of the code, of the word with \
             the target, and of their entries in predictors and caches. The difference is what addresses are worth \
             here, not a cost of a mechanism. Which of these places makes it is not understood.",
        ),
        oddity(
            "A call of a stub cheaper than an indirect call, cold",
            list_cheaper_stubs(report, grid),
            stubs::MEANING,
        ),
        oddity("A shared object's body dearer than the program's", list_far_bodies(grid), distance::MEANING),
        oddity(
            "Predictions far from the measurement",
            list_far_predictions(report),
            "The prediction here is the simple product: the calls times the cost of a hot call. It is too high \
             where calls hide behind the work \
             around them. It is too low where a call loses predictions or registers that the loop of its cell keeps.",
        ),
        up_to(MAX_OPS, "Faster than inline: copies that wait for one another", faster.carried, WAITS),
        up_to(MAX_OPS, "Faster than inline: a pause before a wait", faster.pauses, PAUSES),
        up_to(MAX_OPS, "Faster than inline: a loop in the body", faster.loops, LOOPS),
        up_to(
            MAX_UNKNOWN,
            "Faster than inline, not understood",
            faster.unknown,
            "Inline is no lower bound: its instructions can wait for one another or for the loop around them, and a \
             call in between changes which ones do. Which of it happens here is not known.",
        ),
        oddity(
            "Cells with several values",
            list_bimodal(report),
            "Workers gather at two or more values, each of which is the cost at some addresses of code or data. The \
             median describes none of them; such a cell has a * in the tables of ops.",
        ),
    ];
    found.into_iter().flatten().collect()
}

/// Pairs of a mechanism with more steps and one with fewer.
const PAIRS: [(&str, &str); 6] = [
    ("table", "direct"),
    ("dyn", "direct"),
    ("dyn", "table"),
    ("box_dyn", "direct"),
    ("retpoline", "table"),
    ("once_lock", "fn_pointer"),
];

fn list_cheaper(report: &Report, grid: &Grid) -> Vec<String> {
    let find = |name: &str| grid.columns.iter().find(|it| it.mechanism == name && it.state.is_none());
    let mut all: Vec<(f64, String)> = Vec::new();
    for (more, less) in PAIRS {
        if let (Some(column), Some(from)) = (find(more), find(less)) {
            for regime in Regime::ALL {
                let cost = difference_of(grid, column, from, regime);
                if let Some(cost) = cost.filter(|it| it.is_resolved && it.median.estimate < 0.0) {
                    let cycles = plain(-cost.median.estimate);
                    let line =
                        format!("{more} costs {cycles} cycles less than {less} over the ops, in {}", regime.name());
                    all.push((f64::INFINITY, line));
                }
            }
        }
        for workload in &report.workloads {
            let (Some(high), Some(low)) = (percent_of(workload, more), percent_of(workload, less)) else { continue };
            if high.0 && low.0 && high.1.is_below(low.1.low) {
                let by = low.1.estimate - high.1.estimate;
                let line = format!(
                    "{more} takes {}% and {less} {}% on {}",
                    fixed(high.1.estimate, 2),
                    fixed(low.1.estimate, 2),
                    clipped(&workload.name, 40)
                );
                all.push((by, line));
            }
        }
    }
    sorted(all)
}

/// Whether the cost of a mechanism on a workload is resolved, and its interval.
fn percent_of(workload: &WorkloadResult, name: &str) -> Option<(bool, crate::stats::Interval)> {
    let is_wanted = |it: &&WorkloadKernel| it.mechanism.as_deref() == Some(name) && it.state.is_none();
    let kernel = workload.kernels.iter().find(is_wanted)?;
    Some((kernel.resolved, kernel.overhead_percent?.interval()))
}

/// The largest first.
fn sorted(mut all: Vec<(f64, String)>) -> Vec<String> {
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.into_iter().map(|it| it.1).collect()
}

/// Pairs of mechanisms with the same instructions whose costs differ in a cold regime.
fn list_equal_code(report: &Report, grid: &Grid) -> Vec<String> {
    let mut by_code: BTreeMap<String, Vec<&Column>> = BTreeMap::new();
    for column in grid.columns.iter().filter(|column| column.mechanism != "inline") {
        if let Some(code) = describe_code(report, column) {
            by_code.entry(code).or_default().push(column);
        }
    }
    let mut all = Vec::new();
    for columns in by_code.values() {
        let Some((first, others)) = columns.split_first() else { continue };
        for other in others {
            for regime in [Regime::Cold, Regime::Flushed] {
                let cost = difference_of(grid, other, first, regime);
                if let Some(cost) = cost.filter(|it| it.is_resolved) {
                    let line = format!(
                        "{} and {} have the same instructions, and {} differs by {} cycles ({}) in {}",
                        clipped(&first.label(), 60),
                        clipped(&other.label(), 60),
                        clipped(&other.label(), 60),
                        signed(cost.median.estimate),
                        interval_ends(cost.median),
                        regime.name()
                    );
                    all.push((cost.median.estimate.abs(), line));
                }
            }
        }
    }
    sorted(all)
}

/// The instructions of a mechanism's listings without addresses; `None` without a listing.
fn describe_code(report: &Report, column: &Column) -> Option<String> {
    let info = report.catalogue.mechanisms.iter().find(|it| it.name == column.mechanism)?;
    let is_own = |listing: &&Listing| listing.state.as_deref() == column.state;
    let listings: Vec<&Listing> = info.listings.iter().filter(is_own).collect();
    let describe = |listing: &Listing| {
        let lines: Vec<String> = listing.lines.iter().map(|line| without_addresses(&line.text)).collect();
        format!("{}: {}", listing.op, lines.join("; "))
    };
    (!listings.is_empty()).then(|| listings.into_iter().map(describe).collect::<Vec<_>>().join("\n"))
}

/// A line of assembly in which every hexadecimal number is `@`.
fn without_addresses(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric();
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let (before, word) = rest.split_at(start);
        let (word, after) = word.split_at(word.find(|c| !is_word(c)).unwrap_or(word.len()));
        let digits = word.strip_suffix('h').unwrap_or_default();
        let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit());
        out.push_str(before);
        out.push_str(if is_number { "@" } else { word });
        rest = after;
    }
    out + rest
}

fn list_far_predictions(report: &Report) -> Vec<String> {
    let mut all = Vec::new();
    for workload in &report.workloads {
        for kernel in &workload.kernels {
            let measured = kernel.overhead_percent.filter(|_| kernel.resolved).map(|it| it.estimate);
            let (Some(predicted), Some(measured)) = (kernel.predicted_percent, measured) else { continue };
            let off = (predicted - measured).abs();
            if off.is_finite() && off > FAR_POINTS && off > FAR_SHARE * measured.abs() {
                let line = format!(
                    "{} with {}: predicted {}%, measured {}%",
                    clipped(&workload.name, 40),
                    mechanism(kernel.mechanism.as_deref().unwrap_or_default(), kernel.state.as_deref()),
                    fixed(predicted, 1),
                    fixed(measured, 1)
                );
                all.push((off / measured.abs().max(1.0), line));
            }
        }
    }
    sorted(all)
}

/// Numbers of cells with several values, by regime.
fn list_bimodal(report: &Report) -> Vec<String> {
    let of = |regime: Regime| {
        let cells = || report.cells.iter().filter(move |cell| cell.regime == regime && cell.overhead.is_some());
        let (all, several) = (cells().count(), cells().filter(|cell| cell.modes.len() > 1).count());
        let line = || format!("{}: {several} of {all} {}", regime.name(), plural(all, "cell", "cells"));
        (several > 0).then(line)
    };
    Regime::ALL.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_do_not_make_instructions_differ_but_registers_do() {
        let of = without_addresses;
        assert_eq!(of("call qword ptr [56313D82D020h]"), of("call qword ptr [5631FF82D020h]"));
        assert_eq!(of("mov rax,[r15+2A0h]"), "mov rax,[r15+@]");
        assert_ne!(of("mov rax,rdi"), of("mov rax,rsi"));
        assert_eq!(of("add al,bh"), "add al,@", "a short register that reads as a number is one on both sides");
    }
}
