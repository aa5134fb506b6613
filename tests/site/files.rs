//! The files of a site: links, feeds, badges, sizes, and what a second build writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use pvbench::site::{Skipped, Written};
use serde_json::Value;

use super::made::{HOSTILE, Made};
use super::{model, model_with, options, read_all, site};

/// The values of an attribute in a page, with and without quotes.
fn values<'t>(page: &'t str, name: &str) -> Vec<&'t str> {
    let value = |rest: &'t str| match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default(),
        None => rest.split([' ', '>']).next().unwrap_or_default(),
    };
    page.split(&format!(" {name}=")).skip(1).map(value).collect()
}

/// A relative path without `..`.
fn resolve(page: &Path, link: &str) -> PathBuf {
    let mut path = page.parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{} leaves the site by {link}", page.display()),
            part => path.push(part),
        }
    }
    path
}

#[test]
fn every_link_leads_to_a_page_and_an_anchor_of_the_site_or_to_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    site(&model(60), folder.path());
    let files = read_all(folder.path());
    let mut links = 0;
    for (path, page) in files.iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "html")) {
        for link in values(page, "href").into_iter().filter(|link| !link.starts_with("data:")) {
            links += 1;
            if link.starts_with("https://github.com/owner/name/") {
                continue;
            }
            assert!(!link.contains(':'), "{}: {link}", path.display());
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { resolve(path, file) };
            let found = files.get(&target).unwrap_or_else(|| panic!("{}: {link}", path.display()));
            let has = || values(found, "id").contains(&anchor);
            assert!(anchor.is_empty() || has(), "{}: {link} has no anchor", path.display());
        }
        for element in ["<img", "<iframe", "<object", "<embed", "<video", "<audio", "<script src", "@import"] {
            assert!(!page.contains(element), "{} has {element}", path.display());
        }
        let ids = values(page, "id");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{}: an id is there twice", path.display());
    }
    assert!(links > 5_000, "{links}");
}

#[test]
fn every_point_leads_to_its_run_and_the_run_to_its_commit_and_range() {
    let folder = tempfile::tempdir().unwrap();
    site(&model(60), folder.path());
    let op = fs::read_to_string(folder.path().join("op/pte_val.html")).unwrap();
    let newest = format!("../run/{}.html", Made::stem(58));
    assert!(op.matches(&newest).count() > 80, "a point in each of 84 plots");
    let run = fs::read_to_string(folder.path().join(format!("run/{}.html", Made::stem(58)))).unwrap();
    assert!(run.contains("https://github.com/owner/name/compare/"), "the range");
    assert!(values(&run, "href").iter().any(|link| link.starts_with("../commit/")), "the commit");
}

#[test]
fn names_with_markup_stay_text_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let skipped = vec![Skipped { file: HOSTILE.to_owned(), reason: HOSTILE.to_owned() }];
    site(&model_with(60, skipped), folder.path());
    for (path, text) in read_all(folder.path()) {
        // JSON is not markup.
        if path == Path::new("events.json") {
            continue;
        }
        assert!(!text.contains("<script>alert") && !text.contains("<img"), "{}", path.display());
        assert!(!text.contains("<b>project") && !text.contains("<i>the table"), "{}", path.display());
        assert!(!path.to_string_lossy().contains(['<', '>', '"', '\'']), "{}", path.display());
    }
    let front = fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert!(front.contains("alert(1)"), "the name is shown");
}

#[test]
fn the_same_history_gives_the_same_bytes_and_a_second_build_writes_nothing() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = site(&model(40), one.path());
    assert_eq!((first.files, first.removed), (first.changed, 0));
    site(&model(40), other.path());
    assert_eq!(read_all(one.path()), read_all(other.path()));
    assert_eq!(site(&model(40), one.path()), Written { changed: 0, ..first });
}

#[test]
fn one_more_run_writes_only_the_pages_that_show_it_and_gives_the_site_of_a_whole_build() {
    let (grown, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    site(&model(40), grown.path());
    let old = read_all(grown.path());
    site(&model(41), grown.path());
    site(&model(41), whole.path());
    let new = read_all(grown.path());
    assert_eq!(new, read_all(whole.path()));
    let same = new.iter().filter(|(path, text)| old.get(*path) == Some(text));
    let runs = same.filter(|(path, _)| path.starts_with("run")).count();
    assert!(runs >= 38, "{runs} pages of older runs stay");
}

#[test]
fn an_empty_history_and_one_run_have_readable_pages() {
    for (runs, words) in [(0, "There is no run yet"), (1, "There is one run")] {
        let folder = tempfile::tempdir().unwrap();
        let written = site(&model(runs), folder.path());
        let front = fs::read_to_string(folder.path().join("index.html")).unwrap();
        assert!(front.contains(words), "{runs}: {front}");
        assert!(written.files >= 6);
        assert!(!front.contains("NaN") && !front.contains("inf"), "{runs}");
    }
}

#[test]
fn files_that_were_left_out_are_named_with_their_reasons_above_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = |n: usize| Skipped { file: format!("runs/a/{n}.pvr"), reason: "the checksum differs".to_owned() };
    site(&model_with(3, (0..30).map(file).collect()), folder.path());
    let front = fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert!(front.contains("30 files were left out"));
    assert!(front.contains("runs/a/7.pvr") && front.contains("the checksum differs") && front.contains("And 10 more."));
}

