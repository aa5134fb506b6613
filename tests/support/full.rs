//! A report with every part of a default run, the longest names and a few ops of each kind. Its page has all columns,
//! plots and sections. Every number is made up.

use std::collections::BTreeMap;

use super::around;
use pvbench::regime::Regime;
use pvbench::report::Report;
use pvbench::report::linux::{Linux, LinuxCount, LinuxKernel, LinuxPrediction, LinuxShare, LinuxWorkload};
use pvbench::report::schema::{
    Cell, Instructions, LayoutEstimate, Limit, MechanismInfo, ModeShare, OptionInfo, Overhead, RegimeFloor, Spread,
    SpreadSource, WorkloadKernel, WorkloadResult,
};
use pvbench::stats::Interval;

/// Op, native cycles, whether it is patched with its own instructions.
const OPS: [(&str, f64, bool); 6] = [
    ("save_fl", 4.0, true),
    ("set_pte", 0.25, false),
    ("cpuid", 70_000.0, true),
    ("ptep_modify_prot_commit", 12.0, false),
    ("queued_spin_lock_slowpath", 18.0, false),
    ("adjust_exception_frame", 1.0, true),
];

/// Mechanism, its states, its overhead in cycles, its year in Linux.
const MECHANISMS: [(&str, &[&str], f64, Option<u16>); 14] = [
    ("inline", &[], 0.0, None),
    ("inline_clobber", &[], 0.01, None),
    ("table", &[], 3.75, Some(2007)),
    ("site", &["unpatched", "direct", "nop", "inline"], 3.9, Some(2007)),
    ("site_callee_save", &["unpatched", "direct", "nop", "inline"], 3.9, Some(2009)),
    ("jump_label", &["off", "on"], 0.4, Some(2011)),
    ("static_call_inline", &["unpatched", "direct", "inline"], 3.65, Some(2020)),
    ("direct", &[], 3.65, None),
    ("fn_pointer", &[], 3.8, None),
    ("box_dyn", &[], 3.9, None),
    ("kcfi", &[], 4.8, Some(2022)),
    ("compare_tree_16", &[], 20.6, None),
    ("retpoline", &[], 20.9, Some(2018)),
    ("retpoline_lfence", &[], 21.6, None),
];

const WORKLOADS: [&str; 11] = [
    "mmap_perf",
    "lat_mmap",
    "page_fault",
    "prot_fault",
    "fork_exit",
    "exec",
    "context_switch",
    "null_syscall",
    "spinlock",
    "page_life",
    "kernel_build",
];

/// Makes the report.
pub fn full() -> Report {
    let mut report = super::everything();
    report.catalogue.ops = OPS
        .map(|(name, ..)| {
            let known = report.catalogue.ops.iter().find(|op| op.name == name);
            let mut op = known.unwrap_or(&report.catalogue.ops[0]).clone();
            op.name = name.to_owned();
            op
        })
        .to_vec();
    report.catalogue.mechanisms = MECHANISMS.map(|mechanism| info(&report, mechanism)).to_vec();
    report.run.plan.ops = OPS.len();
    report.run.plan.mechanisms = MECHANISMS.map(|mechanism| mechanism.0.to_owned()).to_vec();
    report.run.plan.regimes = Regime::ALL.to_vec();
    let template = report.cells.iter().find(|cell| cell.op == "save_fl").expect("it has that op").clone();
    report.cells = cells(&template);
    let regime_floor = |regime| RegimeFloor {
        regime,
        cycles: floor(regime),
        ratio: floor(regime) / 40.0,
        comparisons: OPS.len(),
        same_loop_cycles: floor(regime) / 9.0,
        copied_loop_cycles: floor(regime) / 5.0,
    };
    report.floors = Regime::ALL.map(regime_floor).to_vec();
    report.workloads = WORKLOADS.iter().enumerate().map(workload).collect();
    let option = |name: &str| OptionInfo {
        name: name.to_owned(),
        switch: "CONFIG_X".to_owned(),
        summary: "lists of indirect calls at mmap, mprotect, fork and exec, the second a look-up in a policy"
            .to_owned(),
    };
    report.catalogue.options = ["page_poison", "security", "bad_page_two_flags"].map(option).to_vec();
    report.linux = Some(linux());
    report.failures.push(super::failure());
    report
}

