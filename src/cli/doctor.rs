//! `pvbench doctor`

use std::io::Write;

use anstyle::{AnsiColor, Style};
use clap::Args;

use super::exit::Exit;
use super::output::stdout;
use super::{Done, tried, words};
use crate::host::{Root, Status, checks};
use crate::suite::{Suite, optimisation};

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench doctor
  pvbench doctor --json | jq '.[] | select(.status == \"warning\")'

Each warning has its effect on the numbers, and the command that mends it. Load and stolen time are measured over one
second. Exit code 4: this machine cannot measure at all.";

/// Options of `doctor`.
#[derive(Args)]
pub struct DoctorArgs {
    /// Print the checks as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the checks. The exit code is 0 also with warnings, as an unfit machine is a finding; it is 4 if this machine
/// cannot measure at all.
pub fn doctor(args: &DoctorArgs, suite: &Suite) -> Done {
    let mut checks = checks(&Root::default());
    checks.push(optimisation(suite.ops().iter()));
    let (trial, can_measure) = tried::check_measuring(suite);
    checks.push(trial);
    let exit = if can_measure { Exit::Fine } else { Exit::Failed };
    let mut out = stdout();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &checks)?;
        writeln!(out)?;
        return Ok(exit);
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
        if let Some(effect) = &check.effect {
            writeln!(out, "{:9}{:widest$}  so: {effect}", "", "")?;
        }
        if let Some(advice) = &check.advice {
            writeln!(out, "{:9}{:widest$}  -> {}", "", "", words::message(advice))?;
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let (ok, unknown, warnings) = (count(Status::Ok), count(Status::Unknown), count(Status::Warning));
    writeln!(out, "\n{ok} ok, {unknown} unknown, {warnings} warning{}", if warnings == 1 { "" } else { "s" })?;
    Ok(exit)
}
