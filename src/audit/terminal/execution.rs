//! What the indirect calls of a run cost, as text.

use crate::audit::execution::{Bounds, CountBasis, CountOrigin, CountSource, Exactness, Execution, SiteRun};
use crate::audit::names::visible;
use crate::audit::words::{number, percent, place};
use crate::report::terminal::width::{Columns, Lines, Overflow};

/// Number of sites that are listed.
const MAX_SITES: usize = 10;

/// CPU time of a run, in seconds, below which start-up is a large part of it: a loader and its libraries take 1 to
/// 5 ms.
const MIN_SECONDS: f64 = 0.05;

/// The text of a run. `width` is that of the terminal in columns.
#[must_use]
pub fn execution(run: &Execution, width: Option<usize>) -> String {
    let mut lines = Lines::new(width);
    lines.say(&visible(&run.path));
    if let (Some(all), Some(own)) = (run.instructions, run.own_instructions) {
        lines.say(&format!(
            "  {} instructions ran, {} of them in this binary; shared libraries have the others",
            number(all),
            percent(own, all),
        ));
    }
    describe_counts(&run.counts).iter().for_each(|line| lines.say(&format!("  {}", visible(line))));
    if let (Some(seconds), Some(cycles)) = (run.cpu_seconds, run.cpu_cycles) {
        lines.say(&format!("  {seconds:.3} s of CPU time without callgrind, {} core cycles", short(cycles)));
        if seconds < MIN_SECONDS {
            lines.say("  a run this short is mostly start-up, and its time differs from run to run: give it more work");
        }
    }
    // Without a scale, the line above has the reason.
    if let Some(reason) = run.no_cost_reason.as_ref().filter(|_| run.counts.no_scale_reason.is_none()) {
        lines.say(&format!("  no costs: {}", visible(reason)));
    }
    lines.skip();
    let row = |kind: &crate::audit::execution::KindRun| {
        let share = kind.cycles.zip(run.cpu_cycles).map(|(cycles, all)| cycles.scaled(100.0 / all));
        vec![
            kind.kind.name().to_owned(),
            number(kind.sites),
            mark(run, None) + &number(kind.calls.or(kind.records).unwrap_or(0)),
            range(kind.cycles, short),
            range(share, |value| format!("{value:.2}")),
        ]
    };
    let rows: Vec<Vec<String>> = run.kinds.iter().map(row).collect();
    let unit = if run.counts.exactness == Exactness::SampledShares { "records" } else { "times" };
    let header = ["sites that ran", "sites", unit, "cycles above inline", "percent of the run"];
    lines.tabulate(&Columns { header: &header, rows: &rows, names: 1, numbers: 4, overflow: Overflow::Stack });
    lines.skip();
    let total = range(run.cycles, short);
    match (run.cycles, run.percent) {
        (Some(_), Some(share)) => lines.say(&format!(
            "Indirect calls and those through stubs cost {total} core cycles: {:.2} to {:.2}% of the run.",
            share.low, share.high
        )),
        (Some(_), None) => lines.say(&format!("Indirect calls and those through stubs cost {total} core cycles.")),
        (None, _) => {}
    }
    if run.sites.is_empty() {
        lines.say("No indirect call of this binary ran.");
        return lines.into_text();
    }
    lines.skip();
    let shown = run.sites.len().min(MAX_SITES);
    let by = if run.cycles.is_some() { "dearest" } else { "most frequent" };
    lines.say(&format!("The {} {by} of {} sites:", number(shown as u64), number(run.sites.len() as u64)));
    let rows: Vec<Vec<String>> = run.sites.iter().take(MAX_SITES).map(|site| list_site(site, run)).collect();
    let header = ["site", "kind", unit, "cycles", "percent", "saved if direct", "if compared", "calls most often"];
    lines.tabulate(&Columns { header: &header, rows: &rows, names: 2, numbers: 5, overflow: Overflow::Stack });
    lines.skip();
    lines.say(
        "Ranges lie between a call that hides behind other work and one that hides nothing and is mispredicted as \
         often as its targets allow. \"If compared\": a comparison with the most frequent target and a direct call of \
         it; a negative number is a loss. Inline would save all of a site's cycles.",
    );
    lines.into_text()
}

