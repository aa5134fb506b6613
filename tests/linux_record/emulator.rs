//! Emulators that fail, and a real one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use pvbench::linux::qemu::{self, PROGRAM};
use pvbench::linux::record::statistics::Statistics;

use super::{made_kernel, read};

/// Installs a script by another process: a file that this process has open for writing cannot be executed (ETXTBSY).
fn write_program(path: &Path, text: &str) {
    let source = path.with_extension("text");
    fs::write(&source, text).unwrap();
    let done = std::process::Command::new("install").args(["-m", "755"]).arg(&source).arg(path).status().unwrap();
    assert!(done.success());
}

/// Runs `pvbench linux record` with scripts for compiler and emulator.
fn record_with(version: &str, does: &str, kernel: &[u8]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let (file, compiler) = (folder.path().join("vmlinux"), folder.path().join("rustc"));
    fs::write(&file, kernel).unwrap();
    let compiles = "[ \"$1\" = -vV ] && exit 0\nwhile [ \"$1\" != -o ]; do shift; done\necho init > \"$2\"";
    write_program(&compiler, &format!("#!/bin/sh\n{compiles}\n"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo 'QEMU emulator version {version}'; exit 0; }}\n\
         for it in \"$@\"; do case $it in file,id=results,*) results=${{it##*path=}};; esac; done\n{does}\n"
    );
    write_program(&folder.path().join(PROGRAM), &script);
    let mut command = Command::cargo_bin("pvbench").unwrap();
    command.args(["linux", "record", "--workload", "getppid", "--reps", "2"]).arg(&file);
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    command.arg("--out").arg(folder.path().join("out")).env("PATH", path).env("RUSTC", &compiler);
    command.env("XDG_CACHE_HOME", folder.path().join("cache")).env("TMPDIR", folder.path());
    command.output().unwrap()
}

#[test]
fn an_emulator_without_plugins_or_with_another_interface_is_named() {
    let kernel = made_kernel::kernel_with_entries();
    let refused = |version: &str, does: &str, code: i32, wanted: &[&str]| {
        let output = record_with(version, does, &kernel);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        wanted.iter().for_each(|wanted| assert!(said.contains(wanted), "no {wanted} in: {said}"));
    };
    refused("11.0.0", "exit 1", 4, &["QEMU 11.0.0", "QEMU 5 to 10"]);
    refused("7.2.22", "echo 'qemu: -plugin: invalid option' >&2; exit 1", 4, &["7.2.22", "--enable-plugins"]);
    let disabled = "echo 'plugin interface not enabled in this build' >&2; exit 1";
    refused("6.1.0", disabled, 4, &["6.1.0", "--enable-plugins"]);
    let version = "echo 'Could not load plugin x: TCG plugin requires API version 0' >&2; exit 1";
    refused("7.2.22", version, 4, &["did not load the recorder", "API version 0"]);
    // The guest's results are complete, and the recorder wrote nothing.
    let silent = "printf '%s\\n' '{\"loop\":2000004,\"rep\":[7,1009],\"counters\":0}' \
                  '{\"workload\":\"getppid\",\"rep\":0,\"units\":1,\"instructions\":9,\"failed\":0,\"counters\":[]}' \
                  '{\"end\":1}' > \"$results\"; : > \"$PVBENCH_SUMS\"; exit 33";
    refused("7.2.22", silent, 4, &["malformed trace", "0 words"]);
    let without = record_with("7.2.22", "exit 1", &made_kernel::kernel());
    assert_eq!(without.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&without.stderr).contains("entry of page faults"));
}

/// A kernel to boot: from the environment, of this machine, or downloaded by `scripts/setup.sh`.
fn find_kernel() -> Option<PathBuf> {
    let named = std::env::var_os("PVBENCH_KERNEL").map(PathBuf::from);
    let roots = [Path::new("/"), Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/kernels"))];
    named.or_else(|| roots.iter().find_map(|root| pvbench::linux::find::installed(root).ok()))
}

/// Arguments that `record` and `ab` share: what they count is the same.
const SMALL: [&str; 6] = ["--workload", "getppid,mmap_perf,fork_exec", "--scale", "5", "--reps", "2"];

fn linux(command: &str, kernel: &Path, out: &Path, more: &[&str]) {
    let mut program = Command::cargo_bin("pvbench").unwrap();
    let output = program.args(["linux", command]).args(SMALL).args(more).arg(kernel).arg("--out").arg(out).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Three workloads at a twentieth of their units: half a minute.
#[test]
fn recordings_are_identical_and_their_sums_are_those_of_ab() {
    if !qemu::is_there(&std::env::var_os("PATH").unwrap_or_default()) {
        eprintln!("skipped: {PROGRAM} is not installed; scripts/setup.sh installs it");
        return;
    }
    let Some(kernel) = find_kernel() else {
        eprintln!("skipped: no kernel is installed and PVBENCH_KERNEL names none; scripts/setup.sh downloads one");
        return;
    };
    let [a, b, ab] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    // Counts do not depend on the load of the machine, and a recording has one boot at a time.
    std::thread::scope(|scope| {
        // `--check` compares all calls of hooks with the kernel's own counters, and fails where one differs.
        scope.spawn(|| linux("record", &kernel, a.path(), &["--check"]));
        linux("record", &kernel, b.path(), &[]);
        linux("ab", &kernel, ab.path(), &["--phases", "1", "--no-calls"]);
    });
    let text = fs::read(ab.path().join("linux.json")).unwrap();
    let counted: pvbench::report::linux::Linux = serde_json::from_slice(&text).unwrap();
    assert_eq!(counted.workloads.len(), 3);
    for workload in &counted.workloads {
        let file = |folder: &Path| fs::read(folder.join(format!("{}.pvrec", workload.name))).unwrap();
        let bytes = file(a.path());
        assert!(bytes == file(b.path()), "{}: two recordings differ", workload.name);
        let recording = read(&bytes).unwrap();
        let noalt = workload.counts.iter().find(|count| count.kernel == "noalt").unwrap();
        assert_eq!(recording.about.whole.instructions, noalt.instructions[0], "{}", workload.name);
        assert_eq!(recording.about.whole.unexplained, 0, "{}", workload.name);
        assert_eq!(recording.count_instructions(), recording.about.instructions);
        let statistics = Statistics::of(&recording);
        assert_eq!(statistics.hook_targets.changes, 0.0, "the slots of pv_ops never change");
        assert!((2.0..20.0).contains(&statistics.hooks_per_1000), "{}", statistics.hooks_per_1000);
        assert!(statistics.interrupt_share < 0.05, "{}", statistics.interrupt_share);
    }
}
