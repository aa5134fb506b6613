//! Exact segmentation of a series into levels.
//!
//! The segmentation with the smallest sum of squares plus a penalty per level is found exactly (optimal partitioning,
//! with the pruning of PELT: Killick, Fearnhead and Eckley 2012). Values are in units of their scatter, so that the
//! penalty is a squared z.

/// A value of a series in units of its scatter, with its weight: 1 for a run with the usual error, less for others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The value.
    pub value: f64,
    /// Its weight.
    pub weight: f64,
}

/// Sums over the first points of a series.
#[derive(Clone, Copy, Default)]
struct Sums {
    weight: f64,
    value: f64,
    square: f64,
}

/// The weighted sum of squares around the mean of `points[from..to]`.
fn cost(sums: &[Sums], from: usize, to: usize) -> f64 {
    let (a, b) = (sums[from], sums[to]);
    let weight = b.weight - a.weight;
    if weight <= 0.0 {
        return 0.0;
    }
    let value = b.value - a.value;
    (b.square - a.square - value * value / weight).max(0.0)
}

/// Returns the first index of every level, in order; the first is 0. An empty series has none.
///
/// A level costs `penalty`. Values that are not finite, and weights that are not positive, count as missing.
#[must_use]
pub fn segment(points: &[Point], penalty: f64) -> Vec<usize> {
    if points.is_empty() {
        return Vec::new();
    }
    // Squares are taken from the first value, for the precision of their differences.
    let origin = points.iter().map(|it| it.value).find(|it| it.is_finite()).unwrap_or(0.0);
    let mut sums = Vec::with_capacity(points.len() + 1);
    let mut sum = Sums::default();
    sums.push(sum);
    for point in points {
        if point.value.is_finite() && point.weight > 0.0 {
            let value = point.value - origin;
            sum.weight += point.weight;
            sum.value += point.weight * value;
            sum.square += point.weight * value * value;
        }
        sums.push(sum);
    }
    // best[n]: smallest cost of the first n points; last[n]: where its last level begins.
    let mut best = vec![-penalty; points.len() + 1];
    let mut last = vec![0; points.len() + 1];
    let mut starts = vec![0];
    for end in 1..=points.len() {
        let mut least = f64::INFINITY;
        for &start in &starts {
            let total = best[start] + cost(&sums, start, end) + penalty;
            if total < least {
                (least, last[end]) = (total, start);
            }
        }
        best[end] = least;
        // A start that is worse without its penalty never becomes the best one.
        starts.retain(|&start| best[start] + cost(&sums, start, end) <= least);
        starts.push(end);
    }
    let mut levels = Vec::new();
    let mut end = points.len();
    while end > 0 {
        end = last[end];
        levels.push(end);
    }
    levels.reverse();
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f64]) -> Vec<Point> {
        values.iter().map(|&value| Point { value, weight: 1.0 }).collect()
    }

    /// The smallest cost of all segmentations, by trying them all.
    fn least_cost(points: &[Point], penalty: f64) -> f64 {
        let total = |levels: &[usize]| {
            let mut cost = -penalty;
            for (i, &from) in levels.iter().enumerate() {
                let to = levels.get(i + 1).copied().unwrap_or(points.len());
                let weight: f64 = points[from..to].iter().map(|it| it.weight).sum();
                let mean = points[from..to].iter().map(|it| it.weight * it.value).sum::<f64>() / weight;
                cost += penalty + points[from..to].iter().map(|it| it.weight * (it.value - mean).powi(2)).sum::<f64>();
            }
            cost
        };
        (0..1u32 << (points.len() - 1))
            .map(|set| {
                let levels: Vec<usize> =
                    (0..points.len()).filter(|&at| at == 0 || set & (1 << (at - 1)) != 0).collect();
                total(&levels)
            })
            .fold(f64::INFINITY, f64::min)
    }

    fn cost_of(points: &[Point], levels: &[usize], penalty: f64) -> f64 {
        let mut cost = -penalty;
        for (i, &from) in levels.iter().enumerate() {
            let to = levels.get(i + 1).copied().unwrap_or(points.len());
            let weight: f64 = points[from..to].iter().map(|it| it.weight).sum();
            let mean = points[from..to].iter().map(|it| it.weight * it.value).sum::<f64>() / weight;
            cost += penalty + points[from..to].iter().map(|it| it.weight * (it.value - mean).powi(2)).sum::<f64>();
        }
        cost
    }

    #[test]
    fn a_step_is_found_where_it_is_and_an_outlier_costs_two_levels() {
        assert_eq!(segment(&points(&[0.0, 0.3, -0.2, 0.1, 9.0, 9.2, 8.9]), 30.0), [0, 4]);
        assert_eq!(segment(&points(&[0.0, 0.3, -0.2, 0.1, 9.0]), 30.0), [0, 4]);
        assert_eq!(segment(&points(&[0.0, 0.3, -0.2, 5.0, 0.2, 0.1, 0.3]), 30.0), [0]);
        assert_eq!(segment(&[], 30.0), [0usize; 0]);
        assert_eq!(segment(&points(&[f64::NAN, f64::NAN]), 30.0), [0]);
    }

    proptest::proptest! {
        #[test]
        fn no_other_segmentation_is_cheaper(
            values in proptest::collection::vec((-9.0f64..9.0, 0.1f64..1.0), 1..11), penalty in 0.5f64..60.0
        ) {
            let points: Vec<Point> = values.iter().map(|&(value, weight)| Point { value, weight }).collect();
            let levels = segment(&points, penalty);
            let (cost, least) = (cost_of(&points, &levels, penalty), least_cost(&points, penalty));
            proptest::prop_assert!(cost <= least + 1e-9, "{levels:?}: {cost} > {least}");
        }
    }
}
