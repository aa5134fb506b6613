//! From the document of events to the events of a model.

use std::collections::HashMap;

use super::model::{Direction, Event, Key, Model, Moved};
use crate::history::event::{self, Cause, Events, MovedCell, RunName, State, StreamName, Unit};
use crate::history::kept::Subject;
use crate::report::plots::number::{exact, signed};

/// Adds events, and the changes of machines, to a model.
pub fn add(model: &mut Model, events: &Events, streams: &[StreamName], find: impl Fn(&Subject) -> Option<usize>) {
    let runs: HashMap<String, usize> =
        model.runs.iter().enumerate().map(|(index, run)| (run.stem.clone(), index)).collect();
    for change in events.streams.iter().flat_map(|stream| &stream.axis) {
        if let Some(run) = runs.get(&change.run.stem).and_then(|run| model.runs.get_mut(*run)) {
            run.changes.push(format!("{}: {} to {}", change.what, change.before, change.after));
        }
    }
    let commits: HashMap<&str, usize> =
        model.commits.iter().enumerate().map(|(index, commit)| (commit.id.as_str(), index)).collect();
    let commit = |run: &RunName| run.commit.as_deref().and_then(|id| commits.get(id).copied());
    let made = events.events.iter().map(|event| {
        let is_on = |name: &StreamName| {
            let also = event.also_on.contains(&name.machine_class);
            *name == event.stream || (also && name.suite == event.stream.suite && name.preset == event.stream.preset)
        };
        let mut machines: Vec<usize> = (0..streams.len()).filter(|index| is_on(&streams[*index])).collect();
        // The machine that it was found on comes first.
        machines.sort_by_key(|machine| streams[*machine] != event.stream);
        Event {
            id: event.id.clone(),
            state: event.state.name(),
            state_text: sentence(&event.state_reason),
            cause: event.cause.name(),
            cause_text: event.evidence.iter().map(|it| sentence(it)).collect::<Vec<_>>().join(" "),
            what: event.description.text.clone(),
            direction: match event.direction {
                event::Direction::Worse => Direction::Worse,
                event::Direction::Better => Direction::Better,
                event::Direction::Mixed => Direction::Mixed,
                event::Direction::Neither => Direction::Neither,
            },
            size: sizes(event),
            good: commit(&event.range.good),
            bad: commit(&event.range.bad),
            commits: event.range.commits.and_then(|it| u32::try_from(it).ok()),
            first_run: runs.get(&event.first_run.stem).copied(),
            updated: event.last_run.started.clone(),
            machines,
            cells: event.cells.iter().flat_map(|cell| moved(cell, find(&cell.subject), &model.keys)).collect(),
            accepted: event.accepted.as_ref().map(|it| (it.who.clone(), it.why.clone())),
            is_open: event.is_open(),
            is_gone: event.state == State::Gone,
            is_of_machine: event.cause == Cause::Machine,
        }
    });
    let made = made.collect();
    model.events = made;
}

/// A text as a sentence: with a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.trim().chars();
    let text: String = chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default();
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text } else { format!("{text}.") }
}

/// How much an event is: `+0.31 cycles (+0.28 to +0.35)`.
fn sizes(event: &event::Event) -> String {
    let one = |size: &event::Size| {
        let number = |value: f64| match size.unit {
            Unit::Instructions => format!("{}{}", if value > 0.0 { "+" } else { "" }, exact(value)),
            _ => signed(value),
        };
        let unit = unit_name(size.unit);
        let ends = (number(size.low), number(size.high));
        let space = if unit == "%" { "" } else { " " };
        match size.unit {
            Unit::Code => format!("bytes of {} cells", size.cells),
            _ if ends.0 == ends.1 => format!("{}{space}{unit}", number(size.median)),
            _ => format!("{}{space}{unit} ({} to {})", number(size.median), ends.0, ends.1),
        }
    };
    event.sizes.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Instructions => "instructions",
        Unit::Cycles => "cycles",
        Unit::Percent => "%",
        Unit::Code => "code",
    }
}

/// What moved of a cell: its overhead, its instructions, or only its bytes.
fn moved(cell: &MovedCell, key: Option<usize>, keys: &[Key]) -> Vec<Moved> {
    let name = match (&cell.subject, key.and_then(|key| keys.get(key))) {
        (_, Some(key)) => key.text(),
        (Subject::Cell(name), None) => format!("{}, {}, {}", name.op, name.mechanism, name.regime),
        (Subject::Kernel(name), None) => name.workload.to_string(),
    };
    let mut all: Vec<Moved> = [cell.overhead, cell.instructions]
        .into_iter()
        .flatten()
        .map(|it| Moved {
            key,
            name: name.clone(),
            before: it.before,
            after: it.after,
            error: it.error,
            unit: unit_name(it.unit),
        })
        .collect();
    if all.is_empty() {
        let (before, after) = (f64::NAN, f64::NAN);
        let unit = if cell.shares_changed { "shares of modes" } else { "bytes" };
        all.push(Moved { key, name, before, after, error: 0.0, unit });
    }
    all
}
