//! `pvbench explain` lists the instructions that ran.

use assert_cmd::Command;

/// Runs the command; returns its output, exit code and message.
fn explain(args: &[&str]) -> (String, i32, String) {
    let output = Command::cargo_bin("pvbench").unwrap().arg("explain").args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), output.status.code().unwrap(), text(&output.stderr))
}

/// Returns the lines of a listing that contain all words.
fn lines_with<'a>(listing: &'a str, words: &[&str]) -> Vec<&'a str> {
    listing.lines().filter(|line| words.iter().all(|word| line.contains(word))).collect()
}

#[test]
fn the_call_through_a_table_is_listed_with_its_callee_beside_inline() {
    let (listing, code, _) = explain(&["pte_val", "table"]);
    assert_eq!(code, 0, "{listing}");
    assert_eq!(lines_with(&listing, &["inline", "table"]).len(), 1, "{listing}");
    // `ff 15` is `call [rip+disp32]`; the body is `mov rax, rdi; ret`, once inline and once called.
    assert_eq!(lines_with(&listing, &["ff 15", "call qword ptr [pv_ops+0x"]).len(), 1, "{listing}");
    assert_eq!(listing.matches("48 89 f8").count(), 2, "{listing}");
    assert_eq!(lines_with(&listing, &["c3", "ret"]).len(), 1, "{listing}");
    assert_eq!(lines_with(&listing, &["2.25 instructions per op", "4.25 instructions per op"]).len(), 1, "{listing}");
}

#[test]
fn a_patched_site_is_listed_before_and_after_and_changed_bytes_are_marked() {
    let (listing, code, _) = explain(&["save_fl", "site_callee_save", "--state", "inline"]);
    assert_eq!(code, 0, "{listing}");
    let header = lines_with(&listing, &["site_callee_save (unpatched)", "site_callee_save (inline)"]);
    assert_eq!(header.len(), 1, "{listing}");
    // Patching writes `pushf; pop rax` over the call; there is no star before patching.
    let after = header[0].find("site_callee_save (inline)").unwrap();
    for line in lines_with(&listing, &["*"]) {
        assert!(line.find('*').unwrap() >= after, "{listing}");
    }
    assert_eq!(lines_with(&listing, &["*9c", "pushf"]).len(), 1, "{listing}");
    assert_eq!(lines_with(&listing, &["*58", "pop rax"]).len(), 1, "{listing}");
}

#[test]
fn without_a_state_all_states_of_the_op_are_listed() {
    let (listing, code, _) = explain(&["irq_disable", "site"]);
    assert_eq!(code, 0, "{listing}");
    for state in ["site (unpatched)", "site (direct)"] {
        assert!(listing.contains(state), "{state}: {listing}");
    }
    assert!(!listing.contains("site (nop)"), "irq_disable does something: {listing}");
}

#[test]
fn a_retpoline_is_listed_with_its_thunk() {
    let (listing, code, _) = explain(&["set_pte", "retpoline"]);
    assert_eq!(code, 0, "{listing}");
    assert_eq!(listing.lines().filter(|line| line.ends_with("call thunk")).count(), 1, "{listing}");
    assert_eq!(lines_with(&listing, &["on the way", "call thunk+0x"]).len(), 1, "{listing}");
    assert_eq!(lines_with(&listing, &["on the way", "call"]).len(), 1, "{listing}");
    assert_eq!(lines_with(&listing, &["mov r11,[pv_ops+0x"]).len(), 1, "{listing}");
    assert_eq!(lines_with(&listing, &["mov [rsp],r11"]).len(), 1, "{listing}");
}

#[test]
fn every_address_of_every_mechanism_has_a_name() {
    let output = Command::cargo_bin("pvbench").unwrap().args(["list", "mechanisms", "--json"]).output().unwrap();
    let mechanisms: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for mechanism in mechanisms.as_array().unwrap().iter().filter(|it| it["available"] == true) {
        let name = mechanism["name"].as_str().unwrap();
        let (listing, code, error) = explain(&["set_pte", name]);
        assert_eq!(code, 0, "{name}: {error}");
        for word in listing.split(|c: char| c.is_whitespace() || "[],".contains(c)) {
            // A hash has eight digits, an address of a program twelve.
            let is_address = |number: &str| number.len() > 8 && u64::from_str_radix(number, 16).is_ok();
            assert!(!word.strip_prefix("0x").is_some_and(is_address), "{name} has a bare address {word}:\n{listing}");
        }
    }
    for (mechanism, name) in [("direct", "call body"), ("static_call", "call trampoline"), ("flag", "[flag")] {
        let (listing, _, _) = explain(&["set_pte", mechanism]);
        assert!(listing.contains(name), "{mechanism}: {listing}");
    }
}

#[test]
fn unknown_names_end_with_2_and_suggest_valid_ones() {
    for (args, said) in [
        (&["pte_vaal", "table"][..], "pte_val"),
        (&["pte_val", "tabel"], "table"),
        (&["pte_val", "site", "--state", "inlin"], "inline"),
        (&["pte_val", "table", "--state", "inline"], "table has no states"),
        (&["irq_disable", "site", "--state", "nop"], "never in the state 'nop'"),
        (&["*", "table"], "name one op"),
    ] {
        let (listing, code, error) = explain(args);
        assert_eq!((listing.as_str(), code), ("", 2), "{args:?}: {error}");
        assert!(error.contains(said), "{args:?}: {error}");
    }
}
