//! Tests of the estimation: from samples to cells, floors and workloads.

mod cells;
mod floors;
#[path = "../support/loops.rs"]
mod loops;
mod stats;
