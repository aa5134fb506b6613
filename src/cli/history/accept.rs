//! `pvbench history accept`: who accepts an event, and why.

use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;

use super::{CliError, HistoryError, Source};
use crate::cli::Done;
use crate::cli::exit::Exit;
use crate::cli::output::stdout;
use crate::history::accepted::{self, FILE};
use crate::history::event::Accepted;
use crate::report::subject::plain;

pub(super) const EXAMPLES: &str = "Examples:
  pvbench history accept ev-0123456789ab --who Ada --why 'the table is checked now'
  pvbench history accept ev-0123456789ab --who Ada --why 'microcode of November' --explained

The line is in accepted.toml of the history, and can be changed there.";

/// Options of `history accept`.
#[derive(Args)]
pub struct AcceptArgs {
    /// The event, as `history events` lists it
    #[arg(value_name = "EVENT")]
    event: String,
    /// Who accepts it
    #[arg(long, value_name = "NAME")]
    who: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// The cause is known: the event is explained
    #[arg(long)]
    explained: bool,
    /// Folder of the history
    #[arg(long, value_name = "DIR", default_value = super::FOLDER)]
    from: PathBuf,
}

/// Writes the line.
pub fn accept(args: &AcceptArgs) -> Done {
    let source = Source { from: args.from.clone(), machine: Vec::new() };
    let found = super::events::find(&source)?;
    let Some(event) = found.events.events.iter().find(|it| it.id == args.event) else {
        let message = format!("no event is called {}; pvbench history events --all lists them", plain(&args.event));
        return Err(CliError::Usage(message));
    };
    let when = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let accepted = Accepted { who: args.who.clone(), why: args.why.clone(), when: Some(when) };
    accepted::accept(&args.from, &event.id, &accepted, args.explained).map_err(HistoryError::from)?;
    let _ = writeln!(stdout(), "added to {}: {}", args.from.join(FILE).display(), plain(&event.description.text));
    Ok(Exit::Fine)
}
