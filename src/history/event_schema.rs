//! The JSON Schema of the events of a history, generated from the types.
//!
//! `reports/schema/events-1.json` is a copy. The module and the derived schemas exist in unit tests only.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use super::event::{Events, SCHEMA};

/// What a series is of, as [`super::kept::Subject`] is written.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum Subject {
    /// A cell.
    Cell(CellName),
    /// A workload on a kernel.
    Kernel(KernelName),
}

/// Which cell.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct CellName {
    /// Name of the op.
    op: String,
    /// Name of the body: `native`, `xen`.
    body: String,
    /// Name of the mechanism.
    mechanism: String,
    /// State of a patchable mechanism; absent for other mechanisms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Name of the regime.
    regime: String,
}

/// Which kernel of which workload. Without a mechanism and an option it is `inline`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct KernelName {
    /// Name of the workload.
    workload: String,
    /// The mechanism of the hooks; absent for a kernel option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mechanism: Option<String>,
    /// State of a patchable mechanism.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// The kernel option; absent for a mechanism.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    option: Option<String>,
}

/// The JSON Schema (draft 2020-12, indented).
fn generate() -> String {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Events>();
    schema.insert("$id".to_owned(), format!("urn:{}", SCHEMA.replace('/', ":")).into());
    schema.insert("title".to_owned(), SCHEMA.into());
    let mut text = serde_json::to_string_pretty(&schema).unwrap();
    text.push('\n');
    text
}

#[test]
fn the_published_schema_of_events_equals_the_generated_one() {
    let path = format!("{}/reports/schema/events-1.json", env!("CARGO_MANIFEST_DIR"));
    let generated = generate();
    if std::env::var_os("PVBENCH_BLESS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap();
    assert!(published == generated, "{path} is stale; run this test once with PVBENCH_BLESS=1");
}
