//! The first screen: what an indirection costs here, what the model kernel pays, and whether the 1% is true, in three
//! short answers that are made from the report alone, and below the plot what limits them.

use super::costs::find;
use crate::regime::Regime;
use crate::report::Report;
use crate::report::answer::{Answer, Cost, KernelCost, TABLE_AND_DIRECT, cost_of};
use crate::report::claim::{CLAIM, CLAIMED_PERCENT, Claim};
use crate::report::over_ops::OverOps;
use crate::report::plots::grid::{Column, Grid, Reading};
use crate::report::plots::number::{clipped, fixed, plain, plural};
use crate::report::schema::{Limit, SCHEMA, WorkloadResult};
use crate::report::subject::has_linux_ops;
use crate::stats::Interval;

/// Hooks per 1,000 instructions that Linux 6.1 calls in that benchmark, unless the report has counts of a real kernel.
/// As on the model kernel, a repeated string instruction counts once (`reports/linux/recorded.json`).
const LINUX_HOOKS_PER_1000: f64 = 6.87;

/// Warnings that the page shows above everything else.
pub fn warnings(report: &Report, grid: &Grid) -> Vec<String> {
    let mut warnings = Vec::new();
    if !report.run.complete {
        let failed = report.failures.len();
        let why = match failed {
            0 => "part of the plan was not measured".to_owned(),
            n => format!("{n} {} below", plural(n, "failure is listed", "failures are listed")),
        };
        warnings.push(format!("This run is incomplete: {why}. Missing values are unknown, not zero."));
    }
    if report.tool.build != "release" {
        warnings.push(format!(
            "This is a {} build: all times include debug assertions and overflow checks. Build with --release.",
            clipped(&report.tool.build, 40)
        ));
    }
    if let Some(check) = report.unoptimised() {
        warnings.push(format!("Unoptimised: {}.", clipped(&check.detail, 200)));
    }
    if grid.left_out != (0, 0) {
        let (mechanisms, ops) = grid.left_out;
        warnings.push(format!(
            "The sentences and plots leave out {mechanisms} mechanisms and {ops} ops for lack of room; \
             the table of all cells holds them."
        ));
    }
    if report.schema != SCHEMA {
        warnings.push(format!(
            "The report has schema {}, but this page is made for {SCHEMA}: numbers may be missing or wrong.",
            clipped(&report.schema, 60)
        ));
    }
    warnings
}

/// The mechanism of the headline: the pv_ops table before patching, or else the mechanism with the most resolved cells.
fn choose_mechanism<'a>(grid: &Grid<'a>) -> Option<Column<'a>> {
    let table = |c: &&Column| c.mechanism == "table" && c.state.is_none_or(|s| s == "unpatched");
    grid.columns
        .iter()
        .find(table)
        .or_else(|| {
            let resolved = |c: &&Column<'a>| {
                let readings = grid.readings(c, Regime::Throughput);
                readings.iter().filter(|(_, r)| matches!(r, Reading::Resolved(_))).count()
            };
            grid.columns.iter().filter(|c| c.mechanism != "inline").max_by_key(resolved)
        })
        .cloned()
}

fn name(report: &Report, column: &Column) -> String {
    match column.mechanism {
        "table" if has_linux_ops(report) => "the pv_ops table".to_owned(),
        "table" => "the table".to_owned(),
        _ => clipped(&column.label(), 40),
    }
}

/// The texts of the first screen, a paragraph each.
pub struct Sentences {
    /// What comes first: whether the 1% is true, what an indirection costs, and what the model kernel pays.
    pub answers: Vec<String>,
    /// What limits the answers, and where they come from.
    pub limits: Vec<String>,
}

