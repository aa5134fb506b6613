use super::*;
use crate::audit::document::{Site, SourceLine};

/// An audit that is made up.
fn read(name: &str) -> Audit {
    let path = format!("{}/tests/fixtures/audit/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn assert_fits(text: &str, width: usize) {
    for line in text.lines() {
        // A longer word has a line of its own.
        let words = line.split_whitespace().count();
        assert!(line.chars().count() <= width || words <= 2, "{width}: {line}");
    }
}

#[test]
fn the_summary_fits_a_terminal_of_40_80_and_120_columns() {
    for width in [40, 80, 120] {
        let text = show(&read("summary"), &View::default(), Some(width));
        assert_fits(&text, width);
        insta::assert_snapshot!(format!("summary_{width}"), text);
    }
}

#[test]
fn a_listing_marks_each_site_and_has_source_lines_between() {
    for width in [40, 80, 120] {
        let text = show(&read("listing"), &View { is_listing: true, ..View::default() }, Some(width));
        assert_fits(&text, width);
        insta::assert_snapshot!(format!("listing_{width}"), text);
    }
}

#[test]
fn the_sites_of_a_kind_are_listed_and_those_that_are_not_are_counted() {
    let view = View { kinds: vec![Kind::Table, Kind::Virtual, Kind::Got], is_listing: false };
    let mut audit = read("several");
    insta::assert_snapshot!("kinds_120", show(&audit, &view, Some(120)));
    audit.binaries.remove(0);
    let text = show(&audit, &View { kinds: vec![Kind::Virtual], is_listing: false }, None);
    assert!(text.contains("No site is of the kind virtual."), "{text}");
}

#[test]
fn many_binaries_are_lines_of_one_table() {
    let several = read("several");
    let mut audit = several.clone();
    for _ in 0..3 {
        audit.binaries.extend(several.binaries.iter().cloned());
    }
    let text = show(&audit, &View::default(), Some(120));
    assert_eq!(text.lines().filter(|line| line.starts_with(" libuart.so ")).count(), 4, "{text}");
    assert!(!text.contains("build id"), "{text}");
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    let mut audit = read("listing");
    let hostile = "\u{1b}[2J\u{202e}<script>\n".to_owned();
    let binary = &mut audit.binaries[0];
    (binary.path, binary.build_id) = (hostile.clone(), Some(hostile.clone()));
    binary.no_lines_reason = Some(hostile.clone());
    let function = &mut binary.functions[0];
    (function.name, function.aliases) = (hostile.clone(), vec![hostile.clone()]);
    function.source = Some(SourceLine { file: hostile.clone(), line: 1 });
    for line in &mut function.listing {
        (line.target, line.instruction) = (Some(hostile.clone()), hostile.clone());
        line.source = Some(SourceLine { file: hostile.clone(), line: 1 });
    }
    for Site { target, instruction, source, .. } in &mut function.sites {
        (*target, *instruction) = (Some(hostile.clone()), hostile.clone());
        *source = Some(SourceLine { file: hostile.clone(), line: 1 });
    }
    let own: Vec<Kind> = Group::Own.kinds().collect();
    for view in [View::default(), View { kinds: own, is_listing: false }, View { kinds: Vec::new(), is_listing: true }]
    {
        let text = show(&audit, &view, Some(80));
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        assert!(text.contains("\\u{1b}[2J\\u{202e}<script>\\u{a}"), "{text}");
    }
}
