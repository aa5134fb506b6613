//! Counts of an execution from callgrind, by instruction (`--dump-instr=yes`).
//!
//! The format is that of the Valgrind manual, "Callgrind Format Specification". With one event (`Ir`), the cost of an
//! instruction is how often it ran. Addresses are those of the file, whatever address the loader chose.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::path::Path;

use super::counts::is_same_file;

/// What ran of one binary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// Instructions of the whole run, also of other binaries.
    pub instructions: u64,
    /// Instructions of this binary.
    pub own_instructions: u64,
    /// How often the instruction at an address ran.
    pub counts: HashMap<u64, u64>,
    /// The functions that an instruction called, with the number of calls.
    pub calls: HashMap<u64, BTreeMap<String, u64>>,
}

/// Why counts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CallgrindError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not callgrind's.
    #[error(
        "{path}:{line}: {message}; make it with `valgrind --tool=callgrind --dump-instr=yes \
         --callgrind-out-file=FILE PROGRAM`"
    )]
    Line {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// The fault.
        message: String,
    },
    /// Nothing of the binary ran.
    #[error("{path}: nothing of {binary} ran; these binaries did: {ran}")]
    OtherBinary {
        /// The file.
        path: String,
        /// The binary.
        binary: String,
        /// Binaries with instructions.
        ran: String,
    },
}

/// Longest line in bytes. C++ has names of some thousand; a longer line is another kind of file.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Bound on the number of names. Programs have some hundred thousand functions.
const MAX_NAMES: usize = 1 << 22;

/// Reads the counts of one binary.
///
/// # Errors
/// If the file is not callgrind's, or has no instruction of the binary.
pub fn read(path: &str, input: &mut dyn BufRead, binary: &Path) -> Result<Executed, CallgrindError> {
    let mut reader = Reader::new(binary);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        let read = std::io::Read::take(&mut *input, MAX_LINE_BYTES).read_until(b'\n', &mut line);
        let length = read.map_err(|source| CallgrindError::Read { path: path.to_owned(), source })?;
        if length == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        let wrong = |message: String| CallgrindError::Line { path: path.to_owned(), line: number, message };
        reader.line(text.trim_end()).map_err(wrong)?;
    }
    let wrong = |message: &str| CallgrindError::Line { path: path.to_owned(), line: 1, message: message.to_owned() };
    if !reader.has_header {
        return Err(wrong("the file does not begin as callgrind's do"));
    }
    if !reader.has_instructions {
        return Err(wrong("the counts are by line, not by instruction"));
    }
    if reader.executed.own_instructions == 0 {
        let mut ran: Vec<&str> = reader.objects.names.values().map(String::as_str).collect();
        ran.sort_unstable();
        ran.truncate(8);
        let (binary, ran) = (binary.display().to_string(), ran.join(", "));
        return Err(CallgrindError::OtherBinary { path: path.to_owned(), binary, ran });
    }
    Ok(reader.executed)
}

/// Names, which a file writes once: `(12) name`, later `(12)`.
#[derive(Default)]
struct Names {
    names: HashMap<u64, String>,
}

impl Names {
    fn resolve(&mut self, text: &str) -> Result<String, String> {
        let Some((number, name)) = text.strip_prefix('(').and_then(|rest| rest.split_once(')')) else {
            return Ok(text.to_owned());
        };
        let number = number.parse().map_err(|_| format!("({number}) is no number of a name"))?;
        let name = name.trim_start();
        if name.is_empty() {
            return self.names.get(&number).cloned().ok_or_else(|| format!("the name ({number}) was never given"));
        }
        if self.names.len() >= MAX_NAMES {
            return Err(format!("more than {MAX_NAMES} names"));
        }
        self.names.insert(number, name.to_owned());
        Ok(name.to_owned())
    }
}

struct Reader<'a> {
    binary: &'a Path,
    executed: Executed,
    objects: Names,
    functions: Names,
    has_header: bool,
    has_instructions: bool,
    /// Numbers in front of the costs of a line: the address, and the source line if the file has it.
    positions: usize,
    /// Whether the current lines are of the binary.
    is_own: bool,
    address: u64,
    callee: String,
    /// The binary of the next callee, if it is not that of the lines.
    callee_object: Option<String>,
    /// The number of calls, if the next line is that of a call.
    calls: Option<u64>,
}

