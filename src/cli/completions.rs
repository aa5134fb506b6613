//! `pvbench completions`: prints a completion script for a shell.

use std::io::Write;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell as Generator, generate};

use super::exit::Exit;
use super::output::stdout;
use super::{Cli, Done, words};
use crate::suite::Suite;

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench completions bash > ~/.local/share/bash-completion/completions/pvbench
  pvbench completions zsh > ~/.zfunc/_pvbench
  pvbench completions fish > ~/.config/fish/completions/pvbench.fish";

/// Options of `completions`.
#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell to complete in
    #[arg(value_enum, ignore_case = true)]
    shell: Shell,
}

/// A shell with completions.
#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    /// Bash, with the package bash-completion
    Bash,
    /// Z shell; the folder of the script must be in `fpath`
    Zsh,
    /// fish
    Fish,
}

/// Prints the completion script of a shell.
pub fn completions(args: &CompletionsArgs, suite: &Suite) -> Done {
    let shell = match args.shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut command = words::without_hidden(words::command(Cli::command(), suite.name()), suite.name());
    // `generate` panics on a failed write; a write to a vector does not fail.
    let mut script = Vec::new();
    generate(shell, &mut command, suite.name(), &mut script);
    stdout().write_all(&script)?;
    Ok(Exit::Fine)
}
