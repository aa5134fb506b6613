//! Pages of a site in headless Chromium: the layout on all screens, search, ranges and keys.

use serde_json::json;
use tempfile::TempDir;

use super::chromium::{self, Tab};
use super::made::Made;
use super::{model, site};

/// A script that finds faults in the layout, by the boxes of all shown elements.
const GEOMETRY: &str = include_str!("../chromium/geometry.js");

/// A site in a browser.
pub struct Reader {
    pub tab: Tab,
    /// The folder is dropped after the browser that writes into it.
    folder: TempDir,
}

impl Reader {
    /// Makes the site of a history and starts a browser; `None` if Chromium is not installed.
    pub fn open(runs: usize) -> Option<Self> {
        let Some(browser) = chromium::installed() else {
            println!("skipped: no Chromium on PATH; scripts/setup.sh installs it");
            return None;
        };
        let folder = TempDir::new().expect("a folder");
        site(&model(runs), &folder.path().join("site"));
        let tab = Tab::open(&browser, &folder.path().join("profile"), (1280, 900));
        let mut reader = Reader { tab, folder };
        reader.set_scheme("light");
        Some(reader)
    }

    pub fn load(&mut self, page: &str) {
        let file = self.folder.path().join("site").join(page);
        self.tab.load("Page.navigate", json!({ "url": format!("file://{}", file.display()) }));
    }

