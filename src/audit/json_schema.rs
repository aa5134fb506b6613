//! The JSON Schema of an audit, generated from the types of [`super::document`].
//!
//! `reports/schema/audit-1.json` is a copy. The module and the derived schemas exist in unit tests only.

use schemars::generate::SchemaSettings;

use super::document::{Audit, SCHEMA};

/// The JSON Schema (draft 2020-12, indented) of documents with version [`SCHEMA`].
fn generate() -> Result<String, serde_json::Error> {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Audit>();
    schema.insert("$id".to_owned(), format!("urn:{}", SCHEMA.replace('/', ":")).into());
    schema.insert("title".to_owned(), SCHEMA.into());
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    Ok(text)
}

#[test]
fn the_published_schema_equals_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/schema/audit-1.json");
    let generated = generate().unwrap();
    if std::env::var_os("PVBENCH_BLESS").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap();
    assert!(published == generated, "{path} is stale; run this test once with PVBENCH_BLESS=1");
}

#[test]
fn audits_that_are_made_up_are_valid() {
    let schema: serde_json::Value = serde_json::from_str(&generate().unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for name in ["summary", "listing", "several"] {
        let path = format!("{}/tests/fixtures/audit/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(validator.is_valid(&value), "{name}");
        let audit: Audit = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_value(&audit).unwrap(), value, "{name}");
        value["binaries"][0]["kind"] = "program".into();
        assert!(!validator.is_valid(&value), "{name}");
    }
}
