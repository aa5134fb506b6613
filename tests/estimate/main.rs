//! From samples to cells.

mod cells;
mod stats;
