//! `pvbench doctor`

use std::io::Write;

use anstyle::{AnsiColor, Style};
use clap::Args;

use super::Done;
use super::exit::Exit;
use super::output::stdout;
use crate::host::{Root, Status, checks};
use crate::suite::{Suite, optimisation};

pub const EXAMPLES: &str =
    "Examples:\n  pvbench doctor\n  pvbench doctor --json | jq '.[] | select(.status == \"warning\")'";

/// Options of `doctor`.
#[derive(Args)]
pub struct DoctorArgs {
    /// Print the checks as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the checks. The exit code is 0 also with warnings: an unfit machine is a finding, not an error.
pub fn doctor(args: &DoctorArgs, suite: &Suite) -> Done {
    let mut checks = checks(&Root::default());
    checks.push(optimisation(suite.ops().iter()));
    let mut out = stdout();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &checks)?;
        writeln!(out)?;
        return Ok(Exit::Fine);
    }
    let widest = checks.iter().map(|check| check.id.len()).max().unwrap_or(0);
    for check in &checks {
        let (word, color) = match check.status {
            Status::Ok => ("ok", AnsiColor::Green),
            Status::Unknown => ("unknown", AnsiColor::Yellow),
            Status::Warning => ("warning", AnsiColor::Red),
        };
        let style = Style::new().fg_color(Some(color.into()));
        writeln!(out, "{style}{word:7}{style:#}  {:widest$}  {}", check.id, check.detail)?;
        if let Some(advice) = &check.advice {
            writeln!(out, "{:9}{:widest$}  -> {advice}", "", "")?;
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let (ok, unknown, warnings) = (count(Status::Ok), count(Status::Unknown), count(Status::Warning));
    writeln!(out, "\n{ok} ok, {unknown} unknown, {warnings} warning{}", if warnings == 1 { "" } else { "s" })?;
    Ok(Exit::Fine)
}
