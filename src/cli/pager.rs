//! Long output on a terminal: its width, and a pager.

use std::env;
use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGINT;

use super::error;
use super::output::stdout;

/// The pager where `PAGER` names none. It ends at once if the text fits on the screen (F), passes colours on (R), and
/// leaves the text on the screen (X).
const DEFAULT_PAGER: &str = "less -FRX";
/// Options of `less` where it has none of its own in `LESS`.
const LESS: &str = "FRX";

/// Smallest and largest width that is accepted. A narrower one has no room for a name and a number; from the largest
/// on, the width is a mistake.
const WIDTHS: std::ops::RangeInclusive<usize> = 20..=10_000;

/// The width of the output in columns: `COLUMNS`, or that of the terminal. `None` if the output is piped: then lines
/// are as long as they need to be.
pub fn width() -> Option<usize> {
    let asked = env::var("COLUMNS").ok().and_then(|text| text.trim().parse().ok());
    asked.filter(|columns| WIDTHS.contains(columns)).or_else(|| {
        // A terminal that does not know its width reports 0.
        let columns = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?.ws_col;
        (columns > 0).then(|| usize::from(columns).clamp(*WIDTHS.start(), *WIDTHS.end()))
    })
}

/// Prints a text, on a terminal through a pager.
pub fn print(text: &str) {
    if std::io::stdout().is_terminal() && show(text) {
        return;
    }
    // Writes to standard output do not fail; lost output is reported at the end.
    let _ = stdout().write_all(text.as_bytes());
}

/// Shows a text in a pager; false if there is none.
fn show(text: &str) -> bool {
    let Some(words) = choose(env::var_os("PAGER"), env::var_os("TERM")) else { return false };
    let Some(mut pager) = start(&words) else { return false };
    // Ctrl-C belongs to the pager; without a handler it would end this process, and the shell would read the keys.
    let _ = signal_hook::flag::register(SIGINT, Arc::new(AtomicBool::new(false)));
    if let Some(mut input) = pager.stdin.take() {
        // A reader who has seen enough ends the pager before the end of the text.
        let _ = input.write_all(text.as_bytes());
    }
    let _ = pager.wait();
    true
}

/// Chooses the pager and its arguments. `None` if `PAGER` is empty, or if the terminal cannot move its cursor.
fn choose(pager: Option<OsString>, terminal: Option<OsString>) -> Option<Vec<String>> {
    if terminal.is_none_or(|name| name.is_empty() || name == "dumb") {
        return None;
    }
    let pager = pager.map_or_else(|| DEFAULT_PAGER.to_owned(), |pager| pager.to_string_lossy().into_owned());
    let words: Vec<String> = pager.split_whitespace().map(str::to_owned).collect();
    (!words.is_empty()).then_some(words)
}

/// Starts a pager; `None` if it is not installed or cannot be started.
fn start(words: &[String]) -> Option<Child> {
    let (program, args) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped());
    if env::var_os("LESS").is_none() {
        command.env("LESS", LESS);
    }
    match command.spawn() {
        Ok(child) => Some(child),
        Err(failure) => {
            if env::var_os("PAGER").is_some() || failure.kind() != ErrorKind::NotFound {
                error::warn(&format!("the pager {program} cannot be started: {failure}; set PAGER to another one"));
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pager_is_less_unless_the_variable_names_another_or_none() {
        let choose = |pager: Option<&str>, terminal: Option<&str>| {
            choose(pager.map(OsString::from), terminal.map(OsString::from)).map(|words| words.join(" "))
        };
        assert_eq!(choose(None, Some("xterm")).as_deref(), Some("less -FRX"));
        assert_eq!(choose(Some(" more  -d "), Some("xterm")).as_deref(), Some("more -d"));
        for (pager, terminal) in [(Some(""), Some("xterm")), (None, Some("dumb")), (Some("less"), None)] {
            assert_eq!(choose(pager, terminal), None);
        }
    }
}
