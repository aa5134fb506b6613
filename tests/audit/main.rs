//! `pvbench audit`: call sites that the installed compilers write, each labelled by the name of its function; what it
//! prints, writes and draws; two builds of a program, and what ran; input that is no program.
#![cfg(all(target_arch = "x86_64", target_os = "linux", feature = "audit"))]

mod builds;
#[path = "../chromium/mod.rs"]
mod chromium;
mod corpus;
mod foreign;
mod hostile;
mod labels;
mod output;
mod page;
mod price;
#[path = "../support/mod.rs"]
mod support;
mod two_builds;
