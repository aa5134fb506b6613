//! Files of made runs: what is read back, and what damaged and hostile files do.

use std::sync::Arc;

use super::*;
use crate::history::kept::*;
use crate::op::InstructionMix;
use crate::report::schema::Limit;

/// Mutated files of the usual test. The long one has a hundred times as many.
const MUTATIONS: u64 = 1_000;

fn header() -> Header {
    let commit = Commit {
        id: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        seconds: Some(1_764_547_059),
        first_parent: Some("a".repeat(40)),
        position: Some(812),
        subject: Some("A <b>subject</b>".to_owned()),
        dirty: Some(true),
    };
    Header {
        suite: "pvbench".to_owned(),
        preset: "quick".to_owned(),
        machine_class: "amd-25-17-1-kvm-smt2".to_owned(),
        machine: serde_json::from_str(r#"{"cpu_model":"AMD EPYC","mitigations":{"l1tf":"Not affected"}}"#).unwrap(),
        boot_id: Some("6f1c2d0a".to_owned()),
        tool: KeptTool { version: "0.1.0".to_owned(), build: "release".to_owned(), rustc: None },
        commit: Some(commit),
        started: "2026-11-30T19:17:39Z".to_owned(),
        started_seconds: 1_764_530_259,
        duration_seconds: 168.878,
        seed: u64::MAX,
        complete: true,
        layouts: vec![0, 16],
        workers: 10,
        core: None,
        floors: vec![KeptFloor { regime: "cold".to_owned(), cycles: 0.125 }],
        checks: Vec::new(),
        absent: Vec::new(),
        failures: 0,
    }
}

fn cell(op: usize, way: usize) -> KeptCell {
    let number = (op * 7 + way) as f64;
    KeptCell {
        name: Arc::new(CellName {
            op: format!("op_{op}").into(),
            body: "native".into(),
            mechanism: ["inline", "table", "site"][way].into(),
            state: (way == 2).then(|| "direct".into()),
            regime: "throughput".into(),
        }),
        overhead: Some(KeptValue {
            value: number / 3.0 - 1.0,
            standard_error: 0.001 * (number + 1.0),
            degrees_of_freedom: 8.0,
        }),
        native_cycles: Some(f64::from(1.5f32) + op as f64),
        floor_cycles: Some(0.25),
        modes: vec![KeptMode { offset: 16, cycles: number, share: 0.75 }; way],
        instructions: Some(3.125 + number),
        mix: Some(Arc::new(InstructionMix { loads: number, returns: 1.0, ..InstructionMix::default() })),
        code: Some(Code { site: 0x1234_5678 + way as u32, body: u32::MAX - op as u32 }),
        resolved: way == 1,
        limit: (way == 2).then_some(Limit::Modes),
        absent: None,
    }
}

fn run() -> KeptRun {
    let mut cells: Vec<KeptCell> = (0..4).flat_map(|op| (0..3).map(move |way| cell(op, way))).collect();
    // A cell without anything, and one with what has no steps.
    cells.push(KeptCell {
        overhead: None,
        native_cycles: None,
        floor_cycles: None,
        modes: Vec::new(),
        instructions: None,
        mix: None,
        code: None,
        resolved: false,
        limit: None,
        absent: Some("it <traps>".into()),
        ..cell(9, 1)
    });
    let exact = KeptValue { value: 1e300, standard_error: 0.0, degrees_of_freedom: 1.0 };
    cells.push(KeptCell { overhead: Some(exact), instructions: Some(4024.12), floor_cycles: Some(0.0), ..cell(9, 0) });
    let kernel = |mechanism: Option<&str>, option: Option<&str>| KeptKernel {
        name: Arc::new(KernelName {
            workload: "mmap_perf".into(),
            mechanism: mechanism.map(Into::into),
            state: None,
            option: option.map(Into::into),
        }),
        overhead_percent: Some(KeptValue { value: 8.25, standard_error: 0.0625, degrees_of_freedom: 32.0 }),
        instructions: Some(4317.06),
        floor_percent: Some(0.125),
        resolved: option.is_none(),
        limit: option.map(|_| Limit::Floor),
        absent: None,
    };
    let workload = KeptWorkload {
        name: "mmap_perf".into(),
        unit: "call".into(),
        inline_cycles: Some(KeptValue { value: 1701.0, standard_error: 2.0, degrees_of_freedom: 64.0 }),
        inline_instructions: Some(4098.74),
        floor_percent: 0.5,
        placement_percent: Some(2.25),
        kernels: vec![kernel(Some("table"), None), kernel(None, Some("security"))],
    };
    KeptRun { header: header(), cells, workloads: vec![workload] }
}

fn read_back(bytes: &[u8]) -> Result<KeptRun, RunFileError> {
    read(bytes, &mut Names::default())
}

#[test]
fn a_run_reads_back_with_exact_counts_and_values_within_a_thirtysecond_of_their_errors() {
    let run = run();
    let back = read_back(&write(&run).unwrap().bytes).unwrap();
    assert_eq!(back.header, run.header);
    assert_eq!(back.workloads.len(), 1);
    assert_eq!(back.workloads[0].kernels, run.workloads[0].kernels, "these numbers are codes without rounding");
    assert_eq!(back.cells.len(), run.cells.len());
    for (read, kept) in back.cells.iter().zip(&run.cells) {
        let exact = |cell: &KeptCell| (cell.name.clone(), cell.instructions, cell.mix.clone(), cell.code);
        assert_eq!(exact(read), exact(kept));
        let flags = |cell: &KeptCell| (cell.resolved, cell.limit, cell.absent.clone(), cell.native_cycles);
        assert_eq!(flags(read), flags(kept));
        assert_eq!(read.overhead.is_some(), kept.overhead.is_some());
        if let (Some(read), Some(kept)) = (read.overhead, kept.overhead) {
            assert!((read.value - kept.value).abs() <= kept.standard_error / 30.0, "{read:?} {kept:?}");
            assert!((read.standard_error - kept.standard_error).abs() <= 0.045 * kept.standard_error);
        }
        assert_eq!(read.modes.len(), kept.modes.len());
        for (read, kept) in read.modes.iter().zip(&kept.modes) {
            assert_eq!((read.offset, read.share), (kept.offset, kept.share));
            assert!((read.cycles - kept.cycles).abs() < 0.02, "{read:?} {kept:?}");
        }
    }
}

#[test]
fn a_run_that_was_read_is_written_as_the_same_bytes() {
    let file = write(&run()).unwrap();
    assert_eq!(write(&read_back(&file.bytes).unwrap()).unwrap(), file);
    let (header, digest) = read_header(&file.bytes).unwrap();
    assert_eq!((header, digest), (run().header, file.digest));
}

#[test]
fn a_run_without_cells_and_workloads_is_kept() {
    let empty = KeptRun { header: header(), cells: Vec::new(), workloads: Vec::new() };
    assert_eq!(read_back(&write(&empty).unwrap().bytes), Ok(empty));
}

#[test]
fn files_that_are_no_whole_run_of_this_version_are_refused_by_kind() {
    let good = write(&run()).unwrap().bytes;
    for foreign in [&b""[..], b"{}", b"\x50\x2a\x4d\x18\x08\0\0\0other---", b"\x28\xb5\x2f\xfd"] {
        assert_eq!(read_back(foreign), Err(RunFileError::Foreign), "{foreign:?}");
    }
    for length in 1..good.len() {
        assert!(matches!(read_back(&good[..length]), Err(RunFileError::Damaged { .. })), "cut at {length}");
    }
    let mut newer = good.clone();
    newer[VERSION_AT] = 7;
    assert_eq!(read_back(&newer), Err(RunFileError::Newer { version: 7 }));
    assert!(read_back(&newer[..VERSION_AT + 4]).unwrap_err().to_string().contains("version 7"), "whatever follows");
    for at in DIGEST_AT..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 4;
        assert!(matches!(read_back(&damaged), Err(RunFileError::Damaged { .. })), "byte {at}");
    }
    assert!(matches!(read_back(&vec![0; MAX_FILE + 1]), Err(RunFileError::TooLarge { .. })));
}

