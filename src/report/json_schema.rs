//! The JSON Schema of the report, generated from its types. `reports/schema/report-1.json` is a copy that a test keeps
//! equal to it.

use schemars::generate::SchemaSettings;

use super::schema::{Report, SCHEMA};

/// The schema of [`SCHEMA`], JSON Schema draft 2020-12, indented.
///
/// # Errors
/// Where serde_json cannot write it down, which no input can bring about.
pub fn generate() -> Result<String, serde_json::Error> {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Report>();
    schema.insert("$id".to_owned(), format!("urn:{}", SCHEMA.replace('/', ":")).into());
    schema.insert("title".to_owned(), SCHEMA.into());
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    Ok(text)
}
