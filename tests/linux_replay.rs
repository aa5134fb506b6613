//! `pvbench linux replay`: its output, its options, and recordings that it refuses.
#![cfg(feature = "linux")]

use std::process::Output;

use assert_cmd::Command;

fn replay(args: &[&str]) -> Output {
    Command::cargo_bin("pvbench").unwrap().args(["linux", "replay"]).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The results; `None` where other processes used the core all the time.
fn results(args: &[&str]) -> Option<serde_json::Value> {
    let short = ["--placements", "2", "--blocks", "1", "--json"];
    let output = replay(&[args, &short].concat());
    let said = said(&output);
    if output.status.code() == Some(4) && said.contains("something else used the core") {
        return None;
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_shipped_recording_is_replayed_with_every_mechanism() {
    let Some(results) = results(&["getppid", "--mechanism", "direct,table"]) else { return };
    let result = &results[0];
    assert_eq!((&result["workload"], &result["experimental"]), (&"getppid".into(), &true.into()));
    assert_eq!(result["hooks_per_unit"].as_f64().unwrap().round(), 2.0);
    assert_eq!(result["placements"].as_array().unwrap().len(), 2);
    let costs = result["cycles_per_hook"].as_object().unwrap();
    assert_eq!(costs.keys().collect::<Vec<_>>(), ["direct", "table"]);
    for cost in costs.values() {
        assert!(
            cost["low"].as_f64() <= cost["estimate"].as_f64() && cost["estimate"].as_f64() <= cost["high"].as_f64()
        );
    }
    assert!(result["inline_cycles"]["estimate"].as_f64().unwrap() > 30.0, "{result}");
}

#[test]
fn half_of_a_window_has_half_of_its_units() {
    let Some(results) = results(&["futex", "--part", "50", "--stream-factor", "2"]) else { return };
    assert!((results[0]["units"].as_f64().unwrap() - 500.0).abs() < 2.0, "{}", results[0]["units"]);
}

#[test]
fn a_workload_of_the_model_kernel_is_recorded_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(results) = results(&["mmap_perf", "--own", "--save", folder.path().to_str().unwrap()]) else { return };
    let result = &results[0];
    assert_eq!(result["workload"], "mmap_perf");
    let facts = &result["facts"];
    let of = |name: &str| facts[name].as_f64().unwrap();
    assert!(of("hooks") > 1000.0 && of("hooks") / of("recorded_instructions") > 0.005, "{facts}");
    assert!((of("instructions") / of("recorded_instructions") - 1.0).abs() < 0.1, "{facts}");
    let kept = folder.path().join("mmap_perf.pvrec");
    let output = Command::cargo_bin("pvbench").unwrap().args(["linux", "recording"]).arg(kept).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn unknown_names_and_files_that_are_no_recordings_are_refused() {
    for (args, part) in [
        (&["no_such"][..], "no_such"),
        (&["--recordings", "/dev/null"][..], "not a recording"),
        (&["--mechanism", "no_such"][..], "no_such"),
        (&["--placements", "1"][..], "placements"),
        (&["--save", "folder"][..], "--own"),
    ] {
        let output = replay(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(part), "{args:?}: {}", said(&output));
    }
}
