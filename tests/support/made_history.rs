//! A made history: kept runs with planted steps, and the document of their events. Nothing in it was measured.

use std::sync::Arc;

use pvbench::history::event::{
    Accepted, AxisChange, Cause, Description, Direction, Event, Events, Moved, MovedCell, Range, RunName, SCHEMA, Size,
    State, Stream, StreamName, Unit,
};
use pvbench::history::kept::{
    CellName, Commit, Header, KeptCell, KeptKernel, KeptRun, KeptTool, KeptValue, KeptWorkload, KernelName, Subject,
};
use serde_json::json;

/// A name with markup, which must stay text.
pub const HOSTILE: &str = "\"'></pre><script>alert(1)</script><img src=x onerror=alert(1)>";
/// The machine classes, and the names of their CPUs.
pub const CLASSES: [(&str, &str); 2] = [
    ("amd-25-17-1-kvm-smt", "AMD EPYC 9554 64-Core Processor"),
    ("intel-6-143-8-none-smt", "Intel(R) Xeon(R) Platinum 8481C"),
];
const MECHANISMS: [(&str, Option<&str>); 12] = [
    ("inline", None),
    ("direct", None),
    ("table", None),
    ("site", Some("unpatched")),
    ("site", Some("direct")),
    ("site", Some("inline")),
    ("retpoline", None),
    ("dyn", None),
    ("box_dyn", None),
    ("flag", None),
    ("plt", None),
    ("enum", None),
];
const REGIMES: [&str; 7] = ["throughput", "latency", "pressure", "cold", "flushed", "random2", "random4"];
const WORKLOADS: [&str; 4] = ["mmap", "fork", "pagefault", "switch"];
/// Seconds between two runs.
const BETWEEN: u64 = 21_600;
/// 2026-01-01 in seconds since 1970.
const FIRST: u64 = 1_767_225_600;
/// Every fifth run is on the second machine.
const SECOND_EVERY: usize = 5;

/// A made history.
pub struct Made {
    ops: Vec<String>,
    cells: Vec<Arc<CellName>>,
    kernels: Vec<Arc<KernelName>>,
    runs: usize,
    random: u64,
}

impl Made {
    /// A history of this many runs and ops. The second op has a hostile name.
    pub fn new(runs: usize, ops: usize) -> Self {
        let name = |op: usize| match op {
            0 => "pte_val".to_owned(),
            1 => HOSTILE.to_owned(),
            op => format!("op_{op}"),
        };
        let ops: Vec<String> = (0..ops).map(name).collect();
        let mut cells = Vec::new();
        for op in &ops {
            for (mechanism, state) in MECHANISMS {
                cells.extend(REGIMES.map(|regime| {
                    Arc::new(CellName {
                        op: op.as_str().into(),
                        body: "native".into(),
                        mechanism: mechanism.into(),
                        state: state.map(Into::into),
                        regime: regime.into(),
                    })
                }));
            }
        }
        let kernel = |workload: &str, mechanism: &str| {
            let (workload, mechanism) = (workload.into(), Some(mechanism.into()));
            Arc::new(KernelName { workload, mechanism, state: None, option: None })
        };
        let kernels = WORKLOADS.iter().flat_map(|workload| ["direct", "table"].map(|it| kernel(workload, it)));
        Made { ops, cells, kernels: kernels.collect(), runs, random: 88_172_645_463_325_252 }
    }

