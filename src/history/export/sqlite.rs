//! The table as an SQLite database: the table `history`, an index by subject.

use std::path::Path;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql};

use super::{COLUMNS, Field, Row, rows};
use crate::history::kept::KeptRun;

/// Writes runs into the table `history` of a new database.
pub struct SqliteTable {
    database: Connection,
}

impl SqliteTable {
    /// Makes the table in an empty file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn new(path: &Path) -> Result<Self, rusqlite::Error> {
        let database = Connection::open(path)?;
        // The file is renamed when it is whole: a journal would only be left beside it.
        database.pragma_update(None, "journal_mode", "OFF")?;
        database.pragma_update(None, "synchronous", "OFF")?;
        let column = |(name, field): (&str, Field<'_>)| match field {
            Field::Text(_) => format!("\"{name}\" TEXT"),
            Field::Whole(_) | Field::Flag(_) => format!("\"{name}\" INTEGER"),
            Field::Number(_) => format!("\"{name}\" REAL"),
        };
        let row = Row::default();
        let columns: Vec<String> = COLUMNS.into_iter().zip(row.fields()).map(column).collect();
        database.execute(&format!("CREATE TABLE history ({})", columns.join(", ")), ())?;
        Ok(SqliteTable { database })
    }

    /// Writes the rows of a run.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, run: &KeptRun) -> Result<(), rusqlite::Error> {
        let transaction = self.database.transaction()?;
        {
            let places = vec!["?"; COLUMNS.len()].join(", ");
            let mut insert = transaction.prepare(&format!("INSERT INTO history VALUES ({places})"))?;
            for row in rows(run) {
                insert.execute(rusqlite::params_from_iter(row.fields()))?;
            }
        }
        transaction.commit()
    }

    /// Makes the index, and closes the file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(self) -> Result<(), rusqlite::Error> {
        let by_subject = "CREATE INDEX history_by_subject ON history (op, workload, mechanism, regime)";
        self.database.execute(by_subject, ())?;
        self.database.close().map_err(|(_, error)| error)
    }
}

impl ToSql for Field<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, rusqlite::Error> {
        let owned = |value: Option<Value>| ToSqlOutput::Owned(value.unwrap_or(Value::Null));
        Ok(match self {
            Field::Text(Some(text)) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Field::Text(None) => ToSqlOutput::Owned(Value::Null),
            Field::Whole(number) => owned(number.map(|number| Value::Integer(number.cast_signed()))),
            Field::Number(number) => owned(number.map(Value::Real)),
            Field::Flag(flag) => ToSqlOutput::Owned(Value::Integer(i64::from(*flag))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_has_the_columns_of_the_table_and_a_row_per_cell_and_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.sqlite");
        let run = super::super::tests::run();
        let mut table = SqliteTable::new(&path).unwrap();
        table.add(&run).unwrap();
        table.add(&run).unwrap();
        table.finish().unwrap();
        let database = Connection::open(&path).unwrap();
        let count: i64 = database.query_row("SELECT count(*) FROM history", (), |row| row.get(0)).unwrap();
        assert_eq!(count as usize, 2 * rows(&run).count());
        let of_op = "SELECT overhead, state, resolved FROM history WHERE op = 'save_fl'";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found: (f64, Option<String>, bool) = database.query_row(of_op, (), row).unwrap();
        assert_eq!(found, (1.5, None, true));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no journal is left");
    }
}
