//! The points of a plot: the newest runs one by one, and older ones in groups.

/// Most newest runs that are points of their own. Each is a link; at twice as many, a page of an op is over its size.
pub const MAX_SINGLE_RUNS: usize = 40;
/// Most groups that stand for all older runs.
pub const MAX_GROUPS: usize = 40;

/// The runs of an axis as columns, the same for all series of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// For each column, its first position and the position after its last.
    pub ranges: Vec<(usize, usize)>,
    /// Number of columns that stand for more than one run.
    pub groups: usize,
}

impl Columns {
    /// The columns of an axis with this many runs.
    #[must_use]
    pub fn of(runs: usize) -> Self {
        let older = runs.saturating_sub(MAX_SINGLE_RUNS);
        // At least two runs in each, or else it would be a point of its own.
        let groups = older.div_ceil(2).min(MAX_GROUPS);
        // Each end is a share of the number, so that groups differ by one run at most.
        let mut ranges: Vec<(usize, usize)> =
            (0..groups).map(|group| (older * group / groups, older * (group + 1) / groups)).collect();
        ranges.extend((older..runs).map(|run| (run, run + 1)));
        Columns { ranges, groups }
    }

    /// The columns of the runs around a position: this many before it and after it.
    #[must_use]
    pub fn around(runs: usize, position: usize, reach: usize) -> Self {
        let (first, last) = (position.saturating_sub(reach), (position + reach).min(runs));
        Columns { ranges: (first..last).map(|run| (run, run + 1)).collect(), groups: 0 }
    }

    /// The column of a position.
    #[must_use]
    pub fn find(&self, position: usize) -> Option<usize> {
        self.ranges.iter().position(|(from, to)| (*from..*to).contains(&position))
    }
}

/// The value of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Index of the column.
    pub column: usize,
    /// The value, or the median of a group.
    pub value: f64,
    /// Lowest and highest value of a group; of a single run, its value.
    pub range: (f64, f64),
    /// Standard error of a single run; 0 for a group.
    pub error: f64,
}

/// The points of a series. Columns without a value have none.
#[must_use]
pub fn points(columns: &Columns, values: &[f32], errors: &[f32]) -> Vec<Point> {
    let mut points = Vec::with_capacity(columns.ranges.len());
    for (column, &(from, to)) in columns.ranges.iter().enumerate() {
        let Some(slice) = values.get(from..to) else { continue };
        let mut sorted: Vec<f64> = slice.iter().copied().filter(|it| it.is_finite()).map(f64::from).collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(&low), Some(&high)) = (sorted.first(), sorted.last()) else { continue };
        let error = if to - from == 1 { errors.get(from).map_or(0.0, |it| f64::from(*it)) } else { 0.0 };
        points.push(Point { column, value: median(&sorted), range: (low, high), error });
    }
    points
}

/// The median of sorted values; NaN without any.
#[must_use]
pub fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (Some(high), 0) => (sorted.get(middle.wrapping_sub(1)).unwrap_or(high) + high) / 2.0,
        (Some(value), _) => *value,
        (None, _) => f64::NAN,
    }
}

/// The median of a part of a series.
#[must_use]
pub fn level(values: &[f32]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|it| it.is_finite()).map(f64::from).collect();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| median(&sorted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_runs_are_points_of_their_own_and_every_older_run_is_in_one_group() {
        for runs in [0, 1, MAX_SINGLE_RUNS, MAX_SINGLE_RUNS + 7, 1000] {
            let columns = Columns::of(runs);
            let covered: Vec<usize> = columns.ranges.iter().flat_map(|(from, to)| *from..*to).collect();
            assert_eq!(covered, (0..runs).collect::<Vec<_>>(), "{runs}");
            assert!(columns.ranges.len() <= MAX_SINGLE_RUNS + MAX_GROUPS);
            assert!(columns.ranges.iter().rev().take(MAX_SINGLE_RUNS).all(|(from, to)| to - from == 1));
        }
        assert_eq!(Columns::around(100, 50, 3).ranges.len(), 6);
        assert_eq!(Columns::around(100, 50, 3).find(50), Some(3));
    }

    #[test]
    fn a_group_shows_its_median_and_its_range_and_a_hole_shows_nothing() {
        let columns = Columns { ranges: vec![(0, 3), (3, 4), (4, 5)], groups: 1 };
        let points = points(&columns, &[1.0, 5.0, 2.0, f32::NAN, 3.0], &[0.5; 5]);
        assert_eq!(points.len(), 2);
        assert_eq!((points[0].value, points[0].range, points[0].error), (2.0, (1.0, 5.0), 0.0));
        assert_eq!((points[1].column, points[1].value, points[1].error), (2, 3.0, 0.5));
    }
}
