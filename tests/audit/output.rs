//! `pvbench audit`: what it prints and writes, and what it does with bad input.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The page with the example.
const PAGE: &str = include_str!("../../docs/audit.md");

/// The block of the page in a language.
fn block(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).expect(language);
    rest.split_once("```").expect("an end").0
}

/// A folder with the example of the page, as a program, an object file and an archive.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        fs::write(folder.path("uart.c"), block("c")).unwrap();
        let main = "struct port;\nint uart_send(struct port *port, char byte);\n\
                    int uart_reset(struct port *port) { return port != 0; }\n\
                    int main(int count, char **words) { (void)words; return count > 9 ? uart_send(0, 'x') : 0; }\n";
        fs::write(folder.path("main.c"), main).unwrap();
        fs::create_dir_all(folder.path("target/release")).unwrap();
        for line in [
            "gcc -O2 -g -c uart.c",
            "gcc -O2 -g -o target/release/app uart.c main.c",
            "strip -o stripped target/release/app",
            "ar rc libuart.a uart.o",
        ] {
            let mut words = line.split(' ');
            let status = Command::new(words.next().unwrap()).args(words).current_dir(folder.0.path()).status().unwrap();
            assert!(status.success(), "{line}");
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn audit(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
        for variable in ["COLUMNS", "PAGER", "LESS"] {
            command.env_remove(variable);
        }
        command.arg("audit").args(args).current_dir(self.0.path()).output().unwrap()
    }

    /// Standard output of an audit that succeeds.
    fn printed(&self, args: &[&str]) -> String {
        let output = self.audit(args);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of an audit that is refused and prints nothing.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.audit(args);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}: {}", stderr(&output));
        stderr(&output)
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The sites of a listing: mark, kind and target, without addresses and operands.
fn sites(listing: &str) -> Vec<String> {
    let is_site = |line: &&str| line.starts_with("> ") || line.starts_with("- ");
    let site = |line: &str| {
        let (mark, rest) = line.split_at(1);
        let columns: Vec<&str> = rest.split("  ").map(str::trim).filter(|part| !part.is_empty()).collect();
        let kind = columns.iter().position(|column| ["table", "direct", "register", "memory"].contains(column));
        let from = kind.unwrap_or_else(|| panic!("no kind: {line}"));
        // A table's target is the distance of its entry, which the instruction of the page has.
        let target = columns.get(from + 1).filter(|target| !target.starts_with('+'));
        format!("{mark} {} {}", columns[from], target.unwrap_or(&"")).trim_end().to_owned()
    };
    listing.lines().filter(is_site).map(site).collect()
}

#[test]
fn the_example_of_the_page_prints_the_sites_of_the_page() {
    let folder = Folder::new();
    let listing = folder.printed(&["uart.o", "--function", "uart_send"]);
    let (mut printed, mut wanted) = (sites(&listing), sites(block("text")));
    // Their order is the compiler's.
    printed.sort();
    wanted.sort();
    assert_eq!(printed, wanted, "{listing}");
    for line in ["uart.c:8", "uart.c:13"] {
        assert!(listing.lines().any(|it| it.trim() == line), "{line}:\n{listing}");
    }
}

#[test]
fn every_command_of_the_page_runs() {
    let folder = Folder::new();
    // Other tests run the blocks that they are named above.
    let blocks = PAGE.split("<!-- run by: tests/audit/output.rs -->\n```sh\n").skip(1);
    let commands = blocks.flat_map(|rest| rest.split_once("```").unwrap().0.lines());
    let mut count = 0;
    for command in commands {
        let args: Vec<&str> = command.split(' ').skip(2).map(|word| word.trim_matches('\'')).collect();
        assert!(!folder.printed(&args).is_empty(), "{command}");
        count += 1;
    }
    assert!(count > 4 && folder.path("app.html").is_file());
}

#[test]
fn the_summary_has_the_kinds_and_the_functions_with_most_indirections() {
    let folder = Folder::new();
    let text = folder.printed(&["target/release/app"]);
    assert!(text.starts_with("target/release/app\n  executable, "), "{text}");
    for part in ["own indirections", "  table", "uart_send\n", "3 table, at uart.c:7"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(!text.contains('\u{1b}'));
    let table = folder.printed(&["target/release/app", "--kind", "TABLE"]);
    let is_site = |line: &&str| line.contains(" qword ptr ") && line.contains("  table");
    assert_eq!(table.lines().filter(is_site).count(), 3, "{table}");
    assert!(table.contains("uart.c:13"), "{table}");
}

#[test]
fn json_is_valid_and_the_page_is_written() {
    let folder = Folder::new();
    let schema: Value = serde_json::from_str(&fs::read_to_string("reports/schema/audit-1.json").unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for args in [
        &["target/release/app", "libuart.a", "stripped", "--json"][..],
        &["uart.o", "--function", "*", "--json", "--html", "pages/uart.html"],
        &["uart.o", "--kind", "own", "--json"],
    ] {
        let value: Value = serde_json::from_str(&folder.printed(args)).unwrap();
        if let Err(error) = validator.validate(&value) {
            panic!("{args:?}: {error} at {}", error.instance_path());
        }
        assert!(!value["binaries"].as_array().unwrap().is_empty());
    }
    let page = fs::read_to_string(folder.path("pages/uart.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("uart_send"));
    let printed = folder.printed(&["uart.o", "--html", "-"]);
    assert!(printed.starts_with("<!doctype html>"), "{printed}");
}

#[test]
fn the_members_of_an_archive_are_named() {
    let folder = Folder::new();
    let text = folder.printed(&["libuart.a"]);
    assert!(text.starts_with("libuart.a(uart.o)\n  object file, "), "{text}");
    assert!(text.contains("3 table, at uart.c:7"), "{text}");
}

#[test]
fn a_stripped_program_says_why_it_has_no_lines() {
    let folder = Folder::new();
    let text = folder.printed(&["stripped"]);
    assert!(text.contains("no source lines: the file has no debug information"), "{text}");
    let message = folder.refused(&["stripped", "--function", "uart_send"]);
    assert!(message.contains("the symbols are stripped") && message.contains("0x401000"), "{message}");
}

#[test]
fn good_binaries_are_printed_and_bad_ones_are_named() {
    let folder = Folder::new();
    fs::write(folder.path("notes.txt"), "no program\n").unwrap();
    let output = folder.audit(&["notes.txt", "uart.o", "missing"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("uart.o\n  object file, "), "{text}");
    let message = stderr(&output);
    assert!(message.contains("notes.txt") && message.contains("missing"), "{message}");
    assert_eq!(message.lines().filter(|line| line.starts_with("error: ")).count(), 2, "{message}");
    folder.refused(&["notes.txt"]);
    folder.refused(&["."]);
    let program = fs::read(folder.path("target/release/app")).unwrap();
    fs::write(folder.path("cut"), &program[..program.len() / 3]).unwrap();
    let output = folder.audit(&["cut"]);
    assert!([Some(0), Some(2)].contains(&output.status.code()), "{}", stderr(&output));
}

#[test]
fn a_name_that_matches_nothing_gets_a_suggestion() {
    let folder = Folder::new();
    for (args, suggestion) in [
        (["uart.o", "--function", "send"], "did you mean 'uart_send'?"),
        (["uart.o", "--function", "uart_sned"], "did you mean 'uart_send'?"),
        (["uart.o", "--function", "[a"], "a [ without a ]"),
        (["uart.o", "--function", ","], "--function has no name"),
        (["uart.o", "--kind", "tabel"], "did you mean 'table'?"),
    ] {
        let message = folder.refused(&args);
        assert!(message.contains(suggestion), "{args:?}: {message}");
    }
    assert!(Path::new(&folder.path("uart.o")).is_file());
}
