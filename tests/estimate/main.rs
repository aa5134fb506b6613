//! From samples to cells.

mod cells;
mod floors;
mod stats;
