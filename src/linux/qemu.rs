//! The emulator: which one, how it is called, and how a boot can end.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::output::{self, OutputError, Record};
use crate::host::{OwnTime, child};

/// The program.
pub const PROGRAM: &str = "qemu-system-x86_64";
/// The first version with all that is used: `-accel tcg,thread=` beside `-icount ..,sleep=off`, and PVH (4.0).
const OLDEST: (u32, u32) = (5, 0);
/// What the guest has.
pub const MEMORY_MB: u32 = 256;
/// The model of CPU: one without `erms`, so that the kernel's own loops are few instructions; see the report's `rep`.
pub const CPU: &str = "qemu64";
/// What every kernel is told. No calibration, no randomness, no local timer whose calibration takes seconds.
pub const APPEND: &str = "console=ttyS0 nokaslr norandmaps randomize_kstack_offset=off panic=-1 noapictimer \
                          no_timer_check tsc_early_khz=1000000 lpj=5000000 quiet rdinit=/init";
/// `isa-debug-exit` makes (v << 1) | 1 of the guest's 0x10. 0 is also a restart, 1 also a bad file.
const ENDED: i32 = 33;
/// A console or results longer than this are a kernel out of its mind.
const MAX_OUTPUT: u64 = 16 << 20;

/// Why a boot came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// It is not there.
    #[error("{PROGRAM} is not on the PATH; apt-get install qemu-system-x86 (or your distribution's package of QEMU)")]
    Missing,
    /// It cannot be run.
    #[error("{} cannot be run: {source}", path.display())]
    Run {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else answers.
    #[error("{} is no QEMU: asked for its version, it said '{said}' ({status})", path.display())]
    NotQemu {
        /// Which.
        path: PathBuf,
        /// What it said.
        said: String,
        /// How it ended.
        status: String,
    },
    /// From before what is needed.
    #[error(
        "{} is QEMU {}.{}; {}.{} is the first that counts instructions without sleeping (-icount sleep=off with -accel \
         tcg,thread=single) and starts unpacked kernels (PVH, 4.0)",
        path.display(), version.0, version.1, OLDEST.0, OLDEST.1
    )]
    TooOld {
        /// Which.
        path: PathBuf,
        /// Its version.
        version: (u32, u32),
    },
    /// A file for or of the boot.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// QEMU itself refused.
    #[error("{kernel}: QEMU did not start it ({status}): {said}")]
    Refused {
        /// Which kernel.
        kernel: String,
        /// How it ended.
        status: String,
        /// What it said.
        said: String,
    },
    /// The guest did not end.
    #[error(
        "{kernel}: no end after {} s (--timeout); its console ended with '{last}', all of it is in {}",
        after.as_secs(), console.display()
    )]
    Hung {
        /// Which kernel.
        kernel: String,
        /// How long it had.
        after: Duration,
        /// The last line.
        last: String,
        /// Its console.
        console: PathBuf,
    },
    /// The kernel gave up.
    #[error("{kernel}: the kernel panicked: {message}; its console is in {}", console.display())]
    Panic {
        /// Which kernel.
        kernel: String,
        /// What it said.
        message: String,
        /// Its console.
        console: PathBuf,
    },
    /// The guest has too little memory.
    #[error(
        "{kernel}: out of memory with {MEMORY_MB} MB: {message}; its console is in {}. Kernels for debugging need more \
         than this set-up gives",
        console.display()
    )]
    Memory {
        /// Which kernel.
        kernel: String,
        /// What it said.
        message: String,
        /// Its console.
        console: PathBuf,
    },
    /// It ended some other way.
    #[error("{kernel}: ended early ({status}); its console ended with '{last}', all of it is in {}", console.display())]
    Ended {
        /// Which kernel.
        kernel: String,
        /// How.
        status: String,
        /// The last line.
        last: String,
        /// Its console.
        console: PathBuf,
    },
    /// The run is to stop, and with it the boot.
    #[error("{kernel}: interrupted")]
    Interrupted {
        /// Which kernel.
        kernel: String,
    },
    /// More output than there can be.
    #[error("{kernel}: more than {MAX_OUTPUT} bytes of output; what there was is in {}", file.display())]
    Flood {
        /// Which kernel.
        kernel: String,
        /// Where it is.
        file: PathBuf,
    },
    /// Results that are none.
    #[error("{kernel}: {source}; the results are in {}, its console is beside it", file.display())]
    Output {
        /// Which kernel.
        kernel: String,
        /// What is wrong.
        source: OutputError,
        /// Where they are.
        file: PathBuf,
    },
}

/// The emulator of this machine.
#[derive(Clone, Debug)]
pub struct Qemu {
    path: PathBuf,
    /// Its version, as it says it: `7.2.22`.
    pub version: String,
}

/// What is started.
#[derive(Clone, Debug)]
pub struct Boot<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// bzImage or vmlinux.
    pub kernel: &'a Path,
    /// The archive with the init process.
    pub archive: &'a Path,
    /// Whether the kernel knows ACPI, and so a newer machine.
    pub acpi: bool,
    /// Further boot parameters.
    pub append: &'a str,
    /// Arguments of the init process.
    pub arguments: &'a str,
    /// How many counters the kernel has.
    pub counters: usize,
    /// How long it may take.
    pub timeout: Duration,
}

