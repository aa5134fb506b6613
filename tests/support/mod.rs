//! Synthetic reports. Every number is made up from a seed, to look like a run; none was measured.
#![allow(dead_code)]

pub mod full;

use std::collections::BTreeMap;

use pvbench::host::{Cache, Check, Machine, Status};
use pvbench::op::BodyKind;
use pvbench::op::{Bytes, Conventions, Group, InstructionMix, Kind, Since};
use pvbench::regime::Regime;
use pvbench::report::Report;
use pvbench::report::schema::{
    Calibration, Catalogue, Cell, CentralRange, Estimate, Failure, Floor, Instructions, LayoutEstimate, Limit, Listing,
    ListingLine, MechanismInfo, ModeShare, OpInfo, Overhead, PlanSummary, RegimeFloor, Run, SCHEMA, Tool, Unavailable,
    UnitInstructions, WorkloadKernel, WorkloadResult,
};
use rand::RngExt;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

const CPU: &[&str] = &[
    "cpuid",
    "get_debugreg",
    "set_debugreg",
    "read_cr0",
    "write_cr0",
    "write_cr4",
    "load_tr_desc",
    "load_gdt",
    "load_idt",
    "set_ldt",
    "store_tr",
    "load_tls",
    "load_gs_index",
    "write_ldt_entry",
    "write_gdt_entry",
    "write_idt_entry",
    "alloc_ldt",
    "free_ldt",
    "load_sp0",
    "io_delay",
    "read_msr",
    "write_msr",
    "read_msr_safe",
    "write_msr_safe",
    "read_pmc",
    "wbinvd",
    "swapgs",
    "start_context_switch",
    "end_context_switch",
];
const IRQ: &[&str] =
    &["save_fl", "restore_fl", "irq_disable", "irq_enable", "safe_halt", "halt", "adjust_exception_frame"];
const MMU: &[&str] = &[
    "read_cr2",
    "write_cr2",
    "read_cr3",
    "write_cr3",
    "activate_mm",
    "dup_mmap",
    "exit_mmap",
    "flush_tlb_user",
    "flush_tlb_kernel",
    "flush_tlb_one_user",
    "flush_tlb_multi",
    "tlb_remove_table",
    "pgd_alloc",
    "pgd_free",
    "alloc_pte",
    "alloc_pmd",
    "release_pte",
    "release_pmd",
    "set_pte",
    "set_pmd",
    "ptep_modify_prot_start",
    "ptep_modify_prot_commit",
    "pte_val",
    "make_pte",
    "pgd_val",
    "make_pgd",
    "set_pud",
    "pmd_val",
    "make_pmd",
    "set_fixmap",
];
const LOCK: &[&str] = &["queued_spin_lock_slowpath", "queued_spin_unlock", "wait", "kick", "vcpu_is_preempted"];
const TIME: &[&str] = &["sched_clock", "steal_clock", "get_wallclock"];

/// Name, cycles above `inline` in throughput for a short op, summary, origin.
const MECHANISMS: &[(&str, f64, &str, &str)] = &[
    ("inline", 0.0, "the native instructions in place: the baseline", "a kernel without CONFIG_PARAVIRT"),
    ("inline_clobber", 0.1, "the native instructions in place, all caller-saved registers given up", "Linux 2.6.20"),
    ("flag", 0.22, "if (xen) call the Xen body, else the native instructions in place", "every `if (feature)`"),
    ("enum", 0.3, "a match on an enum of implementations", "Rust's enum_dispatch crate (2019)"),
    ("direct", 3.5, "a direct call of the native body", "Linux 2.6.20, paravirt_patch_call"),
    ("table", 3.7, "an indirect call through the pv_ops table", "Linux 2.6.20 (2007), an unpatched pv_ops site"),
    ("fn_pointer", 3.8, "what plain Rust makes of a static function pointer", "any HAL"),
    ("dyn", 3.9, "a method of a trait object", "C++ virtual functions; Rust trait objects"),
    ("once_lock", 4.6, "a table in a OnceLock: is it set? then an indirect call", "Rust 1.70 (2023)"),
];

/// The floor of synthetic reports, in core cycles.
pub const FLOOR: f64 = 0.06;

/// A made-up run: 74 ops, nine mechanisms, three regimes.
pub fn synthetic() -> Report {
    synthetic_with(MECHANISMS.len(), 1)
}

