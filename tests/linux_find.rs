//! The search for kernels, and downloads: with folders made by the tests, and scripts in the place of apt.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pvbench::linux::find::{FindError, installed};

fn touch(root: &Path, file: &str) -> PathBuf {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, file).unwrap();
    path
}

/// Installs a script by another process. A file that this process has open for writing is also open in every child that
/// another test forks.
fn program(folder: &Path, name: &str, text: &str) {
    let source = folder.join(format!("{name}.text"));
    fs::write(&source, text).unwrap();
    let done = Command::new("install").args(["-m", "755"]).arg(&source).arg(folder.join(name)).status().unwrap();
    assert!(done.success());
}

#[test]
fn kernels_are_found_in_boot_and_in_the_folders_of_modules() {
    for file in ["boot/vmlinuz-6.1.0-57-amd64", "lib/modules/6.12.9-arch1-1/vmlinuz", "usr/lib/modules/7.2.13/vmlinuz"]
    {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "boot/initrd.img-9.9");
        touch(root.path(), "usr/lib/modules/9.9/modules.dep");
        assert!(matches!(installed(root.path()), Err(FindError::None { .. })));
        let path = touch(root.path(), file);
        assert_eq!(installed(root.path()).unwrap(), path);
    }
}

#[test]
fn the_newest_kernel_is_chosen_by_the_numbers_of_its_version() {
    let root = tempfile::tempdir().unwrap();
    for file in ["boot/vmlinuz-0-rescue-0a1b", "boot/vmlinuz-6.9.1", "boot/vmlinuz-linux", "boot/vmlinuz"] {
        touch(root.path(), file);
    }
    let newest = touch(root.path(), "usr/lib/modules/6.12.3/vmlinuz");
    assert_eq!(installed(root.path()).unwrap(), newest);
    let newer = touch(root.path(), "boot/vmlinuz-6.12.117+deb13-cloud-amd64");
    assert_eq!(installed(root.path()).unwrap(), newer);
}

#[test]
fn the_running_kernel_is_preferred_to_newer_ones() {
    let root = tempfile::tempdir().unwrap();
    touch(root.path(), "boot/vmlinuz-99.9.9");
    let running = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let own = touch(root.path(), &format!("usr/lib/modules/{}/vmlinuz", running.trim()));
    assert_eq!(installed(root.path()).unwrap(), own);
}

#[test]
fn a_pipe_or_folder_with_the_name_of_a_kernel_is_skipped() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("boot/vmlinuz-folder")).unwrap();
    assert!(Command::new("mkfifo").arg(root.path().join("boot/vmlinuz-9")).status().unwrap().success());
    assert!(matches!(installed(root.path()), Err(FindError::None { .. })));
}

