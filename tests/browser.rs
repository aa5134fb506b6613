//! The page in a real browser: headless Chromium, driven by clicks and keys.

mod chromium;
mod support;

use std::cell::RefCell;

use chromium::Tab;
use pvbench::report::{Report, html};
use serde_json::json;
use tempfile::TempDir;

struct Reader {
    tab: RefCell<Tab>,
    /// Goes after the browser that writes into it.
    _folder: TempDir,
}

impl Reader {
    /// A browser with the page of a synthetic report open. None where no Chromium is installed.
    fn open() -> Option<Self> {
        Self::open_with(&support::everything())
    }

    /// The same with the page of a report.
    fn open_with(report: &Report) -> Option<Self> {
        let Some(browser) = chromium::installed() else {
            println!("skipped: no Chromium on PATH; scripts/setup.sh installs it");
            return None;
        };
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("index.html");
        std::fs::write(&file, html::page(report).expect("a page")).expect("written");
        let mut tab = Tab::open(&browser, &folder.path().join("profile"), (1280, 900));
        tab.load("Page.navigate", json!({ "url": format!("file://{}", file.display()) }));
        // The script shows the form when it is done.
        tab.wait_for("#filter:not([hidden])");
        Some(Self { tab: RefCell::new(tab), _folder: folder })
    }

    fn ask(&self, expression: &str) -> serde_json::Value {
        self.tab.borrow_mut().evaluate(expression)
    }

    fn number(&self, expression: &str) -> f64 {
        self.ask(expression).as_f64().expect(expression)
    }

    fn words(&self, expression: &str) -> String {
        self.ask(expression).as_str().expect(expression).to_owned()
    }

    fn click(&self, selector: &str) {
        self.tab.borrow_mut().click(selector);
    }

    fn type_into(&self, selector: &str, text: &str) {
        let mut tab = self.tab.borrow_mut();
        tab.focus(selector);
        tab.type_text(text);
    }

    fn width(&self, width: u32) {
        let metrics = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": true });
        self.tab.borrow_mut().call("Emulation.setDeviceMetricsOverride", metrics);
    }

    fn scheme(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.tab.borrow_mut().call("Emulation.setEmulatedMedia", features);
    }

