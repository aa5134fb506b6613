//! The table as a Parquet file: a row group per run.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

use super::{COLUMNS, Field, Row, rows};
use crate::history::kept::KeptRun;

/// Writes runs as row groups.
pub struct ParquetTable<W: Write + Send> {
    writer: SerializedFileWriter<W>,
}

impl<W: Write + Send> ParquetTable<W> {
    /// Writes the start of the file.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn new(to: W) -> Result<Self, ParquetError> {
        let column = |(name, field): (&str, Field<'_>)| match field {
            Field::Text(_) => format!("OPTIONAL BYTE_ARRAY {name} (UTF8);"),
            Field::Whole(_) => format!("OPTIONAL INT64 {name};"),
            Field::Number(_) => format!("OPTIONAL DOUBLE {name};"),
            Field::Flag(_) => format!("REQUIRED BOOLEAN {name};"),
        };
        let row = Row::default();
        let columns: String = COLUMNS.into_iter().zip(row.fields()).map(column).collect();
        let schema = Arc::new(parse_message_type(&format!("message history {{ {columns} }}"))?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        Ok(ParquetTable { writer: SerializedFileWriter::new(to, schema, Arc::new(properties))? })
    }

    /// Writes the rows of a run.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn add(&mut self, run: &KeptRun) -> Result<(), ParquetError> {
        let rows: Vec<Row<'_>> = rows(run).collect();
        let fields: Vec<[Field<'_>; COLUMNS.len()]> = rows.iter().map(Row::fields).collect();
        let mut group = self.writer.next_row_group()?;
        let mut index = 0;
        while let Some(mut column) = group.next_column()? {
            let fields: Vec<&Field<'_>> = fields.iter().filter_map(|row| row.get(index)).collect();
            write(&mut column, &fields)?;
            column.close()?;
            index += 1;
        }
        group.close().map(drop)
    }

    /// Writes the end of the file.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn finish(self) -> Result<(), ParquetError> {
        self.writer.close().map(drop)
    }
}

/// Writes the fields of a column, all of one kind.
fn write(column: &mut SerializedColumnWriter<'_>, fields: &[&Field<'_>]) -> Result<(), ParquetError> {
    let levels = |is_there: fn(&Field<'_>) -> bool| -> Vec<i16> {
        fields.iter().map(|field| i16::from(is_there(field))).collect()
    };
    match fields.first() {
        None => Ok(()),
        Some(Field::Text(_)) => {
            let text = |field: &&Field<'_>| {
                if let Field::Text(Some(text)) = field { Some(ByteArray::from(*text)) } else { None }
            };
            let values: Vec<ByteArray> = fields.iter().filter_map(text).collect();
            let levels = levels(|field| matches!(field, Field::Text(Some(_))));
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).map(drop)
        }
        Some(Field::Whole(_)) => {
            let whole = |field: &&Field<'_>| {
                if let Field::Whole(Some(number)) = field { Some(number.cast_signed()) } else { None }
            };
            let values: Vec<i64> = fields.iter().filter_map(whole).collect();
            let levels = levels(|field| matches!(field, Field::Whole(Some(_))));
            column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).map(drop)
        }
        Some(Field::Number(_)) => {
            let number =
                |field: &&Field<'_>| if let Field::Number(Some(number)) = field { Some(*number) } else { None };
            let values: Vec<f64> = fields.iter().filter_map(number).collect();
            let levels = levels(|field| matches!(field, Field::Number(Some(_))));
            column.typed::<DoubleType>().write_batch(&values, Some(&levels), None).map(drop)
        }
        Some(Field::Flag(_)) => {
            let values: Vec<bool> = fields.iter().map(|field| matches!(field, Field::Flag(true))).collect();
            column.typed::<BoolType>().write_batch(&values, None, None).map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;

    #[test]
    fn a_file_has_the_columns_of_the_table_and_a_row_group_per_run() {
        let run = super::super::tests::run();
        let file = tempfile::tempfile().unwrap();
        let mut table = ParquetTable::new(file.try_clone().unwrap()).unwrap();
        table.add(&run).unwrap();
        table.add(&run).unwrap();
        table.finish().unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 2);
        assert_eq!(reader.metadata().file_metadata().num_rows() as usize, 2 * rows(&run).count());
        let row = reader.get_row_iter(None).unwrap().next().unwrap().unwrap();
        let text = row.to_string();
        assert!(
            text.contains("op: \"save_fl\"") && text.contains("state: null") && text.contains("overhead: 1.5"),
            "{text}"
        );
        assert_eq!(row.len(), COLUMNS.len());
    }
}