#[test]
fn the_feed_has_an_entry_per_event_with_an_id_that_stays_and_a_time() {
    let folder = tempfile::tempdir().unwrap();
    site(&model(60), folder.path());
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let (feed, other) = (read("feed.xml"), read("machine/intel-6-143-8-none-smt.xml"));
    let texts = |feed: &str, name: &str| -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        feed.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(feed.matches("<entry>").count(), 3);
    assert_eq!(other.matches("<entry>").count(), 1, "the change of both machines");
    let ids = texts(&feed, "id");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 4, "{ids:?}");
    assert!(ids.iter().all(|id| id.starts_with("urn:uuid:") && id.len() == 45), "{ids:?}");
    let times = texts(&feed, "updated");
    assert!(times.len() == 4 && times.iter().all(|it| it.len() == 20 && it.ends_with('Z')), "{times:?}");
    assert_eq!(Some(&times[0]), times[1..].iter().max(), "the feed is as new as its newest entry");
    // The ids stay when the history grows.
    site(&model(60), folder.path());
    assert_eq!(texts(&read("feed.xml"), "id"), ids);
    assert!(ids.contains(&texts(&other, "id")[1]), "an event has one id in all feeds");
}

#[test]
fn feeds_have_whole_addresses_where_the_site_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.address = Some("https://owner.github.io/name/".to_owned());
    pvbench::site::build(&model(60), &options, folder.path()).unwrap();
    let feed = fs::read_to_string(folder.path().join("feed.xml")).unwrap();
    assert!(feed.contains("rel=\"self\" type=\"application/atom+xml\" href=\"https://owner.github.io/name/feed.xml\""));
    assert!(values(&feed, "href").iter().all(|link| link.starts_with("https://owner.github.io/name/")));
}

#[test]
fn events_json_is_the_document_that_its_schema_describes() {
    let folder = tempfile::tempdir().unwrap();
    site(&model(60), folder.path());
    let events: Value = serde_json::from_str(&fs::read_to_string(folder.path().join("events.json")).unwrap()).unwrap();
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/schema/events-1.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator.iter_errors(&events).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(events["events"].as_array().map(Vec::len), Some(3));
}

#[test]
fn badges_say_how_many_changes_are_open_and_load_nothing() {
    let folder = tempfile::tempdir().unwrap();
    site(&model(60), folder.path());
    let files = read_all(folder.path());
    let badges: BTreeMap<_, _> = files.iter().filter(|(path, _)| path.starts_with("badge")).collect();
    assert_eq!(badges.len(), 4, "{:?}", badges.keys());
    let all = &files[Path::new("badge/changes.svg")];
    assert!(all.contains("2 open changes") && !all.contains("url(") && !all.contains("href"), "{all}");
    assert!(files[Path::new("badge/intel-6-143-8-none-smt.svg")].contains("1 open change"));
    assert!(files[Path::new("badge/table-hot.svg")].contains("cycles hot"));
    let quiet = tempfile::tempdir().unwrap();
    site(&model(3), quiet.path());
    assert!(fs::read_to_string(quiet.path().join("badge/changes.svg")).unwrap().contains("no open change"));
}

#[test]
fn a_report_is_linked_from_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.reports.insert(Made::stem(2), "reports/2/index.html".to_owned());
    pvbench::site::build(&model(3), &options, folder.path()).unwrap();
    let run = fs::read_to_string(folder.path().join(format!("run/{}.html", Made::stem(2)))).unwrap();
    assert!(values(&run, "href").contains(&"../reports/2/index.html"));
    let other = fs::read_to_string(folder.path().join(format!("run/{}.html", Made::stem(1)))).unwrap();
    assert!(!other.contains("reports/2"));
}

#[test]
fn pages_are_small_also_with_hundreds_of_runs() {
    const MAX_FRONT_BYTES: usize = 150_000;
    const MAX_OP_BYTES: usize = 250_000;
    let folder = tempfile::tempdir().unwrap();
    site(&model(300), folder.path());
    let compressed = |name: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&fs::read(folder.path().join(name)).unwrap()).unwrap();
        encoder.finish().unwrap().len()
    };
    let front = fs::metadata(folder.path().join("index.html")).unwrap().len() as usize;
    assert!(front <= MAX_FRONT_BYTES, "{front}");
    assert!(compressed("op/pte_val.html") <= MAX_OP_BYTES, "{}", compressed("op/pte_val.html"));
}
