//! Machine code: what mechanisms are compiled to, and what is written over it. One program, for it is built a second
//! time with all optimisation at link time (`.ci/run`), and that takes as long for each.

#[path = "../alone/mod.rs"]
mod alone;
mod machine_code;
#[path = "../own_ops/mod.rs"]
mod own_ops;
mod patch;
