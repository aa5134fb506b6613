//! Two builds of a program: budgets on its call sites, what changed between them, and what ran.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

/// A driver that polls a device. `DIRECT` decides how it reaches the device.
const DRIVER: &str = r#"
#include <stdio.h>
#include <stdlib.h>
long sites;
__attribute__((noinline)) long read_word(long at) { return at * 3; }
__attribute__((noinline)) long read_slow(long at) { return at * 5; }
long (*volatile device)(long) = read_word;
__attribute__((noinline)) long other(long at) { return at + 1; }
#ifdef DIRECT
#define CALL(at) read_word(at)
#else
#define CALL(at) (sites++, device(at))
#endif
#ifdef INLINED
static inline __attribute__((always_inline))
#else
__attribute__((noinline))
#endif
long poll_device(long n) { long sum = 0; for (long i = 0; i < n; i++) sum += CALL(i) + other(i); return sum; }
__attribute__((noinline)) long service(long n) { return poll_device(n) + other(n); }
#ifdef COLD
__attribute__((noinline, cold)) void fail(long at) { printf("%ld\n", at); }
__attribute__((noinline)) long check(long at) { if (at < 0) { fail(at); fail(-at); } return at + 7; }
#else
#define check(at) 0
#endif
int main(int count, char **arguments) {
    long n = count > 1 ? atol(arguments[1]) : 10;
    long sum = service(n) + check(n);
    device = read_slow;
    sum += service(n / 2);
    if (count > 2) {
        FILE *file = fopen(arguments[2], "a");
        if (file) { fprintf(file, "%ld\n", sites); fclose(file); }
    }
    if (count > 3) {
        FILE *file = fopen(arguments[3], "r");
        if (file) return 7;
        file = fopen(arguments[3], "w");
        if (file) fclose(file);
    }
    return sum == 42;
}
"#;

struct Programs {
    folder: tempfile::TempDir,
}

impl Programs {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("driver.c"), DRIVER).unwrap();
        Programs { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn build(&self, name: &str, options: &[&str]) -> PathBuf {
        let done = Command::new("gcc")
            .current_dir(self.folder.path())
            .args(["-O2", "driver.c", "-o", name])
            .args(options)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        self.path(name)
    }

    fn pvbench(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } =
            Command::new(cargo_bin("pvbench")).current_dir(self.folder.path()).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (status.code(), text(stdout), text(stderr))
    }

    fn gate(&self, budgets: &str, more: &[&str]) -> (Option<i32>, String, String) {
        std::fs::write(self.path("budgets.toml"), budgets).unwrap();
        self.pvbench(&[&["gate", "--budget", "budgets.toml"], more].concat())
    }
}

const NO_INDIRECT_CALL: &str =
    "[[budget]]\nbinary = \"app\"\nfunction = \"poll_device\"\nindirect_calls = 0\ncalls = 2\n";

