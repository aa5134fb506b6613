//! The timings of a block by column, packed: a run keeps a million of them to its end, and nearly half of the columns
//! of its blocks have none.

use serde::{Deserialize, Serialize};

use super::samples::Pair;

/// Columns per word of the bitmap.
const WORD_BITS: usize = u64::BITS as usize;

/// The timings of each column of a block; columns that the block left out have none. Samples have it as a list of pairs
/// and nulls.
///
/// ```
/// use pvbench::measure::samples::Pairs;
///
/// let pairs: Pairs<f64> = serde_json::from_str("[[1.5,2.5],null,[3.5,4.5]]")?;
/// assert_eq!((pairs.get(1), pairs.get(2), pairs.get(3)), (None, Some([3.5, 4.5]), None));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Option<Pair<T>>>", into = "Vec<Option<Pair<T>>>", bound(serialize = "T: Serialize + Copy"))]
pub struct Pairs<T> {
    /// Number of columns.
    columns: usize,
    /// A bit per column, from the lowest of the first word on: whether the column has a pair.
    timed: Box<[u64]>,
    /// The pairs of the columns that have one, in the order of the columns.
    pairs: Box<[Pair<T>]>,
}

impl<T: Copy> Pairs<T> {
    /// Returns the pair of a column; `None` where the block left it out.
    #[must_use]
    pub fn get(&self, column: usize) -> Option<Pair<T>> {
        let (word, bit) = (column / WORD_BITS, 1 << (column % WORD_BITS));
        let bits = *self.timed.get(word)?;
        if bits & bit == 0 {
            return None;
        }
        let words_before: u32 = self.timed.iter().take(word).map(|bits| bits.count_ones()).sum();
        let index = words_before + (bits & (bit - 1)).count_ones();
        self.pairs.get(index as usize).copied()
    }

    /// Lists the pair of each column.
    pub fn iter(&self) -> impl Iterator<Item = Option<Pair<T>>> {
        (0..self.columns).map(|column| self.get(column))
    }

    /// Lists the pairs of the columns that have one, in the order of the columns.
    pub(crate) fn timed(&self) -> impl Iterator<Item = Pair<T>> {
        self.pairs.iter().copied()
    }
}

impl<T> From<Vec<Option<Pair<T>>>> for Pairs<T> {
    fn from(columns: Vec<Option<Pair<T>>>) -> Self {
        let mut timed = vec![0_u64; columns.len().div_ceil(WORD_BITS)];
        for (word, columns) in timed.iter_mut().zip(columns.chunks(WORD_BITS)) {
            let bits = columns.iter().enumerate().map(|(bit, pair)| u64::from(pair.is_some()) << bit);
            *word = bits.sum();
        }
        let mut pairs = Vec::with_capacity(columns.iter().flatten().count());
        let count = columns.len();
        pairs.extend(columns.into_iter().flatten());
        Pairs { columns: count, timed: timed.into_boxed_slice(), pairs: pairs.into_boxed_slice() }
    }
}

impl<T: Copy> From<Pairs<T>> for Vec<Option<Pair<T>>> {
    fn from(pairs: Pairs<T>) -> Self {
        pairs.iter().collect()
    }
}

impl<T> FromIterator<Option<Pair<T>>> for Pairs<T> {
    fn from_iter<I: IntoIterator<Item = Option<Pair<T>>>>(columns: I) -> Self {
        columns.into_iter().collect::<Vec<_>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_pairs_are_those_of_the_list_whichever_columns_have_none() {
        for count in [0, 1, 63, 64, 65, 128, 200] {
            for every in [1, 2, 3, 7, 300] {
                let columns: Vec<Option<Pair<f64>>> =
                    (0..count).map(|at| (at % every == 0).then(|| [f64::from(at) + 0.1, -f64::from(at)])).collect();
                let pairs: Pairs<f64> = columns.clone().into();
                assert_eq!(pairs.iter().collect::<Vec<_>>(), columns, "{count} columns, one of {every} has a pair");
                assert_eq!(pairs.timed().collect::<Vec<_>>(), columns.iter().copied().flatten().collect::<Vec<_>>());
                assert_eq!((pairs.get(columns.len()), pairs.get(usize::MAX)), (None, None));
            }
        }
    }

    #[test]
    fn packed_pairs_are_written_and_read_as_the_list_is() {
        let columns: Vec<Option<Pair<f64>>> = vec![None, Some([0.1, 1e300]), None, Some([5e-324, 0.3]), None];
        let text = serde_json::to_string(&columns).unwrap();
        let pairs: Pairs<f64> = serde_json::from_str(&text).unwrap();
        assert_eq!(Vec::from(pairs.clone()), columns);
        assert_eq!(serde_json::to_string(&pairs).unwrap(), text);
    }
}
