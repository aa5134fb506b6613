//! The instruction mix of every mechanism and state, and what reports, exports and the gate make of it.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use assert_cmd::Command;
use pvbench::clock::Clock;
use pvbench::dispatch::{Direct, Dispatch, Inline, Mechanism, Slots, Table};
use pvbench::measure::comparison::Comparison;
use pvbench::measure::loop_bench::{LoopBench, LoopConditions, LoopJob};
use pvbench::measure::samples::VariantCounts;
use pvbench::measure::variant::{MechanismState, Treatments, Variant};
use pvbench::op::mmu::{AllocPte, PteVal, SetPte};
use pvbench::op::{BodyKind, InstructionMix, Op};
use pvbench::regime::Regime;
use pvbench::report::schema::{Cell, Instructions};
use pvbench::report::{Report, read, write};
use pvbench::suite::{OpEntry, mechanisms};
use serde_json::Value;

/// Counts an op by mechanism and state: instructions, and their mix.
fn count(entry: OpEntry, regime: Regime, variants: &[MechanismState]) -> BTreeMap<String, (f64, InstructionMix)> {
    let conditions = LoopConditions {
        seed: 1,
        clock: Clock::Tsc,
        window_cycles: 1_000,
        min_adds_per_cycle: 0.0,
        counters: false,
        instructions: true,
    };
    // A process has one tracer at a time.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let op = entry.meta.name.to_owned();
    let mut bench = LoopBench::new(vec![entry], conditions).unwrap();
    let comparison = Comparison { op, body: BodyKind::Native, regime, offset: 0 };
    let mut treatments = Treatments::default();
    let ids = treatments.add_mechanisms(variants.iter().cloned());
    let job = LoopJob { comparison: &comparison, treatments: &ids, blocks: 1, count: true };
    let table = bench.measure(&job, &treatments).unwrap().table;
    let named = |variant: Variant| match variant {
        Variant::Treatment(id) => treatments.mechanism(id).unwrap().to_string(),
        _ => "inline".to_owned(),
    };
    let counted = |count: &VariantCounts| (count.instructions.clone().unwrap().unwrap(), count.mix.unwrap_or_default());
    table.counts.iter().map(|count| (named(count.variant), counted(count))).collect()
}

/// Transfers of control and accesses of `pte_val`, whose body is `mov rax, rdi; ret`, by mechanism and state, where
/// each is the mechanism's own choice and not the compiler's.
const EXACT: [(&str, &str); 22] = [
    ("inline", ""),
    ("inline_clobber", ""),
    ("direct", "1 direct call, 1 return, 1 load, 1 store"),
    ("table", "1 indirect call, 1 return, 2 loads, 1 store"),
    ("table_callee_save", "1 indirect call, 1 return, 2 loads, 1 store"),
    // The thunk saves and restores eight registers.
    ("table_thunk", "1 direct call, 1 indirect call, 2 returns, 11 loads, 10 stores"),
    ("got", "1 indirect call, 1 return, 2 loads, 1 store"),
    ("dlsym", "1 indirect call, 1 return, 2 loads, 1 store"),
    ("endbr", "1 indirect call, 1 return, 2 loads, 1 store"),
    ("plt", "1 direct call, 1 return, 1 indirect jump, 2 loads, 1 store"),
    ("ifunc", "1 direct call, 1 return, 1 indirect jump, 2 loads, 1 store"),
    ("static_call", "1 direct call, 1 return, 1 direct jump, 1 load, 1 store"),
    ("static_call_inline (direct)", "1 direct call, 1 return, 1 load, 1 store"),
    // The slot, the two returns; the two calls, and the target in place of the inner call's return address.
    ("retpoline", "2 direct calls, 2 returns, 3 loads, 3 stores"),
    ("retpoline_lfence", "1 direct call, 1 return, 1 indirect jump, 2 loads, 1 store, 1 serialising instruction"),
    ("site (unpatched)", "1 indirect call, 1 return, 2 loads, 1 store"),
    ("site (direct)", "1 direct call, 1 return, 1 load, 1 store"),
    ("site (inline)", ""),
    ("site_callee_save (unpatched)", "1 indirect call, 1 return, 2 loads, 1 store"),
    ("site_callee_save (inline)", ""),
    ("jump_label (off)", ""),
    ("alternative (inline)", ""),
];

