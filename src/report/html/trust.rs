//! The box on the first screen: how far to trust the run.

use super::facts::{Fact, fact};
use crate::op::Kind;
use crate::regime::Regime;
use crate::report::Report;
use crate::report::plots::number::{fixed, grouped, plain, plural};
use crate::stats::resolve::MAX_ERROR;

/// The definition of the floor in the glossary.
const FLOOR: Option<&str> = Some("g-floor");
/// Most comparisons of `inline` with itself in a regime that the page calls few.
const FEW: usize = 20;

/// What the design, and the comparisons of `inline` with itself, say about the number of false differences among `all`
/// overheads. `None` without such a comparison.
fn state_false_differences(report: &Report, all: usize) -> Option<String> {
    let again = || report.cells.iter().filter(|cell| cell.mechanism == "inline" && cell.overhead.is_some());
    let (same, wrong) = (again().count(), again().filter(|cell| cell.resolved).count());
    if same == 0 {
        return None;
    }
    // The probability of none in n is (1 - p)^n.
    let most = 100.0 * (1.0 - 0.05f64.powf(1.0 / same as f64));
    let shown = match wrong {
        0 => format!(", which can only show less than {}%", fixed(most, 1)),
        _ => String::new(),
    };
    let of = |regime: Regime| again().filter(|cell| cell.regime == regime).count();
    let few: Vec<(Regime, usize)> =
        Regime::ALL.into_iter().map(|regime| (regime, of(regime))).filter(|it| (1..=FEW).contains(&it.1)).collect();
    let largest = few.iter().map(|it| it.1).max().unwrap_or(0);
    let names: Vec<&str> = few.iter().map(|it| it.0.name()).collect();
    let few = match few.is_empty() {
        true => String::new(),
        false => format!(" (at most {largest} in each of {})", names.join(", ")),
    };
    Some(format!(
        "by design 1 in 1,000 equal loops, so at most about {} of {} overheads; seen: {wrong} of {} comparisons of \
         inline with itself{shown}{few}",
        plain((all as f64 * MAX_ERROR).ceil()).trim_end_matches(".00").trim_end_matches(".0"),
        grouped(&all.to_string()),
        grouped(&same.to_string()),
    ))
}

/// A fact that decides how far to trust the run.
pub struct Trust {
    pub fact: Fact,
    /// Identifier of its definition or evidence in the page.
    pub id: Option<&'static str>,
}

/// The facts of the box on the first screen.
pub fn list_trust(report: &Report) -> Vec<Trust> {
    let mut facts = Vec::new();
    let trust = |name, value: String, id| Trust { fact: fact(name, value), id };
    let typical = [(Regime::Throughput, "hot"), (Regime::Cold, "cold")].into_iter().filter_map(|(regime, word)| {
        let own = report.floors.iter().any(|floor| floor.regime == regime);
        report.typical_floor(regime).filter(|_| own).map(|floor| format!("{} cycles {word}", plain(floor)))
    });
    let typical: Vec<String> = typical.collect();
    facts.push(match (report.floor_of(Regime::Throughput), typical.is_empty()) {
        (_, false) => {
            let words = "each cell has its own, shown in All cells; an overhead below it is no difference";
            trust("typical floor", format!("{}; {words}", typical.join(", ")), FLOOR)
        }
        (Some(noise), true) => trust("noise", format!("{} cycles per cycle of the op", plain(noise)), Some("g-noise")),
        (None, true) => trust("floor", "none: no comparison was finished".to_owned(), FLOOR),
    });
    let compared = || report.cells.iter().filter(|cell| cell.mechanism != "inline" && cell.overhead.is_some());
    let (all, resolved) = (compared().count(), compared().filter(|cell| cell.resolved).count());
    if all > 0 {
        let percent = 100.0 * resolved as f64 / all as f64;
        facts.push(trust(
            "resolved",
            format!("{}% of {} overheads", fixed(percent, 0), grouped(&all.to_string())),
            Some("g-resolved"),
        ));
    }
    facts.extend(state_false_differences(report, all).map(|words| trust("false differences", words, Some("g-aa"))));
    if let Some(it) = &report.calibration {
        let contended = fixed(it.contended_share * 100.0, 0);
        let words = format!(
            "another thread had a part of it in {contended}% of the blocks; no warning, since a cell leaves them out \
             if six workers have other blocks"
        );
        let nobody = "no other thread had a part of it".to_owned();
        facts.push(trust("the core", if contended == "0" { nobody } else { words }, None));
    }
    let plan = &report.run.plan;
    facts.push(trust("workers", (plan.workers + plan.workers_again).to_string(), Some("how")));
    let modelled = report.catalogue.ops.iter().filter(|op| op.native_kind == Kind::Modelled).count();
    if modelled > 0 {
        let ops = report.catalogue.ops.len();
        let stand_in = format!("{modelled} of {ops} ops stand in for a privileged instruction");
        facts.push(trust("modelled", stand_in, Some("modelled")));
    }
    let failures = match (report.failures.len(), report.run.complete) {
        (0, true) => "none".to_owned(),
        (0, false) => "none, but the run is incomplete".to_owned(),
        (n, true) => format!("{n} {}", plural(n, "failure", "failures")),
        (n, false) => format!("{n} {}, and the run is incomplete", plural(n, "failure", "failures")),
    };
    facts.push(trust("failures", failures, (!report.failures.is_empty()).then_some("failures")));
    facts
}
