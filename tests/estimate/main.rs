//! Tests of the estimation: from samples to cells, floors and workloads.

mod cells;
mod floors;
mod stats;