/// Makes a file of sections, whatever they are.
fn sealed(sections: &[u8]) -> Vec<u8> {
    let digest: Digest = Sha256::digest(sections).into();
    [&MAGIC[..], &VERSION.to_le_bytes(), &digest, sections].concat()
}

fn packed(sections: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
    let frame = |(tag, plane, bytes): &(u8, u8, Vec<u8>)| {
        compress_to_vec(&[&[*tag, *plane], &bytes[..]].concat()[..], CompressionLevel::Fastest)
    };
    sealed(&sections.iter().flat_map(frame).collect::<Vec<u8>>())
}

#[test]
fn sections_of_a_later_build_are_skipped_and_a_file_that_expands_without_end_is_refused() {
    let mut sections = encode::sections(&run()).unwrap();
    sections.push((250, 0, vec![1; 9]));
    assert!(read_back(&packed(&sections)).is_ok());
    let zeros = vec![0; 4 << 20];
    sections.extend((0..16).map(|plane| (200 + plane, 0, zeros.clone())));
    let bomb = packed(&sections);
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    assert!(matches!(read_back(&bomb), Err(RunFileError::TooLarge { .. })));
    let many: Vec<_> = (0..3000).map(|_| (251, 0, Vec::new())).collect();
    let sections = [&encode::sections(&run()).unwrap()[..2], &many].concat();
    assert!(read_back(&packed(&sections)).is_err());
}

