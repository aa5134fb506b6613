//! The JSON Schema of the report, generated from the types of [`super::schema`].
//!
//! `reports/schema/report-2.json` is a copy. The module and the derived schemas exist in unit tests only, so that the
//! library has the same dependencies in a build, in tests and in benches.

use schemars::generate::SchemaSettings;

use super::schema::{Report, SCHEMA};

/// The JSON Schema (draft 2020-12, indented) of documents with version [`SCHEMA`].
///
/// # Errors
/// When serde_json cannot write the schema. No input causes that.
fn generate() -> Result<String, serde_json::Error> {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Report>();
    schema.insert("$id".to_owned(), format!("urn:{}", SCHEMA.replace('/', ":")).into());
    schema.insert("title".to_owned(), SCHEMA.into());
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    Ok(text)
}

#[test]
fn the_published_schema_equals_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/schema/report-2.json");
    let generated = generate().unwrap();
    if std::env::var_os("PVBENCH_BLESS").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap();
    assert!(published == generated, "{path} is stale; run this test once with PVBENCH_BLESS=1");
}
