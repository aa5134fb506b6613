//! The JSON Schemas of an audit, of what changed between two builds, and of a run; generated from the types.
//!
//! The files `audit-*.json` of `reports/schema` are copies. The module and the derived schemas exist in unit tests only.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use super::changes::{self, Changes};
use super::document::{self, Audit};
use super::execution::{self, Execution};

/// The JSON Schema (draft 2020-12, indented) of documents of a version.
fn generate<T: JsonSchema>(version: &str) -> Result<String, serde_json::Error> {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    schema.insert("$id".to_owned(), format!("urn:{}", version.replace('/', ":")).into());
    schema.insert("title".to_owned(), version.into());
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    Ok(text)
}

fn check(file: &str, generated: &str) {
    let path = format!("{}/reports/schema/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("PVBENCH_BLESS").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap();
    assert!(published == generated, "{path} is stale; run this test once with PVBENCH_BLESS=1");
}

#[test]
fn the_published_schemas_equal_the_generated_ones() {
    check("audit-1.json", &generate::<Audit>(document::SCHEMA).unwrap());
    check("audit-changes-1.json", &generate::<Changes>(changes::SCHEMA).unwrap());
    check("audit-run-1.json", &generate::<Execution>(execution::SCHEMA).unwrap());
}

#[test]
fn audits_that_are_made_up_are_valid() {
    let schema: serde_json::Value = serde_json::from_str(&generate::<Audit>(document::SCHEMA).unwrap()).unwrap();
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
