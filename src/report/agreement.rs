//! Whether the value of a report agrees with a published number.

use super::published::{OwnValue, Row, Unit};
use crate::stats::Interval;

/// Numbers that differ by at most this factor agree: machines of one time differ by as much (5 to 6 cycles for an
/// indirect call, 24 to 57 through a retpoline). At 1.2 no two machines agree; at 2 a doubled cost does.
const MAX_FACTOR: f64 = 1.5;
/// Percentages that differ by at most one point agree, whatever their ratio. Two published runs of one benchmark differ
/// by more (`mmap_perf` in 2009: 3.7% and 1.0%), so such numbers do not tell 1% from no cost.
const MAX_POINTS: f64 = 1.0;

/// How the value of a report compares with a published number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// The interval reaches into the published range, widened by the tolerance.
    Agrees,
    /// The whole interval lies above it.
    Higher,
    /// The whole interval lies below it.
    Lower,
    /// The report has no value to compare.
    NotComparable,
}

impl Agreement {
    /// The word on the page.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Agreement::Agrees => "agrees",
            Agreement::Higher => "higher",
            Agreement::Lower => "lower",
            Agreement::NotComparable => "not comparable",
        }
    }
}

/// The rule, for the page.
#[must_use]
pub(crate) fn rule() -> String {
    format!(
        "agrees: this run's interval reaches into the published range, or misses it by at most a factor of \
         {MAX_FACTOR} or {MAX_POINTS} percentage point. higher, lower: it misses it by more."
    )
}

/// How the value of a report compares with the number of a row.
#[must_use]
pub(crate) fn compare(row: &Row, own: &OwnValue) -> Agreement {
    let Some([lowest, highest]) = row.published() else { return Agreement::NotComparable };
    let (low, high) = match own {
        OwnValue::Measured(Interval { low, high, .. }) => (*low, *high),
        OwnValue::Counted(value) => (*value, *value),
        OwnValue::Absent(_) => return Agreement::NotComparable,
    };
    if !(low.is_finite() && high.is_finite()) {
        return Agreement::NotComparable;
    }
    let points = if row.unit == Unit::Percent { MAX_POINTS } else { 0.0 };
    if low > (highest * MAX_FACTOR).max(highest + points) {
        Agreement::Higher
    } else if high < (lowest / MAX_FACTOR).min(lowest - points) {
        Agreement::Lower
    } else {
        Agreement::Agrees
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::published::figures;

    fn verdict(figure: &str, metric: &str, own: &OwnValue) -> Agreement {
        let figures = figures().unwrap();
        let figure = figures.iter().find(|it| it.id == figure).expect(figure);
        compare(figure.rows.iter().find(|row| row.metric == metric).expect(metric), own)
    }

    fn measured(low: f64, high: f64) -> OwnValue {
        OwnValue::Measured(Interval { estimate: low.midpoint(high), low, high })
    }

    #[test]
    fn numbers_agree_within_a_factor_of_one_and_a_half() {
        let of = |low, high| verdict("dispatch-2021", "indirect call", &measured(low, high));
        // 5 to 6 cycles were published.
        assert_eq!(of(5.5, 5.6), Agreement::Agrees);
        assert_eq!((of(8.9, 9.0), of(9.1, 9.2)), (Agreement::Agrees, Agreement::Higher));
        assert_eq!((of(3.4, 3.5), of(3.2, 3.3)), (Agreement::Agrees, Agreement::Lower));
        assert_eq!(of(3.2, 3.4), Agreement::Agrees, "the interval reaches into the range");
        assert_eq!(of(f64::NAN, 5.0), Agreement::NotComparable);
    }

    #[test]
    fn percentages_also_agree_within_a_point() {
        let of = |percent| verdict("vmi-2006", "null call", &OwnValue::Counted(percent));
        // No cost was published, and no factor leads from 0 to anything else.
        assert_eq!((of(0.9), of(-0.9)), (Agreement::Agrees, Agreement::Agrees));
        assert_eq!((of(1.1), of(-1.1)), (Agreement::Higher, Agreement::Lower));
        let absent = OwnValue::Absent("not measured".to_owned());
        assert_eq!(verdict("vmi-2006", "null call", &absent), Agreement::NotComparable);
    }
}
