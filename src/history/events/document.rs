//! From what was found to the document.

use sha2::{Digest, Sha256};

use super::open::{Class, Found};
use super::state::{RunFacts, State};
use crate::history::cause::find_cause;
use crate::history::commits::CommitOrder;
use crate::history::event::{
    Description, Direction, Event, GroupScatter, Moved, MovedCell, Range, Size, State as Stage, Stream, StreamName,
    Unit,
};
use crate::history::scatter::MIN_DEGREES_OF_FREEDOM;
use crate::history::series::{Names, WORKLOAD};

/// Cells of an event that are named in its description.
const MAX_NAMED: usize = 3;

/// Returns what was searched.
pub(super) fn stream(state: &State, name: &StreamName) -> Stream {
    let mut commits: Vec<&str> = state.runs.iter().filter_map(|it| it.name.commit.as_deref()).collect();
    commits.sort_unstable();
    commits.dedup();
    let pools = state.pools.iter().map(|pool| GroupScatter {
        mechanism: pool.mechanism.clone(),
        regime: Some(pool.regime.to_string()).filter(|it| it != WORKLOAD),
        share: pool.share,
        degrees_of_freedom: pool.degrees_of_freedom,
        learning: pool.degrees_of_freedom < MIN_DEGREES_OF_FREEDOM,
    });
    Stream {
        name: name.clone(),
        runs: state.runs.len(),
        commits: commits.len(),
        series: state.cells.len(),
        scatter: pools.collect(),
        axis: state.axis.clone(),
    }
}

/// Returns the events of a stream, oldest first.
pub(super) fn events(state: &State, found: &[Found], name: &StreamName, commits: &CommitOrder) -> Vec<Event> {
    let mut order: Vec<&Found> = found.iter().filter(|it| !it.cells.is_empty()).collect();
    order.sort_by_key(|it| (it.first, it.class));
    let mut events: Vec<Event> = Vec::new();
    for found in order {
        let mut event = make(state, found, name, commits);
        // A second event of the same range, found later, is another one.
        let same = events.iter().filter(|it| it.id.starts_with(&event.id)).count();
        if same > 0 {
            event.id = format!("{}-{}", event.id, same + 1);
        }
        events.push(event);
    }
    events
}

fn make(state: &State, found: &Found, name: &StreamName, commits: &CommitOrder) -> Event {
    let (cause, evidence) = find_cause(&found.evidence);
    let (good, bad) = (&state.runs[found.good as usize], &state.runs[found.first as usize]);
    let ends = good.name.commit.as_deref().zip(bad.name.commit.as_deref());
    let between = ends.and_then(|(good, bad)| commits.count_between(good, bad));
    let cells = cells(state, found);
    Event {
        id: id(state, found, name),
        stream: name.clone(),
        state: found.stage,
        state_reason: reason(state, found),
        cause,
        evidence,
        direction: direction(&cells),
        range: Range { good: good.name.clone(), bad: bad.name.clone(), commits: between },
        description: describe(state, found),
        sizes: sizes(&cells),
        cells,
        first_run: bad.name.clone(),
        confirmed_by: found.confirmed_by.map(|it| state.runs[it as usize].name.clone()),
        last_run: state.runs[found.last as usize].name.clone(),
        also_on: Vec::new(),
        accepted: None,
    }
}

fn reason(state: &State, found: &Found) -> String {
    let by = |run: &RunFacts| format!("run {} shows it as well", run.name.stem);
    match found.stage {
        Stage::Confirmed => {
            let by = found.confirmed_by.map_or_else(String::new, |it| by(&state.runs[it as usize]));
            match found.class {
                Class::Instructions => format!("counts of instructions are exact, and {by}"),
                Class::Time => format!("{by}, of another boot or half an hour later"),
            }
        }
        Stage::Gone => format!("run {} does not show it", state.runs[found.last as usize].name.stem),
        _ if found.last > found.first => "every run that shows it is of one boot and within half an hour".to_owned(),
        _ => "one run shows it so far".to_owned(),
    }
}

