//! Failures of the emulator, with shell scripts in its place; and counts of the real emulator, if it is installed.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;
use pvbench::linux::guest::{Guest, GuestError};
use pvbench::linux::output::{OutputError, read};
use pvbench::linux::qemu::{self, Boot, PROGRAM, Qemu, QemuError};

mod made_kernel;

/// An emulator that prints its version, or runs the commands `does` with `$console` and `$results`.
fn fake(folder: &Path, does: &str) -> PathBuf {
    let path = folder.join(PROGRAM);
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo 'QEMU emulator version 7.2.22 (Debian)'; exit 0; }}\n\
         for it in \"$@\"; do case $it in file,id=console,*) console=${{it##*path=}};; \
         file,*) results=${{it##*path=}};; esac; done\n\
         {does}\n"
    );
    write_program(&path, &script);
    path
}

/// Installs a script by another process. A file that this process has open for writing is also open in every child that
/// another test forks, and executing it would fail (ETXTBSY, execve(2)).
fn write_program(path: &Path, text: &str) {
    let source = path.with_extension("text");
    fs::write(&source, text).unwrap();
    assert!(
        std::process::Command::new("install").args(["-m", "755"]).arg(&source).arg(path).status().unwrap().success()
    );
}

fn boot(does: &str, timeout: Duration) -> (QemuError, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let qemu = Qemu::at(&fake(folder.path(), does)).unwrap();
    let boot = Boot {
        name: "vmlinuz",
        kernel: Path::new("k"),
        archive: Path::new("a"),
        acpi: false,
        append: "",
        arguments: "",
        counters: 0,
        timeout,
        plugin: None,
    };
    let error = qemu.run(&boot, folder.path(), "boot").unwrap_err();
    (error, folder)
}

const LONG: Duration = Duration::from_secs(600);
const FIRST: &str = r#"{"loop":2000004,"rep":[7,1009],"counters":0}"#;
const ONE: &str = r#"{"workload":"getppid","rep":0,"units":10,"instructions":1960,"failed":0,"counters":[]}"#;

#[test]
fn a_guest_that_hangs_is_ended_and_its_console_is_named() {
    let (error, folder) = boot("echo 'Booting the kernel' > $console; exec sleep infinity", Duration::ZERO);
    assert!(matches!(error, QemuError::Hung { .. }), "{error}");
    assert!(error.to_string().contains("boot.console.log"), "{error}");
    drop(folder);
}

#[test]
fn a_panic_a_restart_and_a_lack_of_memory_are_distinguished() {
    let (error, _folder) = boot("echo '[0.1] Kernel panic - not syncing: No init found' > $console; exit 0", LONG);
    assert!(matches!(&error, QemuError::Panic { message, .. } if message.contains("No init found")), "{error}");
    let said =
        "echo 'Out of memory: Killed process 1 (init)' > $console; echo 'Kernel panic - not syncing' >> $console";
    let (error, _folder) = boot(said, LONG);
    assert!(matches!(error, QemuError::Memory { .. }), "{error}");
    let (error, _folder) = boot("exit 0", LONG);
    assert!(matches!(error, QemuError::Ended { .. }), "{error}");
}

#[test]
fn a_refusal_of_qemu_is_quoted() {
    let (error, _folder) = boot("echo 'qemu: could not load kernel' >&2; exit 1", LONG);
    assert!(matches!(&error, QemuError::Refused { said, .. } if said.contains("could not load kernel")), "{error}");
}

#[test]
fn an_emulator_that_crashes_or_is_ended_is_reported() {
    let (error, _folder) = boot("kill -SEGV $$", LONG);
    assert!(error.to_string().contains("signal 11"), "{error}");
    let (error, _folder) = boot("echo 'qemu: terminating on signal 15 from pid 1' >&2; exit 0", LONG);
    assert!(matches!(&error, QemuError::Ended { status, .. } if status.contains("signal 15")), "{error}");
}

