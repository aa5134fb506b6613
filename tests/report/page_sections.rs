//! Tests of the sections of the page that answer: the first screen, the finder, the oddities, the glossary.

use crate::html::{page, part, text};
use crate::support;
use pvbench::regime::Regime;
use pvbench::report::Report;
use pvbench::report::schema::{Limit, ModeShare};

#[test]
fn the_ops_that_workloads_call_most_come_first() {
    let mut report = support::synthetic();
    let mut workload = support::workload();
    workload.calls = [("wbinvd".to_owned(), 9.0), ("io_delay".to_owned(), 12.0)].into();
    report.workloads.push(workload);
    let page = page(&report);
    let heads = part(&page, "aria-label=\"Table of ops, hot\">", "</thead>");
    let at = |op: &str| heads.find(&format!("#op-{op}\"")).unwrap_or_else(|| panic!("no {op} in {heads}"));
    assert!(at("io_delay") < at("wbinvd") && at("wbinvd") < at("pte_val"));
    assert_eq!(heads.matches("<th scope=\"col\" class=\"n").count(), 10);
}

#[test]
fn the_answer_says_whether_the_claim_of_one_percent_holds() {
    let claim = |percent: f64, resolved: bool| {
        let mut report = support::synthetic();
        let mut workload = support::workload();
        workload.name = "mmap_perf".to_owned();
        workload.kernels[0].state = Some("inline".to_owned());
        workload.kernels[0].overhead_percent = Some(support::around(percent, 0.1));
        workload.kernels[0].resolved = resolved;
        report.workloads.push(workload);
        text(&page(&report))
    };
    // 500.5 calls in 7,500 instructions, and 6.87 in 1,000 in Linux.
    assert!(claim(2.0, true).contains("calls 66.7 hooks per 1,000 instructions there, and Linux 6.1 calls 6.9."));
    assert!(claim(2.0, true).contains("it would be about 0.2% for patched sites (the 1% is too much)"));
    assert!(claim(10.0, true).contains("it would be about 1.0% for patched sites (the 1% is about right)"));
    assert!(claim(40.0, true).contains("it would be about 4.1% for patched sites (the 1% is too little)"));
    assert!(claim(0.0, false).contains("which is not resolved, longer with patched sites"));
    assert!(text(&page(&support::synthetic())).contains("did not measure mmap_perf"));
}

#[test]
fn the_finder_has_a_row_for_each_mechanism_of_the_report_and_no_other() {
    let mut report = support::synthetic();
    let rows = |report: &Report| {
        let page = page(report);
        let table = part(&page, "<section id=\"finder\"", "</section>").to_owned();
        let rows = table.split("<tr>").skip(2).map(|row| row.split_whitespace().collect::<Vec<_>>().join(" "));
        rows.collect::<Vec<_>>()
    };
    let all = rows(&report);
    let find = |have: &str| all.iter().find(|row| row.starts_with(&format!("<th scope=\"row\">{have}</th>"))).cloned();
    assert!(find("&#38;dyn Trait").is_some_and(|row| row.contains("<td>Rust</td><td><a href=\"#way-dyn\">dyn</a>")));
    assert!(find("a virtual function").is_some_and(|row| row.contains("#way-dyn")));
    assert!(find("static_call").is_none(), "the report has no static calls");
    report.cells.retain(|cell| cell.mechanism != "dyn");
    assert_eq!(rows(&report).len(), all.len() - 2);
}

#[test]
fn oddities_are_found_by_rule_and_a_report_without_them_has_none() {
    let mut report = support::synthetic();
    for cell in &mut report.cells {
        cell.modes.clear();
        if let Some(overhead) = cell.overhead.as_mut().filter(|it| it.cycles.estimate < 0.0) {
            overhead.cycles = support::around(0.0, 0.01);
            (cell.resolved, cell.limit) = (false, Some(Limit::Floor));
        }
    }
    let set = |report: &mut Report, mechanism: &str, cycles: f64| {
        for cell in report.cells.iter_mut().filter(|cell| cell.mechanism == mechanism) {
            if let Some(overhead) = &mut cell.overhead {
                overhead.cycles = support::around(cycles, 0.05);
                (cell.resolved, cell.limit) = (true, None);
            }
        }
    };
    for (index, mechanism) in ["direct", "table", "fn_pointer", "dyn", "once_lock"].into_iter().enumerate() {
        set(&mut report, mechanism, 3.0 + index as f64);
    }
    assert!(!page(&report).contains("id=\"oddities\""));
    let odd = |report: &Report| text(part(&page(report), "<section id=\"oddities\"", "</section>"));
    // More steps, and cheaper.
    set(&mut report, "dyn", 2.0);
    assert!(odd(&report).contains("dyn costs 1.00 cycles less than direct over the ops, in throughput"));
    // Faster than inline.
    set(&mut report, "flag", -2.5);
    let said = odd(&report);
    assert!(said.contains("Faster than inline, not understood") && said.contains("cycles less, by flag in"), "{said}");
    assert!(said.contains(" 3 cells: up to 2.50 of "), "an op with flag in three regimes: {said}");
    assert!(said.contains("57 more"), "12 of 69 ops are shown, and four need a pause: {said}");
    // Several values.
    report.cells[7].modes = vec![ModeShare { offset: 0, cycles: 1.0, share: 0.5 }; 2];
    assert!(odd(&report).contains("Cells with several values") && odd(&report).contains("throughput: 1 of "));
    // A prediction far from the measurement: 7.25% measured.
    let mut workload = support::workload();
    workload.kernels[0].predicted_percent = Some(15.0);
    report.workloads.push(workload);
    assert!(odd(&report).contains("fork_exit with site (unpatched): predicted 15.0%, measured 7.2%"));
}

