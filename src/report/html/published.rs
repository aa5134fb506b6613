//! The table of published figures, with the values of this report.

use super::{HtmlError, NOTHING, clipped};
use crate::report::agreement::{Agreement, compare};
use crate::report::plots::number::fixed;
use crate::report::published::{Figure, OwnValue, Row, figures};
use crate::report::schema::Report;
use crate::stats::Interval;

/// A published figure.
pub(super) struct PublishedFigure {
    pub claim: String,
    pub source: String,
    pub rows: Vec<PublishedRow>,
}

/// One number of a published figure, with the value of this report.
pub(super) struct PublishedRow {
    pub metric: String,
    pub published: String,
    pub own: String,
    /// `agrees`, `higher`, `lower` or `not comparable`.
    pub agreement: &'static str,
    /// Reason of a difference, or why nothing is compared; empty if the numbers agree.
    pub reason: String,
    /// The part of the report that stands for the number.
    pub stand_in: String,
}

/// Reason of a difference that no source explains.
const UNKNOWN: &str = "not understood";

/// All published figures, in the order of the file.
pub(super) fn list_figures(report: &Report) -> Result<Vec<PublishedFigure>, HtmlError> {
    let figure = |figure: Figure| PublishedFigure {
        rows: figure.rows.iter().map(|row| compare_row(row, report)).collect(),
        claim: figure.claim,
        source: figure.source,
    };
    Ok(figures()?.into_iter().map(figure).collect())
}

fn compare_row(row: &Row, report: &Report) -> PublishedRow {
    let unit = row.unit.symbol();
    let published = match row.published() {
        Some([low, high]) if low == high => format!("{} {unit}", fixed(low, 2)),
        Some([low, high]) => format!("{} to {} {unit}", fixed(low, 2), fixed(high, 2)),
        None => NOTHING.to_owned(),
    };
    let value = row.own_value(report);
    let agreement = compare(row, &value);
    let own = match &value {
        OwnValue::Measured(Interval { estimate, low, high }) => {
            format!("{} [{}, {}] {unit}", fixed(*estimate, 2), fixed(*low, 2), fixed(*high, 2))
        }
        OwnValue::Counted(value) => format!("{} {unit}", fixed(*value, 2)),
        OwnValue::Absent(_) => NOTHING.to_owned(),
    };
    let known = |reason: Option<&String>| reason.cloned().unwrap_or_else(|| UNKNOWN.to_owned());
    let reason = match (agreement, &value) {
        (Agreement::Agrees, _) => String::new(),
        (Agreement::NotComparable, OwnValue::Absent(reason)) => clipped(reason, 200),
        (Agreement::NotComparable, _) => "the value in the report is not usable".to_owned(),
        (Agreement::Higher, _) => known(row.differs_because.higher.as_ref()),
        (Agreement::Lower, _) => known(row.differs_because.lower.as_ref()),
    };
    let (metric, stand_in) = (row.metric.clone(), row.stand_in());
    PublishedRow { metric, published, own, agreement: agreement.word(), reason, stand_in }
}
