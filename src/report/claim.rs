//! The answer to "is the 1% true here?": what a real kernel's hooks cost in the running kernel's time.

use super::Report;
use super::kernel_time::{KernelTime, Price, Range};
use super::plots::number::{clipped, fixed, grouped};
use crate::regime::Regime;

/// The benchmark of the claim of 2009 that `paravirt_ops` costs 1%.
pub(crate) const CLAIM: &str = "mmap_perf";
/// The claim, in percent.
pub(crate) const CLAIMED_PERCENT: f64 = 1.0;

/// The mechanisms of the answer: mechanism, state, and what people call it.
pub(crate) const KERNELS: [(&str, Option<&str>, &str); 4] = [
    ("site", Some("inline"), "patched sites"),
    ("site", Some("unpatched"), "sites never patched"),
    ("table", None, "the table"),
    ("retpoline", None, "a table with retpolines"),
];

/// The answer of a report.
pub(crate) struct Claim<'a> {
    report: &'a Report,
    time: &'a KernelTime,
    patched: Range,
    unpatched: Range,
}

impl<'a> Claim<'a> {
    /// The answer; `None` if the running kernel was not measured on that benchmark.
    #[must_use]
    pub(crate) fn from_report(report: &'a Report) -> Option<Self> {
        let time = report.kernel_time.as_ref()?;
        let percent = |(mechanism, state, _): (&str, Option<&str>, &str)| time.price(CLAIM, mechanism, state)?.percent;
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
            show(self.patched),
            show(self.unpatched)
        )
    }

    /// The answer in few words.
    #[must_use]
    pub(crate) fn brief(&self) -> String {
        format!("{CLAIM} pays {} patched, {} never patched", show(self.patched), show(self.unpatched))
    }

    /// Whether the 1% lies within the bounds.
    #[must_use]
    pub(crate) fn verdict(&self) -> String {
        let word = |range: Range| match range {
            Range { high, .. } if high < CLAIMED_PERCENT => "less than 1%",
            Range { low, .. } if low > CLAIMED_PERCENT => "more than 1%",
            _ => "around 1%: it lies between the bounds",
        };
        match (word(self.patched), word(self.unpatched)) {
            (patched, unpatched) if patched == unpatched => format!("Patched or not, that is {patched}."),
            (patched, unpatched) => format!("Patched, that is {patched}; never patched, {unpatched}."),
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
        Some(format!(
            "A {} has {} such hooks, {}% of them in cold code, as recorded; it takes {} core cycles here on Linux {}, \
             as measured. The lower bounds hold if the work around the hooks hides them, the upper ones if nothing \
             does.{inflated}",
            clipped(&workload.unit, 40),
            fixed(price.hooks, 0),
            fixed(100.0 * price.cold_share, 0),
            grouped(&format!("{:.0}", native.cycles.estimate)),
            self.time
                .native
                .kernel
                .release
                .as_deref()
                .map_or_else(|| "of unknown release".to_owned(), |it| clipped(it, 60)),
        ))
    }

    /// The workloads with the least and the most for patched sites, by their upper bounds; `None` with one workload.
    #[must_use]
    pub(crate) fn over_workloads(&self) -> Option<String> {
        let upper = |state: &str| -> Vec<(&Price, Range)> {
            let of = |price: &'a Price| Some((price, price.percent?));
            let own = self.time.prices.iter().filter(|it| it.mechanism == "site" && it.state.as_deref() == Some(state));
            let mut all: Vec<(&Price, Range)> = own.filter_map(of).collect();
            all.sort_by(|a, b| a.1.high.total_cmp(&b.1.high));
            all
        };
        let patched = upper("inline");
        let [(least, low), .., (most, high)] = patched.as_slice() else { return None };
        Some(format!(
            "Over {} workloads, patched hooks take {} ({}) to {} ({}).",
            patched.len(),
            show(*low),
            clipped(&least.workload, 40),
            show(*high),
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

/// `0.12 to 1.40%`
pub(crate) fn show(range: Range) -> String {
    format!("{} to {}%", fixed(range.low, 2), fixed(range.high, 2))
}
