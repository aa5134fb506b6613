use std::io::Write as _;

use super::*;
use crate::audit::branch_records::Segment;

const CALLGRIND: &str = "# callgrind format\nversion: 1\npositions: instr line\nevents: Ir\nsummary: 500\n\n\
     ob=(1) /bin/app\nfn=(1) main\n0x1000 5 10\n+4 * 10\ncfn=(2) work\ncalls=10 0x2000 +2\n* * 300\n";
const RECORDS: &str = "app 12 PERF_RECORD_MMAP2 12/12: [0x557afa6a3000(0x3000) @ 0x1000 fe:00 1 2]: r-xp /bin/app\n\
     app 12 3000 br_inst_retired.near_taken:u:  0x557afa6a3010/0x557afa6a3200/P/-/-/3 \
     0x557afa6a3208/0x557afa6a3008/M/-/-/1\n";
const GCOV: &str = "{\"gcc_version\": \"12\", \"files\": [{\"file\": \"a.c\", \
     \"lines\": [{\"line_number\": 3, \"count\": 5}], \
     \"functions\": [{\"name\": \"f\", \"execution_count\": 5}]}]}";
const LLVM: &str = "{\"data\":[{\"files\":[{\"expansions\":[],\"filename\":\"a.c\",\
     \"segments\":[[2,1,1,true,true,false]]}],\
     \"functions\":[{\"name\":\"f\",\"count\":1}]}],\"type\":\"llvm.coverage.json.export\"}";

fn packed(text: &str) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

fn read_bytes(bytes: &[u8]) -> Result<Measured, CountFileError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let segments = vec![Segment { offsets: 0x1000..0x4000, address: 0x401000 }];
    read(file.path(), &Binary { path: Path::new("/bin/app"), build_id: None, segments })
}

#[test]
fn a_format_is_told_by_the_content() {
    let older = CALLGRIND.replace("# callgrind format\n", "");
    for (bytes, format) in [
        (CALLGRIND.into(), Some(CountFormat::Callgrind)),
        (older.into_bytes(), Some(CountFormat::Callgrind)),
        (RECORDS.into(), Some(CountFormat::BranchRecords)),
        (GCOV.into(), Some(CountFormat::Coverage)),
        (packed(GCOV), Some(CountFormat::Coverage)),
        (LLVM.into(), Some(CountFormat::Coverage)),
        (packed(CALLGRIND), None),
        (b"{\"schema\": \"pvbench.report/2\"}".to_vec(), None),
        (b"[calls]\npte_val = 4\n".to_vec(), None),
        (Vec::new(), None),
    ] {
        assert_eq!(detect_bytes(&bytes), format, "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(read_bytes(&bytes).is_ok(), format.is_some());
    }
}

#[test]
fn a_file_that_another_program_prints_first_names_this_program() {
    for (bytes, part) in [
        (&b"PERFILE2\x68"[..], "perf script"),
        (b"adcg*21B", "gcov --json-format"),
        (b"\x81rforpl\xff\x08", "llvm-profdata merge"),
        (b"hello\n", "docs/audit.md"),
    ] {
        let message = read_bytes(bytes).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn damaged_counts_are_an_error_or_other_counts_and_never_a_panic() {
    let files = [CALLGRIND.into(), RECORDS.into(), GCOV.into(), LLVM.into(), packed(GCOV)];
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    const TOKENS: [&str; 8] = ["-1", "18446744073709551616", "0xffffffffffffffff", "(", "[", "\0", "/", "1e999"];
    for round in 0..1000 {
        let mut bytes: Vec<u8> = files[round % files.len()].clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.truncate(at.max(1)),
                2 => drop(bytes.splice(at..at, TOKENS[random(TOKENS.len())].bytes())),
                _ => drop(bytes.drain(at..(at + random(12)).min(bytes.len().max(2) - 1).max(at))),
            }
            if bytes.is_empty() {
                bytes.push(b'{');
            }
        }
        if let Err(error) = read_bytes(&bytes) {
            assert!(!error.to_string().is_empty());
        }
    }
}