impl Qemu {
    /// The one on the PATH, asked for its version.
    ///
    /// # Errors
    /// Where there is none, or none that will do.
    pub fn find() -> Result<Qemu, QemuError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let candidates = std::env::split_paths(&path).map(|folder| folder.join(PROGRAM));
        let found = candidates.filter(|path| path.is_absolute() && path.is_file()).find(|path| is_executable(path));
        Qemu::at(&found.ok_or(QemuError::Missing)?)
    }

    /// This one.
    ///
    /// # Errors
    /// As [`Qemu::find`].
    pub fn at(path: &Path) -> Result<Qemu, QemuError> {
        let path = path.to_owned();
        let failed = |source| QemuError::Run { path: path.clone(), source };
        let file = tempfile::tempfile().map_err(failed)?;
        let mut command = Command::new(&path);
        command.arg("--version").stdin(Stdio::null()).stdout(file.try_clone().map_err(failed)?).stderr(Stdio::null());
        let mut child = child::bind(&mut command).spawn().map_err(failed)?;
        const PATIENCE: Duration = Duration::from_secs(10);
        let status = wait(&mut child, PATIENCE, || None).map_err(failed)?;
        let said = text_of(file).map_err(failed)?;
        let first = said.lines().next().unwrap_or_default().chars().take(80).collect::<String>();
        let not = || QemuError::NotQemu { path: path.clone(), said: first.clone(), status: how(&status) };
        if !matches!(status, Ending::Exited(status) if status.success()) {
            return Err(not());
        }
        let version = first.strip_prefix("QEMU emulator version ").and_then(|rest| rest.split(' ').next());
        let version = version.ok_or_else(not)?.to_owned();
        let mut numbers = version.split('.').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST => Ok(Qemu { path, version }),
            (Some(Ok(major)), Some(Ok(minor))) => Err(QemuError::TooOld { path, version: (major, minor) }),
            _ => Err(not()),
        }
    }

    /// Starts a kernel and waits for its results. Console and results are left in `folder`, named after the boot.
    ///
    /// # Errors
    /// However it can go wrong.
    pub fn run(&self, boot: &Boot, folder: &Path, file_name: &str) -> Result<Vec<Record>, QemuError> {
        self.run_until(boot, folder, file_name, &AtomicBool::new(false))
    }

    /// As [`Qemu::run`]; ends the boot as soon as `stop` is set.
    ///
    /// # Errors
    /// However it can go wrong.
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
        command.args(arguments(boot));
        // `-serial file:PATH` knows no doubled commas.
        command.arg("-chardev").arg(joined("file,id=console,path=", &console)).args(["-serial", "chardev:console"]);
        command.arg("-chardev").arg(joined("file,id=results,path=", &results)).arg("-device");
        command.arg("isa-debugcon,iobase=0xe9,chardev=results");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(created(&errors)?);
        let run_failed = |source| QemuError::Run { path: self.path.clone(), source };
        let mut child = child::bind(&mut command).spawn().map_err(run_failed)?;
        let too_long = |path: &Path| fs::metadata(path).is_ok_and(|file| file.len() > MAX_OUTPUT);
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
        if status.code() == Some(ENDED) {
            return output::read(&read(&results)?, boot.counters).map_err(|source| QemuError::Output {
                kernel: kernel(),
                source,
                file: results,
            });
        }
        let said = read(&console)?;
        let refused = status.code().is_some_and(|code| code != 0);
        let status = how(&Ending::Exited(status));
        if let Some(message) = find(&said, &["Out of memory", "deadlocked on memory", "not enough memory"]) {
            return Err(QemuError::Memory { kernel: kernel(), message, console });
        }
        if let Some(message) = find(&said, &["Kernel panic - not syncing", "BUG:", "Oops:"]) {
            return Err(QemuError::Panic { kernel: kernel(), message, console });
        }
        let complaint = last_line(&read(&errors)?);
        if refused && !complaint.is_empty() {
            return Err(QemuError::Refused { kernel: kernel(), status, said: complaint });
        }
        // One that is asked to end, by SIGTERM say, complains of the signal and leaves with 0.
        let status = if complaint.is_empty() { status } else { format!("{status}: {complaint}") };
        Err(QemuError::Ended { kernel: kernel(), status, last: last_line(&said), console })
    }
}

fn file_error(path: &Path, source: io::Error) -> QemuError {
    QemuError::File { path: path.to_owned(), source }
}

/// All but where the output goes.
fn arguments(boot: &Boot) -> Vec<OsString> {
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

/// An option with a path. QEMU takes a comma in it for the end of it, unless there are two; all other bytes are its
/// own.
fn joined(prefix: &str, path: &Path) -> OsString {
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

/// Waits; kills what takes longer than `patience` of this process's own time, or is to be cut short.
fn wait(child: &mut Child, patience: Duration, cut_short: impl Fn() -> Option<Ending>) -> io::Result<Ending> {
    let mut waited = OwnTime::start();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ending::Exited(status));
        }
        let too_long = waited.look() > patience;
        if let Some(ending) = cut_short().or_else(|| too_long.then_some(Ending::TimedOut)) {
            child::end(child)?;
            return Ok(ending);
        }
        std::thread::sleep(child::GLANCE);
    }
}

fn how(ending: &Ending) -> String {
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

fn text_of(mut file: File) -> io::Result<String> {
    use std::io::{Read, Seek};
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(4096).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last line that says something, without what a terminal would not show.
fn last_line(text: &str) -> String {
    text.lines().map(shown).rfind(|line| !line.is_empty()).unwrap_or_default()
}

fn shown(line: &str) -> String {
    const WIDEST: usize = 200;
    line.trim().chars().filter(|c| !c.is_control()).take(WIDEST).collect()
}

fn find(text: &str, wanted: &[&str]) -> Option<String> {
    text.lines().find(|line| wanted.iter().any(|it| line.contains(it))).map(shown)
}

/// Whether there is such a program, for what can do without.
#[must_use]
pub fn is_there(path: &OsStr) -> bool {
    std::env::split_paths(path).any(|folder| is_executable(&folder.join(PROGRAM)))
}
