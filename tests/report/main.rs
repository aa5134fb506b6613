//! The report: the document, and everything that is made from it.

mod document;
mod export;
mod figures;
mod html;
mod linux;
mod over_ops;
mod predict;
#[path = "../support/mod.rs"]
mod support;
mod verdicts;
