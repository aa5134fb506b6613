use std::fs;
use std::process::Command;

use object::ObjectSymbol as _;

use super::*;

/// A function that is inlined into one that calls through a table. Each line with a mark is looked up.
const C: &str = "\
struct ops { int (*read)(int); int (*write)(int); };
extern struct ops *table;
extern int sink;
static inline __attribute__((always_inline)) int inner(int value)
{
    return table->read(value) + 1; /* line 6 */
}
static inline __attribute__((always_inline)) int outer(int value)
{
    return inner(value) * 3;
}
__attribute__((noinline)) int poll_all(int value)
{
    sink = outer(value);
    return table->write(value) + sink; /* line 15 */
}
int never_called(int value) { return value; }
";
const MAIN: &str = "\
struct ops { int (*read)(int); int (*write)(int); };
int poll_all(int);
int sink;
static int one(int value) { return value + 1; }
static struct ops it = { one, one };
struct ops *table = &it;
int main(int count, char **words) { (void)words; return poll_all(count); }
";

struct Built {
    folder: tempfile::TempDir,
}

impl Built {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("poll.c"), C).unwrap();
        fs::write(folder.path().join("main.c"), MAIN).unwrap();
        Built { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a tool in the folder.
    fn run(&self, line: &str) {
        let mut words = line.split_whitespace();
        let output = Command::new(words.next().unwrap()).args(words).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Compiles both files and links them.
    fn program(&self, flags: &str) -> PathBuf {
        self.run(&format!("gcc -O2 {flags} -o program poll.c main.c -Wl,--build-id"));
        self.path("program")
    }

    /// Opens the debug information of a file and checks what it tells.
    fn check(&self, path: &Path) {
        self.check_at(path, &|_| None);
    }

    fn check_at(&self, path: &Path, bases: &dyn Fn(SectionIndex) -> Option<u64>) {
        let bytes = fs::read(path).unwrap();
        let file = File::parse(&*bytes).unwrap();
        let storage = Storage::default();
        let lines = Lines::open_below(&self.path("root"), path, &file, bases, &storage).unwrap();
        // Where the function is, from what the linker or the assembler says.
        let dump = Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(path).output().unwrap();
        let text = String::from_utf8(dump.stdout).unwrap();
        let body = text.split("<poll_all>:\n").nth(1).unwrap().split("\n\n").next().unwrap();
        let base = bases_of_text(&file, bases);
        let calls: Vec<u64> = body
            .lines()
            .filter(|line| line.contains("call") || line.contains("jmp") && line.contains('*'))
            .map(|line| base + u64::from_str_radix(line.trim().split(':').next().unwrap(), 16).unwrap())
            .collect();
        assert_eq!(calls.len(), 2, "{body}");
        let line = |address| lines.line(address).map(|it| (it.file, it.line));
        assert_eq!(line(calls[0]), Some(("poll.c".to_owned(), 6)));
        assert_eq!(line(calls[1]), Some(("poll.c".to_owned(), 15)));
        assert_eq!(lines.frames(calls[0]), ["inner", "outer"]);
        assert_eq!(lines.frames(calls[1]), [""; 0]);
        assert_eq!(line(1 << 60), None);

        let instances = lines.inlined_instances(&mut |name| name == "inner");
        assert_eq!(instances.len(), 1, "{instances:?}");
        assert_eq!(&*instances[0].name, "inner");
        assert!(instances[0].ranges.iter().any(|range| range.contains(&calls[0])), "{instances:?} {calls:x?}");
        assert_eq!(lines.inlined_instances(&mut |name| name.ends_with("er")).len(), 2);
        assert!(
            lines.is_declared(&mut |name| name == "inner") && lines.is_declared(&mut |name| name == "never_called")
        );
        assert!(!lines.is_declared(&mut |name| name == "no_such_function"));
    }

    fn reason(&self, path: &Path) -> String {
        let bytes = fs::read(path).unwrap();
        let file = File::parse(&*bytes).unwrap();
        let storage = Storage::default();
        let opened = Lines::open_below(&self.path("root"), path, &file, &|_| None, &storage);
        opened.err().expect("there are lines").to_string()
    }
}

fn bases_of_text(file: &File<'_>, bases: &dyn Fn(SectionIndex) -> Option<u64>) -> u64 {
    let text = file.section_by_name(".text").unwrap();
    if file.kind() == ObjectKind::Relocatable { bases(text.index()).unwrap() } else { 0 }
}

#[test]
fn a_program_has_its_lines_in_every_version_of_dwarf() {
    let built = Built::new();
    for flags in ["-g", "-gdwarf-4", "-gdwarf-3", "-g -fPIE -pie", "-g -ffunction-sections -Wl,--gc-sections"] {
        built.check(&built.program(flags));
    }
}

#[test]
fn compressed_sections_are_read() {
    let built = Built::new();
    for flags in ["-g -gz", "-g -gz=zlib-gnu"] {
        built.check(&built.program(flags));
    }
    built.run("objcopy --compress-debug-sections=zstd program small");
    built.check(&built.path("small"));
}

#[test]
fn an_object_file_has_its_lines_at_the_addresses_that_were_chosen() {
    let built = Built::new();
    let bases = |index: SectionIndex| Some(0x10_0000 * index.0 as u64);
    for flags in ["-g", "-g -gz", "-gdwarf-4"] {
        built.run(&format!("gcc -O2 {flags} -c -o poll.o poll.c"));
        built.check_at(&built.path("poll.o"), &bases);
    }
    // As a kernel module with its debug information beside it.
    built.run("gcc -O2 -g -c -o poll.o poll.c");
    built.run("objcopy --only-keep-debug poll.o poll.debug");
    built.run("objcopy --strip-debug --add-gnu-debuglink=poll.debug poll.o");
    built.check_at(&built.path("poll.o"), &bases);
}

#[test]
fn a_split_file_is_found_by_its_link_and_must_be_of_the_same_build() {
    let built = Built::new();
    built.program("-g");
    built.run("objcopy --only-keep-debug program program.debug");
    built.run("strip --strip-all --keep-symbol=poll_all -o stripped program");
    built.run("objcopy --add-gnu-debuglink=program.debug stripped");
    built.check(&built.path("stripped"));
    fs::create_dir(built.path(".debug")).unwrap();
    fs::rename(built.path("program.debug"), built.path(".debug/program.debug")).unwrap();
    built.check(&built.path("stripped"));

    fs::write(built.path(".debug/program.debug"), "another build").unwrap();
    assert!(built.reason(&built.path("stripped")).contains("of another build"));
    fs::remove_file(built.path(".debug/program.debug")).unwrap();
    let reason = built.reason(&built.path("stripped"));
    assert!(reason.contains("program.debug") && reason.contains("missing"), "{reason}");
}

#[test]
fn a_split_file_is_found_by_the_build_id() {
    let built = Built::new();
    built.program("-g");
    let bytes = fs::read(built.path("program")).unwrap();
    let id = File::parse(&*bytes).unwrap().build_id().unwrap().unwrap().to_vec();
    let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = built.path("root/.build-id").join(&digits[..2]);
    fs::create_dir_all(&folder).unwrap();
    let debug = folder.join(format!("{}.debug", &digits[2..]));
    built.run(&format!("objcopy --only-keep-debug program {}", debug.display()));
    built.run("strip --strip-all --keep-symbol=poll_all -o stripped program");
    built.check(&built.path("stripped"));
    // A file of another build at this place is no debug information of this one.
    built.run("gcc -g -o other main.c poll.c -Wl,--build-id");
    fs::copy(built.path("other"), &debug).unwrap();
    assert!(built.reason(&built.path("stripped")).contains("no debug information"));
}

#[test]
fn split_dwarf_is_read_beside_the_objects_and_from_a_package() {
    let built = Built::new();
    for flags in ["-g -gsplit-dwarf", "-gdwarf-4 -gsplit-dwarf"] {
        built.run(&format!("gcc -O2 {flags} -c poll.c -o poll.o"));
        built.run(&format!("gcc -O2 {flags} -c main.c -o main.o"));
        built.run("gcc -o program poll.o main.o");
        assert!(built.path("poll.dwo").is_file());
        built.check(&built.path("program"));
    }
    if Command::new("dwp").arg("--version").output().is_ok_and(|it| it.status.success()) {
        // The tool of binutils reads version 4 alone.
        built.run("dwp -e program -o program.dwp");
        fs::remove_file(built.path("poll.dwo")).unwrap();
        built.check(&built.path("program"));
        fs::remove_file(built.path("program.dwp")).unwrap();
    }
    fs::remove_file(built.path("poll.dwo")).ok();
    let bytes = fs::read(built.path("program")).unwrap();
    let file = File::parse(&*bytes).unwrap();
    let storage = Storage::default();
    let lines = Lines::open(&built.path("program"), &file, &|_| None, &storage).unwrap();
    let main = file.symbol_by_name("poll_all").map(|symbol| symbol.address()).unwrap();
    assert!(lines.line(main).is_some(), "the lines are not in the missing file");
    assert_eq!(lines.frames(main), [""; 0]);
}

#[test]
fn common_parts_are_read_from_their_own_file() {
    if Command::new("dwz").arg("--version").output().is_err() {
        return println!("skipped: dwz is not installed");
    }
    let built = Built::new();
    built.program("-g");
    fs::copy(built.path("program"), built.path("second")).unwrap();
    built.run("dwz -m common.debug program second");
    built.check(&built.path("program"));
}

#[test]
fn a_stripped_program_says_why_it_has_no_lines() {
    let built = Built::new();
    built.program("-s");
    let reason = built.reason(&built.path("program"));
    assert!(reason.contains("no debug information") && reason.contains(".build-id"), "{reason}");
    built.run("gcc -o plain main.c poll.c -s -Wl,--build-id=none");
    assert!(built.reason(&built.path("plain")).contains("build it with -g"));
}

#[test]
fn names_of_rust_and_cpp_are_demangled_in_inlined_frames() {
    let built = Built::new();
    let source = "namespace chip { struct Port { int (*read)(int); \
                  inline __attribute__((always_inline)) int get(int n) { return read(n) + 1; } }; }\n\
                  extern chip::Port port;\nint poll_all(int n) { return port.get(n) * 2; }\n";
    fs::write(built.path("port.cpp"), source).unwrap();
    built.run("gcc -O2 -g -c port.cpp -o port.o");
    let bytes = fs::read(built.path("port.o")).unwrap();
    let file = File::parse(&*bytes).unwrap();
    let storage = Storage::default();
    let lines = Lines::open(&built.path("port.o"), &file, &|_| Some(0x1000), &storage).unwrap();
    let instances = lines.inlined_instances(&mut |name| name == "chip::Port::get(int)");
    assert_eq!(instances.len(), 1);
    let inside = instances[0].ranges[0].start;
    assert_eq!(lines.frames(inside), ["chip::Port::get(int)"]);
    assert_eq!(lines.inlined_instances(&mut |name| name.starts_with("_ZN4chip4Port3get")).len(), 1);
}

/// A generator of numbers for mutations (xorshift).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn damaged_debug_information_ends_without_a_panic() {
    let built = Built::new();
    let mut programs = Vec::new();
    for flags in ["-g", "-gdwarf-4 -gz", "-g -gsplit-dwarf -c"] {
        built.run(&format!("gcc -O2 {flags} -c poll.c -o poll.o"));
        programs.push(fs::read(built.path("poll.o")).unwrap());
    }
    let began = std::time::Instant::now();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for round in 0..3000 {
        let mut bytes = programs[round % programs.len()].clone();
        for _ in 0..1 + next(&mut state) % 8 {
            let at = (next(&mut state) % bytes.len() as u64) as usize;
            bytes[at] = match next(&mut state) % 4 {
                0 => 0xff,
                1 => 0,
                2 => bytes[at] ^ (1 << (next(&mut state) % 8)),
                _ => next(&mut state) as u8,
            };
        }
        let Ok(file) = File::parse(&*bytes) else { continue };
        let storage = Storage::default();
        let path = built.path("poll.o");
        let Ok(lines) = Lines::open_below(&built.path("root"), &path, &file, &|_| Some(0x1000), &storage) else {
            continue;
        };
        for address in (0x1000..0x1080).step_by(7) {
            let _ = (lines.line(address), lines.frames(address));
        }
        let _ = lines.inlined_instances(&mut |_| true);
        let _ = lines.is_declared(&mut |_| false);
    }
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

/// Debug information of a few hundred kilobytes that stands for a hundred million ranges and attributes: each of 8,000
/// inlined functions refers to the same list of 8,000 ranges, and each of 8,000 variables has 8,000 attributes without
/// a byte of their own.
const BOMB: &str = r#"
    .section .debug_abbrev
    .byte 1, 0x11, 1, 0x11, 0x01, 0x12, 0x07, 0, 0
    .byte 2, 0x1d, 0, 0x31, 0x13, 0x55, 0x17, 0, 0
    .byte 3, 0x2e, 0, 0x03, 0x08, 0, 0
    .byte 4, 0x34, 0
    .rept 8000
    .byte 0x81, 0x40, 0x19
    .endr
    .byte 0, 0, 0
    .section .debug_info
    .long 2f - 1f
1:  .value 4
    .long 0
    .byte 8, 1
    .quad 0x1000, 0x1000000
    .byte 3
    .asciz "f"
    .rept 8000
    .byte 2
    .long 28, 0
    .endr
    .rept 8000
    .byte 4
    .endr
    .byte 0
2:  .section .debug_ranges
    .rept 8000
    .quad 1, 2
    .endr
    .quad 0, 0
"#;

#[test]
fn debug_information_that_refers_to_the_same_tables_again_and_again_ends_soon() {
    let built = Built::new();
    fs::write(built.path("bomb.s"), BOMB).unwrap();
    built.run("gcc -c bomb.s");
    let bytes = fs::read(built.path("bomb.o")).unwrap();
    let file = File::parse(&*bytes).unwrap();
    let began = std::time::Instant::now();
    let storage = Storage::default();
    let lines = Lines::open(&built.path("bomb.o"), &file, &|_| None, &storage).unwrap();
    assert_eq!(lines.frames(0x1001).len(), 1, "the beginning is read");
    let instances = lines.inlined_instances(&mut |name| name == "f");
    assert!((1..8_000).contains(&instances.len()), "{}", instances.len());
    assert!(!lines.is_declared(&mut |name| name == "g"));
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
}
