//! The answer to "is the 1% true here?": what a real kernel's hooks cost in the running kernel's time.

use super::Report;
use super::kernel_time::{KernelTime, Price, Range};
use super::plots::number::{clipped, fixed, grouped};
use crate::regime::Regime;

/// The benchmark of the claim of 2009 that `paravirt_ops` costs 1%.
pub(crate) const CLAIM: &str = "mmap_perf";
/// The claim, in percent.
pub(crate) const CLAIMED_PERCENT: f64 = 1.0;

/// A likely value within this factor of the claim is about the same. Likely values of workloads whose overhead is
/// measured are off by less in three of four (`scripts/price_validation.py`).
const NEAR: f64 = 1.5;

/// The mechanisms of the answer: mechanism, state, and what people call it.
pub(crate) const KERNELS: [(&str, Option<&str>, &str); 4] = [
    ("site", Some("inline"), "patched sites"),
    ("site", Some("unpatched"), "sites never patched"),
    ("table", None, "the table"),
    ("retpoline", None, "a table with retpolines"),
];

/// A percentage: its bounds, and what is likely between them.
#[derive(Clone, Copy)]
pub(crate) struct Percent {
    range: Range,
    likely: Option<f64>,
}

impl Percent {
    /// That of a price.
    #[must_use]
    pub(crate) fn of(price: &Price) -> Option<Self> {
        Some(Percent { range: price.percent?, likely: price.likely_percent })
    }

    /// `about 0.3% (0.04 to 1.8)`
    #[must_use]
    pub(crate) fn show(self) -> String {
        match self.likely {
            Some(likely) => {
                format!("about {}% ({} to {})", digits(likely), digits(self.range.low), digits(self.range.high))
            }
            None => show(self.range),
        }
    }

    /// `0.3 0.04..1.8`
    #[must_use]
    pub(crate) fn columns(self) -> String {
        let likely = self.likely.map_or_else(String::new, |likely| format!("{} ", digits(likely)));
        format!("{likely}{}..{}", digits(self.range.low), digits(self.range.high))
    }

    /// How it compares with the claim.
    fn verdict(self) -> &'static str {
        match (self.range, self.likely) {
            (Range { high, .. }, _) if high < CLAIMED_PERCENT => "it is less than 1%",
            (Range { low, .. }, _) if low > CLAIMED_PERCENT => "it is more than 1%",
            (_, Some(likely)) if likely < CLAIMED_PERCENT / NEAR => "it is probably less than 1%",
            (_, Some(likely)) if likely > CLAIMED_PERCENT * NEAR => "it is probably more than 1%",
            (_, Some(_)) => "it is about 1%",
            (_, None) => "it may be 1%, which lies between the bounds",
        }
    }
}

/// The answer of a report.
pub(crate) struct Claim<'a> {
    report: &'a Report,
    time: &'a KernelTime,
    patched: Percent,
    unpatched: Percent,
}

impl<'a> Claim<'a> {
    /// The answer; `None` if the running kernel was not measured on that benchmark.
    #[must_use]
    pub(crate) fn from_report(report: &'a Report) -> Option<Self> {
        let time = report.kernel_time.as_ref()?;
        let percent =
            |(mechanism, state, _): (&str, Option<&str>, &str)| Percent::of(time.price(CLAIM, mechanism, state)?);
        let [patched, never, table, _] = KERNELS.map(percent);
        // A quick run may lack one of the two, which are the same instructions.
        Some(Claim { report, time, patched: patched?, unpatched: never.or(table)? })
    }

    /// The answer in a sentence.
    #[must_use]
    pub(crate) fn sentence(&self) -> String {
        format!(
            "In {CLAIM}, the benchmark of the 1% of 2009, the hooks of {} take {} of the time of the kernel that runs \
             here if they are patched, and {} if they never are.",
            self.kernel(),
            self.patched.show(),
            self.unpatched.show()
        )
    }

    /// The answer in few words.
    #[must_use]
    pub(crate) fn brief(&self) -> String {
        format!("{CLAIM} pays {} patched, {} never patched", self.patched.show(), self.unpatched.show())
    }

