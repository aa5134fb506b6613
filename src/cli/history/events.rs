//! `pvbench history events`: what changed between the runs of a history.

use std::io::Write;

use clap::Args;
use comfy_table::{Table, presets};

use super::{Source, short, warn_of};
use crate::cli::Done;
use crate::cli::error;
use crate::cli::exit::Exit;
use crate::cli::output::stdout;
use crate::cli::pager;
use crate::history::commits::CommitOrder;
use crate::history::event::{Event, Events, Range, Size, State, Unit};
use crate::history::events::stored::{self, Found};
use crate::report::subject::plain;

pub(super) const EXAMPLES: &str = "Examples:
  pvbench history events
  pvbench history events --machine 'amd-*' --from history
  pvbench history events --all                 also those that are gone or accepted
  pvbench history events --json

Each event has a range of commits, a cause and a state. Instructions are exact: one run shows their change. A step in
time of a whole mechanism or op is suspected in the run where it appears, that of a single cell after some five to
eight runs. Another boot, or a run half an hour later, confirms it.";

/// Options of `history events`.
#[derive(Args)]
pub struct EventsArgs {
    #[command(flatten)]
    source: Source,
    /// Also show events that are gone, explained or accepted
    #[arg(long)]
    all: bool,
    /// Print the events as JSON, all of them
    #[arg(long)]
    json: bool,
}

/// Prints the events of a history.
pub fn events(args: &EventsArgs) -> Done {
    let found = find(&args.source)?;
    if args.json {
        let _ = writeln!(stdout(), "{}", serde_json::to_string_pretty(&found.events)?);
    } else {
        pager::print(&table(&found.events, args.all));
    }
    Ok(Exit::Fine)
}

/// Finds the events of a history, with warnings about what was left out.
pub(super) fn find(source: &Source) -> Result<Found, super::CliError> {
    let (store, entries) = source.open()?;
    let order = CommitOrder::from_headers(entries.iter().map(|it| &it.header));
    let found = stored::find(&store, &entries, &order).map_err(super::HistoryError::from)?;
    warn_of(&found.skipped);
    for id in &found.unknown {
        error::warn(&format!("accepted.toml: no run of this history shows {}", plain(id)));
    }
    Ok(found)
}

fn table(events: &Events, all: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["event", "state", "cause", "what", "size", "commits", "machine"]);
    let shown: Vec<&Event> = events.events.iter().filter(|it| all || it.is_open()).collect();
    for event in &shown {
        table.add_row([
            event.id.clone(),
            event.state.name().to_owned(),
            event.cause.name().to_owned(),
            plain(&event.description.text),
            sizes(&event.sizes),
            range(&event.range),
            plain(&event.stream.machine_class),
        ]);
    }
    let mut text = String::new();
    if !shown.is_empty() {
        text = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    }
    let runs: usize = events.streams.iter().map(|it| it.runs).sum();
    let hidden = events.events.len() - shown.len();
    text += &format!("{} in {runs} runs", count(shown.len(), "event"));
    if hidden > 0 {
        let gone = events.events.iter().filter(|it| it.state == State::Gone).count();
        text += &format!("; {hidden} more that are gone ({gone}), explained or accepted: --all shows them");
    }
    text.push('\n');
    let learning = events.streams.iter().flat_map(|it| &it.scatter).filter(|it| it.learning).count();
    if learning > 0 {
        let groups = count(learning, "mechanism");
        text += &format!("the scatter between runs is still learnt for {groups} (by regime): more runs are needed\n");
    }
    text
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn sizes(sizes: &[Size]) -> String {
    let texts: Vec<String> = sizes
        .iter()
        .map(|it| {
            let unit = match it.unit {
                Unit::Instructions => "instructions",
                Unit::Cycles => "cycles",
                Unit::Percent => "%",
                Unit::Code => "bytes",
            };
            format!("{:+.3} {unit}", it.median)
        })
        .collect();
    texts.join(", ")
}

fn range(range: &Range) -> String {
    let end = |commit: &Option<String>| commit.as_deref().map_or_else(|| "none".to_owned(), short);
    let commits = range.commits.map_or_else(String::new, |commits| format!(" ({commits})"));
    format!("{}..{}{commits}", end(&range.good.commit), end(&range.bad.commit))
}
