//! Histories: the runs of a project, kept, and what changed between them.
//!
//! ```text
//! report -> keep -> kept run -> run_file -> store
//! store -> kept runs -> series -> events
//! ```
//!
//! A [`store`] is a folder with a small file per run ([`run_file`]), named by its content. A kept run has what a
//! comparison over time needs of a report, and the facts that explain a change ([`kept`]). Its commit comes from a
//! clone ([`commit`]), and commits are ordered by their first parents ([`commits`]).

pub mod accepted;
pub mod aliases;
pub mod cause;
pub mod commit;
pub mod commits;
pub mod event;
#[cfg(test)]
mod event_schema;
pub mod events;
pub mod export;
pub mod keep;
pub mod kept;
pub mod machine_class;
pub mod names;
pub mod run_file;
pub mod scatter;
pub mod segment;
pub mod series;
pub mod store;
