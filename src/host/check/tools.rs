//! Checks of the programs that count instructions for the benches.

use std::path::Path;

use super::Check;
use crate::host::{IAI_CALLGRIND_SERIES, Probes};

pub(super) fn valgrind(probes: &Probes) -> Check {
    const ID: &str = "valgrind";
    let Some(found) = &probes.valgrind else {
        return Check::unknown(
            ID,
            "not on the PATH, so callgrind cannot count instructions",
            "install valgrind (apt install valgrind)",
        );
    };
    let place = shorten(&found.path);
    match &found.version {
        Ok(version) => Check::ok(ID, format!("version {version} at {place}")),
        Err(error) => Check::warning(
            ID,
            format!("at {place}, but {error}"),
            "the counts of `cargo bench --bench instructions` are missing; times do not change",
            "`sudo apt install --reinstall valgrind`, until `valgrind --version` prints its version",
        ),
    }
}

pub(super) fn iai_callgrind_runner(probes: &Probes) -> Check {
    const ID: &str = "iai_callgrind_runner";
    let install = format!(
        "`cargo install iai-callgrind-runner --version '{IAI_CALLGRIND_SERIES}.*'`; it must be the version of \
         iai-callgrind in Cargo.lock"
    );
    let Some(found) = &probes.iai_callgrind_runner else {
        return Check::unknown(
            ID,
            format!("not on the PATH, and the benches under callgrind need {IAI_CALLGRIND_SERIES}.x"),
            install,
        );
    };
    let place = shorten(&found.path);
    match &found.version {
        Ok(version) if is_in_series(version) => Check::ok(ID, format!("version {version} at {place}")),
        Ok(version) => Check::warning(
            ID,
            format!("version {version} at {place}, but the benches need {IAI_CALLGRIND_SERIES}.x"),
            "the counts of `cargo bench --bench instructions` are missing; times do not change",
            install,
        ),
        Err(error) => Check::unknown(
            ID,
            format!("at {place}, of unknown version ({error}); the benches need {IAI_CALLGRIND_SERIES}.x"),
            install,
        ),
    }
}

fn is_in_series(version: &str) -> bool {
    version.strip_prefix(IAI_CALLGRIND_SERIES).is_some_and(|rest| rest.starts_with('.'))
}

/// Shortens a path for a published report: the home folder, which names its user, becomes `~`.
fn shorten(path: &Path) -> String {
    let home = std::env::var_os("HOME").filter(|home| home.len() > 1);
    match home.as_ref().and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}
