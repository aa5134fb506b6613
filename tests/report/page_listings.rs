//! Tests of the machine code on the page.

use crate::html::{page, part};
use crate::support;
use pvbench::report::read::check;
use pvbench::report::schema::ListingLine;

#[test]
fn machine_code_is_shown_beside_that_of_inline_and_changed_bytes_have_a_mark() {
    let page = page(&support::everything());
    let table = part(&page, "id=\"way-table\"", "</details>");
    assert_eq!(table.matches("<h3>save_fl, ").count(), 2, "a listing per state");
    assert_eq!(table.matches("<figcaption><code>inline</code></figcaption>").count(), 2);
    assert!(
        table.contains("<i>site:</i>\n  ff 15 10 20 30 40  call qword ptr [rip+40302010h]\n<i>callee:</i>\n"),
        "{table}"
    );
    assert!(table.contains("<b>* 9c 58      </b>  pushfq; pop rax"), "{table}");
    assert_eq!(table.matches("* patching changed these bytes").count(), 1, "the note is shown only if bytes changed");
    let inline = part(&page, "id=\"way-inline\"", "</details>");
    assert_eq!(inline.matches("<pre").count(), 1, "inline is not compared with itself");
}

#[test]
fn many_or_long_listings_are_cut_and_the_rest_is_counted() {
    let mut report = support::everything();
    let table = report.catalogue.mechanisms.iter_mut().find(|m| m.name == "table").expect("there");
    let line = table.listings[0].lines[0].clone();
    table.listings[0].lines = vec![line; 50];
    let first = table.listings[0].clone();
    table.listings.extend((0..5).map(|_| first.clone()));
    let page = page(&report);
    let table = part(&page, "id=\"way-table\"", "</details>");
    assert!(table.contains("2 more lines in report.json") && table.contains("3 more listings in"), "{table}");
}

#[test]
fn impossible_listings_are_refused_with_their_position() {
    type Break = fn(&mut ListingLine);
    let lines: [(Break, &str); 5] = [
        (|line| line.bytes = "9".to_owned(), "lines[1].bytes: the text is not hexadecimal"),
        (|line| line.bytes = "zz".to_owned(), "lines[1].bytes: the text is not hexadecimal"),
        (|line| line.bytes = "90".repeat(65), "lines[1].bytes: 65 bytes exceed the maximum of 64"),
        (|line| line.text = "x".repeat(201), "lines[1].text: 201 characters exceed the maximum of 200"),
        (|line| line.place = "x".repeat(201), "lines[1].place: 201 characters exceed the maximum of 200"),
    ];
    for (change, said) in lines {
        let mut report = support::everything();
        assert_eq!(check(&report), Ok(()));
        change(&mut report.catalogue.mechanisms[0].listings[0].lines[1]);
        let error = check(&report).expect_err(said).to_string();
        assert!(error.starts_with("catalogue.mechanisms[0].listings[0].") && error.contains(said), "{error}");
    }
    let mut report = support::everything();
    let again = report.catalogue.mechanisms[0].listings[0].clone();
    report.catalogue.mechanisms[0].listings.push(again);
    let error = check(&report).expect_err("twice").to_string();
    assert!(error.contains("listings[1]: the mechanism has another listing of this op and state"), "{error}");
    report.catalogue.mechanisms[0].listings[1].op = "unheard_of".to_owned();
    let error = check(&report).expect_err("unknown").to_string();
    assert!(error.contains("the op is not in catalogue.ops"), "{error}");
    let first = report.catalogue.mechanisms[0].listings[0].lines[0].clone();
    report.catalogue.mechanisms[0].listings[0].lines = vec![first; 513];
    let error = check(&report).expect_err("long").to_string();
    assert!(error.contains("513 lines exceed the maximum of 512"), "{error}");
}
