//! Tests of the page in headless Chromium, driven by clicks and keys.

mod chromium;
mod support;

use std::cell::RefCell;

use chromium::Tab;
use pvbench::report::{Report, html};
use serde_json::json;
use tempfile::TempDir;

struct Reader {
    tab: RefCell<Tab>,
    /// The folder is dropped after the browser that writes into it.
    _folder: TempDir,
}

impl Reader {
    /// Opens the page of a synthetic report in a browser; `None` if Chromium is not installed.
    fn open() -> Option<Self> {
        Self::open_with(&support::everything())
    }

    /// Opens the page of a report in a browser; `None` if Chromium is not installed.
    fn open_with(report: &Report) -> Option<Self> {
        let Some(browser) = chromium::installed() else {
            println!("skipped: no Chromium on PATH; scripts/setup.sh installs it");
            return None;
        };
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("index.html");
        std::fs::write(&file, html::page(report).expect("a page")).expect("written");
        let mut tab = Tab::open(&browser, &folder.path().join("profile"), (1280, 900));
        // A smooth scroll would still move what a test clicks.
        let still = json!([{ "name": "prefers-reduced-motion", "value": "reduce" }]);
        tab.call("Emulation.setEmulatedMedia", json!({ "features": still }));
        tab.load("Page.navigate", json!({ "url": format!("file://{}", file.display()) }));
        // The script shows the form at its end.
        tab.wait_for("#filter:not([hidden])");
        Some(Self { tab: RefCell::new(tab), _folder: folder })
    }

    fn evaluate(&self, expression: &str) -> serde_json::Value {
        self.tab.borrow_mut().evaluate(expression)
    }

    fn evaluate_number(&self, expression: &str) -> f64 {
        self.evaluate(expression).as_f64().expect(expression)
    }

    fn evaluate_text(&self, expression: &str) -> String {
        self.evaluate(expression).as_str().expect(expression).to_owned()
    }

    fn click(&self, selector: &str) {
        self.tab.borrow_mut().click(selector);
    }

    fn type_into(&self, selector: &str, text: &str) {
        let mut tab = self.tab.borrow_mut();
        tab.focus(selector);
        tab.type_text(text);
    }

    fn set_width(&self, width: u32) {
        let metrics = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": true });
        self.tab.borrow_mut().call("Emulation.setDeviceMetricsOverride", metrics);
    }