/// A made-up run with `mechanisms` mechanisms (more than nine get numbered names) and `times` as many ops.
pub fn synthetic_with(mechanisms: usize, times: usize) -> Report {
    let mut rng = Pcg64Mcg::seed_from_u64(20_260_115);
    let names: Vec<(String, f64)> = (0..mechanisms)
        .map(|index| match MECHANISMS.get(index) {
            Some((name, cycles, ..)) => ((*name).to_owned(), *cycles),
            None => (format!("synthetic_{index}"), 5.0 + index as f64),
        })
        .collect();
    let groups = [(Group::Cpu, CPU), (Group::Irq, IRQ), (Group::Mmu, MMU), (Group::Lock, LOCK), (Group::Time, TIME)];
    let mut ops = Vec::new();
    let mut cells = Vec::new();
    for round in 0..times {
        for (group, members) in groups {
            for (index, member) in members.iter().enumerate() {
                let name = if round == 0 { (*member).to_owned() } else { format!("{member}_{round}") };
                let kind = if index % 3 == 0 && group != Group::Cpu { Kind::Real } else { Kind::Modelled };
                ops.push(op(&name, group, kind));
                op_cells(&mut cells, &name, group, kind, &names, &mut rng);
            }
        }
    }
    let regimes = [Regime::Throughput, Regime::Latency, Regime::Pressure].to_vec();
    Report {
        schema: SCHEMA.to_owned(),
        tool: Tool {
            name: "pvbench".to_owned(),
            version: "0.1.0".to_owned(),
            build: "release".to_owned(),
            suite: None,
            rustc: None,
        },
        run: Run {
            seed: 0x5eed,
            plan: PlanSummary {
                preset: "synthetic".to_owned(),
                ops: ops.len(),
                mechanisms: names.iter().map(|n| n.0.clone()).collect(),
                regimes: regimes.clone(),
                bodies: vec![BodyKind::Native],
                layouts: vec![0, 29],
                workers: 20,
                workers_again: 0,
                rounds: 5,
                window_cycles: 100_000,
                cpu: Some(1),
                second_cpu: Some(0),
                confidence: 0.95,
                error_per_cell: 1e-5,
            },
            started: "2026-01-15T09:30:00Z".to_owned(),
            duration_seconds: 57.3,
            complete: true,
        },
        machine: machine(),
        environment: environment(),
        calibration: Some(Calibration {
            clock: "tsc".to_owned(),
            clock_reason: None,
            ticks_per_second: 2.7e9,
            ticks_per_cycle: CentralRange { median: 0.6602, low: 0.6589, high: 0.6631 },
            core_ghz: CentralRange { median: 4.09, low: 4.072, high: 4.098 },
            adds_per_cycle: Some(CentralRange { median: 3.6, low: 2.1, high: 3.7 }),
            contended_share: 0.1,
            rounds: 4440,
            dropped_rounds: 3,
            dropped_values: 12,
        }),
        floor: Some(Floor {
            cycles: FLOOR,
            ratio: 0.012,
            comparisons: ops.len() * 6,
            same_loop_cycles: 0.004,
            copied_loop_cycles: 0.011,
        }),
        floors: regimes.iter().map(|regime| regime_floor(*regime, ops.len())).collect(),
        catalogue: Catalogue { ops, mechanisms: catalogue(&names), options: Vec::new() },
        cells,
        workloads: Vec::new(),
        kernel_time: None,
        linux: None,
        absent: vec![Unavailable { what: "counters".to_owned(), reason: "this machine shows no PMU".to_owned() }],
        failures: Vec::new(),
    }
}

