//! The document that everything else is made from, and what is made from it.
//!
//! Nothing in here measures.

pub mod assemble;
pub mod beside;
pub mod html;
pub mod json_schema;
pub mod linux;
pub mod plots;
pub mod read;
pub mod render;
pub mod schema;
pub mod terminal;
pub mod write;

pub use schema::Report;