fn info(report: &Report, (name, states, _, year): (&str, &[&str], f64, Option<u16>)) -> MechanismInfo {
    let known = report.catalogue.mechanisms.iter().find(|mechanism| mechanism.name == name);
    MechanismInfo {
        name: name.to_owned(),
        states: states.iter().map(|state| (*state).to_owned()).collect(),
        year,
        step: year.map(|_| "sites rewritten at boot: a direct call, the instructions themselves, or NOPs".to_owned()),
        ..known.unwrap_or(&report.catalogue.mechanisms[0]).clone()
    }
}

fn floor(regime: Regime) -> f64 {
    match regime {
        Regime::Throughput => 0.000_31,
        Regime::Flushed => 0.9,
        _ => 0.02,
    }
}

fn cells(template: &Cell) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (index, (op, native, patched)) in OPS.iter().enumerate() {
        for regime in Regime::ALL {
            for (mechanism, states, price, _) in MECHANISMS {
                for state in states.iter().map(|state| Some(*state)).chain(states.is_empty().then_some(None)) {
                    if state == Some(if *patched { "nop" } else { "inline" }) {
                        continue;
                    }
                    let cheap = matches!(state, Some("inline" | "nop" | "off"));
                    // Ops hide different shares of a call; the shares are fixed, so every test run is the same.
                    let hidden = [1.0, 0.9, 1.1, 0.4, 0.02, 0.97][index];
                    let factor = if regime == Regime::Flushed { 6.0 } else { 1.0 };
                    let price = if cheap { 0.13 } else { price } * hidden * factor;
                    cells.push(cell(template, (op, *native), (mechanism, state), regime, price));
                }
            }
        }
    }
    cells
}

fn cell(
    template: &Cell,
    (op, native): (&str, f64),
    (mechanism, state): (&str, Option<&str>),
    regime: Regime,
    price: f64,
) -> Cell {
    let traps = op == "cpuid";
    let value = if traps { 512.0 } else { price };
    let width = 0.01 + value.abs() * 0.02;
    let floor = floor(regime) * native.max(1.0);
    let limit = match value - 2.0 * width {
        _ if traps => Some(Limit::Traps),
        _ if mechanism == "inline" || value < floor => Some(Limit::Floor),
        low if low < floor => Some(Limit::Interval),
        _ if op.starts_with("queued") => Some(Limit::Layout),
        _ => None,
    };
    Cell {
        op: op.to_owned(),
        mechanism: mechanism.to_owned(),
        state: state.map(str::to_owned),
        regime,
        overhead: Some(Overhead {
            cycles: around(value, width),
            ns: around(value / 4.09, width / 4.09),
            ratio: around(1.0 + value / native, width / native),
        }),
        native_cycles: Some(native),
        layouts: [0, 29].map(|offset| LayoutEstimate { offset, cycles: around(value, width), workers: 20 }).to_vec(),
        layout_range: Some(if limit == Some(Limit::Layout) { value * 1.2 } else { 0.01 }),
        spread: Some(Spread {
            within_round: 0.01,
            between_rounds: Some(0.02),
            between_workers: 0.03,
            between_layouts: Some(0.04),
            largest: SpreadSource::Workers,
        }),
        modes: match mechanism {
            "kcfi" => [0.6, 0.4].map(|share| ModeShare { offset: 29, cycles: value + share, share }).to_vec(),
            _ => Vec::new(),
        },
        instructions: Some(Instructions { per_op: 18_380.0, extra: 12.25 }),
        floor_cycles: Some(floor),
        noise_cycles: Some(floor),
        resolved: limit.is_none(),
        limit,
        ..template.clone()
    }
}

