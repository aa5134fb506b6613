//! The sites of the corpus have the kinds of their labels.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use pvbench::audit::document::{Binary, FunctionSource, Site};
use pvbench::audit::kind::Kind;
use pvbench::audit::{Options, audit_file};

use super::builds::{self, Built};
use super::labels::{Confusion, Label};

fn audit(path: &Path, functions: &[&str]) -> Vec<Binary> {
    let functions = functions.iter().map(|&glob| glob.to_owned()).collect();
    audit_file(path, &Options { functions, lines: false }).unwrap_or_else(|error| panic!("{error}"))
}

/// The share that issue 26 asks for.
const MIN_RIGHT: f64 = 0.99;

#[test]
fn sites_of_the_corpus_have_the_kinds_of_their_labels() {
    let mut builds = builds::all();
    if let Ok(wanted) = std::env::var("AUDIT_CORPUS") {
        builds.retain(|build| build.name.contains(&wanted));
    }
    if builds.is_empty() {
        eprintln!("no compiler is installed: nothing was compared");
        return;
    }
    let kept = std::env::var_os("AUDIT_CORPUS_DIR");
    let temporary = tempfile::tempdir().unwrap();
    let folder = kept.as_deref().map_or(temporary.path(), Path::new);
    let linked = Mutex::new(Confusion::default());
    let stripped = Mutex::new(Confusion::default());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(build) = builds.get(index) else { return };
            let folder = folder.join(index.to_string());
            std::fs::create_dir_all(&folder).unwrap();
            for built in build.make(&folder) {
                judge(&built, &linked, &stripped);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().expect("a build of the corpus failed");
        }
    });
    let (linked, stripped) = (linked.into_inner().unwrap(), stripped.into_inner().unwrap());
    let report = format!(
        "with symbols\n{}\n\nstripped\n{}\n\nwrong\n{}\n\nwrong, stripped\n{}\n\nmissing\n{}\n",
        linked.table(),
        stripped.table(),
        linked.wrong.join("\n"),
        stripped.wrong.join("\n"),
        linked.missing.join("\n"),
    );
    if kept.is_some() {
        eprintln!("{report}");
    }
    for (name, confusion) in [("with symbols", &linked), ("stripped", &stripped)] {
        assert!(confusion.sites > 100, "{name}: {} sites", confusion.sites);
        assert!(confusion.right() >= MIN_RIGHT, "{name}: {:.2}% right\n{report}", 100.0 * confusion.right());
        assert!(confusion.swapped.is_empty(), "{name}: swapped {:#?}\n{report}", confusion.swapped);
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_indirect_call()) {
            assert_eq!(confusion.count("none", kind), 0, "{name}\n{report}");
        }
    }
    assert!(linked.missing.is_empty(), "functions have no site of their label\n{report}");
}

fn judge(built: &Built, linked: &Mutex<Confusion>, stripped: &Mutex<Confusion>) {
    let binaries = audit(&built.path, &["s_*", "o_*", "a_*", "t_*"]);
    let mut confusion = linked.lock().unwrap();
    let labelled: Vec<_> = (binaries.iter().flat_map(|binary| &binary.functions))
        .filter_map(|function| Some((function, Label::of(&function.name)?)))
        .collect();
    assert!(labelled.len() > 20, "{}: {} functions have a label", built.name, labelled.len());
    for (function, label) in &labelled {
        let sites: Vec<&Site> = function.sites.iter().collect();
        confusion.add(&built.name, &built.effects, function, label, &sites);
    }
    drop(confusion);
    let whole: &Binary = binaries.iter().max_by_key(|binary| binary.functions.len()).unwrap();
    let count = |kind| whole.counts.get(&kind).copied().unwrap_or(0);
    assert_eq!(built.effects.fentry, count(Kind::Fentry) > 20, "{}: {:?}", built.name, whole.counts);
    assert_eq!(built.effects.return_thunks, count(Kind::ReturnThunk) > 20, "{}: {:?}", built.name, whole.counts);
    let Some(path) = &built.stripped else { return };
    // The functions of the twin have no names: their sites have the labels of the addresses.
    let twin = &audit(path, &["*"])[0];
    assert_eq!(twin.function_source, FunctionSource::UnwindTables, "{}", built.name);
    // Unwind tables give the ranges that symbols give. Assembly has no unwind tables here.
    for (function, _) in labelled.iter().filter(|(function, _)| !function.name.starts_with("a_")) {
        let found = twin.functions.iter().find(|other| other.address == function.address);
        let range = found.map(|other| (other.name.clone(), other.bytes));
        let expected = (format!("{:#x}", function.address), function.bytes);
        // Exported functions keep their names.
        assert!(
            range
                .as_ref()
                .is_some_and(|(name, bytes)| [&expected.0, &function.name].contains(&name) && *bytes == expected.1),
            "{}: {} is {expected:?} by its symbol, {range:?} by the unwind tables",
            built.name,
            function.name
        );
    }
    let names: HashMap<String, &str> = (binaries.iter().flat_map(|binary| &binary.functions))
        .map(|function| (format!("{:#x}", function.address), function.name.as_str()))
        .collect();
    let named = |site: &Site| {
        let target =
            site.target.as_ref().map(|target| names.get(target).map_or(target.clone(), |&name| name.to_owned()));
        Site { target, ..site.clone() }
    };
    let sites: Vec<Site> = twin.functions.iter().flat_map(|function| function.sites.iter().map(named)).collect();
    let mut confusion = stripped.lock().unwrap();
    for (function, label) in &labelled {
        let range = function.address..function.address + function.bytes;
        let own: Vec<&Site> = sites.iter().filter(|site| range.contains(&site.address)).collect();
        confusion.add(&built.name, &built.effects, function, label, &own);
    }
}
