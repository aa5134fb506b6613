//! Programs of known cost, to validate the replay of recordings (`scripts/replay_validation.py`, docs/validation.md).
//!
//! Each unit of a program executes its own instances of a function one after another, so that its code is as large as
//! that of a path through a kernel: 500 lines of 64 bytes and more. What the hooks cost is measured like that of any
//! workload; what a replay says of them is compared with it.
//!
//! ```sh
//! cargo run --release --example known_programs -- run --op '' --workload '*'
//! cargo run --release --example known_programs -- linux replay --own
//! ```

#[macro_use]
mod instances;
mod linked;
mod mixed;
mod parsed;
mod sorted;
mod tree;
mod vm;

use pvbench::dispatch::{Inline, Retpoline, Site, Table};
use pvbench::prelude::*;

type Compared = (Inline, Table, Site, Retpoline);
type Programs = (linked::Linked, mixed::Mixed, parsed::Parsed, sorted::Sorted, tree::Tree, vm::Interpreted);

fn main() -> std::process::ExitCode {
    // Each instance is compiled with each mechanism.
    let suite = Suite::builder("known_programs").ops::<instances::Hooks>().only_mechanisms::<Compared>();
    pvbench::main(suite.workloads::<Programs>().build())
}
