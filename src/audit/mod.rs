//! The call sites of a program, by the mechanism that each of them is, without running it.
//!
//! ```text
//! file -> binaries (input): the file, the members of an archive, the kernel in a bzImage
//! binary -> image: bytes at addresses, relocated; symbols; words that the loader fills
//! image -> functions: ranges from symbols, else unwind tables, else calls
//! function -> control transfers (control) -> sites by kind (classify, with values and thunks)
//! sites -> document -> terminal, JSON, page, gate
//! ```
//!
//! Everything in a binary is untrusted.

mod ahead;
pub mod branch_records;
mod build;
pub mod callgrind;
pub mod changes;
pub mod classify;
mod compute;
pub mod control;
pub mod counts;
pub mod coverage;
pub mod document;
pub mod error;
pub mod execution;
pub mod functions;
pub mod image;
pub mod input;
pub mod join;
#[cfg(test)]
mod json_schema;
pub mod kernel;
pub mod kind;
pub mod lines;
mod loader_words;
#[cfg(test)]
mod made;
pub mod names;
mod object_layout;
pub mod open;
pub mod page;
mod parts;
mod pool;
pub mod price;
pub mod process;
mod site_counts;
mod sources;
pub mod terminal;
pub mod thunks;
pub mod two_threads;
mod unwind;
pub mod values;
pub mod words;

pub use build::{Options, audit_binary, audit_bytes, audit_file, read_functions};
pub use document::Audit;
pub use error::AuditError;
