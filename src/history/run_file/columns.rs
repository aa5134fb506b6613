//! Columns of whole numbers, as planes of bytes that compress well.
//!
//! Numbers of one kind are alike in their high bytes and random in their low ones. So a column is written as planes:
//! the lowest bytes of all its numbers, then the next ones. A plane of zeros is left out.

use std::collections::BTreeMap;

use super::error::RunFileError;

/// Number of bytes of a number.
const MAX_PLANES: usize = 8;

/// Columns to be written, by tag.
#[derive(Debug, Default)]
pub(super) struct ColumnWriter {
    columns: BTreeMap<u8, Vec<u64>>,
}

impl ColumnWriter {
    /// Appends a number to a column.
    pub(super) fn push(&mut self, tag: u8, value: u64) {
        self.columns.entry(tag).or_default().push(value);
    }

    /// Appends a signed number: small ones of either sign become small numbers.
    pub(super) fn push_signed(&mut self, tag: u8, value: i64) {
        self.push(tag, (value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned());
    }

    /// Appends a number exactly. Whole numbers and those with few binary digits become small numbers.
    pub(super) fn push_exact(&mut self, tag: u8, value: f64) {
        self.push(tag, value.to_bits().reverse_bits());
    }

    /// The planes that are not all zero, each with its tag and number. The highest one always has a byte that is not
    /// zero; a column of zeros has one plane, so that its length is known.
    pub(super) fn planes(&self) -> impl Iterator<Item = (u8, u8, Vec<u8>)> {
        self.columns.iter().flat_map(|(tag, values)| {
            let largest = values.iter().fold(0, |all, value| all | value);
            (0..MAX_PLANES as u8).filter_map(move |plane| {
                let shift = u32::from(plane) * 8;
                let is_needed = plane == 0 || largest >> shift & 0xff != 0;
                is_needed.then(|| (*tag, plane, values.iter().map(|value| (value >> shift) as u8).collect()))
            })
        })
    }
}

/// Columns that were read. Every number is read once, in order.
#[derive(Debug, Default)]
pub(super) struct ColumnReader {
    columns: BTreeMap<u8, Column>,
}

#[derive(Debug, Default)]
struct Column {
    planes: Vec<(u8, Vec<u8>)>,
    read: usize,
}

impl ColumnReader {
    /// Adds a plane.
    pub(super) fn add(&mut self, tag: u8, plane: u8, bytes: Vec<u8>) -> Result<(), RunFileError> {
        let column = self.columns.entry(tag).or_default();
        if usize::from(plane) >= MAX_PLANES || column.planes.iter().any(|(known, _)| *known == plane) {
            return Err(RunFileError::damaged("a column has a plane that it cannot have"));
        }
        if column.planes.first().is_some_and(|(_, first)| first.len() != bytes.len()) {
            return Err(RunFileError::damaged("the planes of a column differ in length"));
        }
        column.planes.push((plane, bytes));
        Ok(())
    }

    /// Number of values of a column that are left to read.
    pub(super) fn left(&self, tag: u8) -> usize {
        let left = |column: &Column| column.planes.first().map_or(0, |(_, bytes)| bytes.len()) - column.read;
        self.columns.get(&tag).map_or(0, left)
    }

    /// Reads the next number of a column.
    pub(super) fn next(&mut self, tag: u8) -> Result<u64, RunFileError> {
        const SHORT: RunFileError = RunFileError::damaged("a column is too short");
        let column = self.columns.get_mut(&tag).ok_or(SHORT)?;
        let mut value = 0;
        for (plane, bytes) in &column.planes {
            value |= u64::from(*bytes.get(column.read).ok_or(SHORT)?) << (u32::from(*plane) * 8);
        }
        column.read += 1;
        Ok(value)
    }

    /// Reads a number that [`ColumnWriter::push_signed`] wrote.
    pub(super) fn next_signed(&mut self, tag: u8) -> Result<i64, RunFileError> {
        let value = self.next(tag)?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Reads a number that [`ColumnWriter::push_exact`] wrote.
    pub(super) fn next_exact(&mut self, tag: u8) -> Result<f64, RunFileError> {
        let value = f64::from_bits(self.next(tag)?.reverse_bits());
        if value.is_finite() { Ok(value) } else { Err(RunFileError::damaged("a number is not finite")) }
    }

    /// Reads a number below a bound, such as an index.
    pub(super) fn next_below(&mut self, tag: u8, bound: usize) -> Result<usize, RunFileError> {
        let value = usize::try_from(self.next(tag)?).ok().filter(|value| *value < bound);
        value.ok_or(RunFileError::damaged("an index is out of range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(writer: &ColumnWriter) -> ColumnReader {
        let mut reader = ColumnReader::default();
        for (tag, plane, bytes) in writer.planes() {
            reader.add(tag, plane, bytes).unwrap();
        }
        reader
    }

    #[test]
    fn every_number_reads_back_as_it_was_written() {
        let mut writer = ColumnWriter::default();
        let signed = [0, 1, -1, 63, -64, i64::MAX, i64::MIN, 1 << 40];
        let exact = [0.0, -0.5, 4024.12, 1e300, 2.0, f64::MIN_POSITIVE];
        signed.into_iter().for_each(|value| writer.push_signed(1, value));
        exact.into_iter().for_each(|value| writer.push_exact(2, value));
        (0..3).for_each(|_| writer.push(3, 0));
        let mut reader = read_back(&writer);
        assert_eq!((reader.left(1), reader.left(3), reader.left(9)), (8, 3, 0));
        signed.into_iter().for_each(|value| assert_eq!(reader.next_signed(1).unwrap(), value));
        exact.into_iter().for_each(|value| assert_eq!(reader.next_exact(2).unwrap(), value));
        (0..3).for_each(|_| assert_eq!(reader.next(3).unwrap(), 0));
        assert!(reader.next(1).is_err() && reader.next(3).is_err() && reader.next(9).is_err());
    }

    #[test]
    fn small_numbers_have_one_plane_and_planes_of_zeros_are_left_out() {
        let mut writer = ColumnWriter::default();
        writer.push_signed(1, -64);
        writer.push(2, 0x0100_0000_0001);
        let planes: Vec<(u8, u8)> = writer.planes().map(|(tag, plane, _)| (tag, plane)).collect();
        assert_eq!(planes, [(1, 0), (2, 0), (2, 5)]);
        assert_eq!(read_back(&writer).next(2).unwrap(), 0x0100_0000_0001);
    }

    #[test]
    fn planes_that_contradict_each_other_are_refused() {
        let mut reader = ColumnReader::default();
        reader.add(1, 0, vec![1, 2]).unwrap();
        assert!(reader.add(1, 0, vec![1, 2]).is_err(), "the same plane twice");
        assert!(reader.add(1, 1, vec![1]).is_err(), "another length");
        assert!(reader.add(2, 8, vec![1]).is_err(), "a ninth plane");
        reader.add(3, 7, vec![0xff]).unwrap();
        reader.add(3, 0, vec![0xff]).unwrap();
        assert!(reader.next_below(1, 1).is_err());
    }

    #[test]
    fn a_number_that_is_not_finite_is_refused() {
        let mut writer = ColumnWriter::default();
        writer.push_exact(1, f64::NAN);
        assert!(read_back(&writer).next_exact(1).is_err());
    }
}
