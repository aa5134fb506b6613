//! Series: what a run says of each cell and workload, and the groups that cells belong to.

use std::sync::Arc;

use super::event::{Part, Unit};
use super::kept::{CellName, Code, KeptRun, KeptValue, KernelName, Subject};

/// The regime of workloads among groups of cells.
pub const WORKLOAD: &str = "workload";

/// The names of a cell that groups are made of. A kernel of a workload has the workload as its op, and [`WORKLOAD`]
/// as its regime.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Names {
    /// The op, or the workload.
    pub op: Option<Arc<str>>,
    /// The body.
    pub body: Option<Arc<str>>,
    /// The mechanism, or the kernel option.
    pub mechanism: Option<Arc<str>>,
    /// The state of the mechanism.
    pub state: Option<Arc<str>>,
    /// The regime.
    pub regime: Option<Arc<str>>,
}

impl Names {
    /// Returns the names of a subject.
    #[must_use]
    pub fn new(subject: &Subject) -> Self {
        match subject {
            Subject::Cell(name) => Names {
                op: Some(Arc::clone(&name.op)),
                body: Some(Arc::clone(&name.body)),
                mechanism: Some(Arc::clone(&name.mechanism)),
                state: name.state.clone(),
                regime: Some(Arc::clone(&name.regime)),
            },
            Subject::Kernel(name) => Names {
                op: Some(Arc::clone(&name.workload)),
                body: None,
                mechanism: name.mechanism.clone().or_else(|| name.option.clone()),
                state: name.state.clone(),
                regime: Some(WORKLOAD.into()),
            },
        }
    }

    /// Returns the groups that a cell of these names belongs to, from the smallest description to the longest.
    #[must_use]
    pub fn groups(&self) -> Vec<Names> {
        let with = |op: bool, body: bool, mechanism: bool, state: bool, regime: bool| Names {
            op: self.op.clone().filter(|_| op),
            body: self.body.clone().filter(|_| body),
            mechanism: self.mechanism.clone().filter(|_| mechanism),
            state: self.state.clone().filter(|_| state),
            regime: self.regime.clone().filter(|_| regime),
        };
        if self.regime.as_deref() == Some(WORKLOAD) {
            let mut groups = vec![with(false, false, false, false, true), with(true, false, false, false, true)];
            groups.push(with(false, false, true, true, true));
            return groups;
        }
        let mut groups = vec![Names::default()];
        groups.push(with(false, false, false, false, true));
        groups.push(with(false, true, false, false, false));
        groups.push(with(true, false, false, false, false));
        groups.push(with(false, false, true, false, false));
        groups.push(with(true, false, false, false, true));
        groups.push(with(false, true, false, false, true));
        groups.push(with(false, false, true, true, false));
        groups.push(with(false, false, true, false, true));
        groups.push(with(false, false, true, true, true));
        groups.push(with(false, true, true, true, false));
        groups.push(with(true, false, true, true, false));
        groups.dedup();
        if self.state.is_none() {
            groups.sort();
            groups.dedup();
        }
        groups
    }

    /// Returns how many names the description has: a workload's regime is none.
    #[must_use]
    pub fn len(&self) -> usize {
        [&self.op, &self.body, &self.mechanism, &self.state, &self.regime].iter().filter(|it| it.is_some()).count()
    }

    /// Whether the description has no name: it covers everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The mechanism with its state: `site (direct)`.
    #[must_use]
    pub fn mechanism_text(&self) -> String {
        let mechanism = self.mechanism.as_deref().unwrap_or("inline");
        self.state.as_ref().map_or_else(|| mechanism.to_owned(), |state| format!("{mechanism} ({state})"))
    }

