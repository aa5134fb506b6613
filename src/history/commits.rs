//! The order of commits: by first parents, never by date.
//!
//! A clone gives the whole line, with the commits that nobody measured. Without one, headers give the order: each has
//! the place of its commit, counted from the first one, or at least its first parent. A commit that is not on the line
//! is put where its header says, and noted.

use std::collections::{HashMap, HashSet};

use super::commit::{Clone, CommitError};
use super::kept::{Commit, Header};

/// Maximum number of rounds in which commits are put behind their parents. A longer chain of commits that only know
/// their parents is ordered by time.
const MAX_CHAIN: usize = 1000;

/// A commit on the axis.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderedCommit {
    /// What is known of it.
    pub commit: Commit,
    /// Whether a run of it is kept.
    pub is_measured: bool,
    /// Whether it is on the first-parent line. Without a clone, every commit counts as on it.
    pub is_on_line: bool,
    /// Its place: whole numbers are places on the first-parent line, so their difference is a number of commits.
    place: f64,
    /// Whether the place is known and not guessed by time.
    is_placed: bool,
}

/// Commits in order, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommitOrder {
    commits: Vec<OrderedCommit>,
    ranks: HashMap<String, usize>,
    /// What is to be said about the order: commits that are not in the clone, a shallow clone, clocks that went back.
    pub notes: Vec<String>,
}

impl CommitOrder {
    /// Orders the commits of runs by their headers alone.
    #[must_use]
    pub fn from_headers<'h>(headers: impl IntoIterator<Item = &'h Header>) -> Self {
        order(Vec::new(), &measured(headers), Vec::new())
    }

    /// Orders the commits of runs along the first-parent line of `tip` in a clone.
    ///
    /// # Errors
    /// [`CommitError`] if git fails or the tip is not in the clone.
    pub fn from_clone<'h>(
        clone: &Clone,
        tip: &str,
        headers: impl IntoIterator<Item = &'h Header>,
    ) -> Result<Self, CommitError> {
        let mut line = clone.first_parents(tip)?;
        line.reverse();
        let measured = measured(headers);
        let mut notes = Vec::new();
        let first = if clone.is_shallow() { first_place(&line, &measured, &mut notes) } else { 1 };
        for (index, commit) in line.iter_mut().enumerate() {
            commit.position = Some(first + index as u64);
        }
        Ok(order(line, &measured, notes))
    }

    /// The commits, oldest first.
    #[must_use]
    pub fn commits(&self) -> &[OrderedCommit] {
        &self.commits
    }

    /// The rank of a commit among all of them, from 0. `None` if it is not among them.
    #[must_use]
    pub fn rank(&self, id: &str) -> Option<usize> {
        self.ranks.get(id).copied()
    }

    /// The number of commits from `good` (without it) to `bad` (with it). `None` if a place of them is a guess.
    #[must_use]
    pub fn count_between(&self, good: &str, bad: &str) -> Option<u64> {
        let [good, bad] = [good, bad].map(|id| self.commits.get(self.rank(id)?).filter(|it| it.is_placed));
        let distance = bad?.place - good?.place;
        (distance >= 0.0 && distance.fract() == 0.0).then_some(distance as u64)
    }
}

/// The commits of runs, each once with all that the headers know, and the earliest start of a run of it.
fn measured<'h>(headers: impl IntoIterator<Item = &'h Header>) -> Vec<(Commit, u64)> {
    let mut found: Vec<(Commit, u64)> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for header in headers {
        let Some(commit) = &header.commit else { continue };
        let started = header.started_seconds;
        let Some(index) = known.get(commit.id.as_str()) else {
            known.insert(&commit.id, found.len());
            found.push((commit.clone(), started));
            continue;
        };
        let (same, first) = &mut found[*index];
        same.seconds = same.seconds.or(commit.seconds);
        same.position = same.position.or(commit.position);
        same.first_parent = same.first_parent.take().or_else(|| commit.first_parent.clone());
        same.subject = same.subject.take().or_else(|| commit.subject.clone());
        *first = started.min(*first);
    }
    found
}

/// The place of the oldest commit of a shallow clone, by a measured commit that was added from a whole one.
fn first_place(line: &[Commit], measured: &[(Commit, u64)], notes: &mut Vec<String>) -> u64 {
    let place = |(commit, _): &(Commit, u64)| {
        let index = line.iter().position(|it| it.id == commit.id)? as u64;
        commit.position?.checked_sub(index).filter(|first| *first > 0)
    };
    if let Some(first) = measured.iter().find_map(place) {
        return first;
    }
    let older = "the clone is shallow: it lacks older commits, so the runs tell their order, and the number of commits \
                 in a range that begins before the clone is missing";
    notes.push(older.to_owned());
    1
}

