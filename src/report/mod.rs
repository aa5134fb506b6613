//! The document that everything else is made from, and what is made from it.
//!
//! Nothing in here measures.

pub mod assemble;
pub mod export;
pub mod html;
pub mod json_schema;
pub mod plots;
pub mod read;
pub mod render;
pub mod schema;
pub mod subject;
pub mod terminal;
pub mod write;

pub use schema::Report;