#[test]
fn equal_instructions_at_two_costs_when_cold_are_named() {
    let mut report = support::full::full();
    let listing = |report: &Report, text: &str| {
        let known = support::everything();
        let mut listing =
            known.catalogue.mechanisms.iter().find(|m| m.name == "table").expect("it").listings[1].clone();
        listing.state = None;
        listing.op.clone_from(&report.catalogue.ops[0].name);
        listing.lines.truncate(1);
        text.clone_into(&mut listing.lines[0].text);
        listing
    };
    for (mechanism, address) in [("table", "call qword ptr [5631h]"), ("fn_pointer", "call qword ptr [99FFh]")] {
        let made = listing(&report, address);
        report.catalogue.mechanisms.iter_mut().find(|m| m.name == mechanism).expect("it").listings = vec![made];
    }
    for cell in report.cells.iter_mut().filter(|cell| cell.mechanism == "fn_pointer" && cell.regime == Regime::Cold) {
        cell.overhead.as_mut().expect("measured").cycles = support::around(30.0, 0.1);
    }
    let page = page(&report);
    let odd = text(part(&page, "<section id=\"oddities\"", "</section>"));
    let said = "table and fn_pointer have the same instructions, and fn_pointer differs by +";
    assert!(odd.contains(said) && odd.contains("in cold"), "{odd}");
}

#[test]
fn every_word_of_the_glossary_is_a_word_of_the_projects_glossary() {
    let page = page(&support::synthetic());
    let known = std::fs::read_to_string("docs/glossary.md").expect("the glossary");
    let section = part(&page, "<section id=\"glossary\"", "</section>");
    let words: Vec<&str> = section.split("<dt id=").skip(1).map(|it| part(it, ">", "</dt>")).collect();
    assert!(words.len() > 20, "{words:?}");
    for word in words.into_iter().flat_map(|it| it.split(", ")) {
        let found = known.contains(&format!("| {word} ")) || known.contains(&format!("`{word}`"));
        assert!(found || ["random4", "median over ops"].contains(&word), "{word} is not in docs/glossary.md");
    }
}

#[test]
fn every_link_of_the_page_has_a_target() {
    for report in [support::everything(), support::full::full(), support::empty()] {
        let page = page(&report);
        let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        for target in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(ids.contains(&target), "#{target}");
        }
    }
}

#[test]
fn the_first_screen_has_the_scope_of_patched_sites_and_the_design_beside_what_was_seen() {
    let report = support::full::full();
    let page = page(&report);
    let of = |start: &str| text(part(&page, start, "</section>"));
    let said = [of("<section id=\"found\""), of("<section class=\"limits\"")].join(" ");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("ops whose instructions fit, a patched site "), "{said}");
    assert_eq!(said.matches("wo builds of one kernel").count(), 1, "{said}");
    let trust = text(part(&page, "<aside", "</aside>")).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!trust.contains("nothing below it is a difference"), "{trust}");
    assert!(trust.contains("typical floor") && trust.contains("each cell has its own"), "{trust}");
    assert!(trust.contains("Noise is what inline shows against itself"), "{trust}");
    let synthetic = self::page(&support::synthetic());
    let trust = text(part(&synthetic, "<aside", "</aside>")).split_whitespace().collect::<Vec<_>>().join(" ");
    if synthetic.contains(">false differences<") {
        assert!(trust.contains("by design 1 in 1,000 equal loops") && trust.contains("; seen: "), "{trust}");
    }
}

#[test]
fn the_page_ends_with_commands_to_go_on_with() {
    let page = page(&support::synthetic());
    let next = part(&page, "<section id=\"next\"", "</section>");
    for command in ["pvbench run --time 600", "pvbench audit ", "pvbench gate --budget", "cargo bench --bench", "show"]
    {
        assert!(next.contains(command), "{command}");
    }
    assert!(page.contains("<a href=\"#next\">"));
}
