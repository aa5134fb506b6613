//! The report: the document, and everything that is made from it.

mod compare;
mod document;
mod export;
mod html;
mod linux;
mod predict;
#[path = "../support/mod.rs"]
mod support;
