//! The folders of `src/` use each other as docs/architecture.md says, and in no circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Edges = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The words in backticks of a cell of the table.
fn words(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The table of layers; `everything` stands for all other folders.
fn allowed() -> Edges {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let table = page.split("| folder | what it holds | may use |").nth(1).expect("the table of layers");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').collect())
        .collect();
    let folders: BTreeSet<String> = rows.iter().flat_map(|row| words(row[0])).collect();
    let uses = |row: &Vec<&str>| {
        let folder = words(row[0]).pop_first().expect("a folder");
        let uses = if row[2].trim() == "everything" {
            folders.iter().filter(|other| **other != folder).cloned().collect()
        } else {
            words(row[2])
        };
        (folder, uses)
    };
    rows.iter().map(uses).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // A program of its own, which the kernel under the emulator starts.
            if !path.ends_with("linux/guest") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file: without comments, and without the unit tests that end it.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The folders that the code of a file names after `crate::`.
fn named(code: &str) -> BTreeSet<String> {
    let name = |after: &str| after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    code.split("crate::").skip(1).map(name).filter(|name| !name.is_empty()).collect()
}

/// What every folder of `src/` uses of the others.
fn used(folders: &BTreeSet<&String>) -> Edges {
    let src = root().join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut edges = Edges::new();
    for path in files {
        let inside = path.strip_prefix(&src).unwrap();
        let top = inside.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        if ["lib", "main"].contains(&top.as_str()) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains("use crate::{"),
            "{}: one `use crate::` a folder, so that it can be read",
            path.display()
        );
        let uses = edges.entry(top.clone()).or_default();
        uses.extend(named(&code(&text)).into_iter().filter(|name| *name != top && folders.contains(name)));
    }
    edges
}

#[test]
fn every_folder_uses_those_that_the_page_allows_it_and_no_others() {
    let allowed = allowed();
    let used = used(&allowed.keys().collect());
    for (folder, uses) in &used {
        let Some(may) = allowed.get(folder) else { panic!("src/{folder} is not in docs/architecture.md") };
        let more: Vec<_> = uses.difference(may).collect();
        assert!(more.is_empty(), "src/{folder} uses {more:?}, which docs/architecture.md does not allow");
    }
    for (folder, may) in &allowed {
        let Some(uses) = used.get(folder) else { panic!("docs/architecture.md has src/{folder}, which is not there") };
        let unused: Vec<_> = may.difference(uses).collect();
        assert!(
            folder == "cli" || unused.is_empty(),
            "docs/architecture.md allows src/{folder} {unused:?} for nothing"
        );
    }
}

#[test]
fn no_circle_leads_from_a_folder_to_itself() {
    let mut left = allowed();
    while !left.is_empty() {
        let ground: Vec<String> = left
            .iter()
            .filter(|(_, uses)| uses.iter().all(|u| !left.contains_key(u)))
            .map(|(f, _)| f.clone())
            .collect();
        assert!(!ground.is_empty(), "a circle among {:?}", left.keys().collect::<Vec<_>>());
        left.retain(|folder, _| !ground.contains(folder));
    }
}

/// Columns of a line of code, comments and strings included.
const MAX_COLUMNS: usize = 120;

#[test]
fn no_line_of_code_is_wider_than_120_columns() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "scripts"] {
        all_sources(&root().join(folder), &mut files);
    }
    let is_of = |path: &PathBuf, language: &str| path.extension().is_some_and(|extension| extension == language);
    for (language, least) in [("rs", 100), ("py", 5)] {
        assert!(
            files.iter().filter(|path| is_of(path, language)).count() > least,
            "no sources in {language} are found"
        );
    }
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for (index, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            assert!(columns <= MAX_COLUMNS, "{}:{}: {columns} columns", path.display(), index + 1);
        }
    }
}

fn all_sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            all_sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
            found.push(path);
        }
    }
}