/// Transfers of control of mechanisms whose accesses are the compiler's choice.
const TRANSFERS: [(&str, &str); 10] = [
    ("flag", "1 branch not taken"),
    ("kcfi", "1 indirect call, 1 return, 1 branch taken"),
    ("fineibt", "1 indirect call, 1 return, 1 branch taken"),
    ("fn_pointer", "1 indirect call, 1 return"),
    ("dyn", "1 indirect call, 1 return"),
    ("box_dyn", "1 indirect call, 1 return, 1 branch not taken"),
    ("once_lock", "1 indirect call, 1 return, 1 branch not taken"),
    ("lazy_lock", "1 indirect call, 1 return, 1 branch not taken"),
    ("alternative (direct)", "1 direct call, 1 return"),
    ("compare_tree_1", "1 direct call, 1 return, 1 branch not taken"),
];

#[test]
fn each_mechanism_and_state_has_exactly_the_mix_of_its_call_sequence() {
    let variants: Vec<MechanismState> = mechanisms().iter().flat_map(MechanismState::list).collect();
    let counted = count(OpEntry::new::<PteVal>(), Regime::Throughput, &variants);
    let found =
        |name: &str| counted.get(name).map(|(_, mix)| mix).unwrap_or_else(|| panic!("{name}: {:?}", counted.keys()));
    for (name, mix) in EXACT {
        let without_lines = InstructionMix { code_lines: 0.0, ..*found(name) };
        assert_eq!(without_lines.describe().join(", "), mix, "{name}");
    }
    for (name, mix) in TRANSFERS {
        let transfers = InstructionMix { loads: 0.0, stores: 0.0, code_lines: 0.0, direct_jumps: 0.0, ..*found(name) };
        assert_eq!(transfers.describe().join(", "), mix, "{name}");
    }
    // A site of one line, the body, and a stub, trampoline or thunk between them.
    for (name, lines) in
        [("inline", 1.0), ("direct", 2.0), ("table", 2.0), ("plt", 3.0), ("static_call", 3.0), ("retpoline", 3.0)]
    {
        assert_eq!(found(name).code_lines, lines, "{name}");
    }
    for (name, (instructions, mix)) in &counted {
        let transfers = mix.calls() + mix.returns + mix.direct_jumps + mix.indirect_jumps + mix.branches();
        assert!(mix.code_lines > 0.0 && transfers <= *instructions, "{name}: {mix:?}");
    }
}

/// Passes of the random regimes differ in their targets.
#[test]
fn a_mix_is_the_same_whatever_targets_the_calls_draw() {
    let variants: Vec<MechanismState> = mechanisms().iter().flat_map(MechanismState::list).collect();
    for entry in [OpEntry::new::<PteVal>(), OpEntry::new::<SetPte>(), OpEntry::new::<AllocPte>()] {
        let name = entry.meta.name;
        let [hot, random] = [Regime::Throughput, Regime::Random4].map(|regime| count(entry.clone(), regime, &variants));
        let drawn: Vec<&String> = random.keys().filter(|name| name.as_str() != "inline").collect();
        assert!(drawn.len() > 5, "{name}: {drawn:?}");
        // A tree of comparisons takes another branch for each target.
        for mechanism in drawn.into_iter().filter(|name| !name.starts_with("compare_tree")) {
            let transfers = |counted: &BTreeMap<String, (f64, InstructionMix)>| {
                let mix = counted[mechanism].1;
                [mix.direct_calls, mix.indirect_calls, mix.returns, mix.indirect_jumps, mix.branches()]
            };
            assert_eq!(transfers(&random), transfers(&hot), "{name} {mechanism}");
        }
    }
}

/// A driver's hook: a direct call, or after a change of the driver a call through a table.
struct Hook<const INDIRECT: bool>;

