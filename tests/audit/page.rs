//! Tests of the page of an audit in headless Chromium.

use pvbench::audit::document::Audit;
use pvbench::audit::page;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::chromium::{self, Tab};

/// A script that finds faults in the layout, by the boxes of all shown elements.
const GEOMETRY: &str = include_str!("../chromium/geometry.js");

fn read(name: &str) -> Audit {
    let path = format!("{}/tests/fixtures/audit/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A page in a browser; the folder is dropped after the browser that writes into it.
struct Reader(Tab, #[allow(dead_code)] TempDir);

impl Reader {
    /// Opens the page of an audit; `None` if Chromium is not installed.
    fn open(audit: &Audit) -> Option<Self> {
        let Some(browser) = chromium::installed() else {
            println!("skipped: no Chromium on PATH; scripts/setup.sh installs it");
            return None;
        };
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("audit.html");
        std::fs::write(&file, page::page(audit).unwrap()).unwrap();
        let mut tab = Tab::open(&browser, &folder.path().join("profile"), (1280, 900));
        let still = json!([{ "name": "prefers-reduced-motion", "value": "reduce" }]);
        tab.call("Emulation.setEmulatedMedia", json!({ "features": still }));
        tab.load("Page.navigate", json!({ "url": format!("file://{}", file.display()) }));
        tab.wait_for("#filter:not([hidden])");
        Some(Self(tab, folder))
    }

    fn evaluate(&mut self, expression: &str) -> Value {
        self.0.evaluate(expression)
    }

    /// Asserts that the page made no request to elsewhere and logged no error.
    fn assert_no_errors(&mut self) {
        let complaints: Vec<String> = (self.0.events())
            .filter_map(|(event, it)| match event {
                "Network.requestWillBeSent" => {
                    let url = it["request"]["url"].as_str().unwrap_or_default();
                    (!url.starts_with("file:") && !url.starts_with("data:")).then(|| format!("request: {url}"))
                }
                "Log.entryAdded" if it["entry"]["level"] == "error" => Some(format!("log: {}", it["entry"]["text"])),
                "Runtime.exceptionThrown" => Some(format!("exception: {}", it["exceptionDetails"])),
                _ => None,
            })
            .collect();
        assert_eq!(complaints, Vec::<String>::new());
    }
}

#[test]
fn texts_do_not_overlap_or_leave_their_column_on_a_phone_and_on_a_desktop_in_light_and_dark_mode() {
    for name in ["several", "listing"] {
        let Some(mut reader) = Reader::open(&read(name)) else { return };
        let mut papers = Vec::new();
        for scheme in ["light", "dark"] {
            let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
            reader.0.call("Emulation.setEmulatedMedia", json!({ "features": features }));
            papers.push(reader.evaluate("getComputedStyle(document.documentElement).backgroundColor"));
            for width in [360, 1280] {
                let metrics = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": true });
                reader.0.call("Emulation.setDeviceMetricsOverride", metrics);
                for open in [false, true] {
                    reader.evaluate(&format!("document.querySelectorAll('details').forEach(d => d.open = {open})"));
                    let mut found = reader.evaluate(GEOMETRY);
                    let wrong: Vec<String> = serde_json::from_value(found["wrong"].take()).unwrap();
                    assert!(found["texts"].as_u64().unwrap() > 40, "{found}");
                    assert!(wrong.is_empty(), "{name}, {width}, {scheme}, open {open}: {wrong:#?}");
                    let content = reader.evaluate("document.documentElement.scrollWidth").as_u64().unwrap();
                    assert!(content <= width, "{name}: {content} of {width}");
                }
            }
        }
        assert_ne!(papers[0], papers[1]);
        reader.assert_no_errors();
    }
}

#[test]
fn the_filter_keeps_the_functions_that_match() {
    let Some(mut reader) = Reader::open(&read("several")) else { return };
    let rows = "[...document.querySelectorAll('.funs tbody tr')].filter(r => !r.hidden).length";
    assert_eq!(reader.evaluate(rows), 3);
    reader.0.focus("#f-text");
    reader.0.type_text("uart:: jump");
    assert_eq!(reader.evaluate(rows), 1);
    assert_eq!(reader.evaluate("document.getElementById('count').textContent"), "1 of 3 functions");
    let listings = "[...document.querySelectorAll('#sites details')].filter(d => !d.hidden).length";
    assert_eq!(reader.evaluate(listings), 1);
    reader.assert_no_errors();
}

#[test]
fn a_function_links_to_its_sites_and_unfolds_them() {
    let Some(mut reader) = Reader::open(&read("several")) else { return };
    assert_eq!(reader.evaluate("document.querySelector('#f0').open"), false);
    reader.0.click(".funs a[href='#f0']");
    reader.0.wait_for("#f0[open]");
    let marked = "document.querySelectorAll('#f0 pre b').length";
    assert_eq!(reader.evaluate(marked), 3);
    reader.assert_no_errors();

    let Some(mut reader) = Reader::open(&read("listing")) else { return };
    reader.0.click(".links a[href='#f0-401241']");
    reader.0.wait_for("#f0-401241:target");
    let shown = reader.evaluate("document.querySelector('#f0-401241').textContent");
    assert_eq!(shown, "> 401241  call qword ptr [rax+0x18]  virtual +0x18");
    reader.assert_no_errors();
}

#[test]
fn without_scripts_everything_is_there_and_the_filter_is_not() {
    let Some(mut reader) = Reader::open(&read("several")) else { return };
    reader.0.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    reader.0.load("Page.reload", json!({ "ignoreCache": true }));
    reader.0.wait_for("#filter[hidden]");
    assert!(reader.0.find(".funs tbody tr:nth-child(3)").is_some() && reader.0.find("#f2").is_some());
}