fn list_site(site: &SiteRun, run: &Execution) -> Vec<String> {
    let at = site.source.as_ref().map_or_else(|| format!("{:x}", site.address), place);
    let most = match site.targets.first() {
        _ if !site.counted.has_targets() => String::new(),
        Some(target) if site.has_known_targets() => {
            let others = site.targets_total.saturating_sub(1);
            let rest = if others > 0 { format!(", {} others", number(others)) } else { String::new() };
            format!("{} ({}{rest})", visible(&target.name), percent(target.count(), site.count()))
        }
        _ => format!("not known for {}", percent(site.count().saturating_sub(site.known_calls), site.count())),
    };
    let saves = site.saves;
    let saved = |of: fn(crate::audit::execution::Savings) -> Option<Bounds>| range(saves.and_then(of), short);
    vec![
        format!("{} {at}", visible(&site.function)),
        site.kind.name().to_owned(),
        mark(run, Some(site.counted)) + &number(site.count()),
        range(site.cycles, short),
        range(site.percent.filter(|_| run.cpu_cycles.is_some()), |value| format!("{value:.2}")),
        saved(|saves| saves.direct),
        saved(|saves| saves.compared),
        most,
    ]
}

/// Where counts are from, where that is not callgrind.
fn describe_counts(counts: &CountOrigin) -> Vec<String> {
    let records = number(counts.records.unwrap_or(0));
    let mut said = match (counts.exactness, counts.branches_per_record) {
        (Exactness::Exact, _) => Vec::new(),
        (Exactness::Sampled, Some(scale)) => {
            vec![format!("~: estimated from {records} branch records, of which each stands for {scale:.0} branches")]
        }
        (Exactness::Sampled | Exactness::SampledShares, _) => {
            let reason = counts.no_scale_reason.as_deref().unwrap_or("the number of calls is unknown");
            vec![format!("{records} branch records; {reason}")]
        }
        (Exactness::ByLine, _) => {
            let name = if counts.source == CountSource::LlvmCov { "llvm-cov" } else { "gcov" };
            vec![format!(
                "counts of source lines by {name}; \u{2264}: at most, as the line ran so often; +: the line has \
                 several sites, or was inlined in several places; ?: entries of the function, as the line was not \
                 counted"
            )]
        }
    };
    match counts.uncounted_sites {
        Some(sites) if sites > 0 => {
            said.push(format!("{} indirect sites are left out: neither line nor function was counted", number(sites)));
        }
        _ => {}
    }
    said
}

/// The mark in front of a number that is no exact count.
fn mark(run: &Execution, counted: Option<CountBasis>) -> String {
    let mark = match (run.counts.exactness, counted) {
        (Exactness::Exact | Exactness::SampledShares, _) => "",
        (Exactness::Sampled, _) => "~",
        (Exactness::ByLine, Some(CountBasis::SharedLine)) => "+\u{2264}",
        (Exactness::ByLine, Some(CountBasis::Function)) => "?",
        (Exactness::ByLine, _) => "\u{2264}",
    };
    mark.to_owned()
}

/// A range in words; `-` where nothing is known.
fn range(bounds: Option<Bounds>, show: fn(f64) -> String) -> String {
    bounds.map_or_else(|| "-".to_owned(), |bounds| format!("{} to {}", show(bounds.low), show(bounds.high)))
}

/// A number of cycles with three digits: `1.23 M`.
fn short(value: f64) -> String {
    const STEPS: [(f64, &str); 3] = [(1e9, " G"), (1e6, " M"), (1e3, " k")];
    let size = value.abs();
    let (scale, unit) = STEPS.into_iter().find(|(scale, _)| size >= *scale).unwrap_or((1.0, ""));
    let digits = match size / scale {
        0.0 | 100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{:.digits$}{unit}", value / scale)
}