impl<const INDIRECT: bool> Dispatch for Hook<INDIRECT> {
    const META: Mechanism = Mechanism { name: "hook", switches: INDIRECT, ..Mechanism::BASE };
    const TABLE: Option<&'static Slots> = if INDIRECT { Table::TABLE } else { None };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        // SAFETY: both mechanisms have the contract of this method, which the caller meets.
        unsafe { if INDIRECT { Table::call::<O>(args) } else { Direct::call::<O>(args) } }
    }

    fn bind<O: Op>(body: BodyKind) {
        if INDIRECT {
            Table::bind::<O>(body);
        }
    }
}

/// A report of the hook as counted, with made-up times.
fn report_of_hook<const INDIRECT: bool>() -> Report {
    let counted = count(
        OpEntry::with::<PteVal, (Inline, Hook<INDIRECT>)>(),
        Regime::Throughput,
        &[MechanismState::plain("hook")],
    );
    let [(inline, _), (per_op, mix)] = ["inline", "hook"].map(|name| counted[name]);
    let mut report = support::synthetic();
    report.cells.retain(|cell| cell.op == "pte_val" && cell.mechanism == "direct" && cell.regime == Regime::Throughput);
    for mechanism in report.catalogue.mechanisms.iter_mut().filter(|mechanism| mechanism.name == "direct") {
        "hook".clone_into(&mut mechanism.name);
    }
    let cell = report.cells.first_mut().unwrap();
    "hook".clone_into(&mut cell.mechanism);
    cell.instructions = Some(Instructions { per_op, extra: per_op - inline });
    cell.mix = Some(mix);
    report
}

/// Judges a report. Returns exit code and output.
fn gate(report: &Report, budgets: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("report.json"), write::json(report).unwrap()).unwrap();
    std::fs::write(path("budgets.toml"), budgets).unwrap();
    let mut command = pvbench();
    command.arg("gate").arg(path("report.json")).arg("--budget").arg(path("budgets.toml"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

fn pvbench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pvbench"))
}

/// The example of `docs/gate.md`: its rule and its output.
#[test]
fn a_direct_call_that_becomes_indirect_fails_the_gate_exactly() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gate.md")).unwrap();
    let section =
        page.split("\n## ").find(|section| section.starts_with("A direct call of an op that becomes")).unwrap();
    let blocks: Vec<&str> = section.split("```").collect();
    let (budgets, shown) = (blocks[1].trim_start_matches("toml\n"), blocks[3].trim_matches('\n'));
    let (code, text) = gate(&report_of_hook::<false>(), budgets);
    assert_eq!(code, 0, "{text}");
    let (code, text) = gate(&report_of_hook::<true>(), budgets);
    assert_eq!(code, 1, "{text}");
    for line in shown.lines() {
        assert!(text.lines().any(|found| found.trim() == line.trim()), "the page shows\n{line}\nand not\n{text}");
    }
    let failed: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with("fail")).collect();
    assert!(failed.len() == 1 && failed[0].contains("indirect_branches budgets.toml:1"), "{text}");
    assert!(text.contains("the driver calls its chip directly"), "{text}");
}

#[test]
fn a_first_budget_file_holds_calls_and_indirect_branches() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let (direct, indirect) = (report_of_hook::<false>(), report_of_hook::<true>());
    std::fs::write(&file, write::json(&direct).unwrap()).unwrap();
    let output = pvbench().arg("gate").arg(&file).arg("--init").output().unwrap();
    let budgets = String::from_utf8(output.stdout).unwrap();
    assert!(budgets.contains("2 instructions\"\ncalls = 1\nindirect_branches = 0\n"), "{budgets}");
    assert!(!budgets.contains("branches = 0\nbranches") && !budgets.contains("loads"), "{budgets}");
    assert_eq!(gate(&direct, &budgets).0, 0, "{budgets}");
    assert_eq!(gate(&indirect, &budgets).0, 1, "{budgets}");
}

