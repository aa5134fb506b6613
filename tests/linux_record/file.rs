//! The files of recordings, whole and damaged, and their statistics.

use std::io::{Read, Write};

use assert_cmd::Command;
use pvbench::linux::record::RecordingError;
use pvbench::linux::record::recording::{Class, Instruction, Run, VERSION};
use pvbench::linux::record::shipped;
use pvbench::linux::record::statistics::Statistics;
use pvbench::linux::workload::WORKLOADS;

use super::{TEXT, read, recording};

#[test]
fn a_recording_is_the_same_after_it_was_written_and_read() {
    let bytes = recording().to_bytes().unwrap();
    assert_eq!(read(&bytes).unwrap(), recording());
    assert_eq!(bytes, recording().to_bytes().unwrap());
    assert_eq!(recording().count_instructions(), 10 + 1023);
}

#[test]
fn a_foreign_a_newer_and_a_truncated_recording_are_refused_by_name() {
    let bytes = recording().to_bytes().unwrap();
    let foreign = read(b"{\"schema\":\"pvbench.report/2\"}").unwrap_err();
    assert!(matches!(foreign, RecordingError::Foreign { .. }) && foreign.to_string().contains("made.pvrec"));
    let mut newer = bytes.clone();
    newer[12..16].copy_from_slice(&(VERSION + 1).to_le_bytes());
    let newer = read(&newer).unwrap_err();
    assert!(matches!(newer, RecordingError::Version { found, .. } if found == VERSION + 1), "{newer}");
    assert!(newer.to_string().contains("record again"), "{newer}");
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).unwrap_err();
        assert!(matches!(error, RecordingError::Foreign { .. } | RecordingError::Damaged { .. }), "{length}: {error}");
    }
    let output = Command::cargo_bin("pvbench").unwrap().args(["linux", "recording", "/dev/null"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("/dev/null") && said.contains("not a recording"), "{said}");
    let empty = tempfile::tempdir().unwrap();
    let mut command = Command::cargo_bin("pvbench").unwrap();
    let output = command.args(["linux", "recording"]).arg(empty.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no recordings"));
}

/// Splits a file into what is before the packed part, and the unpacked numbers.
fn unpacked(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let about = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
    let mut numbers = Vec::new();
    flate2::read::GzDecoder::new(&bytes[20 + about..]).read_to_end(&mut numbers).unwrap();
    (bytes[..20 + about].to_vec(), numbers)
}

/// Random numbers, the same in every run.
fn random(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % below
}

#[test]
fn a_hundred_thousand_mutated_recordings_are_read_or_refused() {
    let bytes = recording().to_bytes().unwrap();
    let (head, numbers) = unpacked(&bytes);
    let mut state = 1;
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..100_000 {
        // Half of the files have damage within the packed part, whose checksum is right: the numbers are hostile.
        let file = if round % 2 == 0 {
            let mut file = bytes.clone();
            for _ in 0..=random(&mut state, 4) {
                let at = random(&mut state, file.len());
                file[at] ^= 1 << random(&mut state, 8);
            }
            file
        } else {
            let mut numbers = numbers.clone();
            for _ in 0..=random(&mut state, 4) {
                let at = random(&mut state, numbers.len());
                numbers[at] = random(&mut state, 256) as u8;
            }
            let mut file = flate2::write::GzEncoder::new(head.clone(), flate2::Compression::none());
            file.write_all(&numbers).unwrap();
            file.finish().unwrap()
        };
        match read(&file) {
            Ok(recording) => {
                accepted += 1;
                let statistics = Statistics::of(&recording);
                assert!(statistics.hooks_per_1000.is_finite());
            }
            Err(_) => refused += 1,
        }
    }
    assert!(accepted > 1000 && refused > 50_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn a_file_that_unpacks_to_more_than_the_bound_is_refused() {
    let (head, mut numbers) = unpacked(&recording().to_bytes().unwrap());
    numbers.resize(200_000_000, 0);
    let mut file = flate2::write::GzEncoder::new(head, flate2::Compression::fast());
    file.write_all(&numbers).unwrap();
    assert!(matches!(read(&file.finish().unwrap()), Err(RecordingError::Damaged { .. })));
}

#[test]
fn statistics_count_hooks_distances_and_the_reuse_of_lines() {
    let statistics = Statistics::of(&recording());
    assert_eq!((statistics.instructions_per_unit, statistics.hooks_per_unit), (5.0, 1.0));
    assert_eq!(statistics.hooks_per_1000, 200.0);
    assert_eq!(statistics.rep_iterations_per_unit, 511.5);
    assert_eq!((statistics.distance.median, statistics.distance.max), (5, 5));
    // The first hook is in a line that no earlier execution had; the second one line after its last use.
    assert_eq!((statistics.site_lines.uses, statistics.site_lines.lines), (2, 1));
    assert_eq!((statistics.site_lines.first, statistics.site_lines.within_first_level), (0.5, 0.5));
    assert_eq!(statistics.site_lines.distance.max, 1);
    assert_eq!(statistics.data_lines.lines, 3);
    assert_eq!((statistics.hook_targets.per_unit, statistics.hook_targets.changes), (1.0, 0.0));
    assert_eq!((statistics.privileged.len(), statistics.privileged[0].per_unit), (1, 1.0));
    assert_eq!(statistics.ops[0].op, "irq_disable");
    assert_eq!(statistics.ops[1].per_unit, 0.0);
    assert_eq!((statistics.whole.hooks_per_unit, statistics.whole.interrupt_calls_share), (2.0, 0.05));
    let share = 3.0 / (statistics.instructions_per_unit * 2.0 + 1023.0 + 3.0);
    assert!((statistics.interrupt_share - share).abs() < 1e-12);
}

#[test]
fn a_changed_target_of_a_site_is_counted() {
    let mut recording = recording();
    recording.code.push(Instruction { address: TEXT + 0x2000, length: 1, class: Class::Return, is_rep: false });
    recording.runs.push(Run { first: 5, length: 1 });
    recording.sequence = vec![0, 1, 0, 2];
    let targets = Statistics::of(&recording).hook_targets;
    assert_eq!((targets.sites, targets.changing_sites, targets.changes), (1, 1, 0.5));
}

#[test]
fn the_shipped_recordings_are_complete_and_their_statistics_are_those_of_the_committed_file() {
    let recordings = shipped::read().unwrap();
    assert_eq!(recordings.len(), WORKLOADS.len());
    for (recording, workload) in recordings.iter().zip(&WORKLOADS) {
        assert_eq!(recording.about.workload, workload.name);
        assert_eq!(recording.about.kernel, recordings[0].about.kernel);
        assert_eq!(recording.about.whole.unexplained, 0);
        assert_eq!(recording.count_instructions(), recording.about.instructions);
    }
    let all: Vec<Statistics> = recordings.iter().map(Statistics::of).collect();
    let made = serde_json::to_value(&all).unwrap();
    let committed = include_str!("../../reports/linux/recorded.json");
    assert_eq!(made, serde_json::from_str::<serde_json::Value>(committed).unwrap());
}

#[test]
fn the_shipped_recordings_are_shown_without_a_name() {
    let output = Command::cargo_bin("pvbench").unwrap().args(["linux", "recording"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for wanted in ["Linux version 6.1.0", "never patched", "mmap_perf", "per 1,000", "privileged instructions per unit"]
    {
        assert!(said.contains(wanted), "no {wanted} in: {said}");
    }
}
