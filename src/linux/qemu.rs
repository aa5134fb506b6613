//! The emulator: its version, its command line, and the endings of a boot.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::output::{self, Record};
use crate::host::{OwnTime, child};

mod error;

pub use error::QemuError;

/// Name of the program.
pub const PROGRAM: &str = "qemu-system-x86_64";
/// The first version that combines `-accel tcg,thread=` with `-icount ..,sleep=off`; PVH came with 4.0.
const MIN_VERSION: (u32, u32) = (5, 0);
/// Memory of the guest, in MB.
pub const MEMORY_MB: u32 = 256;
/// The CPU model of the guest. It lacks `erms`, so the kernel's own loops are few instructions; see `rep` in reports.
pub const CPU: &str = "qemu64";
/// Boot parameters of every kernel: no calibration, no randomness, and no local timer, whose calibration takes seconds.
pub const APPEND: &str = "console=ttyS0 nokaslr norandmaps randomize_kstack_offset=off panic=-1 noapictimer \
                          no_timer_check tsc_early_khz=1000000 lpj=5000000 quiet rdinit=/init";
/// Exit status of a complete run: `isa-debug-exit` turns the guest's v = 0x10 into (v << 1) | 1. Status 0 also stands
/// for a restart, and 1 for a bad file.
const COMPLETE_STATUS: i32 = 33;
/// Bound on the size of the console and of the results, in bytes. Only a kernel in an endless loop writes more.
const MAX_OUTPUT_BYTES: u64 = 16 << 20;

/// An emulator.
#[derive(Clone, Debug)]
pub struct Qemu {
    path: PathBuf,
    /// Version, for example `7.2.22`.
    pub version: String,
}

/// The input of a boot.
#[derive(Clone, Debug)]
pub struct Boot<'a> {
    /// Name of the kernel in messages.
    pub name: &'a str,
    /// The file: a bzImage or vmlinux.
    pub kernel: &'a Path,
    /// The archive with the init process.
    pub archive: &'a Path,
    /// Whether the kernel supports ACPI: it then gets a newer machine, q35.
    pub acpi: bool,
    /// Further boot parameters.
    pub append: &'a str,
    /// Arguments of the init process.
    pub arguments: &'a str,
    /// Number of counters of the kernel.
    pub counters: usize,
    /// Time limit.
    pub timeout: Duration,
    /// A plugin of the emulator.
    pub plugin: Option<Plugin<'a>>,
}

/// A plugin of the emulator.
#[derive(Clone, Copy, Debug)]
pub struct Plugin<'a> {
    /// The shared object.
    pub library: &'a Path,
    /// Variables of the environment, which it reads.
    pub environment: &'a [(&'static str, PathBuf)],
}