#[test]
fn a_first_budget_file_holds_the_bytes_of_sites_whose_machine_code_the_report_shows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    std::fs::write(&file, write::json(&support::everything()).unwrap()).unwrap();
    let output = pvbench().arg("gate").arg(&file).args(["--init", "--mechanism", "table"]).output().unwrap();
    let budgets = String::from_utf8(output.stdout).unwrap();
    let of = |op: &str| budgets.split("\n\n").find(|rule| rule.contains(&format!("op = \"{op}\""))).unwrap().to_owned();
    assert!(of("save_fl").contains("site_bytes = \"6 bytes\""), "{budgets}");
    assert!(!of("pte_val").contains("site_bytes"), "{budgets}");
    assert_eq!(gate(&support::everything(), &budgets).0, 0);
}

#[test]
fn a_report_without_mixes_is_read_and_a_budget_on_one_is_inconclusive_with_the_reason() {
    let mut report = report_of_hook::<false>();
    let rule = "[[budget]]\nop = \"pte_val\"\nmechanism = \"hook\"\nloads = 2\n";
    assert_eq!(gate(&report, rule).0, 0);
    let cell = |report: &mut Report, change: fn(&mut Cell)| change(report.cells.first_mut().unwrap());
    cell(&mut report, |cell| cell.mix = None);
    let (code, text) = gate(&report, rule);
    assert!(code == 3 && text.contains("no instruction mix of this cell"), "{text}");
    cell(&mut report, |cell| {
        (cell.instructions, cell.instructions_absent) = (None, Some("the loop waits".to_owned()));
    });
    let (code, text) = gate(&report, rule);
    assert!(code == 3 && text.contains("the loop waits"), "{text}");
    cell(&mut report, |cell| cell.instructions_absent = None);
    let (code, text) = gate(&report, rule);
    assert!(code == 3 && text.contains("the report has no instruction counts"), "{text}");
}

#[test]
fn a_mix_with_a_number_that_is_no_count_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let read = |path: &Path| read::report(path).map(|report| report.cells[0].mix);
    let mut document: Value = serde_json::from_slice(&write::json(&report_of_hook::<false>()).unwrap()).unwrap();
    let mut with = |mix: Value| {
        document["cells"][0]["mix"] = mix;
        std::fs::write(&file, document.to_string()).unwrap();
        read(&file)
    };
    let mix = with(serde_json::json!({"direct_calls": 1.0})).unwrap().unwrap();
    assert_eq!(mix, InstructionMix { direct_calls: 1.0, ..InstructionMix::default() });
    for wrong in [serde_json::json!({"loads": -1.0}), serde_json::json!({"laods": 1.0}), serde_json::json!(1)] {
        assert!(with(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn exports_have_a_column_per_class_and_empty_fields_where_nothing_was_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let mut report = report_of_hook::<true>();
    let mut uncounted = report.cells[0].clone();
    (uncounted.mix, uncounted.op) = (None, "set_pte".to_owned());
    report.cells.push(uncounted);
    std::fs::write(&file, write::json(&report).unwrap()).unwrap();
    let export = |format: &str| {
        let output = pvbench().arg("export").arg(&file).args(["--format", format]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = export("csv");
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let header = rows.headers().unwrap().clone();
    let records: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    let field = |row: usize, name: &str| {
        let column = header.iter().position(|found| found == name).unwrap_or_else(|| panic!("{name}: {header:?}"));
        records[row][column].to_owned()
    };
    for (name, count) in InstructionMix::NAMES.into_iter().zip(report.cells[0].mix.unwrap().values()) {
        assert_eq!(field(0, name).parse::<f64>().unwrap(), count, "{name}");
        assert_eq!(field(1, name), "", "{name}");
    }
    assert_eq!((field(0, "indirect_calls").as_str(), field(0, "direct_calls").as_str()), ("1.0", "0.0"));
    let markdown = export("markdown");
    assert!(
        markdown.contains("| mechanism | indirect\\_calls | returns | loads | stores | code\\_lines |"),
        "{markdown}"
    );
    assert!(markdown.contains("| hook | 1 | 1 | 2 | 1 | 2 |"), "{markdown}");
}