#[test]
fn endless_output_is_stopped() {
    let (error, _folder) = boot("while :; do head -c 1000000 /dev/zero >> $console; done", LONG);
    assert!(matches!(error, QemuError::Flood { .. }), "{error}");
}

#[test]
fn malformed_results_are_refused_with_their_line() {
    let (error, _folder) = boot("echo garbage > $results; exit 33", LONG);
    assert!(matches!(&error, QemuError::Output { .. }), "{error}");
    assert!(error.to_string().contains("line 1") && error.to_string().contains("boot.results.json"), "{error}");
    let refuse = |lines: &[&str]| read(&lines.join("\n"), 0).unwrap_err();
    assert_eq!(refuse(&[]), OutputError::NoEnd { lines: 0 });
    assert_eq!(refuse(&[FIRST]), OutputError::NoEnd { lines: 1 });
    assert_eq!(refuse(&[FIRST, ONE]), OutputError::NoEnd { lines: 2 });
    assert!(matches!(refuse(&[FIRST, "\0\0", r#"{"end":1}"#]), OutputError::Garbage { line: 2, .. }));
    assert!(matches!(refuse(&[FIRST, ONE, r#"{"end":2}"#]), OutputError::Garbage { line: 3, .. }));
    let other = ONE.replace("getppid", "rm -rf");
    assert!(matches!(refuse(&[FIRST, &other, r#"{"end":1}"#]), OutputError::Garbage { line: 2, .. }));
    let failed = ONE.replace("\"failed\":0", "\"failed\":38");
    assert_eq!(
        refuse(&[FIRST, &failed, r#"{"end":1}"#]),
        OutputError::Failed { workload: "getppid".to_owned(), number: 38 }
    );
    let slow = FIRST.replace("2000004", "734512");
    assert_eq!(refuse(&[&slow, ONE, r#"{"end":1}"#]), OutputError::NotCounting { found: 734_512 });
    assert_eq!(read(&[FIRST, ONE, r#"{"end":1}"#].join("\n"), 0).unwrap()[0].instructions, 1960);
}

#[test]
fn an_old_a_wrong_and_a_missing_emulator_are_distinguished() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(PROGRAM);
    write_program(&path, "#!/bin/sh\necho 'QEMU emulator version 4.2.1'\n");
    let old = Qemu::at(&path).unwrap_err().to_string();
    assert!(old.contains("QEMU 4.2") && old.contains("5.0") && old.contains("sleep=off"), "{old}");
    for other in ["#!/bin/sh\necho hello\n", "#!/bin/sh\nexit 1\n", "#!/bin/sh\necho QEMU emulator version x.y\n"] {
        write_program(&path, other);
        assert!(matches!(Qemu::at(&path), Err(QemuError::NotQemu { .. })), "{other}");
    }
    let kernel = folder.path().join("vmlinux");
    fs::write(&kernel, made_kernel::kernel()).unwrap();
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = Command::cargo_bin("pvbench").unwrap();
    let output = command.args(["linux", "run"]).arg(&kernel).env("PATH", nowhere.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("apt-get install qemu-system-x86"), "{said}");
}

#[test]
fn a_missing_compiler_is_named_and_an_error_of_the_compiler_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Guest::build_with("/nowhere/rustc".as_ref(), folder.path()).unwrap_err();
    assert!(matches!(missing, GuestError::NoCompiler { .. }), "{missing}");
    let path = folder.path().join("rustc");
    write_program(
        &path,
        "#!/bin/sh\n[ \"$1\" = -vV ] && exit 0\necho 'error[E0463]: cannot find crate for core' >&2\nexit 1\n",
    );
    let refused = Guest::build_with(path.as_os_str(), folder.path()).unwrap_err().to_string();
    assert!(refused.contains("E0463") && refused.contains("rustup target add"), "{refused}");
}

/// A rustc that has only these linkers, and logs the folder of every call.
fn rustc_with(folder: &Path, linkers: &[&str]) -> PathBuf {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let path = folder.join("rustc");
    let has: String = linkers.iter().map(|it| format!("*' -Clinker={it} '*) ;;\n")).collect();
    let log = folder.join("folders");
    let script = format!(
        "#!/bin/sh\npwd >> '{}'\ncase \" $* \" in\n*' -vV '*) ;;\n{has}\
         *' -Clinker='*) echo 'error: linker `none` not found' >&2; exit 1;;\nesac\nexec {rustc} \"$@\"\n",
        log.display()
    );
    write_program(&path, &script);
    path
}

#[test]
fn the_init_process_is_linked_with_any_available_linker() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let rustc = rustc_with(folder.path(), &["ld"]);
    let guest = Guest::build_with(rustc.as_os_str(), &cache).unwrap();
    assert!(guest.archive.starts_with(b"070701"));
    let program = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read(program).unwrap().starts_with(b"\x7fELF"));
}

#[test]
fn without_a_linker_the_error_names_packages_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let rustc = rustc_with(folder.path(), &[]);
    let error = Guest::build_with(rustc.as_os_str(), &folder.path().join("cache")).unwrap_err();
    assert!(matches!(&error, GuestError::NoLinker { tried } if tried.len() == 3), "{error}");
    let said = error.to_string();
    for word in ["rust-lld", "ld.lld", "with ld:", "package lld", "binutils"] {
        assert!(said.contains(word), "no {word} in: {said}");
    }
}

#[test]
fn the_version_of_rustc_is_asked_in_the_folder_of_the_compilation() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let rustc = rustc_with(folder.path(), &["rust-lld", "ld.lld", "ld"]);
    Guest::build_with(rustc.as_os_str(), &cache).unwrap();
    let folders = fs::read_to_string(folder.path().join("folders")).unwrap();
    let folders: Vec<&str> = folders.lines().collect();
    let cache = cache.canonicalize().unwrap();
    assert!(folders.len() >= 2 && folders.iter().all(|it| it == &folders[0]), "{folders:?}");
    assert!(Path::new(folders[0]).starts_with(&cache), "{folders:?}");
}

#[test]
fn another_rustc_in_the_cache_folder_builds_another_program() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    fs::create_dir(&cache).unwrap();
    // Like rustup, which searches rust-toolchain.toml from the folder upwards.
    let rustc = folder.path().join("rustc");
    write_program(&rustc, "#!/bin/sh\n[ \"$1\" = -vV ] && exec cat ../version\necho program > init\n");
    for (version, programs) in [("1.90", 1), ("1.95", 2), ("1.90", 2)] {
        fs::write(cache.join("version"), version).unwrap();
        Guest::build_with(rustc.as_os_str(), &cache).unwrap();
        // The file `version`, and the programs.
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 1 + programs, "{version}");
    }
}

/// Reads the value of `path=` as QEMU does: two commas stand for one.
const UNESCAPE: &str =
    "console=$(printf %s \"$console\" | sed 's/,,/,/g'); results=$(printf %s \"$results\" | sed 's/,,/,/g');";

#[test]
fn paths_with_commas_or_invalid_utf_8_reach_qemu_unchanged() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"a,b,,c \xff\xfe"));
    fs::create_dir(&odd).unwrap();
    for file in ["kernel", "archive"] {
        fs::write(odd.join(file), file).unwrap();
    }
    let does = format!(
        "export LC_ALL=C; {UNESCAPE}\nwhile [ $# -gt 0 ]; do case $1 in -kernel) cat \"$2\" >&2;; \
         -initrd) cat \"$2\" >&2;; esac; shift; done\n\
         echo booted > \"$console\"\nprintf '%s\\n' '{FIRST}' '{ONE}' '{{\"end\":1}}' > \"$results\"\nexit 33"
    );
    let qemu = Qemu::at(&fake(folder.path(), &does)).unwrap();
    let (kernel, archive) = (odd.join("kernel"), odd.join("archive"));
    let boot = Boot {
        name: "vmlinuz",
        kernel: &kernel,
        archive: &archive,
        acpi: false,
        append: "",
        arguments: "",
        counters: 0,
        timeout: LONG,
        plugin: None,
    };
    assert_eq!(qemu.run(&boot, &odd, "boot").unwrap().len(), 1);
    assert_eq!(fs::read_to_string(odd.join("boot.qemu.log")).unwrap(), "kernelarchive");
    assert_eq!(fs::read_to_string(odd.join("boot.console.log")).unwrap(), "booted\n");
}

#[test]
fn the_init_process_is_built_once_and_has_the_same_bytes_in_every_build() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Guest::build_with(&rustc, a.path()).unwrap();
    assert_eq!(first.archive, Guest::build_with(&rustc, a.path()).unwrap().archive);
    assert_eq!(first.sha256, Guest::build_with(&rustc, b.path()).unwrap().sha256);
    assert!(first.archive.starts_with(b"070701"));
    assert_eq!(fs::read_dir(a.path()).unwrap().count(), 1, "nothing but the program is left");
}

/// Starts `pvbench linux run` with scripts for compiler and emulator, and with its temporary files in `folder`.
fn linux_run(folder: &Path, rustc: &str, qemu: &str) -> std::process::Child {
    let (kernel, compiler) = (folder.join("vmlinux"), folder.join("rustc"));
    fs::write(&kernel, made_kernel::kernel()).unwrap();
    write_program(&compiler, &format!("#!/bin/sh\n{rustc}\n"));
    fake(folder, qemu);
    let temporary = folder.join("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pvbench"));
    command.args(["linux", "run", "--no-calls", "--phases", "2", "--jobs", "2"]).arg(&kernel);
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    command.envs([
        ("PATH", &path[..]),
        ("TMPDIR", temporary.to_str().unwrap()),
        ("UP", folder.join("up").to_str().unwrap()),
    ]);
    command.env("RUSTC", &compiler).env("XDG_CACHE_HOME", folder.join("cache"));
    // A shell that starts the tests in the background makes them ignore SIGINT, and `nohup` SIGHUP.
    let heed = || {
        for signal in [libc::SIGINT, libc::SIGHUP] {
            // SAFETY: the default disposition runs no code of this program.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: `heed` only makes system calls, which is allowed between fork and exec.
    unsafe { command.pre_exec(heed) };
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap()
}

/// A compiler that writes `init`, whatever its arguments.
const COMPILES: &str = "[ \"$1\" = -vV ] && exit 0\nwhile [ \"$1\" != -o ]; do shift; done\necho init > \"$2\"";

/// A program that appends its process number to `$UP`, and hangs.
const HANGS: &str = "echo $$ >> $UP; exec sleep infinity";

/// Waits until `count` programs hang, and returns their process numbers.
fn wait_until_up(folder: &Path, count: usize, child: &mut std::process::Child) -> Vec<u32> {
    loop {
        let text = fs::read_to_string(folder.join("up")).unwrap_or_default();
        if text.lines().count() == count && text.ends_with('\n') {
            return text.lines().map(|line| line.parse().unwrap()).collect();
        }
        if let Some(status) = child.try_wait().unwrap() {
            let mut said = String::new();
            std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
            panic!("{status}: {said}");
        }
        std::thread::yield_now();
    }
}

fn has_ended(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

fn send(process: &std::process::Child, signal: i32) {
    // SAFETY: a signal to a process that this test started and has not waited for.
    unsafe { libc::kill(process.id() as libc::pid_t, signal) };
}

#[test]
fn running_boots_end_when_a_signal_ends_the_run() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let folder = tempfile::tempdir().unwrap();
        let mut run = linux_run(folder.path(), COMPILES, HANGS);
        let boots = wait_until_up(folder.path(), 2, &mut run);
        send(&run, signal);
        let output = run.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains("interrupted; nothing was written"), "{said}");
        assert!(boots.into_iter().all(has_ended), "an emulator was left behind");
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0, "a temporary folder was left behind");
    }
}

#[test]
fn a_running_compiler_ends_when_a_signal_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = linux_run(folder.path(), &format!("[ \"$1\" = -vV ] && exit 0\n{HANGS}"), HANGS);
    let compiler = wait_until_up(folder.path(), 1, &mut run);
    send(&run, libc::SIGTERM);
    assert_eq!(run.wait_with_output().unwrap().status.code(), Some(4));
    assert!(compiler.into_iter().all(has_ended), "a compiler was left behind");
}

#[test]
fn a_run_that_is_killed_leaves_no_emulator() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = linux_run(folder.path(), COMPILES, HANGS);
    let boots = wait_until_up(folder.path(), 2, &mut run);
    send(&run, libc::SIGKILL);
    run.wait().unwrap();
    // The kernel ends the boots (PR_SET_PDEATHSIG). If it did not, this loop would hang.
    while !boots.iter().all(|boot| has_ended(*boot)) {
        std::thread::yield_now();
    }
}

/// A kernel to boot: from the environment, of this machine, or downloaded by `scripts/setup.sh`.
fn find_kernel() -> Option<PathBuf> {
    let named = std::env::var_os("PVBENCH_KERNEL").map(PathBuf::from);
    let roots = [Path::new("/"), Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/kernels"))];
    named.or_else(|| roots.iter().find_map(|root| pvbench::linux::find::installed(root).ok()))
}

fn ab(kernel: &Path, out: &Path) -> Output {
    let mut command = Command::cargo_bin("pvbench").unwrap();
    command.args(["linux", "ab", "--workload", "getppid,mmap_perf", "--phases", "1", "--scale", "20", "--reps", "2"]);
    command.arg(kernel).arg("--out").arg(out).output().unwrap()
}

/// One kernel and two workloads: a minute at most.
#[test]
fn a_real_kernel_costs_more_unpatched_and_counts_are_reproducible() {
    if !qemu::is_there(&std::env::var_os("PATH").unwrap_or_default()) {
        eprintln!("skipped: {PROGRAM} is not installed; scripts/setup.sh installs it");
        return;
    }
    let Some(kernel) = find_kernel() else {
        eprintln!("skipped: no kernel is installed and PVBENCH_KERNEL names none; scripts/setup.sh downloads one");
        return;
    };
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Both at the same time: three boots of one run leave a CPU idle, and counts do not depend on the load.
    let outputs = std::thread::scope(|scope| {
        let other = scope.spawn(|| ab(&kernel, b.path()));
        [ab(&kernel, a.path()), other.join().unwrap()]
    });
    for output in &outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let written = |folder: &Path| fs::read(folder.join("linux.json")).unwrap();
    assert_eq!(written(a.path()), written(b.path()));
    let linux: pvbench::report::linux::Linux = serde_json::from_slice(&written(a.path())).unwrap();
    // Kernels since 6.15 have counts, but no counts of hooks.
    let uncounted = linux.kernels.iter().any(|kernel| kernel.uncounted.is_some());
    for workload in &linux.workloads {
        let mut percent = workload.counts.iter().map(|count| count.percent.map_or(0.0, |it| it.estimate));
        let noalt = percent.next_back().unwrap();
        // With few calls of mmap_perf, the position of the ticks may change the count by more than the difference.
        let min = if workload.name == "getppid" { 0.05 } else { -2.0 };
        assert!((min..20.0).contains(&noalt), "{workload:?}");
        assert!(uncounted || workload.calls.len() > 1, "{workload:?}");
    }
    assert!(linux.kernels.iter().all(|kernel| kernel.layout.is_some()));
}
