//! A report in a folder that may hold an older one: what that one left and the new one does not replace is removed.
//!
//! Each report has other plots: of other ops, regimes and workloads. A list beside them says which of the files are
//! pvbench's and what was in them, in the format of `sha256sum`. Only what is on the list and unchanged is ever
//! removed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::write::{self, WriteError};

/// Where plots are.
const PLOTS: &str = "plots";
/// The list of them, beside them.
const LIST: &str = "SHA256SUMS";
/// Bytes of a list that are read; a report with 10,000 plots has no longer one.
const MAX_LIST_BYTES: u64 = 1 << 20;
/// Bytes of a file that is compared with the list; the largest plot has a tenth of it.
const MAX_PLOT_BYTES: u64 = 64 << 20;

/// Writes the page, the plots and what else there is of a report into a folder as [`write::files`] does, and removes
/// the plots of an older report that are not among them.
///
/// # Errors
/// As [`write::files`]. Nothing is removed then.
pub fn replace(folder: &Path, mut files: Vec<(PathBuf, Vec<u8>)>) -> Result<(), WriteError> {
    let plots = folder.join(PLOTS);
    let is_plot = |path: &Path| path.parent() == Some(Path::new(PLOTS));
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let new: BTreeMap<String, String> = files
        .iter()
        .filter(|(path, _)| is_plot(path))
        .filter_map(|(path, bytes)| Some((name(path)?, sum(bytes))))
        .collect();
    let stale: BTreeMap<String, String> = listed(&plots)
        .into_iter()
        .filter(|(name, sum)| !new.contains_key(name) && is_unchanged(&plots.join(name), sum))
        .collect();
    if !new.is_empty() || !stale.is_empty() {
        // With the stale ones: should this process end before they are gone, the next report finds them.
        let list = new.iter().chain(&stale).map(|(name, sum)| format!("{sum}  {name}\n")).collect::<String>();
        files.insert(0, (Path::new(PLOTS).join(LIST), list.into_bytes()));
    }
    write::files(folder, &files)?;
    for name in stale.keys() {
        // One that cannot be removed is still on the list, and is tried again with the next report.
        let _ = fs::remove_file(plots.join(name));
    }
    Ok(())
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The plots that a folder has by its list, with their sums; none where there is no list, or none that can be read.
fn listed(plots: &Path) -> BTreeMap<String, String> {
    let text = contents(&plots.join(LIST), MAX_LIST_BYTES).and_then(|text| String::from_utf8(text).ok());
    let text = text.unwrap_or_default();
    let entry = |line: &str| {
        let (sum, name) = line.split_once("  ")?;
        // The list is a file like others: a name in it leads nowhere else.
        let is_plain = name.ends_with(".svg") && !name.contains('/') && name.len() > ".svg".len();
        is_plain.then(|| (name.to_owned(), sum.to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

/// Whether it is a file, and no link to one, that holds what the list says.
fn is_unchanged(path: &Path, expected: &str) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|there| there.is_file());
    is_file && contents(path, MAX_PLOT_BYTES).is_some_and(|bytes| sum(&bytes) == expected)
}

/// What is in a file; none where it cannot be read or is longer than it can be.
fn contents(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(most + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= most).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(names: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
        let plots = names.iter().map(|name| (Path::new(PLOTS).join(name), format!("<svg>{name}</svg>").into_bytes()));
        plots.chain([("index.html".into(), b"page".to_vec()), ("report.json".into(), b"{}".to_vec())]).collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder.join(PLOTS)).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn plots_of_an_older_report_go_and_files_of_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        replace(folder.path(), report(&["ladder.svg", "regime-cold.svg", "edited.svg", "linked.svg"])).unwrap();
        let plots = folder.path().join(PLOTS);
        fs::write(plots.join("mine.svg"), "a user's own").unwrap();
        fs::write(plots.join("edited.svg"), "changed since").unwrap();
        fs::rename(plots.join("linked.svg"), folder.path().join("elsewhere.svg")).unwrap();
        std::os::unix::fs::symlink("../elsewhere.svg", plots.join("linked.svg")).unwrap();
        fs::write(folder.path().join("linux.json"), "{}").unwrap();
        replace(folder.path(), report(&["ladder.svg", "workload-churn.svg"])).unwrap();
        let left = [LIST, "edited.svg", "ladder.svg", "linked.svg", "mine.svg", "workload-churn.svg"];
        assert_eq!(names(folder.path()), left);
        assert!(folder.path().join("linux.json").is_file() && folder.path().join("elsewhere.svg").is_file());
    }

    #[test]
    fn a_report_without_plots_leaves_none_of_an_older_one() {
        let folder = tempfile::tempdir().unwrap();
        replace(folder.path(), report(&["ladder.svg"])).unwrap();
        replace(folder.path(), report(&[])).unwrap();
        assert_eq!(names(folder.path()), [LIST]);
        let fresh = tempfile::tempdir().unwrap();
        replace(fresh.path(), report(&[])).unwrap();
        assert!(!fresh.path().join(PLOTS).exists(), "a folder for nothing");
    }

    #[test]
    fn what_a_report_could_not_replace_is_found_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        replace(folder.path(), report(&["a.svg", "b.svg"])).unwrap();
        let before = fs::read(folder.path().join(PLOTS).join("b.svg")).unwrap();
        replace(folder.path(), report(&["a.svg"])).unwrap();
        // As if the process had ended before it removed this.
        fs::write(folder.path().join(PLOTS).join("b.svg"), before).unwrap();
        replace(folder.path(), report(&["a.svg"])).unwrap();
        assert_eq!(names(folder.path()), [LIST, "a.svg"]);
    }

    #[test]
    fn a_list_that_was_tampered_with_removes_nothing_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(PLOTS)).unwrap();
        let outside = folder.path().join("outside.svg");
        fs::write(&outside, "kept").unwrap();
        let line = format!("{}  ../outside.svg\n", sum(b"kept"));
        fs::write(folder.path().join(PLOTS).join(LIST), line.repeat(3)).unwrap();
        replace(folder.path(), report(&["a.svg"])).unwrap();
        assert!(outside.is_file());
        fs::write(folder.path().join(PLOTS).join(LIST), [0xff; 100]).unwrap();
        replace(folder.path(), report(&["b.svg"])).unwrap();
    }
}
