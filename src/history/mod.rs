//! Histories: the runs of a project, kept, and what changed between them.

pub mod event;
#[cfg(test)]
mod event_schema;
pub mod keep;
pub mod kept;
pub mod machine_class;
pub mod names;
pub mod run_file;