impl Qemu {
    /// Finds the emulator on the PATH and checks its version.
    ///
    /// # Errors
    /// If it is missing, is not QEMU, or is too old.
    pub fn find() -> Result<Qemu, QemuError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let candidates = std::env::split_paths(&path).map(|folder| folder.join(PROGRAM));
        let found = candidates.filter(|path| path.is_absolute() && path.is_file()).find(|path| is_executable(path));
        Qemu::at(&found.ok_or(QemuError::Missing)?)
    }

    /// Checks the emulator at this path.
    ///
    /// # Errors
    /// As for [`Qemu::find`].
    pub fn at(path: &Path) -> Result<Qemu, QemuError> {
        let path = path.to_owned();
        let failed = |source| QemuError::Run { path: path.clone(), source };
        let file = tempfile::tempfile().map_err(failed)?;
        let mut command = Command::new(&path);
        command.arg("--version").stdin(Stdio::null()).stdout(file.try_clone().map_err(failed)?).stderr(Stdio::null());
        let mut child = child::bind(&mut command).spawn().map_err(failed)?;
        /// Time limit of `--version`.
        const MAX_WAIT: Duration = Duration::from_secs(10);
        let status = wait(&mut child, MAX_WAIT, || None).map_err(failed)?;
        let said = read_text(file).map_err(failed)?;
        let first = said.lines().next().unwrap_or_default().chars().take(80).collect::<String>();
        let not_qemu = || QemuError::NotQemu { path: path.clone(), said: first.clone(), status: describe(&status) };
        if !matches!(status, Ending::Exited(status) if status.success()) {
            return Err(not_qemu());
        }
        let version = first.strip_prefix("QEMU emulator version ").and_then(|rest| rest.split(' ').next());
        let version = version.ok_or_else(not_qemu)?.to_owned();
        let mut numbers = version.split('.').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= MIN_VERSION => Ok(Qemu { path, version }),
            (Some(Ok(major)), Some(Ok(minor))) => Err(QemuError::TooOld { path, version: (major, minor) }),
            _ => Err(not_qemu()),
        }
    }

    /// Boots a kernel and waits for its results. Console and results stay in `folder`, as `file_name` with endings of
    /// their own.
    ///
    /// # Errors
    /// If the emulator or the guest fails; see [`QemuError`].
    pub fn run(&self, boot: &Boot, folder: &Path, file_name: &str) -> Result<Vec<Record>, QemuError> {
        self.run_until(boot, folder, file_name, &AtomicBool::new(false))
    }

    /// Boots a kernel as [`Qemu::run`] does, and ends the boot as soon as `stop` is set.
    ///
    /// # Errors
    /// As for [`Qemu::run`].
    pub fn run_until(
        &self,
        boot: &Boot,
        folder: &Path,
        file_name: &str,
        stop: &AtomicBool,
    ) -> Result<Vec<Record>, QemuError> {
        let kernel = || boot.name.to_owned();
        let at = |ending: &str| folder.join(format!("{file_name}.{ending}"));
        let (console, results, errors) = (at("console.log"), at("results.json"), at("qemu.log"));
        let created = |path: &Path| File::create(path).map_err(|source| file_error(path, source));
        created(&console)?;
        created(&results)?;
        let mut command = Command::new(&self.path);
        command.args(list_arguments(boot));
        // `-serial file:PATH` does not accept doubled commas; `-chardev` does.
        command.arg("-chardev").arg(join_path("file,id=console,path=", &console)).args(["-serial", "chardev:console"]);
        command.arg("-chardev").arg(join_path("file,id=results,path=", &results)).arg("-device");
        command.arg("isa-debugcon,iobase=0xe9,chardev=results");
        if let Some(plugin) = boot.plugin {
            command.arg("-plugin").arg(join_path("file=", plugin.library));
            command.envs(plugin.environment.iter().map(|(name, value)| (name, value)));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(created(&errors)?);
        let run_failed = |source| QemuError::Run { path: self.path.clone(), source };
        let mut child = child::bind(&mut command).spawn().map_err(run_failed)?;
        let too_long = |path: &Path| fs::metadata(path).is_ok_and(|file| file.len() > MAX_OUTPUT_BYTES);
        let cut_short = || match stop.load(Ordering::Relaxed) {
            true => Some(Ending::Interrupted),
            false => (too_long(&console) || too_long(&results)).then_some(Ending::Flooded),
        };
        let ending = wait(&mut child, boot.timeout, cut_short).map_err(run_failed)?;
        let read = |path: &Path| {
            fs::read(path)
                .map(|it| String::from_utf8_lossy(&it).into_owned())
                .map_err(|source| file_error(path, source))
        };
        let status = match ending {
            Ending::Interrupted => return Err(QemuError::Interrupted { kernel: kernel() }),
            Ending::Flooded => {
                let file = if too_long(&console) { console } else { results };
                return Err(QemuError::Flood { kernel: kernel(), file });
            }
            Ending::TimedOut => {
                let last = last_line(&read(&console)?);
                return Err(QemuError::Hung { kernel: kernel(), after: boot.timeout, last, console });
            }
            Ending::Exited(status) => status,
        };
        if status.code() == Some(COMPLETE_STATUS) {
            return output::read(&read(&results)?, boot.counters).map_err(|source| QemuError::Output {
                kernel: kernel(),
                source,
                file: results,
            });
        }
        let said = read(&console)?;
        let refused = status.code().is_some_and(|code| code != 0);
        let status = describe(&Ending::Exited(status));
        if let Some(message) = find_line(&said, &["Out of memory", "deadlocked on memory", "not enough memory"]) {
            return Err(QemuError::Memory { kernel: kernel(), message, console });
        }
        if let Some(message) = find_line(&said, &["Kernel panic - not syncing", "BUG:", "Oops:"]) {
            return Err(QemuError::Panic { kernel: kernel(), message, console });
        }
        let complaint = last_line(&read(&errors)?);
        if refused && !complaint.is_empty() {
            return Err(QemuError::Refused { kernel: kernel(), status, said: complaint });
        }
        // After SIGTERM, QEMU names the signal and exits with status 0.
        let status = if complaint.is_empty() { status } else { format!("{status}: {complaint}") };
        Err(QemuError::Ended { kernel: kernel(), status, last: last_line(&said), console })
    }
}

