//! The table of published figures, with the values of this report.

use super::{HtmlError, NOTHING, clipped};
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
    /// The measured stand-in, or the reason why there is no value.
    pub stand_in: String,
}

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
    let (own, stand_in) = match row.own_value(report) {
        OwnValue::Measured(Interval { estimate, low, high }) => {
            (format!("{} [{}, {}] {unit}", fixed(estimate, 2), fixed(low, 2), fixed(high, 2)), row.stand_in())
        }
        OwnValue::Counted(value) => (format!("{} {unit}", fixed(value, 2)), row.stand_in()),
        OwnValue::Absent(reason) => (NOTHING.to_owned(), clipped(&reason, 200)),
    };
    PublishedRow { metric: row.metric.clone(), published, own, stand_in }
}
