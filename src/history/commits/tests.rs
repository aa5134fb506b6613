//! Orders of made commits.

use super::*;

fn header(id: &str, started: u64, fill: impl FnOnce(&mut Commit)) -> Header {
    let mut commit =
        Commit { id: id.repeat(40), seconds: None, first_parent: None, position: None, subject: None, dirty: None };
    fill(&mut commit);
    let mut header: Header = serde_json::from_value(serde_json::json!({
        "suite": "pvbench", "preset": "quick", "machine_class": "a", "machine": {},
        "tool": { "version": "0", "build": "release" },
        "started": "", "started_seconds": started, "duration_seconds": 1.0, "seed": 1, "complete": true,
        "layouts": [], "workers": 1,
    }))
    .unwrap();
    header.commit = Some(commit);
    header
}

fn letters(order: &CommitOrder) -> String {
    order.commits().iter().map(|commit| &commit.commit.id[..1]).collect()
}

#[test]
fn places_decide_and_a_clock_that_went_back_is_noted() {
    let at = |id, position, seconds| {
        header(id, 10, |commit| {
            commit.position = Some(position);
            commit.seconds = Some(seconds);
        })
    };
    let headers = [at("c", 9, 50), at("a", 2, 100), at("b", 5, 20)];
    let order = CommitOrder::from_headers(&headers);
    assert_eq!(letters(&order), "abc");
    assert_eq!(order.count_between(&"a".repeat(40), &"c".repeat(40)), Some(7));
    assert_eq!(order.count_between(&"c".repeat(40), &"a".repeat(40)), None);
    assert_eq!(order.rank(&"b".repeat(40)), Some(1));
    assert!(order.notes[0].starts_with("the clock went back at 1 of 3 commits"), "{:?}", order.notes);
}

#[test]
fn commits_without_a_place_follow_their_parents_then_their_times() {
    let headers = [
        header("d", 4, |commit| commit.first_parent = Some("c".repeat(40))),
        header("c", 9, |commit| commit.first_parent = Some("a".repeat(40))),
        header("a", 5, |commit| {
            commit.position = Some(7);
            commit.seconds = Some(100);
        }),
        header("e", 101, |_| {}),
        header("f", 50, |commit| commit.seconds = Some(99)),
    ];
    let order = CommitOrder::from_headers(&headers);
    assert_eq!(letters(&order), "faecd", "{order:?}");
    assert_eq!(order.count_between(&"a".repeat(40), &"d".repeat(40)), Some(2));
    assert_eq!(order.count_between(&"a".repeat(40), &"e".repeat(40)), None, "by time");
}

#[test]
fn runs_of_one_commit_share_what_each_of_them_knows() {
    let headers = [
        header("a", 7, |_| {}),
        header("a", 3, |commit| {
            commit.position = Some(4);
            commit.subject = Some("first".to_owned());
        }),
    ];
    let order = CommitOrder::from_headers(&headers);
    let [only] = order.commits() else { panic!("{order:?}") };
    assert_eq!((only.commit.position, only.commit.subject.as_deref()), (Some(4), Some("first")));
}

#[test]
fn commits_that_name_each_other_as_parents_are_ordered_by_time() {
    let headers = [
        header("a", 2, |commit| commit.first_parent = Some("b".repeat(40))),
        header("b", 1, |commit| commit.first_parent = Some("a".repeat(40))),
    ];
    assert_eq!(letters(&CommitOrder::from_headers(&headers)), "ba");
}