#[test]
fn a_header_with_a_commit_that_is_no_id_is_refused() {
    for id in ["", "../../x", "ABCDEF", &"a".repeat(65)] {
        let mut bad = run();
        bad.header.commit.as_mut().unwrap().id = id.to_owned();
        assert!(read_back(&write(&bad).unwrap().bytes).is_err(), "{id}");
    }
}

/// The next number of a sequence (xorshift64*).
fn next(state: &mut u64) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
}

fn mutate(bytes: &mut Vec<u8>, state: &mut u64) {
    for _ in 0..1 + next(state) % 4 {
        let length = bytes.len().max(1);
        let at = next(state) % length;
        match next(state) % 6 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), next(state) as u8),
            2 if !bytes.is_empty() => drop(bytes.remove(at.min(bytes.len() - 1))),
            3 => bytes.extend_from_within(at.min(bytes.len())..),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = [0, 1, 0x7f, 0x80, 0xff, *byte ^ 1 << (next(state) % 8)][next(state) % 6];
                }
            }
        }
    }
}

/// Reads mutated files: with a wrong digest, with a right digest over damaged frames, and with damaged sections in
/// whole frames. Returns how many were read as runs.
fn read_mutated(count: u64) -> usize {
    let run = run();
    let (file, sections) = (write(&run).unwrap().bytes, encode::sections(&run).unwrap());
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut accepted = 0;
    for index in 0..count {
        let bytes = match index % 4 {
            0 => {
                let mut bytes = file.clone();
                mutate(&mut bytes, &mut state);
                bytes
            }
            1 => {
                let mut frames = file[SECTIONS_AT..].to_vec();
                mutate(&mut frames, &mut state);
                sealed(&frames)
            }
            _ => {
                let mut sections = sections.clone();
                let at = next(&mut state) % sections.len();
                match next(&mut state) % 8 {
                    0 => drop(sections.remove(at)),
                    1 => sections[at].0 = next(&mut state) as u8,
                    2 => sections[at].1 = next(&mut state) as u8 % 9,
                    _ => mutate(&mut sections[at].2, &mut state),
                }
                packed(&sections)
            }
        };
        if let Ok(run) = read_back(&bytes) {
            accepted += 1;
            // What is read can be written and read again.
            let again = write(&run).and_then(|file| read_back(&file.bytes));
            assert!(again.is_ok(), "{again:?}");
        }
    }
    accepted
}

#[test]
fn mutated_files_are_read_or_refused_without_a_panic() {
    let accepted = read_mutated(MUTATIONS);
    assert!(accepted > 20 && (accepted as u64) < MUTATIONS, "the mutations reach the decoder: {accepted}");
}

#[test]
#[ignore = "minutes: a hundred times the mutations"]
fn a_hundred_thousand_mutated_files_are_read_or_refused_without_a_panic() {
    read_mutated(100 * MUTATIONS);
}
