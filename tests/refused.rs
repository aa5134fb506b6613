//! Runs on systems that refuse the calls that patching needs.

mod sandbox;

use std::process::Command;

use pvbench::report::Report;
use sandbox::{MPROTECT_EXEC, Refused, refuse};

const MEMFD: Refused = Refused(libc::SYS_memfd_create, None);
/// The call that writes `/proc/self/mem`.
const PWRITE: Refused = Refused(libc::SYS_pwrite64, None);

/// Makes a short run of `table`, `site` and `static_call`.
fn run_without(refused: &[Refused], body: &str) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
    command.args(["run", "--op", "pte_val", "--mechanism", "table,site,static_call", "--regime", "throughput"]);
    command.args(["--workers", "2", "--seed", "7", "--body", body, "--out"]).arg(folder.path());
    refuse(&mut command, refused);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    pvbench::report::read::report(&folder.path().join("report.json")).unwrap()
}

/// Lists the cells by mechanism and state, and whether they were measured.
fn list_measured(report: &Report) -> Vec<(String, bool)> {
    let name = |mechanism: &str, state: Option<&str>| match state {
        Some(state) => format!("{mechanism} {state}"),
        None => mechanism.to_owned(),
    };
    let cells = report.cells.iter();
    cells.map(|c| (name(&c.mechanism, c.state.as_deref()), c.overhead.is_some())).collect()
}

#[test]
fn without_a_memfd_the_next_writer_patches_and_all_cells_are_measured() {
    for refused in [&[MEMFD][..], &[MEMFD, PWRITE], &[MEMFD, MPROTECT_EXEC]] {
        let report = run_without(refused, "native");
        assert!(list_measured(&report).iter().all(|(_, measured)| *measured), "{:?}", list_measured(&report));
        assert_eq!(report.run.plan.layouts.len(), 8);
    }
}

#[test]
fn without_a_writer_patched_states_are_absent_with_the_reason_and_all_other_cells_are_measured() {
    let report = run_without(&[MEMFD, PWRITE, MPROTECT_EXEC], "native");
    for (name, measured) in list_measured(&report) {
        assert_eq!(measured, !name.starts_with("site"), "{name}");
    }
    let site = report.cells.iter().find(|cell| cell.mechanism == "site").unwrap();
    let reason = site.absent.as_deref().unwrap();
    assert!(reason.contains("memfd") && reason.contains("/proc/self/mem") && reason.contains("mremap"), "{reason}");
    let absence = report.absent.iter().find(|absence| absence.what == "layouts and patched states").unwrap();
    assert!(absence.reason.contains("linker"), "{}", absence.reason);
    assert_eq!(report.run.plan.layouts, [0]);
}

#[test]
fn a_static_call_that_cannot_be_retargeted_is_absent_for_xen_and_not_measured_as_native() {
    let report = run_without(&[MEMFD, PWRITE, MPROTECT_EXEC], "xen");
    let cell = report.cells.iter().find(|cell| cell.mechanism == "static_call").unwrap();
    assert!(cell.overhead.is_none());
    assert!(cell.absent.as_deref().unwrap().contains("no way to write the program's text works"), "{:?}", cell.absent);
    assert!(report.cells.iter().any(|cell| cell.mechanism == "table" && cell.overhead.is_some()));
}
