//! Tests of the explanations on the page: published figures that differ, predictions that miss, kernel options that run
//! faster, cells that are faster than `inline`, and stubs that are cheaper than an indirect call.

use crate::html::{page, part, text};
use crate::support;
use pvbench::regime::Regime;
use pvbench::report::Report;
use pvbench::report::schema::{Cell, Listing, ListingLine, UnitInstructions, WorkloadResult};

fn words(page: &str) -> String {
    text(page).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn odd(report: &Report) -> String {
    let page = page(report);
    let section = page.split_once("<section id=\"oddities\"").and_then(|it| it.1.split_once("</section>"));
    section.map_or_else(String::new, |it| words(it.0))
}

/// A workload with the table and patched sites, at these percentages.
fn workload(name: &str, table: f64, patched: f64) -> WorkloadResult {
    let mut workload = support::workload();
    name.clone_into(&mut workload.name);
    for (index, mechanism, state, percent) in [(0, "table", None, table), (1, "site", Some("inline"), patched)] {
        let mut kernel = workload.kernels[0].clone();
        kernel.mechanism = Some(mechanism.to_owned());
        kernel.state = state.map(str::to_owned);
        kernel.overhead_percent = Some(support::around(percent, 0.1));
        kernel.predicted_percent = None;
        workload.kernels[index] = kernel;
    }
    workload
}

#[test]
fn every_published_number_has_a_verdict_and_a_difference_has_a_reason() {
    let mut report = support::synthetic();
    report.workloads = vec![workload("mmap_perf", 8.1, 2.3), workload("prot_fault", 8.1, 1.9)];
    let page = page(&report);
    let section = words(part(&page, "What was published", "</section>"));
    assert!(section.contains("by at most a factor of 1.5 or 1 percentage point"), "the rule: {section}");
    for said in [
        // 3.74% was published.
        "task clock 3.74 % 8.10 [8.00, 8.20] % higher : the model kernel calls hooks more densely",
        "the same, sites patched 3.74 % 2.30 [2.20, 2.40] % lower : not understood",
        // 6 to 7%, and no source says why a model kernel takes less.
        "protection fault 6.00 to 7.00 % 1.90 [1.80, 2.00] % lower : not understood",
        // A cause that is not measured here.
        "handler 4.38 % \u{2013} not comparable : no workload handles that interrupt",
    ] {
        assert!(section.contains(said), "{said} in {section}");
    }
    report.workloads = vec![workload("mmap_perf", 3.0, 1.4)];
    let section = words(part(&self::page(&report), "What was published", "</section>"));
    assert!(section.contains("task clock 3.74 % 3.00 [2.90, 3.10] % agrees mmap_perf, table"), "{section}");
    assert!(section.contains("CPU cycles 0.96 % 1.40 [1.30, 1.50] % agrees mmap_perf, site (inline)"), "{section}");
}

#[test]
fn predictions_say_how_wrong_they_are_on_this_report() {
    let mut report = support::synthetic();
    let mut predicted = workload("mmap_perf", 8.0, 2.0);
    predicted.kernels[0].predicted_percent = Some(12.0);
    predicted.kernels[1].predicted_percent = Some(0.5);
    let mut other = workload("null_syscall", 1.0, 11.0);
    other.kernels[0].predicted_percent = Some(31.0);
    // Below what the workload resolves, 0.4%: no cost.
    other.kernels[1].predicted_percent = Some(0.1);
    report.workloads = vec![predicted, other];
    let page = page(&report);
    let said = "simple products miss 3 measured overheads by a factor of 4.0 in the median and of 31 at worst \
                (null_syscall with table); 1 more predicts no cost where one was measured, the largest 11.0% \
                (null_syscall with site (inline)).";
    for section in ["workloads", "modelled"] {
        let section = words(part(&page, &format!("<section id=\"{section}\""), "</section>"));
        assert!(section.contains(said), "{section}");
    }
    let table = part(&page, "Predictions, with the measurement", "</details>");
    for cell in ["12.00<small>8.00 \u{d7}1.5</small>", "31.00<small>1.00 \u{d7}31</small>", "0.10<small>11.00</small>"]
    {
        assert!(table.contains(cell), "{cell} in {table}");
    }
    for kernel in report.workloads.iter_mut().flat_map(|it| &mut it.kernels) {
        kernel.resolved = false;
    }
    let unchecked = words(&self::page(&report));
    assert!(unchecked.contains("No prediction of this report can be checked."), "nothing to compare with");
}

#[test]
fn options_that_add_instructions_and_take_less_time_are_said_with_the_placement_range() {
    let mut report = support::synthetic();
    let with_option = |name: &str, percent: f64, extra_percent: f64| {
        let mut workload = support::workload();
        name.clone_into(&mut workload.name);
        let kernel = &mut workload.kernels[2];
        kernel.overhead_percent = Some(support::around(percent, 0.1));
        kernel.instructions = Some(UnitInstructions { per_unit: 8_000.0, extra_percent });
        workload
    };
    // The placement range is 1.1%.
    report.workloads =
        vec![with_option("lat_mmap", -3.26, 1.1), with_option("exec", -0.9, 0.5), with_option("fork_exit", -7.5, -0.6)];
    let said = words(&page(&report));
    assert!(
        said.contains("2 figures below have more instructions and still less time, \u{2212}3.26% to \u{2212}0.90%")
    );
    assert!(said.contains("(in lat_mmap, exec)"), "an option that removes instructions may be faster");
    assert!(said.contains("1 of them is no larger than the placement range"));
    assert!(said.contains("1 is larger, and not understood."));
    report.workloads = vec![with_option("fork_exit", -7.5, -0.6)];
    assert!(!words(&page(&report)).contains("still less time"));
}

/// A report in which all overheads are 3 cycles, but for one mechanism on some ops.
fn with_faster(ops: &[(&str, &str, f64)]) -> Report {
    let mut report = support::synthetic();
    for op in &mut report.catalogue.ops {
        if let Some((_, code, _)) = ops.iter().find(|(name, ..)| *name == op.name) {
            (*code).clone_into(&mut op.native_code);
        }
    }
    for cell in report.cells.iter_mut().filter(|cell| cell.overhead.is_some()) {
        let own = ops.iter().find(|(op, ..)| *op == cell.op && cell.mechanism == "direct");
        let cycles = own.map_or(if cell.mechanism == "inline" { 0.0 } else { 3.0 }, |it| it.2);
        cell.overhead.as_mut().expect("measured").cycles = support::around(cycles, 0.01);
        cell.native_cycles = Some(7.42);
        cell.modes.clear();
        (cell.resolved, cell.limit) = (cell.mechanism != "inline", None);
    }
    report
}

#[test]
fn cells_faster_than_inline_are_grouped_by_op_and_by_the_cause_in_the_machine_code() {
    let report = with_faster(&[
        // and dword ptr gs:[8],0xfffffff7
        ("write_cr0", "6583242508000000f7", -3.3),
        // dec rdi; jne -5
        ("load_gdt", "48ffcf75fb", -19.6),
        // mov rax,rdi
        ("pte_val", "4889f8", -0.2),
    ]);
    let odd = odd(&report);
    let part_of =
        |title: &str, next: &str| odd.split_once(title).expect(title).1.split(next).next().unwrap().to_owned();
    let waits = part_of("Faster than inline: copies that wait for one another", "Faster than inline");
    let line =
        "write_cr0, 3 cells: up to 3.30 of 7.42 cycles less, by direct in throughput; the op reads and writes gs:[0x8]";
    assert!(waits.contains(line) && !waits.contains("pte_val"), "{waits}");
    let loops = part_of("Faster than inline: a loop in the body", "Faster than inline");
    assert!(loops.contains("load_gdt, 3 cells: up to 19.6 of"), "{loops}");
    let unknown = part_of("Faster than inline, not understood", "no more");
    assert!(unknown.contains("pte_val, 3 cells: up to 0.20 of") && !unknown.contains("write_cr0"), "{unknown}");
}

#[test]
fn a_fast_op_and_hostile_machine_code_have_no_known_cause() {
    let mut report = with_faster(&[("write_cr0", "6583242508000000f7", -1.0), ("load_gdt", "\"<b>zz", -1.0)]);
    report.cells.iter_mut().for_each(|cell| cell.native_cycles = Some(2.0));
    let odd = odd(&report);
    assert!(!odd.contains("copies that wait") && !odd.contains("a loop in the body"), "{odd}");
    assert!(odd.contains("write_cr0, 3 cells") && odd.contains("load_gdt, 3 cells"), "{odd}");
}

#[test]
fn a_stub_that_is_cheaper_than_an_indirect_call_when_cold_is_explained() {
    let mut report = support::full::full();
    let listing = |lines: &[(&str, &str)]| Listing {
        op: "save_fl".to_owned(),
        state: None,
        lines: lines
            .iter()
            .map(|(place, text)| ListingLine {
                bytes: "90".to_owned(),
                text: (*text).to_owned(),
                place: (*place).to_owned(),
                changed: false,
            })
            .collect(),
    };
    let call = listing(&[("site", "mov rdi,rcx"), ("site", "call qword ptr [got+0x2a0]"), ("callee", "ret")]);
    let stub = listing(&[("site", "call stub"), ("on the way", "jmp qword ptr [slot]"), ("callee", "ret")]);
    for (mechanism, made) in [("table", call), ("direct", stub)] {
        report.catalogue.mechanisms.iter_mut().find(|it| it.name == mechanism).expect("it").listings = vec![made];
    }
    let set = |report: &mut Report, mechanism: &str, cycles: f64| {
        let is_set = |cell: &&mut Cell| cell.mechanism == mechanism && cell.regime == Regime::Cold;
        for cell in report.cells.iter_mut().filter(is_set) {
            if let Some(overhead) = &mut cell.overhead {
                overhead.cycles = support::around(cycles, 0.1);
            }
        }
    };
    set(&mut report, "table", 27.3);
    set(&mut report, "direct", 16.5);
    let said = "table costs 10.8 cycles";
    assert!(odd(&report).contains(said), "{}", odd(&report));
    set(&mut report, "direct", 40.0);
    assert!(!odd(&report).contains("more than direct in cold"), "the stub is not cheaper");
}

#[test]
fn a_body_in_a_shared_object_that_costs_more_than_one_in_the_program_is_explained() {
    let mut report = support::full::full();
    for info in report.catalogue.mechanisms.iter_mut().filter(|it| it.name == "direct") {
        info.name = "dlsym".to_owned();
    }
    let set = |report: &mut Report, cycles: f64| {
        let is_hot = |cell: &&mut Cell| cell.regime == Regime::Throughput;
        for cell in report.cells.iter_mut().filter(is_hot) {
            if cell.mechanism == "direct" {
                cell.mechanism = "dlsym".to_owned();
            }
            let of = match cell.mechanism.as_str() {
                "dlsym" => cycles,
                "table" => 3.7,
                _ => continue,
            };
            if let Some(overhead) = &mut cell.overhead {
                overhead.cycles = support::around(of, 0.01);
            }
        }
    };
    set(&mut report, 6.7);
    let said = "more than table over the ops, in throughput";
    assert!(odd(&report).contains("dlsym costs 3.00 cycles") && odd(&report).contains(said), "{}", odd(&report));
    set(&mut report, 3.7);
    assert!(!odd(&report).contains(said), "no difference needs no explanation");
}
