//! axe-core, the checker of accessibility, finds nothing serious on any page.
//!
//! It comes from the npm registry; where npm or the registry is missing, the test is skipped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::browser::{Reader, pages};

/// The version that the pages are checked with.
const AXE: &str = "axe-core@4.14.1";
/// Maximum time of a check of one page. Machines that run tests are busy.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// The script of axe-core, installed into the folder of built files; the reason if it cannot be had.
fn install() -> Result<String, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe");
    let script: PathBuf = folder.join("node_modules/axe-core/axe.min.js");
    if !script.is_file() {
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&folder).arg(AXE);
        let output = npm.output().map_err(|error| format!("npm: {error}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("npm install {AXE}: {}", text.lines().next().unwrap_or_default()));
        }
    }
    std::fs::read_to_string(&script).map_err(|error| format!("{}: {error}", script.display()))
}

/// What axe-core finds on the open page: impact, rule and element of each violation.
fn check(reader: &mut Reader, axe: &str) -> Vec<String> {
    reader.tab.evaluate(&format!("{axe}; 0"));
    reader.tab.evaluate("window.found = null; axe.run().then(r => { window.found = r.violations }); 0");
    let deadline = Instant::now() + MAX_WAIT;
    let found = loop {
        let found = reader.tab.evaluate(
            "window.found && window.found.map(v => [v.impact, v.id, v.nodes.length + 'x', v.nodes[0].html].join(' '))",
        );
        if found != Value::Null {
            break found;
        }
        assert!(Instant::now() < deadline, "axe-core took {MAX_WAIT:?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    serde_json::from_value(found).expect("a list")
}

#[test]
fn axe_finds_nothing_serious_on_any_page_in_light_and_dark() {
    let axe = match install() {
        Ok(axe) => axe,
        Err(reason) => {
            println!("skipped: axe-core cannot be had: {reason}");
            return;
        }
    };
    let Some(mut reader) = Reader::open(60) else { return };
    for page in pages() {
        for scheme in ["light", "dark"] {
            reader.set_scheme(scheme);
            reader.load(&page);
            let found = check(&mut reader, &axe);
            let serious: Vec<&String> =
                found.iter().filter(|it| it.starts_with("serious") || it.starts_with("critical")).collect();
            assert!(serious.is_empty(), "{page}, {scheme}: {serious:#?}");
        }
    }
    // The check itself works: it finds a picture without a text.
    reader.tab.evaluate("document.body.append(document.createElement('img')); 0");
    assert!(check(&mut reader, &axe).iter().any(|it| it.contains("image-alt")));
}