    /// The description in words.
    #[must_use]
    pub fn text(&self) -> String {
        let is_workload = self.regime.as_deref() == Some(WORKLOAD);
        let mut text = match (&self.op, &self.mechanism) {
            (Some(op), Some(_)) => format!("{op} with {}", self.mechanism_text()),
            (Some(op), None) => op.to_string(),
            (None, Some(_)) => self.mechanism_text(),
            (None, None) if is_workload => return "all workloads".to_owned(),
            (None, None) => "all cells".to_owned(),
        };
        if let Some(body) = &self.body {
            text = format!("{text} with body {body}");
        }
        match &self.regime {
            Some(_) if is_workload && self.op.is_none() => text + " in workloads",
            Some(regime) if !is_workload => format!("{text} in {regime}"),
            _ => text,
        }
    }

    /// Returns the description for the document.
    #[must_use]
    pub fn part(&self, moved: usize, cells: usize) -> Part {
        let owned = |name: &Option<Arc<str>>| name.as_deref().map(str::to_owned);
        Part {
            mechanism: owned(&self.mechanism),
            state: owned(&self.state),
            regime: owned(&self.regime),
            op: owned(&self.op),
            body: owned(&self.body),
            moved,
            cells,
        }
    }
}

/// What a run says of a cell or a kernel.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Which one.
    pub subject: Subject,
    /// The overhead.
    pub overhead: Option<KeptValue>,
    /// What a change of 1 is a share of: the op's time in cycles (at least one), or 100 percent plus the overhead.
    pub whole: f64,
    /// What the overhead is in.
    pub unit: Unit,
    /// Executed instructions, if they are exact.
    pub instructions: Option<f64>,
    /// Identity of the bytes.
    pub code: Option<Code>,
}

/// A reference of a run: the time of `inline`, in which nothing of a mechanism is.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The op with its body, or the workload.
    pub name: (Arc<str>, Arc<str>),
    /// The regime, or [`WORKLOAD`].
    pub regime: Arc<str>,
    /// Core cycles.
    pub cycles: f64,
}

/// Returns what a run says of its cells and kernels. Values that are no numbers are left out.
#[must_use]
pub fn observe(run: &KeptRun) -> Vec<Observed> {
    let mut all = Vec::with_capacity(run.cells.len());
    let finite = |value: &KeptValue| value.value.is_finite() && value.standard_error.is_finite();
    for cell in &run.cells {
        let overhead = cell.overhead.filter(finite);
        let time = cell.native_cycles.unwrap_or(0.0) + overhead.map_or(0.0, |it| it.value);
        all.push(Observed {
            subject: Subject::Cell(Arc::<CellName>::clone(&cell.name)),
            overhead,
            whole: if time.is_finite() { time.max(1.0) } else { 1.0 },
            unit: Unit::Cycles,
            instructions: cell.instructions.filter(|it| it.is_finite()),
            code: cell.code,
        });
    }
    for kernel in run.workloads.iter().flat_map(|it| &it.kernels) {
        let overhead = kernel.overhead_percent.filter(finite);
        all.push(Observed {
            subject: Subject::Kernel(Arc::<KernelName>::clone(&kernel.name)),
            overhead,
            whole: (100.0 + overhead.map_or(0.0, |it| it.value)).max(1.0),
            unit: Unit::Percent,
            instructions: kernel.instructions.filter(|it| it.is_finite()),
            code: None,
        });
    }
    all
}

/// Returns the references of a run.
#[must_use]
pub fn references(run: &KeptRun) -> Vec<Reference> {
    let usable = |cycles: &f64| cycles.is_finite() && *cycles > 0.0;
    let cells = run.cells.iter().filter(|it| &*it.name.mechanism == "inline" && it.name.state.is_none());
    let mut all: Vec<Reference> = cells
        .filter_map(|cell| {
            Some(Reference {
                name: (Arc::clone(&cell.name.op), Arc::clone(&cell.name.body)),
                regime: Arc::clone(&cell.name.regime),
                cycles: cell.native_cycles.filter(usable)?,
            })
        })
        .collect();
    let workload: Arc<str> = WORKLOAD.into();
    all.extend(run.workloads.iter().filter_map(|it| {
        Some(Reference {
            name: (Arc::clone(&it.name), Arc::clone(&workload)),
            regime: Arc::clone(&workload),
            cycles: it.inline_cycles.map(|it| it.value).filter(usable)?,
        })
    }));
    all
}