/// The texts of the first screen.
pub fn sentences(report: &Report, grid: &Grid, answer: &Answer) -> Sentences {
    let mut answers = vec![match choose_mechanism(grid) {
        Some(column) => state_costs(report, grid, answer, &column),
        None if report.cells.is_empty() => "Nothing was measured: the report holds no cells.".to_owned(),
        None => "Only inline was measured: there is no mechanism to compare it with.".to_owned(),
    }];
    let mut limits = vec![[state_difference(answer), state_patched(grid, answer)].concat()];
    if has_linux_ops(report) {
        let claim = Claim::from_report(report);
        let density = claim.as_ref().and_then(|_| compare_density(report));
        answers.extend(
            state_kernels(answer).map(|it| [Some(it), density].into_iter().flatten().collect::<Vec<_>>().join(" ")),
        );
        match &claim {
            Some(claim) => answers.insert(0, format!("{} {}{}", claim.sentence(), claim.verdict(), claim.caveat())),
            None => answers.push(state_claim(report, answer)),
        }
        // Without the price of a real kernel's hooks, the sentence on the claim has the range.
        limits.push(limit_kernels(report, answer, claim.is_some()));
        let reasons = claim.map(|claim| [claim.over_workloads(), claim.explanation()].into_iter().flatten().collect());
        limits.extend(reasons.map(|it: Vec<String>| it.join(" ")));
    }
    let limits = limits.iter().map(|it| it.trim_start().to_owned()).filter(|it| !it.is_empty()).collect();
    Sentences { answers, limits }
}

/// What the mechanism of the headline costs, and after it the other ways.
fn state_costs(report: &Report, grid: &Grid, answer: &Answer, column: &Column) -> String {
    let name = name(report, column);
    let cost = |regime| cost_of(grid, column, regime);
    let Some(hot) = cost(Regime::Throughput) else { return format!("In throughput, {name} was not measured.") };
    let others: Vec<String> = answer
        .ways
        .iter()
        .filter(|way| way.way.mechanism != column.mechanism)
        .filter(|way| ["direct", "retpoline"].contains(&way.way.mechanism))
        .filter_map(|way| {
            let hot = find(&way.costs, Regime::Throughput)?;
            Some(format!("{} {}", way.name, state_pair(hot, find(&way.costs, Regime::Cold))))
        })
        .collect();
    let others = join(&others).map_or_else(String::new, |others| format!(" {}.", capitalised(&others)));
    let ops = format!("the median of {} {}", hot.ops, plural(hot.ops, "op", "ops"));
    if !hot.is_resolved {
        return format!("In throughput, no overhead of {name} over inline is resolved ({ops}).{others}");
    }
    let over = OverOps::of(grid.cells_of(column, Regime::Throughput));
    let ns = over.and_then(|it| it.median_ns()).map_or_else(String::new, |ns| format!(" ({} ns)", plain(ns)));
    let cold = match cost(Regime::Cold).filter(|cold| cold.is_resolved) {
        Some(cold) => format!(
            " At call sites that the predictors have forgotten (cold), it costs {} cycles (the median of {} {}).",
            plain(cold.median.estimate),
            cold.ops,
            plural(cold.ops, "op", "ops")
        ),
        None => String::new(),
    };
    format!(
        "Reaching the {} body through {name} costs {} core cycles{ns} per call over inline where the code is hot \
         ({ops}).{cold}{others}",
        grid.body.name(),
        plain(hot.median.estimate),
    )
}

/// That the table and a direct call do not differ where the code is hot; empty if they do.
fn state_difference(answer: &Answer) -> String {
    let near = answer.differences.iter().find(|it| it.name == TABLE_AND_DIRECT);
    match near.and_then(|it| find(&it.costs, Regime::Throughput)).filter(|it| !it.is_resolved) {
        Some(it) => {
            let layout = if it.limit == Some(Limit::Layout) { ": it depends on the layout" } else { "" };
            format!(" Hot, the difference between table and direct call is not resolved ({}{layout}).", it.bound_text())
        }
        None => String::new(),
    }
}

/// What a patched site costs, and for which ops. Sites that patching leaves as a call have a cost of their own.
fn state_patched(grid: &Grid, answer: &Answer) -> String {
    let Some(way) = answer.ways.iter().find(|way| way.way.mechanism == "site") else { return String::new() };
    let Some(hot) = find(&way.costs, Regime::Throughput) else { return String::new() };
    let all = grid.rows.len().saturating_sub(grid.trapping_ops(Regime::Throughput).len());
    let pressure = match find(&way.costs, Regime::Pressure).filter(|it| it.is_resolved) {
        Some(it) => format!(", and costs {} where registers are scarce (pressure)", plain(it.median.estimate)),
        None => String::new(),
    };
    let pair = state_pair(hot, find(&way.costs, Regime::Cold));
    let scope = format!("For the {} of {all} {} whose instructions fit", hot.ops, plural(all, "op", "ops"));
    let call = grid.columns.iter().find(|it| (it.mechanism, it.state) == ("site", Some("direct")));
    let call = call.and_then(|it| cost_of(grid, it, Regime::Throughput)).filter(|it| it.is_resolved);
    let rest = match call.filter(|_| hot.ops < all) {
        Some(it) => format!("; a site that keeps a direct call costs {}", plain(it.median.estimate)),
        None => String::new(),
    };
    format!(" {scope}, {} {pair}{pressure}{rest}.", way.name)
}