    /// A number of at least 0 and below 1 (Marsaglia's xorshift).
    fn random(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn machine(run: usize) -> usize {
        usize::from(run % SECOND_EVERY == SECOND_EVERY - 1)
    }

    fn started(run: usize) -> (String, u64) {
        let seconds = FIRST + run as u64 * BETWEEN;
        let (year, month, day) = civil((seconds / 86_400) as i64);
        let rest = seconds % 86_400;
        let text = format!("{year}-{month:02}-{day:02}T{:02}:{:02}:00Z", rest / 3600, rest % 3600 / 60);
        (text, seconds)
    }

    fn commit(run: usize) -> String {
        format!("{:012x}{:028x}", 0xabc0_0000_0000_u64 + run as u64 / 2 * 7919, run / 2)
    }

    /// The name of a run's file.
    pub fn stem(run: usize) -> String {
        let (time, _) = Self::started(run);
        let time: String = time.chars().filter(|c| !"-:".contains(*c)).collect();
        format!("{time}-{}-{:08x}", &Self::commit(run)[..12], run as u64 * 2_654_435_761 % 0xffff_ffff)
    }

    fn header(&self, run: usize) -> Header {
        let (class, cpu) = CLASSES[Self::machine(run)];
        let microcode = if run < self.runs / 3 { "0xa101148" } else { "0xa101150" };
        let machine = json!({
            "cpu_model": cpu, "microcode": microcode, "kernel": "6.1.0-28-amd64", "virtualised": "KVMKVMKVM",
        });
        let (started, started_seconds) = Self::started(run);
        let number = run as u64 / 2;
        Header {
            suite: "pv_ops".to_owned(),
            preset: "default".to_owned(),
            machine_class: class.to_owned(),
            machine: serde_json::from_value(machine).expect("a machine"),
            boot_id: Some(format!("boot-{}", run / 8)),
            tool: KeptTool {
                version: "0.1.0".to_owned(),
                build: "release".to_owned(),
                rustc: Some("rustc 1.95.0 (59807616e 2026-04-14)".to_owned()),
            },
            commit: Some(Commit {
                id: Self::commit(run),
                seconds: None,
                first_parent: None,
                position: Some(1 + number * 3),
                subject: Some(format!("Change {number} of <i>the table</i>")),
                dirty: None,
            }),
            started,
            started_seconds,
            duration_seconds: 600.0,
            seed: 1,
            complete: run % 17 != 3,
            layouts: vec![0, 16, 32, 48],
            workers: 12,
            core: None,
            floors: Vec::new(),
            checks: Vec::new(),
            absent: Vec::new(),
            failures: 0,
        }
    }

    /// A run. Runs must be made in order: their noise comes from one seed.
    pub fn run(&mut self, run: usize) -> KeptRun {
        let machine = Self::machine(run) as f64;
        let cells = self.cells.clone();
        let cells = cells.iter().enumerate().map(|(index, name)| {
            let base = 0.5 + (index % 84) as f64 * 0.13 + machine;
            let noise = (self.random() + self.random() - 1.0) * 0.04;
            let value = base + self.step(name, run) + noise;
            let is_measured = self.random() > 0.01;
            let overhead = KeptValue { value, standard_error: 0.01, degrees_of_freedom: 11.0 };
            KeptCell {
                name: name.clone(),
                overhead: is_measured.then_some(overhead),
                native_cycles: Some(1.0),
                floor_cycles: Some(0.06),
                modes: Vec::new(),
                instructions: Some(3.0),
                mix: None,
                code: None,
                resolved: is_measured,
                limit: None,
                absent: (!is_measured).then(|| "a worker was killed".into()),
            }
        });
        let cells = cells.collect();
        let workloads = WORKLOADS.iter().map(|workload| {
            let own = self.kernels.iter().filter(|name| &*name.workload == *workload).cloned().collect::<Vec<_>>();
            let kernels = own.into_iter().map(|name| {
                let value = 1.2 + (self.random() - 0.5) * 0.2;
                KeptKernel {
                    name,
                    overhead_percent: Some(KeptValue { value, standard_error: 0.05, degrees_of_freedom: 11.0 }),
                    instructions: None,
                    floor_percent: Some(0.2),
                    resolved: true,
                    limit: None,
                    absent: None,
                }
            });
            KeptWorkload {
                name: (*workload).into(),
                unit: "call".into(),
                inline_cycles: None,
                inline_instructions: None,
                floor_percent: 0.2,
                placement_percent: None,
                kernels: kernels.collect(),
            }
        });
        let workloads = workloads.collect();
        KeptRun { header: self.header(run), cells, workloads }
    }

    /// The planted steps: the table costs 0.4 cycles more, later `dyn` of one op 0.5 cycles less.
    fn step(&self, name: &CellName, run: usize) -> f64 {
        let table = is_table(name) && run >= self.table_at();
        let dynamic = is_dyn(name) && run >= self.dyn_at();
        f64::from(u8::from(table)) * 0.4 - f64::from(u8::from(dynamic)) * 0.5
    }

    fn table_at(&self) -> usize {
        first_machine(self.runs * 4 / 5)
    }

    fn dyn_at(&self) -> usize {
        first_machine(self.runs.saturating_sub(12))
    }

    fn name(run: usize) -> RunName {
        RunName { stem: Self::stem(run), commit: Some(Self::commit(run)), started: Self::started(run).0 }
    }

    /// The document of the events. Histories of fewer than 25 runs have none.
    pub fn events(&self) -> Events {
        let mut events = Vec::new();
        let mut streams = Vec::new();
        if self.runs >= 25 {
            events.push(self.event("ev-0000000000c3", self.dyn_at(), -0.5, "pte_val: dyn", is_dyn));
            let text = format!("table in throughput ({0} of {0} cells)", self.ops.len());
            let mut table = self.event("ev-0000000000b2", self.table_at(), 0.4, &text, is_table);
            (table.state, table.cause, table.direction) = (State::Confirmed, Cause::Program, Direction::Worse);
            table.also_on = vec![CLASSES[1].0.to_owned()];
            events.push(table);
            let at = first_machine(self.runs / 3);
            let mut machine = self.event("ev-0000000000a1", at, 0.02, HOSTILE, |name| &*name.op == HOSTILE);
            (machine.state, machine.cause, machine.direction) = (State::Accepted, Cause::Machine, Direction::Mixed);
            let why = format!("new microcode {HOSTILE}");
            machine.accepted = Some(Accepted { who: "Ada <ada@example.org>".to_owned(), why, when: None });
            events.push(machine);
            streams.push(self.stream(at));
        }
        Events { schema: SCHEMA.to_owned(), tool: "0.1.0".to_owned(), streams, events }
    }

    fn stream(&self, at: usize) -> Stream {
        let change = AxisChange {
            run: Self::name(at),
            what: "microcode".to_owned(),
            before: "0xa101148".to_owned(),
            after: "0xa101150".to_owned(),
        };
        Stream {
            name: stream_name(),
            runs: self.runs - self.runs / SECOND_EVERY,
            commits: self.runs / 2,
            series: self.cells.len(),
            scatter: Vec::new(),
            axis: vec![change],
        }
    }

    fn event(&self, id: &str, at: usize, change: f64, text: &str, is_own: fn(&CellName) -> bool) -> Event {
        let own: Vec<&Arc<CellName>> = self.cells.iter().filter(|name| is_own(name)).collect();
        let moved = Moved { unit: Unit::Cycles, before: 1.0, after: 1.0 + change, error: 0.02 };
        let cell = |name: &&Arc<CellName>| MovedCell {
            subject: Subject::Cell((*name).clone()),
            overhead: Some(moved),
            instructions: None,
            code_changed: Some(false),
            shares_changed: false,
        };
        Event {
            id: id.to_owned(),
            stream: stream_name(),
            state: State::Suspected,
            state_reason: "all runs that show it are of one boot".to_owned(),
            cause: Cause::Unknown,
            evidence: vec!["instructions and bytes are the same".to_owned(), "the references did not move".to_owned()],
            direction: Direction::Better,
            range: Range { good: Self::name(at - 2), bad: Self::name(at), commits: Some(3) },
            description: Description { text: text.to_owned(), parts: Vec::new(), residual: Vec::new() },
            sizes: vec![Size {
                unit: Unit::Cycles,
                cells: own.len(),
                median: change,
                low: change - 0.03,
                high: change + 0.05,
            }],
            cells: own.iter().map(cell).collect(),
            first_run: Self::name(at),
            confirmed_by: None,
            last_run: Self::name(at + 1),
            also_on: Vec::new(),
            accepted: None,
        }
    }
}

fn is_table(name: &CellName) -> bool {
    &*name.mechanism == "table" && &*name.regime == "throughput"
}

fn is_dyn(name: &CellName) -> bool {
    &*name.op == "pte_val" && &*name.mechanism == "dyn"
}

/// The nearest run on the first machine with one before it there.
fn first_machine(run: usize) -> usize {
    if Made::machine(run) == 1 { run - 1 } else { run }
}

fn stream_name() -> StreamName {
    StreamName { machine_class: CLASSES[0].0.to_owned(), suite: "pv_ops".to_owned(), preset: "default".to_owned() }
}

/// The date of a day since 1970 (Hinnant's algorithm).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
