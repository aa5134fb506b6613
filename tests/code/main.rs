//! Machine code: the code that mechanisms are compiled to, and the code that patching writes. It is one program because
//! `.ci/run` builds it a second time with full optimisation at link time, which takes as long for every program. The
//! package `tests/fixtures/machine_code` is for that build.

#[path = "../alone/mod.rs"]
mod alone;
mod machine_code;
#[path = "../own_ops/mod.rs"]
mod own_ops;
mod patch;
