//! Samples files: a report can be made again from the kept samples of its run.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn pvbench(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pvbench")).args(args).current_dir(folder).output().unwrap()
}

fn ended(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_report_made_from_kept_samples_equals_that_of_the_run_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let select = ["--op", "pte_val", "--regime", "throughput", "--mechanism", "table", "--workload", "mmap_perf"];
    let mut args = vec!["run", "--workers", "2", "--layouts", "2", "--seed", "7", "--samples", "kept", "--out", "own"];
    args.extend(select);
    let run = pvbench(&args, folder.path());
    assert_eq!(ended(&run).0, Some(0), "{}", ended(&run).1);

    let again = pvbench(&["report", "--samples", "kept", "--out", "again"], folder.path());
    assert_eq!(ended(&again).0, Some(0), "{}", ended(&again).1);
    for file in ["report.json", "index.html"] {
        let [own, again] = ["own", "again"].map(|out| fs::read(folder.path().join(out).join(file)).unwrap());
        assert!(own == again, "{file} differs");
    }
}

#[test]
fn a_file_without_samples_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &[u8]| {
        fs::write(folder.path().join("kept"), text).unwrap();
        let (code, said) = ended(&pvbench(&["report", "--samples", "kept", "--out", "again"], folder.path()));
        assert_eq!(code, Some(2), "{said}");
        assert!(!folder.path().join("again").exists(), "a refused file leaves nothing behind");
        said
    };
    assert!(refused(b"").contains("line 1 of kept is malformed: the file ends"));
    assert!(refused(b"{}\n").contains("line 1 of kept is malformed: missing field `format`"));
    assert!(refused(&[b'['; 4096]).contains("line 1 of kept is malformed"));
    let header = r#"{"format":"pvbench.samples/2","suite":"pvbench","plan":{"preset":"quick","seed":1,"comparisons":[],
        "variants":[],"variants_by_comparison":[],"workers":{"exactly":2},"rounds":1,"window_cycles":100000,"cpu":null,
        "clock":"tsc"},"kernels":[]}"#;
    let header = header.replace('\n', "");
    assert!(refused(format!("{header}\n").as_bytes()).contains("this build reads 'pvbench.samples/1'"));
    let header = header.replace("samples/2", "samples/1");
    let other = header.replace(r#""suite":"pvbench""#, r#""suite":"uart""#);
    assert!(refused(format!("{other}\n").as_bytes()).contains("these are samples of suite 'uart'"));
    assert!(refused(format!("{header}\nnothing\n").as_bytes()).contains("line 2 of kept is malformed"));
    let begin = r#"{"workload":{"worker":0,"workload":"mmap_perf","line":{"begin":0}}}"#;
    assert!(refused(format!("{header}\n{begin}\n").as_bytes()).contains("line 2 of kept is malformed: a worker's"));
}
