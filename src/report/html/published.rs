//! What was published, and what this report has beside it.

use super::{HtmlError, NOTHING, clipped};
use crate::report::plots::number::fixed;
use crate::report::published::{Row, Today, figures};
use crate::report::schema::{Estimate, Report};

/// A published figure.
pub(super) struct Said {
    pub claim: String,
    pub source: String,
    pub rows: Vec<Beside>,
    /// How many.
    pub height: usize,
}

/// One of its numbers.
pub(super) struct Beside {
    pub metric: String,
    pub published: String,
    pub today: String,
    /// What is measured, or why nothing is.
    pub of: String,
}

/// All of them.
pub(super) fn said(report: &Report) -> Result<Vec<Said>, HtmlError> {
    let figure = |figure: crate::report::published::Figure| Said {
        height: figure.rows.len(),
        rows: figure.rows.iter().map(|row| beside(row, report)).collect(),
        claim: figure.claim,
        source: figure.source,
    };
    Ok(figures()?.into_iter().map(figure).collect())
}

fn beside(row: &Row, report: &Report) -> Beside {
    let unit = row.unit.symbol();
    let published = match row.published() {
        Some([low, high]) if low == high => format!("{} {unit}", fixed(low, 2)),
        Some([low, high]) => format!("{} to {} {unit}", fixed(low, 2), fixed(high, 2)),
        None => NOTHING.to_owned(),
    };
    let (today, of) = match row.today(report) {
        Today::Measured(Estimate { estimate, low, high }) => {
            (format!("{} [{}, {}] {unit}", fixed(estimate, 2), fixed(low, 2), fixed(high, 2)), row.stand_in())
        }
        Today::Counted(value) => (format!("{} {unit}", fixed(value, 2)), row.stand_in()),
        Today::Absent(reason) => (NOTHING.to_owned(), clipped(&reason, 200)),
    };
    Beside { metric: row.metric.clone(), published, today, of }
}