#[test]
fn a_call_that_became_indirect_fails_the_gate_without_any_measurement() {
    let programs = Programs::new();
    programs.build("app", &["-DDIRECT"]);
    let (code, out, _) = programs.gate(NO_INDIRECT_CALL, &[]);
    assert_eq!(code, Some(0), "{out}");
    programs.build("app", &[]);
    let (code, out, _) = programs.gate(NO_INDIRECT_CALL, &["--junit", "verdicts.xml", "--markdown", "summary.md"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("app: poll_device") && out.contains("indirect_calls budgets.toml:1"), "{out}");
    let junit = std::fs::read_to_string(programs.path("verdicts.xml")).unwrap();
    assert!(junit.contains("tests=\"2\" failures=\"1\" errors=\"0\""), "{junit}");
    let markdown = std::fs::read_to_string(programs.path("summary.md")).unwrap();
    assert!(markdown.contains("EXCEEDED") && !markdown.contains("seed"), "{markdown}");
}

#[test]
fn a_function_that_was_inlined_is_judged_in_its_callers() {
    let programs = Programs::new();
    programs.build("app", &["-DINLINED", "-g"]);
    let (code, out, _) = programs.gate(NO_INDIRECT_CALL, &["--all"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("poll_device (inlined into service)"), "{out}");
    programs.build("app", &["-DINLINED", "-DDIRECT", "-g"]);
    let (code, out, _) = programs.gate(NO_INDIRECT_CALL, &["--all"]);
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn a_function_that_nothing_tells_of_is_inconclusive_with_its_reason() {
    let programs = Programs::new();
    programs.build("app", &["-DINLINED"]);
    let (code, out, _) = programs.gate(NO_INDIRECT_CALL, &[]);
    assert_eq!(code, Some(3), "{out}");
    assert!(out.contains("inlined into its callers") && out.contains("build with debug information"), "{out}");
    programs.build("app", &["-g"]);
    let (code, out, _) = programs.gate(&NO_INDIRECT_CALL.replace("poll_device", "poll_divice"), &[]);
    assert_eq!(code, Some(3), "{out}");
    assert!(out.contains("debug information has none either"), "{out}");
}

#[test]
fn a_binary_keeps_its_first_budgets() {
    let programs = Programs::new();
    programs.build("app", &[]);
    let (code, budgets, error) = programs.pvbench(&["gate", "--init", "--binary", "app", "--function", "*_device"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(budgets.contains("function = \"poll_device\"\ncalls = 2\nindirect_calls = 1\n"), "{budgets}");
    assert_eq!(programs.gate(&budgets, &[]).0, Some(0));
    let (code, _, error) = programs.pvbench(&["gate", "--init", "--binary", "app", "--function", "nothing*"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("no function with a name matches nothing*"), "{error}");
}

#[test]
fn the_first_rule_that_matches_a_function_decides_and_a_rule_without_one_is_of_the_whole_binary() {
    let programs = Programs::new();
    programs.build("app", &[]);
    let budgets = "[[budget]]\nbinary = \"app\"\nfunction = \"poll_device\"\nindirect_calls = 1\n\
                   [[budget]]\nbinary = \"app\"\nfunction = \"*_device\"\nindirect_calls = 0\n\
                   [[budget]]\nbinary = \"app\"\nretpolines = 0\nlevel = \"soft\"\n";
    let (code, out, _) = programs.gate(budgets, &["--all"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("app: the whole binary"), "{out}");
}

#[test]
fn a_rule_on_a_whole_binary_counts_what_the_audit_counts_also_without_symbols() {
    let programs = Programs::new();
    let named = std::fs::read(programs.build("app", &["-DCOLD"])).unwrap();
    assert!(named.windows(11).any(|window| window == b"check.cold\0"), "the compiler moved nothing away");
    programs.build("app", &["-DCOLD", "-s"]);
    let (_, json, _) = programs.pvbench(&["audit", "app", "--json"]);
    let audit: Value = serde_json::from_str(&json).unwrap();
    let direct = audit["binaries"][0]["counts"]["direct"].as_u64().unwrap();
    let gate = |bound| programs.gate(&format!("[[budget]]\nbinary = \"app\"\ndirect_calls = {bound}\n"), &[]).0;
    assert_eq!((gate(direct), gate(direct - 1)), (Some(0), Some(1)));
}

#[test]
fn a_binary_that_cannot_be_read_is_an_error_with_the_line_of_its_rule() {
    let programs = Programs::new();
    let (code, _, error) = programs.gate(NO_INDIRECT_CALL, &[]);
    assert_eq!(code, Some(2));
    assert!(error.contains("budgets.toml:1: app cannot be read"), "{error}");
    std::fs::write(programs.path("app"), "#!/bin/sh\n").unwrap();
    let (code, _, error) = programs.gate(NO_INDIRECT_CALL, &[]);
    assert_eq!(code, Some(2));
    assert!(error.contains("a script"), "{error}");
}

#[test]
fn rules_on_cells_are_not_judged_without_a_report_and_say_so() {
    let programs = Programs::new();
    programs.build("app", &["-DDIRECT"]);
    let budgets = format!("{NO_INDIRECT_CALL}[[budget]]\nop = \"*\"\noverhead = \"1 ns\"\n");
    let (code, _, error) = programs.gate(&budgets, &[]);
    assert_eq!(code, Some(0));
    assert!(error.contains("1 rules on cells and workloads are not judged"), "{error}");
}

fn changes(programs: &Programs, after: &str, before: &str) -> (Option<i32>, Value) {
    let (code, out, error) = programs.pvbench(&["audit", after, "--against", before, "--json"]);
    let json = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}"));
    (code, json)
}

#[test]
fn a_comparison_of_builds_names_the_site_that_became_indirect_however_the_code_moved() {
    let programs = Programs::new();
    programs.build("old", &["-DDIRECT", "-g"]);
    // Functions in reverse order, at other addresses.
    programs.build("new", &["-fno-toplevel-reorder", "-falign-functions=64"]);
    let (code, json) = changes(&programs, "new", "old");
    assert_eq!(code, Some(1), "{json:#}");
    let functions = json["functions"].as_array().unwrap();
    assert_eq!(functions.len(), 1, "{json:#}");
    assert_eq!(functions[0]["name"], "poll_device");
    let site = &functions[0]["sites"][0];
    assert_eq!((&site["before"]["target"], &site["after"]["target"]), (&"read_word".into(), &"device".into()));
    programs.build("same", &["-DDIRECT", "-falign-functions=64"]);
    let (code, json) = changes(&programs, "same", "old");
    assert_eq!((code, json["functions"].as_array().map(Vec::len)), (Some(0), Some(0)), "{json:#}");
    programs.build("inlined", &["-DDIRECT", "-DINLINED"]);
    let (code, json) = changes(&programs, "inlined", "old");
    assert_eq!((code, &json["gone"]), (Some(0), &serde_json::json!(["poll_device"])), "{json:#}");
    let (code, out, _) = programs.pvbench(&["audit", "new", "--against", "old"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("became indirect") && out.contains("in 1 of them a site became indirect"), "{out}");
}

/// Whether callgrind is there; without it, a test says so and ends.
fn has_callgrind() -> bool {
    let is_there = Command::new("valgrind").arg("--version").output().is_ok();
    if !is_there {
        println!("skipped: valgrind is not installed");
    }
    is_there
}

fn site_of<'a>(json: &'a Value, function: &str) -> &'a Value {
    let sites = json["sites"].as_array().unwrap();
    sites.iter().find(|site| site["function"] == function).unwrap_or_else(|| panic!("{json:#}"))
}

#[test]
fn the_calls_of_a_site_are_those_that_the_program_counted_itself() {
    if !has_callgrind() {
        return;
    }
    let programs = Programs::new();
    programs.build("app", &["-g"]);
    let (code, out, error) = programs.pvbench(&["audit", "app", "--run", "--json", "--", "1000", "counted.txt"]);
    assert_eq!(code, Some(0), "{error}");
    let json: Value = serde_json::from_str(&out).unwrap();
    let counted = std::fs::read_to_string(programs.path("counted.txt")).unwrap();
    let counts: Vec<u64> = counted.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(counts, [1500, 1500], "the program ran twice");
    let site = site_of(&json, "poll_device");
    assert_eq!((site["calls"].as_u64(), &site["kind"]), (Some(1500), &"memory".into()));
    assert_eq!(site["source"]["file"].as_str().map(|file| file.ends_with("driver.c")), Some(true));
    let targets = site["targets"].as_array().unwrap();
    let named: Vec<_> =
        targets.iter().map(|it| (it["name"].as_str().unwrap(), it["calls"].as_u64().unwrap())).collect();
    assert_eq!(named, [("read_word", 1000), ("read_slow", 500)]);
    assert!(json["cpu_seconds"].as_f64().unwrap() > 0.0);
    assert!(json["no_cost_reason"].as_str().unwrap().contains("pvbench run --quick"), "{json:#}");
}

#[test]
fn a_program_that_ends_otherwise_under_callgrind_is_a_failure_whose_output_is_kept() {
    if !has_callgrind() {
        return;
    }
    let programs = Programs::new();
    programs.build("app", &[]);
    // The second run finds the file of the first one.
    let (code, _, error) = programs.pvbench(&["audit", "app", "--run", "--", "10", "counted.txt", "once.txt"]);
    assert_eq!(code, Some(4), "{error}");
    let kept = error.trim().rsplit(' ').next().unwrap();
    assert!(Path::new(kept).is_file(), "{error}");
    std::fs::remove_file(kept).unwrap();
    let (code, _, error) = programs.pvbench(&["audit", "no-such-program", "--run"]);
    assert_eq!(code, Some(4), "{error}");
    assert!(error.contains("does not start"), "{error}");
}

#[test]
fn counts_of_another_build_are_refused() {
    let programs = Programs::new();
    programs.build("app", &[]);
    let counts = "# callgrind format\nversion: 1\npositions: instr\nevents: Ir\n\nob=APP\nfn=main\n\
                  0x1 1\ncfn=x\ncalls=1 0x2\n0x1 5\n";
    let app = programs.path("app");
    std::fs::write(programs.path("cg.out"), counts.replace("APP", app.to_str().unwrap())).unwrap();
    let (code, _, error) = programs.pvbench(&["audit", "app", "--counts", "cg.out"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("not the build that ran"), "{error}");
}

/// Sites on lines of their own, one that is inlined in two functions, and a callback. It counts its calls itself.
const LINES: &str = "\
#include <stdio.h>
#include <stdlib.h>
__attribute__((noinline)) long read_word(long at) { return at * 3; }
long (*volatile device)(long) = read_word;
static inline __attribute__((always_inline)) long ask(long at) {
    return device(at);
}
__attribute__((noinline)) long poll_device(long n) {
    long sum = 0;
    for (long i = 0; i < n; i++) {
        if (i % 4 == 0)
            sum += device(i);
        sum += ask(i);
    }
    return sum;
}
__attribute__((noinline)) long service(long n) {
    return ask(n) + poll_device(n);
}
int main(int count, char **arguments) {
    return service(count > 1 ? atol(arguments[1]) : 10) == 42;
}
";

impl Programs {
    fn run(&self, command: &str) {
        let done = Command::new("sh").current_dir(self.folder.path()).args(["-ec", command]).output().unwrap();
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn audit_counts(&self, binary: &str, counts: &str) -> Value {
        let (code, out, error) = self.pvbench(&["audit", binary, "--counts", counts, "--json"]);
        assert_eq!(code, Some(0), "{error}");
        serde_json::from_str(&out).unwrap()
    }
}

#[test]
fn a_site_runs_at_most_as_often_as_its_line_by_gcov_in_any_build_of_the_source() {
    let programs = Programs::new();
    std::fs::write(programs.path("driver.c"), LINES).unwrap();
    programs.build("covered", &["-g", "--coverage"]);
    programs.run("./covered 1000; gcov --json-format --stdout *.gcda > lines.json; gzip -k lines.json");
    programs.build("app", &["-g"]);
    for (binary, counts) in [("covered", "lines.json"), ("app", "lines.json"), ("app", "lines.json.gz")] {
        let json = programs.audit_counts(binary, counts);
        assert_eq!((&json["counts"]["source"], &json["counts"]["exactness"]), (&"gcov".into(), &"by_line".into()));
        assert!(json["instructions"].is_null(), "{json:#}");
        let sites = json["sites"].as_array().unwrap();
        let at =
            |line: u64| sites.iter().filter(move |site| site["source"]["line"] == line && site["kind"] == "memory");
        let own: Vec<_> = at(12).map(|site| (&site["counted"], site["calls"].as_u64())).collect();
        assert_eq!(own, [(&"line".into(), Some(250))], "{json:#}");
        let inlined: Vec<_> = at(6).map(|site| (&site["counted"], site["calls"].as_u64())).collect();
        assert_eq!(inlined, [(&"shared_line".into(), Some(1001)); 2], "{json:#}");
    }
    let (_, out, _) = programs.pvbench(&["audit", "app", "--counts", "lines.json"]);
    assert!(out.contains("\u{2264}250") && out.contains("+\u{2264}1,001"), "{out}");
    let renamed = "s/driver.c/other.c/g; s/stdlib.h/other.h/g; s/poll_device/a/g; s/service/b/g; s/\"main\"/\"c\"/g";
    programs.run(&format!("sed -i '{renamed}' lines.json"));
    let (code, _, error) = programs.pvbench(&["audit", "app", "--counts", "lines.json"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("other.") && error.contains("built with -g"), "{error}");
}

/// A file as `perf script` prints it, of a program that is loaded at an address: three samples of a loop, each of five
/// branches, of which two are calls of the site.
fn write_records(programs: &Programs, binary: &str, event: &str) -> Value {
    use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
    const LOADED: u64 = 0x5555_5555_4000;
    let (_, listing, _) = programs.pvbench(&["audit", binary, "--function", "poll_device", "--json"]);
    let listing: Value = serde_json::from_str(&listing).unwrap();
    let sites = listing["binaries"][0]["functions"][0]["sites"].as_array().unwrap();
    let site = sites.iter().find(|site| site["kind"] == "memory").unwrap()["address"].as_u64().unwrap();
    let bytes = std::fs::read(programs.path(binary)).unwrap();
    let elf = object::File::parse(&*bytes).unwrap();
    let address = |name: &str| elf.symbols().find(|symbol| symbol.name() == Ok(name)).unwrap().address();
    let code = elf.segments().find(|segment| (segment.address()..segment.address() + segment.size()).contains(&site));
    let code = code.unwrap();
    let (offset, length) = code.file_range();
    let at = |address: u64| LOADED + address - code.address();
    let (site, word, slow) = (at(site), at(address("read_word")), at(address("read_slow")));
    let path = programs.path(binary).canonicalize().unwrap();
    let mut text = format!(
        "  app 77 PERF_RECORD_MMAP2 77/77: [{LOADED:#x}({length:#x}) @ {offset:#x} fe:00 5 6]: r-xp {}\n",
        path.display()
    );
    let (returned, end, top) = (site + 2, site + 9, site - 8);
    for callee in [word, word, slow] {
        // The newest first: each leads to the branch in front of it.
        let branches = [(site, word), (end, top), (callee + 4, returned), (site, callee), (end, top)];
        let records = branches.map(|(from, to)| format!("{from:#x}/{to:#x}/P/-/-/2"));
        text += &format!("  app 77   5000 {event}:  {}\n", records.join(" "));
    }
    std::fs::write(programs.path("records.txt"), text).unwrap();
    programs.audit_counts(binary, "records.txt")
}

#[test]
fn branch_records_of_a_loaded_program_are_calls_of_its_sites_if_their_scale_is_known() {
    let programs = Programs::new();
    programs.build("app", &["-g"]);
    // Each sample has five records of a period of 5,000 branches.
    let json = write_records(&programs, "app", "br_inst_retired.near_taken:u");
    assert_eq!(
        (&json["counts"]["exactness"], &json["counts"]["branches_per_record"]),
        (&"sampled".into(), &1000.0.into())
    );
    let site = site_of(&json, "poll_device");
    assert_eq!((site["records"].as_u64(), site["calls"].as_u64()), (Some(6), Some(6000)), "{json:#}");
    let names: Vec<_> =
        site["targets"].as_array().unwrap().iter().map(|it| (&it["name"], it["calls"].as_u64())).collect();
    assert_eq!(names, [(&"read_word".into(), Some(5000)), (&"read_slow".into(), Some(1000))]);
    let shares = write_records(&programs, "app", "cycles:u");
    let site = site_of(&shares, "poll_device");
    assert_eq!((site["records"].as_u64(), &site["calls"]), (Some(6), &Value::Null), "{shares:#}");
    assert!(shares["counts"]["no_scale_reason"].as_str().unwrap().contains("cycles:u"), "{shares:#}");
    let (_, out, _) = programs.pvbench(&["audit", "app", "--counts", "records.txt"]);
    assert!(out.contains("records") && out.contains("does not count taken branches"), "{out}");
}

#[test]
fn predict_names_the_command_that_prices_counts_of_a_program() {
    let programs = Programs::new();
    for (text, name) in [
        ("# callgrind format\nversion: 1\n", "callgrind"),
        ("app 1 PERF_RECORD_MMAP2 1/1: [0x1000(0x1000) @ 0 fe:00 5 6]: r-xp /bin/app\n", "perf script"),
        ("{\"gcc_version\": \"12.2.0\", \"files\": []}", "gcov"),
    ] {
        std::fs::write(programs.path("counts"), text).unwrap();
        let (code, _, error) = programs.pvbench(&["predict", "counts"]);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains(name) && error.contains("pvbench audit BINARY --counts counts"), "{error}");
    }
}

/// The page that shows a budget on a program, and what the gate prints.
const README: &str = include_str!("../../README.md");

/// The first block of the page in a language, from a heading on.
fn block_of_readme(heading: &str, language: &str) -> &'static str {
    let (_, rest) = README.split_once(heading).expect(heading);
    let (_, rest) = rest.split_once(&format!("```{language}\n")).expect(language);
    rest.split_once("```").expect("an end").0
}

#[test]
fn the_readme_shows_what_the_gate_prints_when_a_field_becomes_a_trait_object() {
    const HEADING: &str = "## A gate for your CI";
    let code = block_of_readme(HEADING, "rust");
    let programs = Programs::new();
    std::fs::create_dir_all(programs.path("target/release")).unwrap();
    let build = |chip: &str, value: &str| {
        let source = format!(
            "pub trait Chip {{ fn read(&self, register: u8) -> u8; }}\n\
             pub struct Uart(pub std::cell::Cell<u8>);\n\
             impl Chip for Uart {{ #[inline(never)]\n\
             fn read(&self, register: u8) -> u8 {{ self.0.get() ^ register }} }}\n\
             pub struct Absent;\n\
             impl Chip for Absent {{ fn read(&self, register: u8) -> u8 {{ register }} }}\n\
             pub struct Port {{ chip: {chip} }}\n#[inline(never)]\n{code}\
             fn main() {{ let uart = Uart(std::cell::Cell::new(std::env::args().count() as u8));\n\
             let port = Port {{ chip: {value} }};\n std::process::exit(i32::from(poll(&port))) }}\n"
        );
        std::fs::write(programs.path("app.rs"), source).unwrap();
        let done = Command::new("rustc")
            .current_dir(programs.folder.path())
            .args(["-O", "--edition", "2024", "app.rs", "-o", "target/release/app"])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let budgets = block_of_readme(HEADING, "toml");
    build("Uart", "uart");
    let (code_before, out, _) = programs.gate(budgets, &[]);
    assert_eq!(code_before, Some(0), "{out}");
    // Two chips, so that the compiler cannot know which one it is.
    build("Box<dyn Chip>", "if std::env::args().count() > 1 { Box::new(Absent) } else { Box::new(uart) }");
    let (code_after, out, _) = programs.gate(budgets, &[]);
    assert_eq!(code_after, Some(1), "{out}");
    let shown = block_of_readme(HEADING, "text");
    let printed: String = out.lines().take(2).map(|line| format!("{}\n", line.trim_end())).collect();
    assert_eq!(printed, shown, "{out}");
}