fn cells(state: &State, found: &Found) -> Vec<MovedCell> {
    let mut cells: Vec<(f64, MovedCell)> = Vec::new();
    for (&index, held) in &found.cells {
        let cell = &state.cells[index];
        let moved = held.moved.filter(|it| it.is_clear || found.class == Class::Time);
        let overhead = moved.map(|it| Moved { unit: cell.unit, before: it.before, after: it.after, error: it.error });
        let instructions =
            held.instructions.map(|(before, after)| Moved { unit: Unit::Instructions, before, after, error: 0.0 });
        let share = overhead.map_or(0.0, |it| it.change().abs() / cell.whole);
        cells.push((
            share,
            MovedCell {
                subject: cell.subject.clone(),
                overhead,
                instructions,
                code_changed: held.code_changed,
                shares_changed: held.shares_changed,
            },
        ));
    }
    cells.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.subject.cmp(&b.1.subject)));
    cells.into_iter().map(|it| it.1).collect()
}

fn direction(cells: &[MovedCell]) -> Direction {
    let mut changes: Vec<f64> = cells.iter().filter_map(|it| it.overhead).map(|it| it.change()).collect();
    if changes.is_empty() {
        changes = cells.iter().filter_map(|it| it.instructions).map(|it| it.change()).collect();
    }
    match (changes.iter().any(|&it| it > 0.0), changes.iter().any(|&it| it < 0.0)) {
        (true, true) => Direction::Mixed,
        (true, false) => Direction::Worse,
        (false, true) => Direction::Better,
        (false, false) => Direction::Neither,
    }
}

fn sizes(cells: &[MovedCell]) -> Vec<Size> {
    let moved = || cells.iter().flat_map(|it| [it.instructions, it.overhead]).flatten();
    let units = [Unit::Instructions, Unit::Cycles, Unit::Percent];
    let sizes = units.into_iter().filter_map(|unit| {
        let mut changes: Vec<f64> = moved().filter(|it| it.unit == unit).map(|it| it.change()).collect();
        changes.sort_by(f64::total_cmp);
        let (&low, &high) = (changes.first()?, changes.last()?);
        let median = crate::history::scatter::median(&mut changes)?;
        Some(Size { unit, cells: changes.len(), median, low, high })
    });
    sizes.collect()
}

fn describe(state: &State, found: &Found) -> Description {
    let parts: Vec<_> = found.parts.iter().map(|it| state.groups[it.group].names.part(it.moved, it.cells)).collect();
    let mut texts: Vec<String> = found
        .parts
        .iter()
        .map(|it| format!("{} ({} of {} cells)", clean(&state.groups[it.group].names.text()), it.moved, it.cells))
        .collect();
    let name = |index: &usize| clean(&Names::new(&state.cells[*index].subject).text());
    if found.residual.len() <= MAX_NAMED {
        texts.extend(found.residual.iter().map(name));
    } else {
        let more = if texts.is_empty() { "" } else { "more " };
        texts.push(format!("{} {more}single cells", found.residual.len()));
    }
    let residual = found.residual.iter().map(|&it| state.cells[it].subject.clone()).collect();
    Description { text: texts.join("; "), parts, residual }
}

/// A name of a file that was read: without control characters, and clipped.
fn clean(text: &str) -> String {
    const MAX_CHARS: usize = 120;
    text.chars().take(MAX_CHARS).map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}

/// The id: of the stream and of the two runs that the event was first seen between. Runs that are measured later, also
/// between the two, leave it alone.
fn id(state: &State, found: &Found, name: &StreamName) -> String {
    let since = state.runs.iter().skip(found.first as usize);
    let arrival = |it: &RunFacts| (it.seconds, it.name.stem.clone());
    let bad = since.min_by_key(|it| arrival(it)).unwrap_or(&state.runs[found.first as usize]);
    let before = || state.runs.iter().take(found.first as usize).rev();
    let good = before().find(|it| arrival(it) < arrival(bad)).or_else(|| before().next());
    let mut hash = Sha256::new();
    let class = match found.class {
        Class::Instructions => "instructions",
        Class::Time => "time",
    };
    let good = good.map_or("", |it| &it.name.stem);
    for part in [&name.machine_class, &name.suite, &name.preset, good, &bad.name.stem, class] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digits: String = hash.finalize().iter().take(6).map(|it| format!("{it:02x}")).collect();
    format!("ev-{digits}")
}
