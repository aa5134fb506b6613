//! Call sites that the installed compilers write, each labelled by the name of its function, and input that is no
//! program: what `pvbench audit` says of them.
#![cfg(feature = "audit")]

mod builds;
mod corpus;
mod foreign;
mod hostile;
mod labels;