    /// Whether it is the 1%.
    #[must_use]
    pub(crate) fn verdict(&self) -> String {
        match (self.patched.verdict(), self.unpatched.verdict()) {
            (patched, unpatched) if patched == unpatched => format!("Patched or not, {patched}."),
            (patched, unpatched) => format!("Patched, {patched}; never patched, {unpatched}."),
        }
    }

    /// What makes the upper bounds too low; empty if nothing does.
    #[must_use]
    pub(crate) fn caveat(&self) -> String {
        let is_missing = |regime: &Regime| !self.report.cells.iter().any(|cell| cell.regime == *regime);
        let missing = [Regime::Latency, Regime::Pressure, Regime::Cold].into_iter().filter(is_missing);
        let missing: Vec<&str> = missing.map(Regime::name).collect();
        if missing.is_empty() {
            return String::new();
        }
        format!(
            " The upper bounds are too low: this run has no cells in {}. A default run has them.",
            missing.join(", ")
        )
    }

    /// Where the bounds come from.
    #[must_use]
    pub(crate) fn explanation(&self) -> Option<String> {
        let workload = self.time.recorded.workload(CLAIM)?;
        let native = self.time.native.denominator(CLAIM)?;
        let price = self.time.price(CLAIM, "site", Some("inline"))?;
        let inflated = native.inflated.as_ref().map_or_else(String::new, |why| {
            format!(" That time is inflated, so the percentages are too low: {}.", clipped(why, 200))
        });
        let between = match self.patched.likely {
            Some(_) => "; between them is what the hooks take if they hide as much as the model kernel's do",
            None => "",
        };
        let parameters = match self.time.recorded.parameters.as_str() {
            "" => String::new(),
            parameters => format!(" with {}", clipped(parameters, 60)),
        };
        let release = self.time.native.kernel.release.as_deref();
        Some(format!(
            "One {CLAIM} {} has {} such hooks, {}% of them in cold code, as recorded in {}{parameters}. It takes {} \
             core cycles (\u{b1}{}%) on the kernel that runs here, {}. The lower bounds hold if the work around the \
             hooks hides them, the upper ones if nothing does{between}.{inflated}",
            clipped(&workload.unit, 40),
            fixed(price.hooks, 0),
            fixed(100.0 * price.cold_share, 0),
            self.kernel(),
            grouped(&format!("{:.0}", native.cycles.estimate)),
            fixed(50.0 * (native.cycles.high - native.cycles.low) / native.cycles.estimate, 1),
            release.map_or_else(|| "of unknown release".to_owned(), |it| format!("Linux {}", clipped(it, 60))),
        ))
    }

    /// The workloads with the least and the most for patched sites, by their upper bounds; `None` with one workload.
    #[must_use]
    pub(crate) fn over_workloads(&self) -> Option<String> {
        let of = |price: &'a Price| Some((price, price.percent?));
        let patched = |price: &&Price| price.mechanism == "site" && price.state.as_deref() == Some("inline");
        let mut all: Vec<(&Price, Range)> = self.time.prices.iter().filter(patched).filter_map(of).collect();
        all.sort_by(|a, b| a.1.high.total_cmp(&b.1.high));
        let [(least, _), .., (most, _)] = all.as_slice() else { return None };
        Some(format!(
            "Over {} workloads, patched hooks take {} ({}) to {} ({}).",
            all.len(),
            Percent::of(least)?.show(),
            clipped(&least.workload, 40),
            Percent::of(most)?.show(),
            clipped(&most.workload, 40)
        ))
    }

    /// `Linux 6.1`
    fn kernel(&self) -> String {
        // `Linux version 6.1.0-57-cloud-amd64`: release numbers of distributions are long.
        let release = self
            .time
            .recorded
            .kernel
            .split_ascii_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let short = release.map(|it| it.split('.').take(2).collect::<Vec<_>>().join("."));
        short.map_or_else(|| "the recorded kernel".to_owned(), |short| format!("Linux {}", clipped(&short, 20)))
    }
}

/// `0.04 to 1.4%`
pub(crate) fn show(range: Range) -> String {
    format!("{} to {}%", digits(range.low), digits(range.high))
}

/// A percentage with the digits that a range of a factor of ten or more has use for.
pub(crate) fn digits(percent: f64) -> String {
    fixed(percent, if percent < 0.1 { 2 } else { 1 })
}