/// `costs 3.63 hot and 15.1 cold`
fn state_pair(hot: &Cost, cold: Option<&Cost>) -> String {
    let resolved = |cost: Option<&Cost>| cost.filter(|cost| cost.is_resolved).map(|cost| plain(cost.median.estimate));
    match (resolved(Some(hot)), cold, resolved(cold)) {
        (Some(hot), _, Some(cold)) => format!("costs {hot} hot and {cold} cold"),
        (Some(hot), None, None) => format!("costs {hot} hot"),
        (Some(hot), Some(_), None) => format!("costs {hot} hot and shows no cost cold"),
        (None, _, Some(cold)) => format!("shows no cost hot and costs {cold} cold"),
        (None, ..) => "shows no cost beyond the floor".to_owned(),
    }
}

/// `a, b, and c`; `None` without words.
fn join(words: &[String]) -> Option<String> {
    match words {
        [] => None,
        [only] => Some(only.clone()),
        [first, second] => Some(format!("{first}, and {second}")),
        [first @ .., last] => Some(format!("{}, and {last}", first.join(", "))),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// What the model kernel pays over its workloads; `None` if no cost is resolved.
fn state_kernels(answer: &Answer) -> Option<String> {
    let words = |kernel: &KernelCost| {
        let way = if kernel.way.mechanism == "table" { "behind the table" } else { "with patched sites" };
        let [(least, low), (most, high)] = kernel.resolved_ends()?;
        let (least, most) = (clipped(least, 40), clipped(most, 40));
        let unresolved = match kernel.workloads.iter().filter(|(.., is_resolved)| !is_resolved).count() {
            0 => String::new(),
            n => format!(" (in {n} more, no cost is resolved)"),
        };
        Some(match least == most {
            true => format!("{}% ({least}) {way}{unresolved}", fixed(low, 2)),
            false => format!("{}% ({least}) to {}% ({most}) {way}{unresolved}", fixed(low, 2), fixed(high, 2)),
        })
    };
    let costs: Vec<String> = answer.kernels.iter().filter_map(words).collect();
    Some(format!("Over inline, the workloads on the model kernel pay {}.", join(&costs)?))
}

/// What a patched kernel pays for, and how far two builds of one kernel differ.
fn limit_kernels(report: &Report, answer: &Answer, has_range: bool) -> String {
    let is_patched = |kernel: &&KernelCost| kernel.way.mechanism != "table" && kernel.resolved_ends().is_some();
    // The median site costs nothing, and a kernel with such sites does.
    let direct = match answer.kernels.iter().find(is_patched) {
        Some(_) => {
            "A patched kernel pays for direct calls where a body does not fit, and for registers around its sites."
        }
        None => "",
    };
    let range = report.workloads.iter().find(|it| has_range && it.name == CLAIM);
    let range = range.and_then(WorkloadResult::placement_range);
    let range = range.map_or_else(String::new, |range| {
        let on = |kernel: &KernelCost| kernel.on(CLAIM).map(|it| plain(it.0.estimate));
        let own = answer.kernels.iter().rfind(|it| it.way.mechanism != "table").and_then(on);
        let own = own.map_or_else(String::new, |own| format!(" (patched: {own}%)"));
        format!(
            " In {CLAIM}{own}, two builds of one kernel differ by up to {} points (placement range); the percentages \
             hold for the mean over many.",
            plain(range)
        )
    });
    [direct, &range].concat()
}

/// Whether the 1% is true here.
fn state_claim(report: &Report, answer: &Answer) -> String {
    let Some(workload) = report.workloads.iter().find(|workload| workload.name == CLAIM) else {
        return format!(
            "This run does not say whether a kernel pays 1%: it did not measure {CLAIM}, the benchmark of \
                        that claim. Measure it with: pvbench run --workload {CLAIM}"
        );
    };
    let of = |mechanism: &str| answer.kernels.iter().find(|it| it.way.mechanism == mechanism)?.on(CLAIM);
    let Some((patched, is_resolved)) = of("site") else {
        return format!(
            "This run does not say whether a kernel pays 1%: it has no value for patched sites on {CLAIM}."
        );
    };
    let estimate = patched.estimate;
    let cost = |it: Interval| format!("{}% [{}, {}]", fixed(it.estimate, 2), fixed(it.low, 2), fixed(it.high, 2));
    let patched = if is_resolved { cost(patched) } else { format!("{}, which is not resolved,", cost(patched)) };
    let table = of("table").map_or_else(String::new, |it| format!(" and {} behind the table", cost(it.0)));
    let range = workload.placement_range().map_or_else(String::new, |range| {
        format!(
            " Two builds of one kernel may differ by {} points, because their addresses do: the intervals hold for the \
             mean over addresses.",
            fixed(range, 1)
        )
    });
    let density = state_density(report, workload, [Some(estimate), of("table").map(|it| it.0.estimate)]);
    format!(
        "{CLAIM}, the benchmark of the 1% of 2009, takes {patched} longer with patched sites{table}.{range} {density}"
    )
}

/// How densely the model kernel calls its hooks, beside the recorded kernel.
fn compare_density(report: &Report) -> Option<String> {
    let workload = report.workloads.iter().find(|workload| workload.name == CLAIM)?;
    let here = workload.surroundings?.hooks_per_1000;
    let recorded = report.kernel_time.as_ref()?.recorded.workload(CLAIM)?;
    let linux = 1000.0 * recorded.hooks() / recorded.instructions;
    (linux.is_finite() && linux > 0.0).then(|| {
        format!(
            "The model kernel calls {} hooks per 1,000 instructions in {CLAIM}, and Linux {}: for Linux its \
             percentages are too high.",
            fixed(here, 1),
            fixed(linux, 1)
        )
    })
}

/// Hooks per 1,000 instructions of a workload.
fn density(workload: &WorkloadResult) -> Option<f64> {
    let calls: f64 = workload.calls.values().sum();
    let here = workload.inline_instructions.filter(|it| *it > 0.0).map(|it| 1000.0 * calls / it)?;
    (here.is_finite() && here > 0.0).then_some(here)
}

/// How densely the model kernel calls its hooks, and what its percentages with patched sites and behind the table would
/// be at the density of Linux.
fn state_density(report: &Report, workload: &WorkloadResult, percents: [Option<f64>; 2]) -> String {
    let linux = report.linux.as_ref().and_then(|linux| {
        let real = linux.workloads.iter().find(|it| it.name == workload.name)?;
        let instructions = real.counts.first()?.per_unit.estimate;
        let calls: f64 = real.calls.values().sum();
        (instructions > 0.0 && calls > 0.0).then(|| 1000.0 * calls / instructions)
    });
    let (linux, kernel) =
        linux.map_or((LINUX_HOOKS_PER_1000, "Linux 6.1 calls"), |own| (own, "the real kernel of this report calls"));
    let Some(here) = density(workload) else {
        return "The model kernel calls hooks more densely than Linux does, so its percentages are higher than Linux's."
            .to_owned();
    };
    let scaled = |percent: f64| percent * linux / here;
    let verdict = |percent: f64| match percent {
        it if it < CLAIMED_PERCENT / 2.0 => "the 1% is too much",
        it if it > CLAIMED_PERCENT * 2.0 => "the 1% is too little",
        _ => "the 1% is about right",
    };
    let words = percents.into_iter().zip(["patched sites", "the table"]).filter_map(|(percent, way)| {
        let percent = scaled(percent?);
        Some(format!("about {}% for {way} ({})", fixed(percent, 1), verdict(percent)))
    });
    let words: Vec<String> = words.collect();
    format!(
        "The model kernel calls {} hooks per 1,000 instructions there, and {kernel} {}. At the density of Linux \
         it would be {}: an estimate by the ratio of the two, not a measurement.",
        fixed(here, 1),
        fixed(linux, 1),
        words.join(" and ")
    )
}