/// A package: its name, its lines of dependencies, and its files.
type Package = (&'static str, &'static [&'static str], &'static [&'static str]);

/// The packages from a name to a kernel in Debian 12; those of 13 are alike.
const DEBIAN_12: &[Package] = &[
    ("linux-image-cloud-amd64", &["  Depends: linux-image-6.1.0-57-cloud-amd64"], &["usr/share/doc/meta"]),
    (
        "linux-image-6.1.0-57-cloud-amd64",
        &["  PreDepends: linux-base", " |Depends: initramfs-tools", "  Depends: <linux-initramfs-tool>"],
        &["boot/vmlinuz-6.1.0-57-cloud-amd64"],
    ),
];
/// The same in Debian 14.
const DEBIAN_14: &[Package] = &[
    (
        "linux-image-cloud-amd64",
        &["  Depends: linux-base-cloud-amd64", "  Depends: linux-image-7.2.13+deb14-cloud-amd64"],
        &[],
    ),
    (
        "linux-image-7.2.13+deb14-cloud-amd64",
        &[
            "  PreDepends: linux-base",
            " |Depends: dracut",
            "  Depends: linux-base-7.2.13+deb14-cloud-amd64",
            "  Depends: linux-binary-7.2.13+deb14-cloud-amd64",
            "  Depends: linux-modules-7.2.13+deb14-cloud-amd64",
        ],
        &["usr/share/doc/nothing"],
    ),
    (
        "linux-binary-7.2.13+deb14-cloud-amd64",
        &["  Depends: linux-base-7.2.13+deb14-cloud-amd64"],
        &["usr/lib/modules/7.2.13+deb14-cloud-amd64/vmlinuz"],
    ),
];
/// A package without a kernel.
const WITHOUT: &[Package] = &[("linux-image-cloud-amd64", &[], &["usr/share/doc/nothing"])];

/// Installs scripts for apt-cache, apt-get and dpkg-deb that have these packages and log downloads.
fn apt(folder: &Path, packages: &[Package]) {
    let (mut depends, mut unpack) = (String::new(), String::new());
    for (name, lines, files) in packages {
        let lines: String = lines.iter().map(|line| format!("echo '{line}'; ")).collect();
        depends += &format!("{name}) {lines}true;;\n");
        let files: String = files
            .iter()
            .map(|file| format!("mkdir -p \"$3/$(dirname {file})\"; echo {file} > \"$3/{file}\"; "))
            .collect();
        unpack += &format!("*{name}_1_amd64.deb) {files}true;;\n");
    }
    program(
        folder,
        "apt-cache",
        &format!("#!/bin/sh\ncase $3 in\n{depends}*) echo 'E: No packages found' >&2; exit 100;;\nesac\n"),
    );
    let log = folder.join("downloaded");
    let download = format!("#!/bin/sh\necho \"$3\" >> '{}'\n: > \"$3_1_amd64.deb\"\n", log.display());
    program(folder, "apt-get", &download);
    program(folder, "dpkg-deb", &format!("#!/bin/sh\ncase $2 in\n{unpack}*) exit 1;;\nesac\n"));
}

/// A PATH with the scripts in `stubs` and a few usual programs of a shell.
fn path(stubs: &Path) -> std::ffi::OsString {
    for tool in ["sh", "mkdir", "dirname", "rm", "sed", "tac", "awk"] {
        let from = ["/usr/bin", "/bin"].iter().map(|folder| Path::new(folder).join(tool)).find(|it| it.exists());
        std::os::unix::fs::symlink(from.unwrap(), stubs.join(tool)).unwrap();
    }
    stubs.as_os_str().to_owned()
}

fn download(packages: &[Package]) -> (Output, String) {
    let stubs = tempfile::tempdir().unwrap();
    apt(stubs.path(), packages);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
    let out = stubs.path().join("out");
    command.args(["linux", "ab", "--download", "--out"]).arg(out).env("PATH", path(stubs.path()));
    let output = command.output().unwrap();
    (output, fs::read_to_string(stubs.path().join("downloaded")).unwrap_or_default())
}

#[test]
fn a_download_follows_dependencies_to_the_package_with_a_kernel() {
    for packages in [DEBIAN_12, DEBIAN_14] {
        let (output, downloaded) = download(packages);
        let said = String::from_utf8(output.stderr).unwrap();
        // The kernel is found; the next step fails, since this PATH has no QEMU.
        assert!(said.contains("qemu-system-x86_64 is not on the PATH"), "{said}");
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert_eq!(downloaded.trim(), packages.last().unwrap().0);
    }
}

#[test]
fn packages_without_a_kernel_are_named_and_an_unknown_package_is_quoted() {
    let (output, downloaded) = download(WITHOUT);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("linux-image-cloud-amd64") && said.contains("/usr/lib/modules"), "{said}");
    assert_eq!(downloaded.trim(), "linux-image-cloud-amd64");
    let (output, downloaded) = download(&[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("No packages found") && said.contains("apt-get update"), "{said}");
    assert_eq!((output.status.code(), downloaded.as_str()), (Some(4), ""), "{said}");
}

/// Runs `scripts/setup.sh` in a folder of its own, on a machine that lacks only a kernel.
fn set_up(packages: &[Package], root: &Path) -> (Output, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (scripts, stubs) = (folder.path().join("scripts"), folder.path().join("stubs"));
    fs::create_dir_all(&scripts).unwrap();
    fs::create_dir_all(&stubs).unwrap();
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::copy(own.join("scripts/setup.sh"), scripts.join("setup.sh")).unwrap();
    fs::write(folder.path().join("Cargo.lock"), "name = \"iai-callgrind\"\nversion = \"0.1.2\"\n").unwrap();
    apt(&stubs, packages);
    for there in ["valgrind", "chromium", "qemu-system-x86_64"] {
        program(&stubs, there, "#!/bin/sh\n");
    }
    program(&stubs, "cargo", "#!/bin/sh\necho 'iai-callgrind-runner v0.1.2:'\n");
    let mut command = Command::new("/bin/bash");
    command.arg(scripts.join("setup.sh")).env("PATH", path(&stubs)).env("PVBENCH_ROOT", root);
    (command.output().unwrap(), folder)
}

#[test]
fn the_set_up_script_downloads_a_package_with_a_kernel_if_none_is_installed() {
    let empty = tempfile::tempdir().unwrap();
    for packages in [DEBIAN_12, DEBIAN_14] {
        let (output, folder) = set_up(packages, empty.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (name, _, files) = packages.last().unwrap();
        assert!(folder.path().join("target/kernels").join(files[0]).is_file());
        assert_eq!(
            installed(&folder.path().join("target/kernels")).unwrap().file_name(),
            Path::new(files[0]).file_name()
        );
        assert_eq!(fs::read_to_string(folder.path().join("stubs/downloaded")).unwrap().trim(), *name);
    }
    let (output, _folder) = set_up(WITHOUT, empty.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("PVBENCH_KERNEL"));
}

#[test]
fn the_set_up_script_downloads_nothing_if_a_kernel_is_installed() {
    for file in ["boot/vmlinuz-6.1", "lib/modules/6.1/vmlinuz", "usr/lib/modules/6.1/vmlinuz"] {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), file);
        let (output, folder) = set_up(DEBIAN_14, root.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!folder.path().join("stubs/downloaded").exists(), "{file}");
    }
}

#[test]
fn an_unreadable_kernel_is_named() {
    let root = tempfile::tempdir().unwrap();
    let path = touch(root.path(), "boot/vmlinuz-6.8.0-generic");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_ok() {
        eprintln!("skipped: this user reads every file");
        return;
    }
    let said = installed(root.path()).unwrap_err().to_string();
    assert!(said.contains("vmlinuz-6.8.0-generic") && said.contains("denied"), "{said}");
}