impl<'a> Reader<'a> {
    fn new(binary: &'a Path) -> Self {
        Reader {
            binary,
            executed: Executed::default(),
            objects: Names::default(),
            functions: Names::default(),
            has_header: false,
            has_instructions: false,
            positions: 1,
            is_own: false,
            address: 0,
            callee: String::new(),
            callee_object: None,
            calls: None,
        }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            self.has_header |= line.starts_with("# callgrind format");
            return Ok(());
        }
        if line.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '*')) {
            return self.cost(line);
        }
        let (key, value) = match line.split_once(['=', ':']) {
            Some((key, value)) => (key, value.trim()),
            None => return Ok(()),
        };
        match key {
            "version" => self.has_header = true,
            "positions" => {
                self.has_instructions = value.split(' ').any(|word| word == "instr");
                self.positions = value.split(' ').count();
            }
            "events" if value.split(' ').next() != Some("Ir") => {
                return Err(format!("the first event is {value}, not Ir"));
            }
            "summary" | "totals" => {
                let first = value.split(' ').next().unwrap_or_default();
                let total = first.parse().map_err(|_| format!("{first} is no number of instructions"))?;
                self.executed.instructions = self.executed.instructions.max(total);
            }
            "ob" => {
                let object = self.objects.resolve(value)?;
                self.is_own = is_same_file(Path::new(&object), self.binary);
            }
            "cob" => self.callee_object = Some(self.objects.resolve(value)?),
            "fn" => drop(self.functions.resolve(value)?),
            "cfn" => {
                let (name, object) = (self.functions.resolve(value)?, self.callee_object.take());
                self.callee = match object.filter(|_| name.starts_with("0x")) {
                    Some(object) => describe_address(name, Path::new(&object), self.binary),
                    None => name,
                };
            }
            "calls" => {
                let count = value.split(' ').next().unwrap_or_default();
                self.calls = Some(count.parse().map_err(|_| format!("{count} is no number of calls"))?);
            }
            _ => {}
        }
        Ok(())
    }

    /// A line of costs: positions, then events.
    fn cost(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split(' ');
        let position = words.next().unwrap_or_default();
        self.address = next_position(self.address, position)?;
        let cost = words.nth(self.positions.saturating_sub(1)).unwrap_or("0");
        let cost: u64 = cost.parse().map_err(|_| format!("{cost} is no cost"))?;
        let calls = self.calls.take();
        if !self.is_own {
            return Ok(());
        }
        match calls {
            // The cost of a call is that of the callee.
            Some(calls) => {
                let sites = self.executed.calls.entry(self.address).or_default();
                let count = sites.entry(std::mem::take(&mut self.callee)).or_default();
                *count = count.saturating_add(calls);
            }
            None => {
                let count = self.executed.counts.entry(self.address).or_default();
                *count = count.saturating_add(cost);
                self.executed.own_instructions = self.executed.own_instructions.saturating_add(cost);
            }
        }
        Ok(())
    }
}

/// A callee without a symbol. An address of another binary is not one of this binary.
fn describe_address(address: String, object: &Path, binary: &Path) -> String {
    match object.file_name().filter(|_| !is_same_file(object, binary)) {
        Some(name) => format!("{address} in {}", name.to_string_lossy()),
        None => address,
    }
}

/// The next address: absolute, or relative to the last one.
fn next_position(last: u64, text: &str) -> Result<u64, String> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    let next = match text.split_at_checked(1) {
        Some(("*", "")) => Ok(last),
        Some(("+", distance)) => number(distance).map(|distance| last.wrapping_add(distance)),
        Some(("-", distance)) => number(distance).map(|distance| last.wrapping_sub(distance)),
        _ => number(text),
    };
    next.map_err(|_| format!("{text} is no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# callgrind format\nversion: 1\npositions: instr line\nevents: Ir\nsummary: 500\n\n\
        ob=(1) /bin/app\nfl=(1) app.c\nfn=(1) main\n0x1000 5 10\n+4 * 10\ncfn=(2) work\ncalls=10 0x2000 +2\n* * 300\n\
        +5 +1 10\n\nob=(2) /lib/libc.so\nfn=(3) memcpy\n0x1000 1 77\n\nob=(1)\nfn=(2)\n0x2000 7 150\n";

    fn parse(text: &str) -> Result<Executed, CallgrindError> {
        read("cg.out", &mut text.as_bytes(), Path::new("/bin/app"))
    }

    #[test]
    fn counts_are_those_of_one_binary_by_address() {
        let executed = parse(FILE).unwrap();
        assert_eq!((executed.instructions, executed.own_instructions), (500, 180));
        assert_eq!(executed.counts[&0x1000], 10);
        assert_eq!(executed.counts[&0x1009], 10, "relative addresses follow the line of the call");
        assert_eq!(executed.counts[&0x2000], 150);
        assert_eq!(executed.calls[&0x1004], BTreeMap::from([("work".to_owned(), 10)]));
    }

    #[test]
    fn a_callee_without_a_name_in_another_binary_has_the_name_of_that_binary() {
        let call = "cob=(2)\ncfn=(4) 0x00000000000005dc\ncalls=3 0x5dc\n+9 1 30\ncfn=(4)\ncalls=2 0x5dc\n+9 1 20\n";
        let executed = parse(&format!("{FILE}\nob=(1)\nfn=(1)\n0x1100 1 5\n{call}")).unwrap();
        let only = |address: u64| executed.calls[&address].keys().next().unwrap().as_str();
        assert_eq!(only(0x1109), "0x00000000000005dc in libc.so");
        assert_eq!(only(0x1112), "0x00000000000005dc", "without an object, the callee is in the same binary");
    }

    #[test]
    fn counts_of_another_binary_or_format_are_an_error_that_says_how_to_make_them() {
        let other = read("cg.out", &mut FILE.as_bytes(), Path::new("/bin/other")).unwrap_err();
        assert!(other.to_string().contains("/bin/app"), "{other}");
        let by_line = parse(&FILE.replace("instr line", "line")).unwrap_err();
        assert!(by_line.to_string().contains("--dump-instr=yes"), "{by_line}");
        for broken in ["hello\n", "# callgrind format\npositions: instr\nevents: Ir\nob=(9)\n"] {
            assert!(parse(broken).is_err());
        }
        assert!(parse(&FILE.replace("events: Ir", "events: Dr Ir")).is_err());
        assert!(parse(&FILE.replace("0x2000 7 150", "0x2000 7 many")).is_err());
    }
}
