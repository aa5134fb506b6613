//! The document that everything else is made from, and what is made from it.
//!
//! Nothing in here measures.

pub mod schema;

pub use schema::Report;
