//! The document that everything else is made from, and what is made from it.
//!
//! Nothing in here measures.

pub mod html;
pub mod plots;
pub mod schema;

pub use schema::Report;
