//! The JSON Schema of the report, generated from the types of [`super::schema`].
//!
//! `reports/schema/report-2.json` is a copy; a test compares the two.

use schemars::generate::SchemaSettings;

use super::schema::{Report, SCHEMA};

/// The JSON Schema (draft 2020-12, indented) of documents with version [`SCHEMA`].
///
/// # Errors
/// When serde_json cannot write the schema. No input causes that.
pub fn generate() -> Result<String, serde_json::Error> {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Report>();
    schema.insert("$id".to_owned(), format!("urn:{}", SCHEMA.replace('/', ":")).into());
    schema.insert("title".to_owned(), SCHEMA.into());
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    Ok(text)
}
