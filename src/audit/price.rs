//! What the indirect calls of a run cost, from the cells of a report.
//!
//! Each kind is priced as the mechanism that has the same machine code. The bounds of a call are those of
//! [`crate::estimate::kernel_time`], in the median over ops, since the function that a program calls is none of them. A
//! site that calls several functions is mispredicted at most twice for each call of another function than its most
//! frequent one; a site that rarely runs finds its code cold.

use super::execution::{Bounds, Execution, Savings, SiteRun};
use super::kind::Kind;
use crate::estimate::kernel_time::{CallPrice, Prices};
use crate::regime::Regime;
use crate::report::Report;

/// Sites that ran less often have the price of cold code: their instructions leave the first-level cache between calls
/// in any program that does something else. At twice this number the high bound of most programs does not change.
const MIN_HOT_CALLS: u64 = 1000;

/// The mechanism that has the machine code of a kind.
#[must_use]
pub fn mechanism_of(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Direct => Some("direct"),
        Kind::Plt => Some("plt"),
        Kind::Got => Some("got"),
        // A word at a fixed address, as the table of pv_ops is.
        Kind::Memory | Kind::Pv => Some("table"),
        // The pointer is loaded from a structure, or was loaded before.
        Kind::Table | Kind::Register => Some("fn_pointer"),
        Kind::Virtual => Some("dyn"),
        Kind::Retpoline => Some("retpoline"),
        Kind::StaticCall => Some("static_call"),
        Kind::Fentry | Kind::JumpTable | Kind::ReturnThunk | Kind::Thunk | Kind::Unknown => None,
    }
}

/// Adds costs to a run. `cpu_seconds` is the CPU time of the run without callgrind.
pub fn add_costs(run: &mut Execution, report: &Report, cpu_seconds: Option<f64>) {
    let prices = Prices::from_report(report);
    let ghz = report.calibration.as_ref().map(|calibration| calibration.core_ghz.median);
    run.cpu_seconds = cpu_seconds.filter(|seconds| *seconds > 0.0);
    run.cpu_cycles = run.cpu_seconds.zip(ghz).map(|(seconds, ghz)| seconds * ghz * 1e9);
    let percent_of = |cycles: Bounds| {
        // A share above all of the time would say that the bound is no bound of this run.
        let percent = cycles.scaled(100.0 / run.cpu_cycles?);
        Some(Bounds { low: percent.low.min(100.0), high: percent.high.min(100.0) })
    };
    let mut total = Bounds { low: 0.0, high: 0.0 };
    for site in &mut run.sites {
        site.cycles = cost(&prices, site, site.kind);
        site.percent = site.cycles.and_then(percent_of);
        site.saves = site.cycles.map(|cycles| savings(&prices, site, cycles));
        total = total.plus(site.cycles.unwrap_or(Bounds { low: 0.0, high: 0.0 }));
    }
    if run.sites.iter().any(|site| site.cycles.is_none()) && run.sites.iter().all(|site| site.cycles.is_none()) {
        let no_scale = run.counts.no_scale_reason.clone();
        let no_cell = || "the report has no cell of the mechanisms that this program uses".to_owned();
        run.no_cost_reason = Some(no_scale.unwrap_or_else(no_cell));
        return;
    }
    run.cycles = Some(total);
    run.percent = percent_of(total);
    for kind in &mut run.kinds {
        let own = run.sites.iter().filter(|site| site.kind == kind.kind).filter_map(|site| site.cycles);
        kind.cycles = own.reduce(Bounds::plus);
    }
    let high = |site: &SiteRun| site.cycles.map_or(0.0, |cycles| cycles.high);
    run.sites.sort_by(|a, b| high(b).total_cmp(&high(a)).then(b.count().cmp(&a.count())));
}

/// The cost of a site as if it were of a kind, above inline code.
fn cost(prices: &Prices, site: &SiteRun, kind: Kind) -> Option<Bounds> {
    let mechanism = mechanism_of(kind)?;
    let price = prices.usual(mechanism, None)?;
    let calls = site.calls?;
    let high = hot_or_cold(&price, calls);
    let mispredicted = if kind.is_indirect_call() { mispredicted_share(site) } else { 0.0 };
    let penalty = penalty(prices, mechanism).unwrap_or(0.0);
    // A line that ran may have passed its site by.
    let low = if site.counted.is_upper_bound() { price.low.min(0.0) } else { price.low };
    Some(Bounds { low, high: high + mispredicted * penalty }.scaled(calls as f64))
}

fn hot_or_cold(price: &CallPrice, calls: u64) -> f64 {
    match price.cold {
        Some(cold) if calls < MIN_HOT_CALLS => cold,
        _ => price.hot,
    }
}

/// The largest share of calls that a predictor misses which expects the last target again: each call of another
/// function than the most frequent one misses, and so does the call after it. Where nothing counted the targets, every
/// call may miss.
fn mispredicted_share(site: &SiteRun) -> f64 {
    (2.0 * other_share(site)).min(1.0)
}

/// The share of calls that may reach another function than the most frequent one: also those whose target is not known.
fn other_share(site: &SiteRun) -> f64 {
    1.0 - site.most_frequent_share().unwrap_or(0.0)
}

/// The cycles of a misprediction of a mechanism. One without cells of random targets has that of a call through a word:
/// the instruction that is mispredicted is the same.
fn penalty(prices: &Prices, mechanism: &str) -> Option<f64> {
    /// In the regime of eight random targets seven of eight calls miss.
    const MISSED: f64 = 7.0 / 8.0;
    [mechanism, "table"].into_iter().find_map(|mechanism| {
        let random = prices.usual_high(mechanism, Regime::Random8)?;
        Some(((random - prices.usual(mechanism, None)?.hot) / MISSED).max(0.0))
    })
}

fn savings(prices: &Prices, site: &SiteRun, cycles: Bounds) -> Savings {
    let calls_one = site.targets_total == 1 && site.known_calls == site.count();
    let direct = cost(prices, site, Kind::Direct).filter(|_| calls_one || matches!(site.kind, Kind::Plt | Kind::Got));
    let can_compare = site.kind.is_indirect_call() && site.has_known_targets();
    Savings {
        direct: direct.map(|direct| cycles.saved_by(direct)),
        compared: compared_savings(prices, site, cycles).filter(|_| can_compare),
        inline: cycles,
    }
}

/// What a comparison with the most frequent target saves. The other calls are made as before, and the comparison itself
/// is mispredicted at most twice for each of them. A comparison hides where the call hides: at the low end both do, or
/// neither does.
fn compared_savings(prices: &Prices, site: &SiteRun, cycles: Bounds) -> Option<Bounds> {
    let first = prices.usual("compare_tree_1", None)?;
    let (others, count) = (other_share(site), site.calls?);
    let calls = count as f64;
    let missed = (2.0 * others.min(1.0 - others)).min(1.0) * penalty(prices, "compare_tree_1").unwrap_or(0.0);
    let compared = Bounds { low: first.low, high: hot_or_cold(&first, count) }.scaled(calls);
    let replaced = cycles.scaled(1.0 - others);
    let (hidden, open) = (replaced.low - compared.low, replaced.high - compared.high);
    Some(Bounds { low: hidden.min(open) - missed * calls, high: replaced.high - compared.low })
}