fn order(line: Vec<Commit>, measured: &[(Commit, u64)], mut notes: Vec<String>) -> CommitOrder {
    let has_clone = !line.is_empty();
    let measured_ids: HashSet<&str> = measured.iter().map(|(commit, _)| commit.id.as_str()).collect();
    let mut commits: Vec<OrderedCommit> = line
        .into_iter()
        .map(|commit| OrderedCommit {
            is_measured: measured_ids.contains(commit.id.as_str()),
            is_on_line: true,
            place: commit.position.map_or(0.0, |position| position as f64),
            is_placed: true,
            commit,
        })
        .collect();
    let mut places: HashMap<String, f64> =
        commits.iter().map(|commit| (commit.commit.id.clone(), commit.place)).collect();
    let mut open: Vec<&(Commit, u64)> =
        measured.iter().filter(|(commit, _)| !places.contains_key(&commit.id)).collect();
    if has_clone && !open.is_empty() {
        let first: Vec<&str> = open.iter().take(3).map(|(commit, _)| &commit.id[..commit.id.len().min(12)]).collect();
        notes.push(format!(
            "{} measured commits are not on the first-parent line of this clone ({}{}): they are ordered by what their \
             runs say",
            open.len(),
            first.join(", "),
            if open.len() > first.len() { ", .." } else { "" }
        ));
    }
    let mut place = |commit: &Commit, place: f64, is_placed: bool, places: &mut HashMap<String, f64>| {
        places.insert(commit.id.clone(), place);
        let commit = commit.clone();
        commits.push(OrderedCommit { commit, is_measured: true, is_on_line: !has_clone, place, is_placed });
    };
    open.retain(|(commit, _)| match commit.position {
        Some(position) => {
            place(commit, position as f64, true, &mut places);
            false
        }
        None => true,
    });
    // Behind their parents: a commit whose parent is on the line, then those behind that one.
    for _ in 0..MAX_CHAIN {
        let before = open.len();
        open.retain(|(commit, _)| {
            let parent = commit.first_parent.as_ref().and_then(|parent| places.get(parent).copied());
            if let Some(parent) = parent {
                // Without a clone the next place is that of this commit. With one, it is that of another commit.
                let step = if has_clone { 0.5 } else { 1.0 };
                place(commit, parent + step, !has_clone, &mut places);
            }
            parent.is_none()
        });
        if open.len() == before {
            break;
        }
    }
    place_by_time(&mut commits, &open, has_clone);
    finish(commits, measured, notes)
}

/// Puts the commits that only have a time behind the last commit that is no younger. A commit without any time counts
/// as made when its first run started.
fn place_by_time(commits: &mut Vec<OrderedCommit>, open: &[&(Commit, u64)], has_clone: bool) {
    let mut times: Vec<(f64, i64)> =
        commits.iter().filter_map(|commit| Some((commit.place, commit.commit.seconds?))).collect();
    times.sort_by(|one, other| one.0.total_cmp(&other.0));
    for (commit, started) in open {
        let seconds = commit.seconds.unwrap_or_else(|| i64::try_from(*started).unwrap_or(i64::MAX));
        let before = times.iter().rev().find(|(_, time)| *time <= seconds).map(|(place, _)| *place);
        let place = before.map_or(0.0, |place| place + 0.75);
        commits.push(OrderedCommit {
            commit: (*commit).clone(),
            is_measured: true,
            is_on_line: !has_clone,
            place,
            is_placed: false,
        });
    }
}

fn finish(mut commits: Vec<OrderedCommit>, measured: &[(Commit, u64)], mut notes: Vec<String>) -> CommitOrder {
    let started: HashMap<&str, u64> = measured.iter().map(|(commit, first)| (commit.id.as_str(), *first)).collect();
    let time = |commit: &Commit| {
        let by_run = || started.get(commit.id.as_str()).and_then(|first| i64::try_from(*first).ok());
        commit.seconds.or_else(by_run).unwrap_or(i64::MAX)
    };
    commits.sort_by(|one, other| {
        let by_place = one.place.total_cmp(&other.place);
        by_place.then_with(|| (time(&one.commit), &one.commit.id).cmp(&(time(&other.commit), &other.commit.id)))
    });
    let with_time: Vec<i64> = commits.iter().filter_map(|commit| commit.commit.seconds).collect();
    let back = with_time.windows(2).filter(|pair| pair[1] < pair[0]).count();
    if back > 0 {
        notes.push(format!(
            "the clock went back at {back} of {} commits: their order is that of their parents, not of their dates",
            with_time.len()
        ));
    }
    let ranks = commits.iter().enumerate().map(|(rank, commit)| (commit.commit.id.clone(), rank)).collect();
    CommitOrder { commits, ranks, notes }
}

#[cfg(test)]
mod tests;