    fn set_scheme(&self, scheme: &str) {
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.tab.borrow_mut().call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Chooses an option of a select. Keys would continue the word that was typed before.
    fn choose(&self, selector: &str, option: &str) {
        self.evaluate(&format!(
            "(e => {{ e.value = '{option}'; e.dispatchEvent(new Event('input', {{ bubbles: true }})); }})\
             (document.querySelector('{selector}'))"
        ));
    }

    /// Asserts that the page made no request to elsewhere, logged no error and threw no exception.
    fn assert_no_errors(&self) {
        let mut tab = self.tab.borrow_mut();
        let complaints: Vec<String> = tab
            .events()
            .filter_map(|(event, it)| match event {
                "Network.requestWillBeSent" => {
                    let url = it["request"]["url"].as_str().unwrap_or_default();
                    let own = ["file:", "data:", "about:"].iter().any(|scheme| url.starts_with(scheme));
                    (!own).then(|| format!("request: {url}"))
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

const SHOWN: &str = "[...document.querySelectorAll('#cells tbody tr')]";
/// The column of overheads in throughput, behind op and mechanism.
const CYCLES: usize = 3;

#[test]
fn a_click_on_a_header_sorts_and_another_click_reverses_the_order() {
    let Some(reader) = Reader::open() else { return };
    reader.type_into("#f-mechanism", "table");
    let header = format!("#cells thead th:nth-child({CYCLES}) button");
    let values = format!(
        "{SHOWN}.map(r => r.cells[{}].textContent).filter(t => !t.startsWith('reason')) \
         .map(t => parseFloat(t.replace('~', '').replace('\u{2212}', '-')))",
        CYCLES - 1
    );
    let sort = format!("document.querySelector('#cells thead th:nth-child({CYCLES})').getAttribute('aria-sort')");
    reader.click(&header);
    assert_eq!(reader.evaluate_text(&sort), "ascending");
    assert!(reader.evaluate_number(&format!("{values}.length")) > 70.0);
    assert_eq!(reader.evaluate(&format!("(v => v.every((x, i) => !i || v[i - 1] <= x))({values})")), true);
    reader.click(&header);
    assert_eq!(reader.evaluate_text(&sort), "descending");
    assert_eq!(reader.evaluate(&format!("(v => v.every((x, i) => !i || v[i - 1] >= x))({values})")), true);
    let last = reader.evaluate_text(&format!("{SHOWN}.at(-1).cells[{}].textContent", CYCLES - 1));
    assert!(last.starts_with("reason"), "absent cells come last: {last}");
    reader.assert_no_errors();
}

#[test]
fn filters_keep_the_rows_that_match() {
    let Some(reader) = Reader::open() else { return };
    assert_eq!(
        reader.evaluate("document.getElementById('compared').hidden"),
        true,
        "without a filter nothing is shown"
    );
    reader.click("#f-text");
    reader.tab.borrow_mut().type_text("set_pte");
    // Nine mechanisms, of which one has another row in its state.
    assert_eq!(reader.evaluate_number(&format!("{SHOWN}.length")), 9.0);
    assert_eq!(reader.evaluate(&format!("{SHOWN}.every(r => r.cells[0].textContent === 'set_pte')")), true);
    let all = reader.evaluate_number("document.querySelectorAll('#all .op tbody tr:not(.own)').length");
    assert_eq!(reader.evaluate_text("document.getElementById('count').textContent"), format!("9 of {all} rows"));
    reader.type_into("#f-mechanism", "table");
    assert_eq!(reader.evaluate_number(&format!("{SHOWN}.length")), 1.0);
    reader.type_into("#f-regime", "latency");
    let shown = "[...document.querySelector('#cells thead tr').cells].filter(c => !c.hidden).length";
    assert_eq!(reader.evaluate_number(shown), 3.0, "op, mechanism, latency");
    reader.assert_no_errors();
}

#[test]
fn the_filter_of_resolved_cells_agrees_with_the_report() {
    let Some(reader) = Reader::open() else { return };
    let report = support::everything();
    reader.type_into("#f-regime", "latency");
    for (word, wanted) in [("yes", 0), ("no", 1), ("absent", 2)] {
        reader.choose("#f-resolved", word);
        let count = report.cells.iter().filter(|cell| cell.regime == pvbench::regime::Regime::Latency).filter(|cell| {
            let verdict = if cell.overhead.is_none() { 2 } else { usize::from(!cell.resolved) };
            verdict == wanted
        });
        assert_eq!(reader.evaluate_number(&format!("{SHOWN}.length")), count.count() as f64, "{word}");
    }
    reader.assert_no_errors();
}

#[test]
fn a_box_shows_floor_and_layout_range_below_every_cell_also_in_filtered_rows() {
    let Some(reader) = Reader::open() else { return };
    reader.evaluate("document.querySelectorAll('#all details').forEach(d => d.open = true)");
    reader.type_into("#f-mechanism", "dyn");
    let shown = "[...document.querySelectorAll('#all .cells td p')].filter(p => p.checkVisibility()).length";
    let filtered = "[...document.querySelectorAll('#cells td p')].filter(p => p.checkVisibility()).length";
    assert_eq!(reader.evaluate_number(shown), 0.0);
    reader.click("#floors");
    let measured = support::everything().cells.iter().filter(|cell| cell.overhead.is_some()).count() as f64;
    let copied = reader.evaluate_number(filtered);
    assert!(copied > 200.0, "{copied}");
    assert_eq!(reader.evaluate_number(shown), measured + copied);
    for width in [360, 1280] {
        reader.set_width(width);
        let mut found = reader.evaluate(GEOMETRY);
        let wrong: Vec<String> = serde_json::from_value(found["wrong"].take()).expect("a list");
        assert!(wrong.is_empty(), "{width}: {wrong:#?}");
    }
    reader.assert_no_errors();
}

#[test]
fn the_finder_shows_the_rows_that_match() {
    let Some(reader) = Reader::open() else { return };
    let rows = "[...document.querySelectorAll('#finder tbody tr')].filter(r => !r.hidden)";
    let all = reader.evaluate_number(&format!("{rows}.length"));
    reader.click("#find-text");
    reader.tab.borrow_mut().type_text("oncelock");
    assert_eq!(reader.evaluate_number(&format!("{rows}.length")), 1.0, "of {all}");
    assert_eq!(reader.evaluate(&format!("{rows}[0].textContent.includes('once_lock')")), true);
    reader.assert_no_errors();
}

#[test]
fn details_unfold() {
    let Some(reader) = Reader::open() else { return };
    for (index, place) in
        ["aside .rest", "#way-table", "#all .group", "#how details", "#counters details"].iter().enumerate()
    {
        let open = format!("document.querySelector('{place}').open");
        assert_eq!(reader.evaluate(&open), false, "{index}");
        reader.click(&format!("{place} > summary"));
        assert_eq!(reader.evaluate(&open), true, "{index}");
    }
    reader.assert_no_errors();
}

#[test]
fn the_name_of_an_op_links_to_its_description_and_unfolds_it() {
    let Some(reader) = Reader::open() else { return };
    reader.click("#map a[href='#op-pte_val']");
    // The script unfolds after the browser has followed the link.
    reader.tab.borrow_mut().wait_for("#op-pte_val[open]");
    assert_eq!(reader.evaluate("document.querySelector('#op-pte_val table').checkVisibility()"), true);
    reader.assert_no_errors();
}

#[test]
fn compared_rows_keep_the_order_of_the_report_and_lead_to_their_op() {
    let Some(reader) = Reader::open() else { return };
    let report = support::everything();
    reader.type_into("#f-mechanism", "dyn");
    let shown = reader.evaluate_text(&format!("{SHOWN}.map(r => r.cells[0].textContent).join()"));
    let names: Vec<&str> = report.catalogue.ops.iter().map(|op| op.name.as_str()).collect();
    assert_eq!(shown, names.join(","));
    let cells = "document.querySelector('#cells thead tr').cells.length";
    assert_eq!(reader.evaluate(&format!("{SHOWN}.every(r => r.cells.length === {cells})")), true);
    reader.click("#cells a[href='#op-cpuid']");
    reader.tab.borrow_mut().wait_for("#op-cpuid[open]");
    reader.assert_no_errors();
}

#[test]
fn listings_are_side_by_side_on_a_desktop_and_stacked_on_a_phone() {
    let Some(reader) = Reader::open() else { return };
    reader.click("#way-table > summary");
    let tops = "[...document.querySelector('#way-table .pair').children].map(f => f.getBoundingClientRect().top)";
    assert_eq!(reader.evaluate(&format!("(([a, b]) => a === b)({tops})")), true);
    reader.set_width(390);
    assert_eq!(reader.evaluate(&format!("(([a, b]) => a < b)({tops})")), true);
    reader.assert_no_errors();
}

#[test]
fn hostile_strings_are_shown_and_not_executed() {
    const HOSTILE: &str = "\"'></pre></details><script>alert(1)</script><img src=x onerror=alert(1)>";
    let mut report = support::everything();
    for mechanism in &mut report.catalogue.mechanisms {
        mechanism.step = mechanism.step.as_ref().map(|_| HOSTILE.to_owned());
        for line in mechanism.listings.iter_mut().flat_map(|listing| &mut listing.lines) {
            (line.bytes, line.text, line.place) = (HOSTILE.to_owned(), HOSTILE.to_owned(), HOSTILE.to_owned());
        }
    }
    for cell in report.cells.iter_mut().filter(|cell| cell.op == "cpuid") {
        cell.op = HOSTILE.to_owned();
        cell.counters = Some(std::collections::BTreeMap::from([(HOSTILE.to_owned(), 1.0)]));
    }
    report.catalogue.ops[0].name = HOSTILE.to_owned();
    report.catalogue.ops[0].prototype = HOSTILE.to_owned();
    report.catalogue.ops[0].native_code = HOSTILE.to_owned();
    let Some(reader) = Reader::open_with(&report) else { return };
    reader.click("#f-text");
    reader.tab.borrow_mut().type_text("alert");
    reader.click("#cells thead th:nth-child(1) button");
    reader.click("#cells tbody th a");
    assert_eq!(reader.evaluate_text("location.hash"), "#op--0");
    reader.click("#way-table > summary");
    let shown = reader.evaluate_text("document.querySelector('#way-table pre').textContent");
    assert!(shown.contains("<script>alert(1)</script>"), "{shown}");
    assert_eq!(reader.evaluate_number("document.scripts.length"), 1.0);
    assert_eq!(reader.evaluate_number("document.images.length"), 0.0);
    reader.assert_no_errors();
}

#[test]
fn without_scripts_the_table_is_complete_and_has_no_controls() {
    let Some(reader) = Reader::open() else { return };
    let mut tab = reader.tab.borrow_mut();
    tab.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    tab.load("Page.reload", json!({ "ignoreCache": true }));
    tab.wait_for("#filter[hidden]");
    let last = support::everything().catalogue.ops.last().expect("an op").name.clone();
    tab.wait_for(&format!("#op-{last} tbody tr:nth-child(10)"));
    assert!(tab.find("#cells thead button").is_none() && tab.find("#compared[hidden]").is_some());
    assert!(tab.find("#find[hidden]").is_some());
}

#[test]
fn the_page_follows_light_and_dark_mode_and_text_has_enough_contrast_in_both() {
    let Some(reader) = Reader::open() else { return };
    // WCAG 2.1, 1.4.3, asks for a contrast of 4.5 to 1 for text.
    let contrast = "((fg, bg) => { \
        const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => v / 255) \
          .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); \
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; }; \
        const of = (name) => { const e = document.createElement('i'); e.style.color = `var(--${name})`; \
          document.body.append(e); const c = getComputedStyle(e).color; e.remove(); return light(c); }; \
        const [a, b] = [of(fg), of(bg)].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); })";
    let mut papers = Vec::new();
    for scheme in ["light", "dark"] {
        reader.set_scheme(scheme);
        papers.push(reader.evaluate_text("getComputedStyle(document.documentElement).backgroundColor"));
        let mut pairs = Vec::new();
        for name in ["text", "muted", "accent", "bad", "good", "band-text"] {
            pairs.extend([(name.to_owned(), "paper".to_owned()), (name.to_owned(), "panel".to_owned())]);
        }
        pairs.push(("muted".to_owned(), "stripe".to_owned()));
        pairs.push(("band-text".to_owned(), "band".to_owned()));
        pairs.push(("bad".to_owned(), "bad-bg".to_owned()));
        pairs.push(("near".to_owned(), "faster".to_owned()));
        pairs.extend((0..8).map(|step| ((if step < 5 { "near" } else { "far" }).to_owned(), format!("h{step}"))));
        for (fg, bg) in pairs {
            let ratio = reader.evaluate_number(&format!("{contrast}('{fg}', '{bg}')"));
            assert!(ratio >= 4.5, "{scheme}: {fg} on {bg}: {ratio:.2}");
        }
    }
    assert_ne!(papers[0], papers[1]);
    reader.assert_no_errors();
}

#[test]
fn a_phone_does_not_scroll_sideways() {
    let Some(reader) = Reader::open() else { return };
    // All details are open, so that nothing is left out.
    reader.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)");
    for width in [390, 340, 768] {
        reader.set_width(width);
        let (content, window) =
            (reader.evaluate_number("document.documentElement.scrollWidth"), reader.evaluate_number("innerWidth"));
        assert!(content <= window && window <= f64::from(width), "{content} in {window} at {width}");
    }
    reader.assert_no_errors();
}

/// A script that finds faults in the layout, by the boxes of all shown elements.
const GEOMETRY: &str = include_str!("chromium/geometry.js");

#[test]
fn texts_do_not_overlap_leave_their_column_or_get_cut_on_any_screen_in_light_or_dark_mode() {
    let Some(reader) = Reader::open_with(&support::full::full()) else { return };
    for scheme in ["light", "dark"] {
        reader.set_scheme(scheme);
        for width in [360, 768, 1280, 1920] {
            reader.set_width(width);
            // The first screen holds the answer: the sentences, and where there is room the plot and the box beside it.
            if width >= 1280 {
                for part in ["#found", ".answer", "aside"] {
                    let bottom = format!("document.querySelector('{part}').getBoundingClientRect().top");
                    assert!(reader.evaluate_number(&bottom) < 720.0, "{part} at {width}");
                }
            }
            // First with details closed, then with all open.
            for open in [false, true] {
                reader.evaluate(&format!("document.querySelectorAll('details').forEach(d => d.open = {open})"));
                let mut found = reader.evaluate(GEOMETRY);
                let wrong: Vec<String> = serde_json::from_value(found["wrong"].take()).expect("a list");
                let texts = found["texts"].as_u64().unwrap_or(0);
                assert!(texts > 1000, "{texts} texts");
                let first: Vec<&String> = wrong.iter().take(20).collect();
                assert!(wrong.is_empty(), "{width}, {scheme}, open {open}: {} faults: {first:#?}", wrong.len());
            }
        }
    }
    reader.assert_no_errors();
}

#[test]
fn the_layout_check_finds_each_kind_of_fault() {
    let Some(reader) = Reader::open_with(&support::full::full()) else { return };
    reader.set_width(1280);
    let faults = [
        ("document.querySelector('#found').style.width = '1400px'", "wider than the window"),
        ("document.querySelector('#work-h').style.marginBottom = '-3rem'", "texts overlap"),
        ("document.querySelector('.first aside').style.marginLeft = '-9rem'", "boxes overlap"),
        ("document.querySelector('.published th').style.paddingRight = '90rem'", "hidden main column"),
    ];
    for (change, fault) in faults {
        reader.tab.borrow_mut().load("Page.reload", json!({}));
        reader.tab.borrow_mut().wait_for("#filter:not([hidden])");
        reader.evaluate(&format!("void ({change})"));
        let mut found = reader.evaluate(GEOMETRY);
        let wrong: Vec<String> = serde_json::from_value(found["wrong"].take()).expect("a list");
        assert!(wrong.iter().any(|line| line.starts_with(fault)), "{change}: {wrong:?}");
    }
}

#[test]
fn a_wide_screen_is_used_and_no_column_of_text_is_too_wide_to_read() {
    let Some(reader) = Reader::open_with(&support::full::full()) else { return };
    reader.set_width(1920);
    let used = reader.evaluate_number("document.querySelector('main').getBoundingClientRect().width");
    assert!(used > 1700.0, "{used} of 1920 pixels");
    let widest =
        "Math.max(...[...document.querySelectorAll('main p:not(th p)')].map(p => p.getBoundingClientRect().width))";
    assert!(reader.evaluate_number(widest) < 800.0);
    reader.assert_no_errors();
}

#[test]
fn every_value_can_be_read_without_pointing_at_it() {
    let Some(reader) = Reader::open_with(&support::full::full()) else { return };
    assert_eq!(reader.evaluate_number("document.querySelectorAll('main [title]').length"), 0.0);
    assert_eq!(reader.evaluate_number("document.querySelectorAll('svg path title, svg rect title').length"), 0.0);
}
