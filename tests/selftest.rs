//! Known truths of `pvbench selftest`: the instructions of their loops, and the output of the command.

use assert_cmd::Command;
use iced_x86::{Instruction, Mnemonic};
use pvbench::regime::{Regime, SITES};
use pvbench::relocate::LoopFunction;
use pvbench::selftest::{Core, Expected, entries, truths};
use pvbench::stats::binomial::allowed;
use serde_json::Value;

/// Counts the instructions with a mnemonic per op in the loop of an op.
fn per_op(op: &str, name: &str, mnemonic: Mnemonic) -> u64 {
    let ops = entries();
    let op = ops.iter().find(|entry| entry.meta.name == op).unwrap();
    let pair = op.pairs.iter().find(|pair| pair.mechanism.name == name).unwrap();
    let entry = pair.loop_of(Regime::Throughput).unwrap() as *const () as usize;
    // SAFETY: the address is that of a loop of this program.
    let function = unsafe { LoopFunction::at(entry) }.unwrap();
    let found = function.loop_instructions().filter(|i: &&Instruction| i.mnemonic() == mnemonic).count() as u64;
    assert_eq!(found % SITES, 0, "{name}");
    found / SITES
}

#[test]
fn every_loop_has_the_instructions_of_its_truth() {
    for truth in truths(Core { vendor: Some("AuthenticAMD"), family: Some(0x19), ..Core::default() }) {
        let of = |name, mnemonic| per_op(truth.op, name, mnemonic);
        let (adds, base) = (of(truth.name, Mnemonic::Add), of("inline", Mnemonic::Add));
        let (links, base_links) = (of(truth.name, Mnemonic::Mov), of("inline", Mnemonic::Mov));
        match truth.expected {
            Expected::Cycles(cycles) if truth.name == "imul" => {
                assert_eq!((of("imul", Mnemonic::Imul), adds, cycles), (1, base, 3.0));
            }
            Expected::Cycles(cycles) => assert_eq!((adds - base) as f64, cycles, "{}", truth.name),
            Expected::Ratio(ratio) if base_links > 0 => {
                assert_eq!((links as f64 / base_links as f64, adds as f64 / base as f64), (ratio, ratio));
            }
            Expected::Ratio(ratio) => assert_eq!(adds as f64 / base as f64, ratio, "{}", truth.name),
        }
    }
}

#[test]
fn a_latency_is_expected_only_on_cpus_with_a_document_for_it() {
    let known = |vendor, family, avx512vl| {
        truths(Core { vendor, family, avx512vl, serialize: false }).iter().any(|truth| truth.name == "imul")
    };
    assert!(known(Some("AuthenticAMD"), Some(0x17), false) && known(Some("GenuineIntel"), Some(6), true));
    // Bulldozer, Atom, another vendor, an unknown CPU.
    assert!(!known(Some("AuthenticAMD"), Some(0x15), false) && !known(Some("GenuineIntel"), Some(6), false));
    assert!(!known(Some("CentaurHauls"), Some(7), true) && !known(None, None, true));
}

#[test]
fn a_chain_through_memory_is_a_truth_only_on_cpus_whose_predictors_do_not_shorten_it() {
    let waits = |vendor, serialize| {
        let core = Core { vendor, family: Some(6), avx512vl: true, serialize };
        truths(core).iter().any(|truth| truth.name == "2 links")
    };
    // Zen and Ice Lake; then Sapphire Rapids and an unknown CPU.
    assert!(waits(Some("AuthenticAMD"), false) && waits(Some("GenuineIntel"), false));
    assert!(!waits(Some("GenuineIntel"), true) && !waits(None, false));
}

#[test]
fn the_allowed_misses_follow_the_binomial_distribution() {
    // P(X > 4) of 17 at 0.05 is 0.0012, P(X > 5) is 0.00010.
    assert_eq!(allowed(17, 0.05, 0.001), 5);
    assert_eq!(allowed(17, 0.05, 0.01), 3);
    assert_eq!((allowed(1, 0.05, 0.001), allowed(0, 0.05, 0.001)), (1, 0));
}

#[test]
fn the_command_prints_truth_estimate_and_interval_and_a_matching_exit_code() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
    let output = command.args(["selftest", "--workers", "6", "--blocks", "1", "--json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = found["truths"].as_array().unwrap();
    assert!(rows.len() >= 16, "{found}");
    let mut missed = 0;
    for row in rows {
        let number = |key: &str| row[key].as_f64().unwrap();
        assert!(number("low") <= number("estimate") && number("estimate") <= number("high"), "{row}");
        let inside = (number("low")..=number("high")).contains(&number("truth"));
        assert_eq!(row["inside"], inside, "{row}");
        missed += u64::from(!inside);
    }
    assert_eq!(found["missed"], missed);
    let exceeded = missed > found["may_miss"].as_u64().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(exceeded)));
}

#[test]
fn unknown_truths_end_with_2_and_tries_measure_one_truth() {
    for args in [&["--truth", "102 adds", "--tries", "3"][..], &["--tries", "3"], &["--blocks", "0"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_pvbench")).arg("selftest").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
    let output = command.args(["selftest", "--truth", "51 adds", "--tries", "2", "--workers", "6"]).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["tries"], &found["expected"]), (&2.into(), &1.02.into()));
}
