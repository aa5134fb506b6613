//! Histories: the runs of a project, kept, and what changed between them.

pub mod cause;
pub mod event;
#[cfg(test)]
mod event_schema;
pub mod events;
pub mod kept;
pub mod scatter;
pub mod segment;
pub mod series;