fn workload((index, name): (usize, &&str)) -> WorkloadResult {
    let mut workload = super::workload();
    let known = workload.kernels[0].clone();
    workload.name = (*name).to_owned();
    workload.summary =
        "maps a file, touches a page of it, and takes it away again, as often as a second allows".to_owned();
    workload.source = "Ingo Molnar's mmap-perf, as it is quoted in the argument of 2009".to_owned();
    workload.inline_instructions = Some(18_380.0);
    workload.calls = BTreeMap::from([("set_pte".to_owned(), 12.25), ("ptep_modify_prot_commit".to_owned(), 300.0)]);
    (workload.floor_percent, workload.placement_percent) = (0.18, Some(1.38));
    let kernel = |mechanism: Option<(&str, Option<&str>)>, option: Option<&str>, percent: f64| {
        let percent = percent + index as f64 / 8.0;
        let resolved = percent.abs() - 0.2 > workload.floor_percent;
        WorkloadKernel {
            mechanism: mechanism.map(|it| it.0.to_owned()),
            state: mechanism.and_then(|it| it.1).map(str::to_owned),
            option: option.map(str::to_owned),
            overhead_percent: Some(around(percent, 0.12)),
            overhead_cycles: Some(around(percent, 0.12)),
            floor_percent: Some(workload.floor_percent + 0.08),
            resolved,
            limit: (!resolved).then_some(Limit::Floor),
            ..known.clone()
        }
    };
    workload.kernels = vec![
        kernel(Some(("table", None)), None, 8.71),
        kernel(Some(("site", Some("inline"))), None, 2.01),
        kernel(Some(("site_callee_save", Some("unpatched"))), None, 8.78),
        kernel(Some(("static_call_inline", Some("unpatched"))), None, 0.05),
        kernel(Some(("retpoline", None)), None, 175.53),
        kernel(None, Some("page_poison"), 155.78),
        kernel(None, Some("security"), 1.5),
        kernel(None, Some("bad_page_two_flags"), -1.26),
    ];
    workload
}

fn linux() -> Linux {
    let kernel = |name: &str| LinuxKernel {
        name: name.to_owned(),
        release: Some("Linux version 6.1.192 (builder@host) (gcc 12.2.0) #1 SMP PREEMPT_DYNAMIC".to_owned()),
        sha256: "00".repeat(32),
        variant: name.to_owned(),
        append: "mitigations=off noreplace-paravirt".to_owned(),
        sites: Some(3679),
        layout: None,
        reps_counted: None,
        reps_left: None,
        uncounted: None,
    };
    let count = |kernel: &str, per_unit: f64, percent: Option<f64>| {
        let exact = |value: f64| Interval { estimate: value, low: value, high: value };
        LinuxCount {
            kernel: kernel.to_owned(),
            units: 100,
            instructions: vec![(per_unit * 100.0) as u64],
            per_unit: exact(per_unit),
            as_one: Some(per_unit - 1.0),
            percent: percent.map(exact),
            percent_as_one: percent,
        }
    };
    let workload = |name: &&str| LinuxWorkload {
        name: (*name).to_owned(),
        unit: "call".to_owned(),
        summary: "maps a file, touches a page of it, and takes it away again".to_owned(),
        model: Some((*name).to_owned()),
        calls: BTreeMap::from([("set_pte".to_owned(), 12.25), ("ptep_modify_prot_commit".to_owned(), 300.0)]),
        counts: vec![count("stock", 18_380.0, None), count("noreplace-paravirt", 18_490.25, Some(0.6))],
    };
    Linux {
        qemu: "7.2.22".to_owned(),
        cpu: "qemu64".to_owned(),
        parameters: "quiet".to_owned(),
        init_sha256: "11".repeat(32),
        reps: 3,
        scale_percent: 100,
        phases: 5,
        kernels: ["stock", "noreplace-paravirt"].map(kernel).to_vec(),
        workloads: WORKLOADS.iter().take(3).map(workload).collect(),
        predictions: vec![LinuxPrediction {
            workload: "mmap_perf".to_owned(),
            mechanism: "static_call_inline".to_owned(),
            state: Some("unpatched".to_owned()),
            cycles: 1234.5,
            from: vec![LinuxShare { op: "ptep_modify_prot_commit".to_owned(), calls: 300.0, cycles: 1200.0 }],
            unknown: vec!["queued_spin_lock_slowpath".to_owned()],
        }],
    }
}
