//! Tests of the report and of everything that is made from it.

mod answer;
mod compare;
mod document;
mod export;
mod figures;
mod html;
mod kernel_time;
mod linux;
#[path = "../support/loops.rs"]
mod loops;
mod over_ops;
mod page_causes;
mod page_cells;
mod page_costs;
mod page_listings;
mod page_sections;
mod predict;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod verdicts;