    pub fn set_width(&mut self, width: u32) {
        let metrics = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": true });
        self.tab.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    pub fn set_scheme(&mut self, scheme: &str) {
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.tab.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    fn number(&mut self, expression: &str) -> f64 {
        self.tab.evaluate(expression).as_f64().expect(expression)
    }

    fn text(&mut self, expression: &str) -> String {
        self.tab.evaluate(expression).as_str().expect(expression).to_owned()
    }

    /// Asserts that no page loaded anything from outside the folder, logged an error or threw an exception.
    fn assert_no_errors(&mut self) {
        let own = format!("file://{}/", self.folder.path().join("site").display());
        let complaints: Vec<String> = self
            .tab
            .events()
            .filter_map(|(event, it)| match event {
                "Network.requestWillBeSent" => {
                    let url = it["request"]["url"].as_str().unwrap_or_default();
                    let is_own = [own.as_str(), "data:", "about:"].iter().any(|start| url.starts_with(start));
                    (!is_own).then(|| format!("request: {url}"))
                }
                "Log.entryAdded" if it["entry"]["level"] == "error" => Some(format!("log: {}", it["entry"]["text"])),
                "Runtime.exceptionThrown" => Some(format!("exception: {}", it["exceptionDetails"])),
                "Runtime.consoleAPICalled" if it["type"] == "error" => Some("console.error".to_owned()),
                _ => None,
            })
            .collect();
        assert_eq!(complaints, Vec::<String>::new());
    }
}

/// A page of each kind.
pub fn pages() -> Vec<String> {
    let run = format!("run/{}.html", Made::stem(58));
    let fixed = [
        "index.html",
        "events.html",
        "op/pte_val.html",
        "mechanism/table.html",
        "workload/mmap.html",
        "event/ev-0000000000b2.html",
        "event/ev-0000000000a1.html",
        "machine/amd-25-17-1-kvm-smt.html",
    ];
    let commit = format!("commit/{:012x}{:028x}.html", 0xabc0_0000_0000_u64 + 24 * 7919, 24);
    fixed.iter().map(|page| (*page).to_owned()).chain([run, commit]).collect()
}

#[test]
fn texts_do_not_overlap_or_leave_their_column_on_any_page_on_any_screen() {
    let Some(mut reader) = Reader::open(60) else { return };
    for page in pages() {
        reader.load(&page);
        for (scheme, width) in [("light", 360), ("dark", 1280), ("light", 768), ("dark", 1920)] {
            reader.set_scheme(scheme);
            reader.set_width(width);
            for open in [false, true] {
                reader.tab.evaluate(&format!("document.querySelectorAll('details').forEach(d => d.open = {open})"));
                let mut found = reader.tab.evaluate(GEOMETRY);
                let wrong: Vec<String> = serde_json::from_value(found["wrong"].take()).expect("a list");
                let first: Vec<&String> = wrong.iter().take(20).collect();
                assert!(wrong.is_empty(), "{page}, {width}, open {open}: {} faults: {first:#?}", wrong.len());
            }
            let (content, window) = ("document.documentElement.scrollWidth", "innerWidth");
            let (content, window) = (reader.number(content), reader.number(window));
            assert!(content <= window && window <= f64::from(width), "{page}: {content} in {window} at {width}");
        }
    }
    reader.assert_no_errors();
}

#[test]
fn the_first_screen_says_what_changed_by_how_much_when_why_and_where() {
    let Some(mut reader) = Reader::open(60) else { return };
    reader.load("index.html");
    for (column, words) in [(1, "+0.40 cycles"), (2, "2026-01-"), (3, "program"), (4, "AMD EPYC")] {
        let cell = format!("document.querySelector('#ev-0000000000b2').cells[{column}]");
        let text = reader.text(&format!("{cell}.textContent"));
        assert!(text.contains(words), "{column}: {text}");
        let bottom = reader.number(&format!("{cell}.getBoundingClientRect().bottom"));
        assert!(bottom < 900.0, "{column} at {bottom}");
    }
}

#[test]
fn search_keeps_the_rows_and_plots_that_have_all_words() {
    let Some(mut reader) = Reader::open(60) else { return };
    reader.load("op/pte_val.html");
    reader.tab.wait_for("form.search:not([hidden])");
    reader.tab.focus("form.search input");
    reader.tab.type_text("retpoline cold");
    let plots = "[...document.querySelectorAll('.trend')].filter(f => !f.hidden).map(f => f.id).join()";
    let shown = reader.text(plots);
    assert!(shown.split(',').all(|id| id.contains("retpoline-cold")) && shown.matches(',').count() == 1, "{shown}");
    reader.assert_no_errors();
}

#[test]
fn a_range_spreads_the_newest_points_and_all_points_return() {
    let Some(mut reader) = Reader::open(60) else { return };
    reader.load("op/pte_val.html");
    reader.tab.wait_for("form.search:not([hidden])");
    let choose = |value: u32| {
        format!(
            "(e => {{ e.value = '{value}'; e.dispatchEvent(new Event('input', {{ bubbles: true }})); }})\
             (document.querySelector('select.range'))"
        )
    };
    let shown = "[...document.querySelector('.trend').querySelectorAll('.p a')]\
                 .filter(a => a.style.display !== 'none')";
    let places = format!("{shown}.map(a => a.firstElementChild.nextElementSibling.getAttribute('cx')).join()");
    let before = reader.text(&places);
    reader.tab.evaluate(&choose(10));
    assert_eq!(reader.number(&format!("{shown}.length")), 10.0);
    assert_ne!(reader.text(&places), before);
    reader.tab.evaluate(&choose(0));
    assert_eq!(reader.text(&places), before);
    reader.assert_no_errors();
}

#[test]
fn keys_go_from_run_to_run_and_open_one() {
    let Some(mut reader) = Reader::open(60) else { return };
    reader.load("op/pte_val.html");
    reader.tab.wait_for(".trend[tabindex]");
    // A click on a summary unfolds its plots, also without the script.
    reader.tab.click("details.ways > summary");
    assert_eq!(reader.tab.evaluate("document.querySelector('details.ways').open"), true);
    reader.tab.focus(".trend");
    let press = |reader: &mut Reader, key: &str| {
        for kind in ["keyDown", "keyUp"] {
            reader.tab.call("Input.dispatchKeyEvent", json!({ "type": kind, "key": key, "code": key }));
        }
    };
    press(&mut reader, "ArrowLeft");
    press(&mut reader, "ArrowLeft");
    let text = reader.text("document.querySelector('.box:not([hidden])').textContent");
    assert!(text.contains('\u{b1}') && text.contains("2026-01-") && text.contains("..."), "{text}");
    let links = reader.text("[...document.querySelectorAll('.box a')].map(a => a.getAttribute('href')).join()");
    assert!(links.contains("../run/") && links.contains("../commit/") && links.contains("/compare/"), "{links}");
    press(&mut reader, "Escape");
    assert_eq!(reader.tab.evaluate("document.querySelector('.box').hidden"), true);
    press(&mut reader, "ArrowRight");
    press(&mut reader, "Enter");
    reader.tab.wait_for("#facts");
    assert!(reader.text("location.pathname").contains("/run/"));
    reader.assert_no_errors();
}

#[test]
fn without_scripts_all_values_plots_and_links_are_there() {
    let Some(mut reader) = Reader::open(60) else { return };
    reader.tab.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    reader.load("op/pte_val.html");
    reader.tab.wait_for("form.search[hidden]");
    for selector in ["table.runs a", ".trend svg.p a", "table.cells td a", "table.events td a"] {
        assert!(reader.tab.find(selector).is_some(), "{selector}");
    }
}
