//! `pvbench audit BINARY --run -- ARGS` and `--counts FILE`: how often the sites of a program run, and what they cost.

use std::path::{Path, PathBuf};

use crate::audit::execution::Execution;
use crate::audit::join::join;
use crate::audit::{price, process, terminal};
use crate::cli::Done;
use crate::cli::error;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::pager;
use crate::report::read::{self, ReadError};

/// Where the costs of a run come from.
pub struct Costs<'a> {
    /// The report whose cells give the cost of a call.
    pub report: &'a Path,
    /// Whether the report was named, or is the default one.
    pub is_named: bool,
    /// CPU time of the run in seconds, for counts that were made before.
    pub seconds: Option<f64>,
}

/// Runs a program alone and under callgrind, and prints what its indirect calls cost.
pub fn run(binary: &Path, arguments: &[String], costs: &Costs, json: bool) -> Done {
    // A program without a slash would be searched in PATH.
    let program: PathBuf =
        if binary.components().count() == 1 { Path::new(".").join(binary) } else { binary.to_owned() };
    let counted = process::run(&program, arguments)?;
    if !counted.status.success() {
        error::warn(&format!("{} ended with {}, alone and under callgrind", binary.display(), counted.status));
    }
    let run = join(binary, &counted.counts())?;
    let seconds = costs.seconds.unwrap_or(counted.cpu_time.as_secs_f64());
    print(run, costs, Some(seconds), json)
}

/// Joins a file of counts with a binary, and prints what its indirect calls cost.
pub fn counts(binary: &Path, file: &Path, costs: &Costs, json: bool) -> Done {
    print(join(binary, file)?, costs, costs.seconds, json)
}

fn print(mut run: Execution, costs: &Costs, seconds: Option<f64>, json: bool) -> Done {
    match read::report(costs.report) {
        Ok(report) => price::add_costs(&mut run, &report, seconds),
        Err(error @ ReadError::File { .. }) if !costs.is_named => {
            run.cpu_seconds = seconds;
            run.no_cost_reason = Some(format!("{error}; `pvbench run --quick` makes a report in 20 s"));
        }
        Err(error) => return Err(error.into()),
    }
    if json {
        output::json(&run)?;
    } else {
        pager::print(&terminal::execution(&run, pager::width()));
    }
    Ok(Exit::Fine)
}
