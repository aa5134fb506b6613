//! `--open`: opens the page of a report in a browser.

use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::error;

/// Time in which a browser that cannot open the page ends with an error. `xdg-open` takes up to a second to try several
/// browsers. At half of this time a late error would be missed; twice the time delays the command behind a browser that
/// stays in the foreground.
const MAX_FAILURE_TIME: Duration = Duration::from_secs(2);

/// Interval at which the browser is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Opens a page with `$BROWSER`, or with `xdg-open`. Without a browser it prints how to open the page, and the command
/// goes on to its exit code.
pub fn page(path: &Path) {
    let mut reasons = Vec::new();
    for browser in list_browsers(env::var_os("BROWSER")) {
        match start(&browser, path) {
            Ok(()) => return,
            Err(reason) => reasons.push(format!("{}: {reason}", browser.join(" "))),
        }
    }
    error::warn(&format!(
        "no browser opened the page ({}); open {} yourself, or set BROWSER to a browser",
        reasons.join("; "),
        path.display()
    ));
}

/// Lists the browsers to try, each with its arguments. `$BROWSER` holds several, separated by colons, with `%s` for the
/// page; `xdg-open` reads the variable, too, but not every system has it.
fn list_browsers(variable: Option<OsString>) -> Vec<Vec<String>> {
    let text = variable.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    let own = text.split(':').map(|browser| browser.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    own.chain([vec!["xdg-open".to_owned()]]).filter(|browser| !browser.is_empty()).collect()
}

/// Starts a browser. A browser that still runs after [`MAX_FAILURE_TIME`] has opened the page.
fn start(browser: &[String], path: &Path) -> Result<(), String> {
    let Some((program, args)) = browser.split_first() else { return Ok(()) };
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut command = Command::new(program);
    let placed = args.iter().any(|arg| arg.contains("%s"));
    command.args(args.iter().map(|arg| arg.replace("%s", &path.to_string_lossy())));
    if !placed {
        command.arg(&path);
    }
    // In a process group of its own, the browser outlives Ctrl-C in this terminal.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(|error| describe(&error))?;
    let began = Instant::now();
    while began.elapsed() < MAX_FAILURE_TIME {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) => thread::sleep(POLL_INTERVAL),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

fn describe(error: &io::Error) -> String {
    if error.kind() == ErrorKind::NotFound { "not installed".to_owned() } else { error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_holds_several_browsers_and_xdg_open_comes_last() {
        assert_eq!(list_browsers(None), [["xdg-open"]]);
        let several = list_browsers(Some("firefox --new-tab %s::w3m".into()));
        assert_eq!(several, [vec!["firefox", "--new-tab", "%s"], vec!["w3m"], vec!["xdg-open"]]);
    }

    #[test]
    fn a_browser_gets_the_page_and_its_failure_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("index.html");
        std::fs::write(&page, "x").unwrap();
        let browser = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(start(&browser(&["test", "-f"]), &page), Ok(()));
        assert_eq!(start(&browser(&["test", "-f", "%s"]), &page), Ok(()));
        assert!(start(&browser(&["false"]), &page).is_err());
        assert_eq!(start(&browser(&["no-such-browser"]), &page), Err("not installed".to_owned()));
    }
}
