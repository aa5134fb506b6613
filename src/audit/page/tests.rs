use super::*;
use crate::audit::document::SourceLine;

fn read(name: &str) -> Audit {
    let path = format!("{}/tests/fixtures/audit/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn markup_in_names_stays_text() {
    let hostile = "\"'></pre></details><script>alert(1)</script>\u{202e}".to_owned();
    for name in ["several", "listing"] {
        let mut audit = read(name);
        audit.tool = hostile.clone();
        for binary in &mut audit.binaries {
            (binary.path, binary.build_id) = (hostile.clone(), Some(hostile.clone()));
            binary.no_lines_reason = Some(hostile.clone());
            for function in &mut binary.functions {
                function.name = hostile.clone();
                function.source = Some(SourceLine { file: hostile.clone(), line: 1 });
                for site in &mut function.sites {
                    (site.target, site.instruction) = (Some(hostile.clone()), hostile.clone());
                    (site.source, site.inlined) = (function.source.clone(), vec![hostile.clone()]);
                }
                for line in &mut function.listing {
                    (line.target, line.instruction) = (Some(hostile.clone()), hostile.clone());
                    line.source.clone_from(&function.source);
                }
            }
        }
        let page = page(&audit).unwrap();
        assert_eq!(page.matches("<script>").count(), 1, "{name}");
        assert!(page.contains("alert(1)&#60;/script&#62;") && !page.contains('\u{202e}'), "{name}");
        assert!(page.contains("default-src 'none'"), "{name}");
    }
}

#[test]
fn the_page_of_a_kernel_is_small_and_says_what_it_leaves_out() {
    let mut audit = read("summary");
    let function = audit.binaries[0].functions[0].clone();
    audit.binaries[0].functions = vec![function; 60_000];
    let text = page(&audit).unwrap();
    assert!(text.len() < 1 << 20, "{} bytes", text.len());
    assert!(text.contains("leaves out 59,600 functions"));

    let mut audit = read("listing");
    let line = audit.binaries[0].functions[0].listing[0].clone();
    audit.binaries[0].functions[0].listing = vec![line; 100_000];
    let text = page(&audit).unwrap();
    assert!(text.len() < 2 << 20, "{} bytes", text.len());
    assert!(text.contains("80,000 more instructions"));
}

#[test]
fn a_binary_without_indirections_has_a_page() {
    let mut audit = read("several");
    audit.binaries.remove(0);
    let text = page(&audit).unwrap();
    assert!(text.contains("No function has an indirection of its own") && !text.contains("id=\"filter\""));
    audit.binaries[0].counts.clear();
    assert!(!page(&audit).unwrap().contains("NaN"));
}

#[test]
fn every_link_of_the_page_has_its_target() {
    for name in ["several", "listing"] {
        let text = page(&read(name)).unwrap();
        let links: Vec<&str> = text.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(links.len() > 2, "{name}");
        for link in links {
            assert_eq!(text.matches(&format!("id=\"{link}\"")).count(), 1, "{name}: {link}");
        }
    }
}
