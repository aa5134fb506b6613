//! `pvbench history machine`: what the machines of a history count as.

use std::io::Write;

use clap::{Args, Subcommand};

use super::Target;
use crate::cli::Done;
use crate::cli::exit::Exit;
use crate::cli::output::stdout;
use crate::history::aliases::{Aliases, FILE};
use crate::history::store::StoreError;

pub(super) const EXAMPLES: &str = "Examples:
  pvbench history machine alias amd-25-17-1-kvm-smt1 amd-25-17-1-kvm-smt2";

const ALIAS_EXAMPLES: &str = "Examples:
  pvbench history machine alias amd-25-17-1-kvm-smt1 amd-25-17-1-kvm-smt2

The series of both classes go on as one, under the name of the second. The line is in machines.toml of the history, and
can be removed there.";

/// Options of `history machine`.
#[derive(Args)]
pub struct MachineArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Let one machine class count as another
    #[command(after_help = ALIAS_EXAMPLES)]
    Alias(AliasArgs),
}

/// Options of `history machine alias`.
#[derive(Args)]
struct AliasArgs {
    /// The machine class of some runs
    #[arg(value_name = "CLASS")]
    class: String,
    /// The machine class that it counts as
    #[arg(value_name = "AS")]
    counts_as: String,
    #[command(flatten)]
    target: Target,
}

/// Runs the subcommand.
pub fn machine(args: &MachineArgs) -> Done {
    let Command::Alias(AliasArgs { class, counts_as, target }) = &args.command;
    let is_new = Aliases::add(&target.to, class, counts_as).map_err(StoreError::from)?;
    let done = if is_new { "added to" } else { "already in" };
    let _ = writeln!(stdout(), "{done} {}: {class} counts as {counts_as}", target.to.join(FILE).display());
    Ok(Exit::Fine)
}