/// The synthetic report with all optional parts: steps of a history, machine code, counters, states.
pub fn everything() -> Report {
    let mut report = synthetic();
    for cell in report.cells.iter_mut().filter(|cell| cell.mechanism == "table") {
        cell.state = Some("unpatched".to_owned());
    }
    for cell in report.cells.iter_mut().filter(|cell| cell.overhead.is_some()) {
        cell.counters = Some(BTreeMap::from([("branch_misses".to_owned(), 0.25), ("l1i_misses".to_owned(), 1.5)]));
        cell.instructions = Some(Instructions { per_op: 7.25, extra: 2.0 });
        cell.mix = Some(InstructionMix { direct_calls: 1.0, returns: 1.0, ..InstructionMix::default() });
    }
    for mechanism in &mut report.catalogue.mechanisms {
        let step = [
            ("table", 2007, "every hook through a table"),
            ("direct", 2009, "sites patched"),
            ("enum", 2022, "as an alternative"),
        ]
        .into_iter()
        .find(|step| step.0 == mechanism.name);
        mechanism.year = step.map(|step| step.1);
        mechanism.step = step.map(|step| step.2.to_owned());
        mechanism.listings = match mechanism.name.as_str() {
            "inline" => vec![listing(None, &[("9c", "pushfq", "site"), ("58", "pop rax", "site")])],
            "table" => vec![
                listing(
                    Some("unpatched"),
                    &[("ff1510203040", "call qword ptr [rip+40302010h]", "site"), ("c3", "ret", "callee")],
                ),
                listing(Some("inline"), &[("9c58", "*pushfq; pop rax", "site"), ("0f1f4000", "*nop", "site")]),
            ],
            _ => Vec::new(),
        };
    }
    report
}

/// A listing of `save_fl`. An asterisk before a text marks a line that patching changed.
fn listing(state: Option<&str>, lines: &[(&str, &str, &str)]) -> Listing {
    let line = |(bytes, text, place): &(&str, &str, &str)| ListingLine {
        bytes: (*bytes).to_owned(),
        text: text.trim_start_matches('*').to_owned(),
        place: (*place).to_owned(),
        changed: text.starts_with('*'),
    };
    Listing { op: "save_fl".to_owned(), state: state.map(str::to_owned), lines: lines.iter().map(line).collect() }
}

/// The report of a run that ended before its first comparison.
pub fn empty() -> Report {
    let mut report = synthetic();
    report.cells.clear();
    report.catalogue = Catalogue { ops: Vec::new(), mechanisms: Vec::new(), options: Vec::new() };
    report.floor = None;
    report.floors.clear();
    report.calibration = None;
    report.environment.clear();
    report.run.complete = false;
    report
}

/// The failure of a worker that died.
pub fn failure() -> Failure {
    Failure {
        worker: 7,
        comparison: Some("write_cr3/native/throughput@29".to_owned()),
        message: "the worker died of signal 11 (SIGSEGV)".to_owned(),
    }
}

fn regime_floor(regime: Regime, comparisons: usize) -> RegimeFloor {
    RegimeFloor { regime, cycles: FLOOR, ratio: 0.012, comparisons, same_loop_cycles: 0.004, copied_loop_cycles: 0.011 }
}

fn catalogue(names: &[(String, f64)]) -> Vec<MechanismInfo> {
    let info = |(index, (name, _)): (usize, &(String, f64))| {
        let (summary, known_from) = MECHANISMS.get(index).map_or(("made up", "nowhere"), |m| (m.2, m.3));
        MechanismInfo {
            name: name.clone(),
            summary: summary.to_owned(),
            states: Vec::new(),
            known_from: known_from.to_owned(),
            year: None,
            step: None,
            listings: Vec::new(),
        }
    };
    names.iter().enumerate().map(info).collect()
}

fn op(name: &str, group: Group, kind: Kind) -> OpInfo {
    OpInfo {
        name: name.to_owned(),
        group,
        since: Since::Linux61,
        arguments: 1,
        returns: true,
        native_kind: kind,
        xen_kind: Kind::Modelled,
        bytes: Bytes::Instruction,
        native_code: "9c58".to_owned(),
        conventions: Conventions::C,
        prototype: format!("unsigned long (*{name})(void)"),
        purpose: "made up".to_owned(),
        source: "made up".to_owned(),
    }
}

