//! Recordings of kernels: their files, statistics and traces as the tests make them; failures of the emulator, with
//! scripts in its place; and recordings of a real kernel, if the emulator is installed.

use std::collections::BTreeMap;
use std::path::Path;

use pvbench::linux::record::RecordingError;
use pvbench::linux::record::recording::{About, Class, Instruction, Kernel, Recording, Run, Touch, Whole};

mod emulator;
mod file;
#[path = "../made_kernel/mod.rs"]
mod made_kernel;
mod trace;

fn about() -> About {
    About {
        workload: "getppid".to_owned(),
        unit: "call".to_owned(),
        units: 2,
        kernel: Kernel {
            release: Some("Linux version 6.1.0-made (nobody@nowhere) #1".to_owned()),
            sha256: "00".to_owned(),
            layout: "Linux 5.16 to 6.2".to_owned(),
            append: "mitigations=off".to_owned(),
            qemu: "7.2.22".to_owned(),
            cpu: "qemu64".to_owned(),
            init_sha256: "11".to_owned(),
        },
        ops: vec!["irq_disable".to_owned(), "set_pte".to_owned()],
        privileged: vec!["cli".to_owned()],
        instructions: 0,
        interrupts: 3,
        whole: Whole {
            reps: 2,
            scale_percent: 100,
            units: 10,
            instructions: 1000,
            interrupts: 10,
            unexplained: 0,
            calls: BTreeMap::from([("irq_disable".to_owned(), 19)]),
            calls_in_interrupts: BTreeMap::from([("irq_disable".to_owned(), 1)]),
        },
    }
}

const TEXT: u64 = 0xffff_ffff_8100_0000;

/// Two runs, executed four times: a `rep` and a hook; then a body and a return to before the hook.
fn recording() -> Recording {
    let it = |offset: u64, length, class, is_rep| Instruction { address: TEXT + offset, length, class, is_rep };
    let code = vec![
        it(0, 3, Class::Load, false),
        it(3, 3, Class::Store, true),
        it(6, 6, Class::Hook(0), false),
        it(0x1000, 1, Class::Privileged(0), false),
        it(0x1001, 1, Class::Return, false),
    ];
    let touch = |line, is_store| Touch { line, is_store };
    let touches = [touch(7, false), touch(8, true), touch(9, true)];
    let mut recording = Recording {
        about: about(),
        code,
        runs: vec![Run { first: 0, length: 3 }, Run { first: 3, length: 2 }],
        sequence: vec![0, 1, 0, 1],
        rounds: vec![512, 511],
        touch_counts: vec![2, 1, 2, 0],
        touches: [touches.to_vec(), touches[..2].to_vec()].concat(),
    };
    recording.about.instructions = recording.count_instructions();
    recording
}

fn read(bytes: &[u8]) -> Result<Recording, RecordingError> {
    Recording::of(Path::new("made.pvrec"), bytes)
}