    /// Neither requests to elsewhere, nor errors of the console, nor uncaught exceptions.
    fn without_complaint(&self) {
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

const SHOWN_HEADS: &str = "document.querySelector('#cells thead tr').cells.length";
const SHOWN: &str = "[...document.querySelectorAll('#cells tbody tr')].filter(r => !r.hidden)";
/// The column of overheads in cycles.
const CYCLES: usize = 5;

#[test]
fn a_click_on_a_header_sorts_and_another_turns_it_round() {
    let Some(reader) = Reader::open() else { return };
    let header = format!("#cells thead th:nth-child({CYCLES}) button");
    let values = format!(
        "{SHOWN}.map(r => r.cells[{}].textContent).filter(t => !t.startsWith('why')).map(t => parseFloat(t.replace('\u{2212}', '-')))",
        CYCLES - 1
    );
    let sort = format!("document.querySelector('#cells thead th:nth-child({CYCLES})').getAttribute('aria-sort')");
    reader.click(&header);
    assert_eq!(reader.words(&sort), "ascending");
    assert_eq!(reader.ask(&format!("(v => v.every((x, i) => !i || v[i - 1] <= x))({values})")), true);
    reader.click(&header);
    assert_eq!(reader.words(&sort), "descending");
    assert_eq!(reader.ask(&format!("(v => v.every((x, i) => !i || v[i - 1] >= x))({values})")), true);
    let last = reader.words(&format!("{SHOWN}.at(-1).cells[{}].textContent", CYCLES - 1));
    assert!(last.starts_with("why"), "what is absent goes last: {last}");
    reader.without_complaint();
}

#[test]
fn filters_leave_the_rows_that_match() {
    let Some(reader) = Reader::open() else { return };
    let all = reader.number(&format!("{SHOWN}.length"));
    reader.click("#f-text");
    reader.tab.borrow_mut().type_text("set_pte");
    assert_eq!(reader.number(&format!("{SHOWN}.length")), 27.0);
    assert_eq!(reader.ask(&format!("{SHOWN}.every(r => r.cells[0].textContent === 'set_pte')")), true);
    assert_eq!(reader.words("document.getElementById('count').textContent"), format!("27 of {all} cells"));
    reader.type_into("#f-mechanism", "table");
    assert_eq!(reader.number(&format!("{SHOWN}.length")), 3.0);
    reader.type_into("#f-regime", "latency");
    assert_eq!(reader.number(&format!("{SHOWN}.length")), 1.0);
    reader.without_complaint();
}

#[test]
fn details_unfold() {
    let Some(reader) = Reader::open() else { return };
    for (index, place) in
        ["aside .rest", "#way-table", "#ops details", "#how details", "#counters details"].iter().enumerate()
    {
        let open = format!("document.querySelector('{place}').open");
        assert_eq!(reader.ask(&open), false, "{index}");
        reader.click(&format!("{place} > summary"));
        assert_eq!(reader.ask(&open), true, "{index}");
    }
    reader.without_complaint();
}

#[test]
fn the_name_of_an_op_leads_to_its_description_and_unfolds_it() {
    let Some(reader) = Reader::open() else { return };
    reader.click("#cells a[href='#op-cpuid']");
    assert_eq!(reader.ask("document.querySelector('#ops details').open"), true);
    assert_eq!(reader.ask("document.getElementById('op-cpuid').checkVisibility()"), true);
    reader.without_complaint();
}

#[test]
fn rows_take_the_shared_cells_with_them_when_they_are_sorted() {
    let Some(reader) = Reader::open() else { return };
    let cells = support::everything().cells;
    let first = format!("{SHOWN}[0].cells.length");
    let whole = reader.number(&first);
    assert!(reader.number(&format!("{SHOWN}[1].cells.length")) < whole - 4.0, "they are shared before");
    reader.click("#cells thead th:nth-child(1) button");
    assert_eq!(reader.ask(&format!("{SHOWN}.every(r => r.cells.length === {SHOWN_HEADS})")), true);
    let mut names: Vec<&str> = cells.iter().map(|cell| cell.op.as_str()).collect();
    names.sort_unstable();
    let shown = reader.words(&format!("{SHOWN}.map(r => r.cells[0].textContent).join()"));
    assert_eq!(shown, names.join(","));
    // Within an op the rows keep the order of the report.
    let order: Vec<String> = cells
        .iter()
        .filter(|cell| cell.op == names[0])
        .map(|cell| format!("{} {}", cell.regime.name(), cell.mechanism))
        .collect();
    let (regime, mechanism) = (1, 2);
    let shown = reader.words(&format!(
        "{SHOWN}.slice(0, {}).map(r => r.cells[{regime}].textContent + ' ' + r.cells[{mechanism}].textContent).join()",
        order.len()
    ));
    assert_eq!(shown.split(',').next(), order.first().map(String::as_str));
    assert_eq!(shown, order.join(","));
    reader.without_complaint();
}

#[test]
fn what_the_layout_holds_back_unfolds_in_its_row() {
    let Some(reader) = Reader::open() else { return };
    reader.click("#cells td details > summary");
    assert_eq!(reader.ask("document.querySelector('#cells td details').open"), true);
    let text = reader.words("document.querySelector('#cells td details').innerText");
    assert!(text.contains("at 0: ") && text.contains("at 29: "), "{text}");
    reader.without_complaint();
}

#[test]
fn machine_code_is_side_by_side_where_there_is_room_and_one_below_the_other_on_a_phone() {
    let Some(reader) = Reader::open() else { return };
    reader.click("#way-table > summary");
    let tops = "[...document.querySelector('#way-table .pair').children].map(f => f.getBoundingClientRect().top)";
    assert_eq!(reader.ask(&format!("(([a, b]) => a === b)({tops})")), true);
    reader.width(390);
    assert_eq!(reader.ask(&format!("(([a, b]) => a < b)({tops})")), true);
    reader.without_complaint();
}

#[test]
fn hostile_names_texts_and_code_are_shown_and_not_run() {
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
    reader.click("#cells tbody th a");
    assert_eq!(reader.words("location.hash"), "#op--0");
    reader.click("#way-table > summary");
    reader.click("#cells thead th:nth-child(1) button");
    let shown = reader.words("document.querySelector('#way-table pre').textContent");
    assert!(shown.contains("<script>alert(1)</script>"), "{shown}");
    assert_eq!(reader.number("document.scripts.length"), 1.0);
    assert_eq!(reader.number("document.images.length"), 0.0);
    reader.without_complaint();
}

#[test]
fn without_scripts_the_table_is_whole_and_no_control_is_in_the_way() {
    let Some(reader) = Reader::open() else { return };
    let mut tab = reader.tab.borrow_mut();
    tab.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    tab.load("Page.reload", json!({ "ignoreCache": true }));
    tab.wait_for("#filter[hidden]");
    tab.wait_for(&format!("#cells tbody tr:nth-child({})", support::everything().cells.len()));
    assert!(tab.find("#cells thead button").is_none());
}

#[test]
fn the_page_follows_light_and_dark_and_text_stands_out_in_both() {
    let Some(reader) = Reader::open() else { return };
    // WCAG 2.1, 1.4.3: 4.5 to 1 for text.
    let contrast = "((fg, bg) => { \
        const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => v / 255) \
          .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; }; \
        const of = (name) => { const e = document.createElement('i'); e.style.color = `var(--${name})`; \
          document.body.append(e); const c = getComputedStyle(e).color; e.remove(); return light(c); }; \
        const [a, b] = [of(fg), of(bg)].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); })";
    let mut papers = Vec::new();
    for scheme in ["light", "dark"] {
        reader.scheme(scheme);
        papers.push(reader.words("getComputedStyle(document.documentElement).backgroundColor"));
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
            let ratio = reader.number(&format!("{contrast}('{fg}', '{bg}')"));
            assert!(ratio >= 4.5, "{scheme}: {fg} on {bg}: {ratio:.2}");
        }
    }
    assert_ne!(papers[0], papers[1]);
    reader.without_complaint();
}

#[test]
fn a_phone_does_not_scroll_sideways() {
    let Some(reader) = Reader::open() else { return };
    // Folded or not.
    reader.ask("document.querySelectorAll('details').forEach(d => d.open = true)");
    for width in [390, 340, 768] {
        reader.width(width);
        let (content, window) = (reader.number("document.documentElement.scrollWidth"), reader.number("innerWidth"));
        assert!(content <= window && window <= f64::from(width), "{content} in {window} at {width}");
    }
    reader.without_complaint();
}

/// What is wrong with the layout, by the boxes of everything that is shown.
const GEOMETRY: &str = include_str!("chromium/geometry.js");

#[test]
fn no_text_lies_on_another_leaves_its_column_or_is_cut_on_any_screen_in_light_and_dark() {
    let Some(reader) = Reader::open_with(&support::full::full()) else { return };
    for scheme in ["light", "dark"] {
        reader.scheme(scheme);
        for width in [360, 768, 1280, 1920] {
            reader.width(width);
            // Folded, then all of it.
            for open in [false, true] {
                reader.ask(&format!("document.querySelectorAll('details').forEach(d => d.open = {open})"));
                let mut found = reader.ask(GEOMETRY);
                let wrong: Vec<String> = serde_json::from_value(found["wrong"].take()).expect("a list");
                let texts = found["texts"].as_u64().unwrap_or(0);
                assert!(texts > 1000, "{texts} texts");
                let first: Vec<&String> = wrong.iter().take(20).collect();
                assert!(wrong.is_empty(), "{width}, {scheme}, open {open}: {} faults: {first:#?}", wrong.len());
            }
        }
    }
    reader.without_complaint();
}

#[test]
fn the_check_of_the_layout_finds_what_it_is_there_for() {
    let Some(reader) = Reader::open_with(&support::full::full()) else { return };
    reader.width(1280);
    let faults = [
        ("document.querySelector('#found').style.width = '1400px'", "wider than the window"),
        ("document.querySelector('#work-h').style.marginBottom = '-3rem'", "texts on each other"),
        ("document.querySelector('.tiles').style.paddingRight = '9rem'", "an empty tile"),
        ("document.querySelector('.wrapped th').style.paddingRight = '90rem'", "a main column is not to be seen"),
    ];
    for (change, fault) in faults {
        reader.tab.borrow_mut().load("Page.reload", json!({}));
        reader.tab.borrow_mut().wait_for("#filter:not([hidden])");
        reader.ask(&format!("void ({change})"));
        let mut found = reader.ask(GEOMETRY);
        let wrong: Vec<String> = serde_json::from_value(found["wrong"].take()).expect("a list");
        assert!(wrong.iter().any(|line| line.starts_with(fault)), "{change}: {wrong:?}");
    }
}