fn op_cells(cells: &mut Vec<Cell>, op: &str, group: Group, kind: Kind, names: &[(String, f64)], rng: &mut Pcg64Mcg) {
    // A long body hides a part of the call.
    let native = [0.25, 0.5, 1.0, 4.0, 18.0][rng.random_range(0..5)] * rng.random_range(0.9..1.1);
    let hidden = match group {
        Group::Lock => rng.random_range(0.3..1.0),
        _ if native > 3.0 => rng.random_range(0.1..0.7),
        _ => rng.random_range(0.0..0.15),
    };
    for regime in [Regime::Throughput, Regime::Latency, Regime::Pressure] {
        for (index, (mechanism, base)) in names.iter().enumerate() {
            let mut cell = Cell {
                op: op.to_owned(),
                body: BodyKind::Native,
                kind,
                mechanism: mechanism.clone(),
                state: None,
                regime,
                overhead: None,
                absent: None,
                native_cycles: None,
                layouts: Vec::new(),
                layout_range: None,
                spread: None,
                modes: Vec::new(),
                instructions: None,
                instructions_absent: None,
                mix: None,
                code: None,
                counters: None,
                floor_cycles: Some(FLOOR),
                noise_cycles: Some(FLOOR),
                resolved: false,
                limit: None,
            };
            if op.starts_with("swapgs") {
                cell.absent = Some("fewer than two workers finished this group".to_owned());
                cells.push(cell);
                continue;
            }
            let factor = match regime {
                Regime::Cold => 3.0,
                Regime::Flushed => 9.0,
                Regime::Random2 | Regime::Random4 | Regime::Random8 => 5.0,
                Regime::Throughput => 1.0,
                Regime::Latency => 1.3,
                Regime::Pressure if index == 1 => 9.0,
                Regime::Pressure => 1.45,
            };
            let noise = rng.random_range(-0.03..0.03);
            let value = match index {
                0 => noise,
                1..4 if rng.random_range(0..3) > 0 => noise,
                _ => base * factor * (1.0 - hidden) + noise,
            };
            fill(&mut cell, value, native, rng);
            cells.push(cell);
        }
    }
}

fn fill(cell: &mut Cell, value: f64, native: f64, rng: &mut Pcg64Mcg) {
    let width = rng.random_range(0.004..0.03) + value.abs() * 0.012;
    let range = if rng.random_range(0..14) == 0 { value.abs() * 1.2 } else { rng.random_range(0.0..0.04) };
    if rng.random_range(0..40) == 0 {
        cell.modes = vec![
            ModeShare { offset: 29, cycles: value, share: 0.65 },
            ModeShare { offset: 29, cycles: value + 1.0, share: 0.35 },
        ];
    }
    cell.overhead = Some(Overhead {
        cycles: around(value, width),
        ns: around(value / 4.09, width / 4.09),
        ratio: around(1.0 + value / native, width / native),
    });
    cell.native_cycles = Some(native);
    let at = |offset, cycles| LayoutEstimate { offset, cycles: around(cycles, width), workers: 20 };
    cell.layouts = vec![at(0, value - range / 2.0), at(29, value + range / 2.0)];
    cell.layout_range = Some(range);
    let modes = if cell.modes.is_empty() { 0.0 } else { 1.0 };
    let floor = FLOOR.max(range).max(modes) + 0.8 * width;
    cell.floor_cycles = Some(floor);
    cell.limit = if value.abs() <= FLOOR {
        Some(Limit::Floor)
    } else if value.abs() <= range {
        Some(Limit::Layout)
    } else if value.abs() <= modes {
        Some(Limit::Modes)
    } else if value.abs() - width <= floor {
        Some(Limit::Interval)
    } else {
        None
    };
    cell.resolved = cell.limit.is_none();
}

fn machine() -> Machine {
    Machine {
        cpu_model: Some("AMD EPYC 9B45 (synthetic report)".to_owned()),
        cpu_vendor: Some("AuthenticAMD".to_owned()),
        cpu_family: Some(26),
        cpu_model_number: Some(2),
        cpu_stepping: Some(1),
        microcode: Some("0xffffffff".to_owned()),
        threads_per_core: Some(2),
        boot_id: Some("6f1c2d0a-5f0e-4b57-9c8e-1f2a3b4c5d6e".to_owned()),
        cpus_online: Some(2),
        cpus_allowed: Some(vec![0, 1]),
        virtualised: Some("KVMKVMKVM".to_owned()),
        kernel: Some("6.8.0-synthetic".to_owned()),
        os: Some("Debian GNU/Linux 13 (trixie)".to_owned()),
        tsc_hz: Some(2_700_000_000),
        caches: vec![
            Cache { level: 1, kind: "Data".to_owned(), size_bytes: 49_152 },
            Cache { level: 1, kind: "Instruction".to_owned(), size_bytes: 32_768 },
            Cache { level: 2, kind: "Unified".to_owned(), size_bytes: 1_048_576 },
            Cache { level: 3, kind: "Unified".to_owned(), size_bytes: 33_554_432 },
        ],
        memory_bytes: Some(8_200_000_000),
        mitigations: BTreeMap::from([
            ("spectre_v1".to_owned(), "Mitigation: usercopy/swapgs barriers".to_owned()),
            ("spectre_v2".to_owned(), "Mitigation: Enhanced / Automatic IBRS".to_owned()),
        ]),
    }
}

