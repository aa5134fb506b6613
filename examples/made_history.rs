//! Writes a made history: kept runs with planted steps, to try the store, the events and the site on many runs.
//! Nothing in it was measured.
//!
//! ```sh
//! cargo run --example made_history -- RUNS OPS FOLDER
//! ```
//!
//! A folder that holds the first runs already gets the others.

#[path = "../tests/support/made_history.rs"]
#[allow(dead_code)]
mod made;

use std::path::Path;
use std::process::ExitCode;

use pvbench::history::store::Store;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [runs, ops, folder] = args.as_slice() else {
        eprintln!("usage: made_history RUNS OPS FOLDER");
        return ExitCode::from(2);
    };
    let (Ok(runs), Ok(ops)) = (runs.parse(), ops.parse()) else {
        eprintln!("RUNS and OPS are numbers");
        return ExitCode::from(2);
    };
    let store = Store::new(Path::new(folder));
    let mut made = made::Made::new(runs, ops);
    for run in 0..runs {
        if let Err(error) = store.add(&made.run(run)) {
            eprintln!("run {run}: {error}");
            return ExitCode::from(4);
        }
    }
    ExitCode::SUCCESS
}