fn file_error(path: &Path, source: io::Error) -> QemuError {
    QemuError::File { path: path.to_owned(), source }
}

/// The arguments of QEMU, except for its output.
fn list_arguments(boot: &Boot) -> Vec<OsString> {
    let fixed = "-nodefaults -no-user-config -display none -smp 1 -accel tcg,thread=single -icount shift=0,sleep=off \
                 -seed 1 -rtc base=2020-01-01T00:00:00,clock=vm -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=4";
    let mut arguments: Vec<OsString> = fixed.split_whitespace().map(Into::into).collect();
    let machine = if boot.acpi { "q35" } else { "pc" };
    let memory = MEMORY_MB.to_string();
    let append = format!("{APPEND} {} -- {}", boot.append, boot.arguments);
    for (name, value) in [("-machine", machine), ("-m", &memory), ("-cpu", CPU), ("-append", &append)] {
        arguments.extend([name.into(), value.into()]);
    }
    arguments.extend(["-kernel".into(), boot.kernel.into(), "-initrd".into(), boot.archive.into()]);
    arguments
}

/// An option with a path. For QEMU, a single comma ends the path, so commas are doubled; other bytes are literal.
fn join_path(prefix: &str, path: &Path) -> OsString {
    let mut text = prefix.as_bytes().to_vec();
    for byte in path.as_os_str().as_bytes() {
        text.push(*byte);
        text.extend((*byte == b',').then_some(b','));
    }
    OsString::from_vec(text)
}

enum Ending {
    Exited(ExitStatus),
    TimedOut,
    Interrupted,
    Flooded,
}

/// Waits for a child. Kills it after `max_wait` of this process's own time, or when `cut_short` returns an ending.
fn wait(child: &mut Child, max_wait: Duration, cut_short: impl Fn() -> Option<Ending>) -> io::Result<Ending> {
    let mut waited = OwnTime::start();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ending::Exited(status));
        }
        let too_long = waited.look() > max_wait;
        if let Some(ending) = cut_short().or_else(|| too_long.then_some(Ending::TimedOut)) {
            child::end(child)?;
            return Ok(ending);
        }
        std::thread::sleep(child::GLANCE);
    }
}

fn describe(ending: &Ending) -> String {
    match ending {
        Ending::Exited(status) => match (status.code(), status.signal()) {
            (Some(0), _) => "status 0, as after a restart or SIGTERM".to_owned(),
            (Some(code), _) => format!("status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no status".to_owned(),
        },
        Ending::TimedOut => "no end".to_owned(),
        Ending::Interrupted | Ending::Flooded => "stopped".to_owned(),
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o111 != 0)
}

/// The first 4,096 bytes of a file, as text.
fn read_text(mut file: File) -> io::Result<String> {
    use std::io::{Read, Seek};
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(4096).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last line with printable characters.
fn last_line(text: &str) -> String {
    text.lines().map(printable).rfind(|line| !line.is_empty()).unwrap_or_default()
}

/// A line without control characters, shortened.
fn printable(line: &str) -> String {
    const MAX_CHARS: usize = 200;
    line.trim().chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect()
}

/// The first line that contains one of the texts.
fn find_line(text: &str, wanted: &[&str]) -> Option<String> {
    text.lines().find(|line| wanted.iter().any(|it| line.contains(it))).map(printable)
}

/// Whether a PATH has the emulator, for callers that can do without it.
#[must_use]
pub fn is_there(path: &OsStr) -> bool {
    std::env::split_paths(path).any(|folder| is_executable(&folder.join(PROGRAM)))
}