fn environment() -> Vec<Check> {
    let check = |id: &str, status, detail: &str, advice: Option<&str>| Check {
        id: id.to_owned(),
        status,
        detail: detail.to_owned(),
        effect: None,
        advice: advice.map(str::to_owned),
    };
    use Status::{Ok, Unknown, Warning};
    vec![
        check("tsc_constant", Ok, "the TSC ticks at one rate", None),
        check("tsc_invariant", Ok, "the TSC goes on in deep sleep", None),
        check(
            "governor",
            Unknown,
            "no cpufreq here",
            Some("fix the frequency on the host, or read intervals, not points"),
        ),
        check("smt_sibling", Unknown, "the topology of a guest says nothing of the host", Some("ask for a whole core")),
        check("steal", Ok, "0.00% of the time was stolen", None),
        check("virtualised", Ok, "KVM", Some("bare metal has no neighbours")),
        check(
            "pmu",
            Warning,
            "perf_event_open: ENOENT, no hardware counters",
            Some("use a machine with a PMU, or --instructions"),
        ),
        check("load", Warning, "load of 1.92 on 2 CPUs", Some("stop what else runs, then measure again")),
        check("aslr", Ok, "on: layouts differ between workers, as they should", None),
        check("memfd", Ok, "sealed executable memory works", None),
    ]
}

/// An estimate over 20 workers whose 95% interval has this half-width.
pub fn around(estimate: f64, half: f64) -> Estimate {
    let standard_error = half / 2.093_024_1;
    Estimate { estimate, standard_error, degrees_of_freedom: 19.0, low: estimate - half, high: estimate + half }
}

/// A workload on three kernels: one with a mechanism, an unavailable one, and one with an option.
pub fn workload() -> WorkloadResult {
    let percent = |estimate: f64| Some(around(estimate, 0.1));
    let kernel = |mechanism: Option<&str>, option: Option<&str>, overhead: Option<Estimate>| WorkloadKernel {
        mechanism: mechanism.map(str::to_owned),
        state: mechanism.map(|_| "unpatched".to_owned()),
        option: option.map(str::to_owned),
        overhead_percent: overhead,
        overhead_cycles: overhead,
        instructions: overhead.map(|o| UnitInstructions { per_unit: 8_000.0, extra_percent: o.estimate / 2.0 }),
        instructions_absent: None,
        counters: None,
        floor_percent: overhead.map(|_| 0.4),
        resolved: overhead.is_some(),
        limit: None,
        predicted_percent: mechanism.and(overhead).map(|o| o.estimate + 0.5),
        predicted_range_percent: None,
        predicted_absent: mechanism.filter(|_| overhead.is_none()).map(|_| "no cell".to_owned()),
        absent: if overhead.is_none() { Some("no such CPU".to_owned()) } else { None },
    };
    WorkloadResult {
        name: "fork_exit".to_owned(),
        unit: "fork".to_owned(),
        summary: "a process forks".to_owned(),
        source: "lmbench".to_owned(),
        units: 100,
        workers: 8,
        contended_workers: 1,
        placements: 70,
        inline_cycles: percent(20_000.0),
        inline_ns: Some(5_000.0),
        inline_instructions: Some(7_500.0),
        inline_counters: Some(BTreeMap::from([("cycles".to_owned(), 20_000.0), ("instructions".to_owned(), 7_500.0)])),
        calls: std::collections::BTreeMap::from([("set_pte".to_owned(), 200.5), ("pte_val".to_owned(), 300.0)]),
        surroundings: None,
        repeat_percent: percent(0.0),
        copies_percent: vec![around(0.2, 0.1)],
        floor_percent: 0.2,
        placement_percent: Some(1.1),
        in_place: None,
        kernels: vec![
            kernel(Some("site"), None, percent(7.25)),
            kernel(Some("retpoline"), None, None),
            kernel(None, Some("audit"), percent(1.5)),
        ],
    }
}
