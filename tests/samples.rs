//! Samples files: a report can be made again from the kept samples of its run.

mod alone;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Map, Value};

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
    let header = r#"{"format":"pvbench.samples/1","suite":"pvbench","plan":{"preset":"quick","seed":1,
        "matrix":{"treatments":[],"comparisons":[]},"effort":{"workers":{"exactly":2},"blocks":1},
        "work":{"workloads":[],"kernels":[],"effort":{"workers":{"exactly":2},"blocks":1}},
        "window_cycles":100000,"cpu":null,"second_cpu":null,"clock":"tsc"}}"#;
    let header = header.replace('\n', "");
    assert!(refused(format!("{header}\n").as_bytes()).contains("this build reads 'pvbench.samples/2'"));
    let header = header.replace("samples/1", "samples/2");
    let other = header.replace(r#""suite":"pvbench""#, r#""suite":"uart""#);
    assert!(refused(format!("{other}\n").as_bytes()).contains("these are samples of suite 'uart'"));
    assert!(refused(format!("{header}\nnothing\n").as_bytes()).contains("line 2 of kept is malformed"));
    let target = r#"{"workload":{"workload":"mmap_perf","seed":1,"units":null}}"#;
    let begin = format!(r#"{{"samples":{{"worker":0,"target":{target},"line":{{"begin":0}}}}}}"#);
    assert!(refused(format!("{header}\n{begin}\n").as_bytes()).contains("line 2 of kept is malformed: a worker's"));
}

/// What of a report comes from its samples. Sentences are left out: they may change where numbers may not.
const ESTIMATED: [&str; 6] = ["run", "calibration", "floor", "floors", "cells", "workloads"];
const SENTENCES: [&str; 6] = ["absent", "instructions_absent", "predicted_absent", "summary", "source", "unit"];

/// Relative difference of two numbers that are written with six digits. Twice of it would hide a change of the sixth
/// digit; half of it would take the rounding of another mathematical library for one.
const MAX_DIFFERENCE: f64 = 1e-5;

fn assert_same(recorded: &Value, made: &Value, field: &str) {
    match (recorded, made) {
        (Value::Object(recorded), Value::Object(made)) => {
            let fields = |object: &Map<String, Value>| object.keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(fields(recorded), fields(made), "{field}");
            for (name, value) in recorded.iter().filter(|(name, _)| !SENTENCES.contains(&name.as_str())) {
                assert_same(value, &made[name], &format!("{field}.{name}"));
            }
        }
        (Value::Array(recorded), Value::Array(made)) => {
            assert_eq!(recorded.len(), made.len(), "{field}");
            for (index, (recorded, made)) in recorded.iter().zip(made).enumerate() {
                assert_same(recorded, made, &format!("{field}[{index}]"));
            }
        }
        (Value::Number(recorded), Value::Number(made)) => {
            let [one, other] = [recorded, made].map(|number| number.as_f64().unwrap());
            // Below it a difference of two equal times is rounding.
            let rounding = 1e-9;
            let largest = one.abs().max(other.abs());
            assert!(
                (one - other).abs() <= MAX_DIFFERENCE * largest + rounding,
                "{field}: {one} was recorded, {other} made"
            );
        }
        _ => assert_eq!(recorded, made, "{field}"),
    }
}

/// Reads a compressed file of `tests/data`.
fn read(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = fs::File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

/// `tests/data` has four ops by eight mechanisms in all regimes and two workloads, on a guest of two CPUs:
/// `run --op 'pte_val,save_fl,set_pte,alloc_pte' --mechanism 'table,direct,site,site_callee_save,flag,retpoline,dyn,
/// compare_tree_4' --workload 'mmap_perf,null_syscall' --layouts 4 --time 26 --seed 3 --samples ..`. Where estimates
/// change on purpose, PVBENCH_BLESS=1 writes the report anew.
#[test]
fn the_samples_of_a_recorded_run_give_the_estimates_that_were_recorded() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("kept"), read("run.samples.gz")).unwrap();
    let again = pvbench(&["report", "--samples", "kept", "--out", "again"], folder.path());
    assert_eq!(ended(&again).0, Some(0), "{}", ended(&again).1);

    let made: Value = serde_json::from_slice(&fs::read(folder.path().join("again/report.json")).unwrap()).unwrap();
    let made: Map<String, Value> =
        ESTIMATED.iter().filter_map(|name| Some(((*name).to_owned(), made.get(name)?.clone()))).collect();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/run.report.json.gz");
    if std::env::var_os("PVBENCH_BLESS").is_some() {
        let mut writer = GzEncoder::new(fs::File::create(&recorded).unwrap(), Compression::best());
        writer.write_all(&serde_json::to_vec(&made).unwrap()).unwrap();
        writer.finish().unwrap();
    }
    let recorded: Value = serde_json::from_slice(&read("run.report.json.gz")).unwrap();
    assert!(recorded["cells"].as_array().unwrap().len() > 100 && recorded["workloads"].as_array().unwrap().len() == 2);
    assert_same(&recorded, &Value::Object(made), "report");
}

/// The system's allocator, which counts the bytes on the heap and keeps the most of them.
struct Counting;

static ON_HEAP: AtomicUsize = AtomicUsize::new(0);
static MOST_ON_HEAP: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator meets the obligations of the trait, and every call reaches it with the caller's
// arguments, whose obligations are the same. Counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = ON_HEAP.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST_ON_HEAP.fetch_max(now, Ordering::Relaxed);
        // SAFETY: a layout with a size above 0 is the caller's obligation, here as there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ON_HEAP.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: a block of this allocator with its layout is the caller's obligation; all blocks are the system's.
        unsafe { System.dealloc(at, layout) };
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let added = size.saturating_sub(layout.size());
        let now = ON_HEAP.fetch_add(added, Ordering::Relaxed) + added;
        ON_HEAP.fetch_sub(layout.size().saturating_sub(size), Ordering::Relaxed);
        MOST_ON_HEAP.fetch_max(now, Ordering::Relaxed);
        // SAFETY: a block of this allocator with its layout and a new size above 0 are the caller's obligation.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes on the heap while a report is made, per byte of its samples as text. It takes 1.1. A list of optional
/// pairs, a map of estimates per worker and the medians of all comparisons at once took 2.0: 280 MB in the parent of a
/// default run, whose text has 80 MB.
const MAX_BYTES_PER_TEXT: f64 = 1.3;

#[test]
fn the_report_of_a_run_takes_little_more_memory_than_the_text_of_its_samples() {
    let test = "the_report_of_a_run_takes_little_more_memory_than_the_text_of_its_samples";
    alone::alone(test, || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        fs::write(&path, read("run.samples.gz")).unwrap();
        let text = fs::metadata(&path).unwrap().len() as f64;
        let suite = pvbench::pv_ops().unwrap();
        let before = ON_HEAP.load(Ordering::Relaxed);
        MOST_ON_HEAP.store(before, Ordering::Relaxed);
        let report = pvbench::run::samples::report(&path, &suite).unwrap();
        let most = (MOST_ON_HEAP.load(Ordering::Relaxed) - before) as f64;
        assert!(report.cells.len() > 100);
        println!("{most} bytes for {text} bytes of text: {:.2}", most / text);
        assert!(most <= MAX_BYTES_PER_TEXT * text, "{most} bytes for {text} bytes of text: {:.2}", most / text);
    });
}
