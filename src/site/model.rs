//! What the site shows, gathered from a history: machines, commits, runs, series and events, each with its index.
//!
//! Values are kept as `f32`: a series of a thousand runs has ten thousand cells, and a page shows three digits.

/// A name with its value, for lists of facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A machine class with a suite and a preset: runs that can be compared value by value.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The name of its page: the class, and suite and preset unless they are the usual ones.
    pub class: String,
    /// The CPU in words, with suite and preset unless they are the usual ones.
    pub title: String,
    /// What the class consists of.
    pub facts: Vec<Fact>,
    /// Its runs, in the order of their axis.
    pub runs: Vec<usize>,
}

/// A commit that was measured.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The id as it was kept, of up to 40 hexadecimal digits.
    pub id: String,
    /// Its subject, if it is known.
    pub subject: Option<String>,
    /// The measured commit before it.
    pub before: Option<usize>,
    /// Number of commits from that one to this one; `None` if the order of commits is not known.
    pub distance: Option<u32>,
    /// Its runs.
    pub runs: Vec<usize>,
}

impl Commit {
    /// The twelve digits that pages show.
    #[must_use]
    pub fn short(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// A kept run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The name of its file, without the extension.
    pub stem: String,
    /// Index of its machine.
    pub machine: usize,
    /// Index of its commit; `None` if nobody said which one was measured.
    pub commit: Option<usize>,
    /// When it was measured, RFC 3339.
    pub time: String,
    /// The facts of its header.
    pub facts: Vec<Fact>,
    /// What changed on the machine since the run before it: microcode, kernel, compiler.
    pub changes: Vec<String>,
    /// Whether part of its plan was not measured.
    pub is_incomplete: bool,
}

/// What a series is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The op, or the workload.
    pub subject: String,
    /// Name of the body; of a workload, its environment.
    pub body: String,
    /// Name of the mechanism, or of a kernel option.
    pub mechanism: String,
    /// State of a patchable mechanism.
    pub state: Option<String>,
    /// Name of the regime; empty for a workload.
    pub regime: String,
}

impl Key {
    /// The mechanism with its state: `site (inline)`.
    #[must_use]
    pub fn mechanism_text(&self) -> String {
        self.state.as_ref().map_or_else(|| self.mechanism.clone(), |state| format!("{} ({state})", self.mechanism))
    }

    /// All of it in words: `pte_val, table, throughput`.
    #[must_use]
    pub fn text(&self) -> String {
        let mechanism = self.mechanism_text();
        let body = if self.body == "native" { "" } else { self.body.as_str() };
        let parts = [self.subject.as_str(), &mechanism, &self.regime, body];
        parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(", ")
    }

    /// Whether this is a workload.
    #[must_use]
    pub fn is_workload(&self) -> bool {
        self.regime.is_empty()
    }
}

/// A cell or workload on one machine, with a value per run of that machine.
#[derive(Clone, Debug)]
pub struct Series {
    /// Index of the key.
    pub key: usize,
    /// Index of the machine.
    pub machine: usize,
    /// Overhead per run of the machine: cycles, or percent of a workload; NaN where it was not measured.
    pub values: Vec<f32>,
    /// Standard error of each value.
    pub errors: Vec<f32>,
    /// The floor of the newest measured run; 0 if there is none.
    pub floor: f32,
    /// Whether the op traps to the hypervisor, whose time this is.
    pub traps: bool,
}

impl Series {
    /// The newest value with its error.
    #[must_use]
    pub fn newest(&self) -> Option<(f64, f64)> {
        let at = self.values.iter().rposition(|value| value.is_finite())?;
        Some((f64::from(self.values[at]), f64::from(self.errors[at])))
    }
}

/// Which way a change went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It costs more.
    Worse,
    /// It costs less.
    Better,
    /// Some cells cost more, some less.
    Mixed,
    /// Costs stayed: only bytes changed.
    Neither,
}

/// A cell of an event.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Index of the key; `None` if no run of the history has it any more.
    pub key: Option<usize>,
    /// The cell in words.
    pub name: String,
    /// Level before the event.
    pub before: f64,
    /// Level since.
    pub after: f64,
    /// 95% half width of the difference; 0 for an exact count.
    pub error: f64,
    /// What it is in: `cycles`, `instructions`, `%`.
    pub unit: &'static str,
}

/// A change that was found.
#[derive(Clone, Debug)]
pub struct Event {
    /// The id that stays.
    pub id: String,
    /// Its state in a word: `confirmed`.
    pub state: &'static str,
    /// What the state means, in a sentence.
    pub state_text: String,
    /// Its cause in a word: `program`.
    pub cause: &'static str,
    /// The cause in a sentence.
    pub cause_text: String,
    /// What moved, in the smallest description that covers it.
    pub what: String,
    /// Which way.
    pub direction: Direction,
    /// How much: median and range over its cells, in words.
    pub size: String,
    /// Index of the last commit at the old level.
    pub good: Option<usize>,
    /// Index of the first commit at the new level.
    pub bad: Option<usize>,
    /// Number of commits in between, the bad one included.
    pub commits: Option<u32>,
    /// Index of the first run at the new level.
    pub first_run: Option<usize>,
    /// Time of the newest run that bears on it, RFC 3339.
    pub updated: String,
    /// Machines that show it.
    pub machines: Vec<usize>,
    /// What moved.
    pub cells: Vec<Moved>,
    /// Who accepted it, and why.
    pub accepted: Option<(String, String)>,
    /// Whether nobody has explained or accepted it, and it is not gone.
    pub is_open: bool,
    /// Whether later runs withdrew it.
    pub is_gone: bool,
    /// Whether the machine caused it, and not the program.
    pub is_of_machine: bool,
}

/// A file that was left out, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// Everything that the site shows.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Machine classes, the one with the newest run first.
    pub machines: Vec<Machine>,
    /// Measured commits, oldest first.
    pub commits: Vec<Commit>,
    /// Runs, oldest first.
    pub runs: Vec<Run>,
    /// The keys of all series.
    pub keys: Vec<Key>,
    /// All series, by machine and key.
    pub series: Vec<Series>,
    /// Events, newest first.
    pub events: Vec<Event>,
    /// Files that were left out.
    pub skipped: Vec<Skipped>,
    /// The document of the events, `events.json`.
    pub events_json: Vec<u8>,
}

impl Model {
    /// The position of each run on the axis of its machine.
    #[must_use]
    pub fn positions(&self) -> Vec<usize> {
        let mut positions = vec![0; self.runs.len()];
        for machine in &self.machines {
            for (position, run) in machine.runs.iter().enumerate() {
                positions[*run] = position;
            }
        }
        positions
    }
}
