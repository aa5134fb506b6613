//! The report of a run, and all output that is made from it: page, plots, terminal summary and exports.
//!
//! Nothing in this module measures.

#[cfg(feature = "html")]
pub mod agreement;
#[cfg(feature = "html")]
pub mod answer;
#[cfg(feature = "html")]
pub(crate) mod call_sites;
#[cfg(feature = "html")]
pub(crate) mod claim;
#[cfg(feature = "html")]
pub mod comparison;
#[cfg(feature = "cli")]
pub mod export;
pub mod floors;
#[cfg(feature = "html")]
pub mod html;
#[cfg(test)]
mod json_schema;
pub mod kernel_time;
pub mod linux;
pub mod native;
pub mod over_ops;
#[cfg(feature = "html")]
pub mod plots;
#[cfg(feature = "html")]
pub(crate) mod prediction_error;
#[cfg(feature = "html")]
pub mod published;
pub mod read;
pub mod recorded;
#[cfg(feature = "html")]
pub(crate) mod render;
pub mod schema;
#[cfg(feature = "html")]
pub mod stale;
#[cfg(feature = "html")]
pub mod subject;
#[cfg(feature = "cli")]
pub mod terminal;
mod unoptimised;
pub mod verdict;
pub mod write;

pub use schema::Report;
