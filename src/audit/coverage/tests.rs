use super::*;

/// As GCC 12 writes it: two source files of a document, and a second document with the same header.
const GCOV: &str = r#"{"gcc_version": "12.2.0", "files": [{"lines": [{"branches": [], "count": 205, "line_number": 3,
"unexecuted_block": false, "function_name": "a"}, {"count": 100, "line_number": 3, "function_name": "b"}], "functions":
[{"name": "a", "execution_count": 205, "start_line": 3}, {"name": "init", "execution_count": 1}], "file": "src/uart.c"},
{"lines": [{"count": 7, "line_number": 9}], "functions": [], "file": "include/chip.h"}], "format_version": "1",
"current_working_directory": "/build", "data_file": "uart.gcda"}
{"gcc_version": "12.2.0", "files": [{"lines": [{"count": 5, "line_number": 9}], "functions":
[{"name": "init", "execution_count": 3}], "file": "include/../include/chip.h"}], "current_working_directory": "/build"}
"#;

/// As `llvm-cov export` writes it: a function whose loop has a region of its own, and a gap.
const LLVM: &str = r#"{"data":[{"files":[{"branches":[],"expansions":[],"filename":"/build/uart.rs","segments":
[[2,1,1,true,true,false],[3,20,100,true,true,false],[3,40,1,true,false,false],[6,2,0,false,false,false]],"summary":{}}],
"functions":[{"branches":[],"count":1,"filenames":["/build/uart.rs"],"name":"_RNvC4uart4poll","regions":[]},
{"count":4,"filenames":["/build/uart.c"],"name":"uart.c:reset"}],"totals":{}}],"type":"llvm.coverage.json.export",
"version":"2.0.1"}"#;

fn parse(text: &str) -> Result<LineCounts, CountFileError> {
    read("cov.json", &mut text.as_bytes())
}

#[test]
fn a_line_of_gcov_has_the_sum_of_all_functions_and_documents() {
    let counts = parse(GCOV).unwrap();
    assert_eq!(counts.source, CountSource::Gcov);
    assert_eq!(counts.line("/build/src/uart.c", 3), Some(305));
    assert_eq!(counts.line("/build/include/chip.h", 9), Some(12));
    assert_eq!(counts.line("/build/src/uart.c", 4), None);
    assert_eq!(counts.function("a"), Some(205));
    assert_eq!(counts.function("init"), None, "two files have a function of this name");
}

#[test]
fn a_file_is_found_in_another_folder_unless_two_fit() {
    let counts = parse(GCOV).unwrap();
    assert_eq!(counts.line("/home/me/src/uart.c", 3), Some(305));
    assert_eq!(counts.line("uart.c", 3), Some(305));
    assert_eq!(counts.line("/home/me/lib/uart.c", 3), None);
    let two = parse(&GCOV.replace("include/chip.h", "lib/src/uart.c")).unwrap();
    assert_eq!(two.line("uart.c", 3), None);
    assert_eq!(two.line("/build/src/uart.c", 3), Some(305));
}

#[test]
fn a_line_of_llvm_cov_has_the_largest_count_of_its_regions() {
    let counts = parse(LLVM).unwrap();
    assert_eq!(counts.source, CountSource::LlvmCov);
    let line = |line| counts.line("/build/uart.rs", line);
    assert_eq!([1, 2, 3, 4, 5, 7].map(line), [None, Some(1), Some(100), Some(1), Some(1), None]);
    assert_eq!((counts.function("_RNvC4uart4poll"), counts.function("reset")), (Some(1), Some(4)));
}

#[test]
fn a_document_of_another_program_or_a_damaged_one_is_an_error_with_its_line() {
    for (text, part) in [
        ("{\"schema\": \"pvbench.report/2\"}", "cov.json:1: the document is neither of gcov nor of llvm-cov"),
        (&GCOV[..500], "cov.json:5: EOF"),
        ("{\"gcc_version\": \"12\", \"files\": []}", "no source file was counted"),
        (&LLVM.replace("[2,1,1,true", "[2,1"), "cov.json:2: "),
        ("", "no source file was counted"),
    ] {
        let message = parse(text).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("gcov --json-format"), "{message}");
    }
}
