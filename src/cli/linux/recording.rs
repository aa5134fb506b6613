//! `pvbench linux recording`: prints the statistics of recordings.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use crate::cli::Done;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::stdout;
use crate::linux::error::LinuxError;
use crate::linux::record::recording::Recording;
use crate::linux::record::statistics::{FIRST_LEVEL_LINES, SECOND_LEVEL_LINES, Statistics};
use crate::linux::record::{read_all, shipped};

pub const EXAMPLES: &str = "Examples:
  pvbench linux recording                              Debian's kernel 6.1, which ships with this program
  pvbench linux recording recordings                   all recordings of a folder
  pvbench linux recording mmap_perf.pvrec --json";

/// Number of names in a line.
const MAX_NAMES: usize = 8;
/// Smallest number per unit or per 1,000 that a line has: a smaller one would be rounded to 0.00.
const MIN_SHOWN: f64 = 0.005;
/// Bound on the shown characters of a name, which comes from a file.
const MAX_NAME_CHARS: usize = 40;

/// Options of `linux recording`.
#[derive(Args)]
pub struct RecordingArgs {
    /// Recordings, or folders with some (default: those of Debian's kernel 6.1, which ship with this program)
    #[arg(value_name = "RECORDING")]
    paths: Vec<PathBuf>,
    /// Print the statistics as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the statistics of recordings.
pub fn recording(args: &RecordingArgs) -> Done {
    let recordings = if args.paths.is_empty() { shipped::read() } else { read_all(&args.paths) };
    let recordings = recordings.map_err(LinuxError::from)?;
    print(&recordings, args.json)?;
    Ok(Exit::Fine)
}

/// Prints the statistics as tables or as JSON.
pub fn print(recordings: &[Recording], json: bool) -> Result<(), CliError> {
    let all: Vec<Statistics> = recordings.iter().map(Statistics::of).collect();
    let mut out = stdout();
    if json {
        serde_json::to_writer_pretty(&mut out, &all)?;
        writeln!(out)?;
        return Ok(());
    }
    let mut last = None;
    for recording in recordings {
        let kernel = &recording.about.kernel;
        if last.replace(kernel) != Some(kernel) {
            let release = kernel.release.as_deref().unwrap_or("a kernel without a version");
            let release = clip(&release.split(' ').take(3).collect::<Vec<_>>().join(" "));
            let append = if kernel.append.is_empty() { String::new() } else { format!(", {}", clip(&kernel.append)) };
            writeln!(out, "{release}, never patched{append}; QEMU {}", clip(&kernel.qemu))?;
        }
    }
    writeln!(out, "\ninstructions (a rep counts once) and calls of hooks in the recorded units")?;
    writeln!(out, "{}", density(&all))?;
    writeln!(out, "\nlines of 64 bytes, by the number of other lines since their last use")?;
    writeln!(out, "{}", lines(&all))?;
    writeln!(out, "\ncalls of hooks per 1,000 instructions")?;
    for it in &all {
        let ops = it.ops.iter().map(|op| (op.op.as_str(), op.per_1000));
        writeln!(out, "  {}: {}", clip(&it.workload), join(ops))?;
    }
    writeln!(out, "\nprivileged instructions per unit")?;
    for it in &all {
        let names = it.privileged.iter().map(|it| (it.name.as_str(), it.per_unit));
        writeln!(out, "  {}: {}", clip(&it.workload), join(names))?;
    }
    for it in all.iter().filter(|it| it.whole.unexplained != 0) {
        writeln!(
            out,
            "\n{}: the recorder and the guest's clock differ by {} instructions",
            clip(&it.workload),
            it.whole.unexplained
        )?;
    }
    Ok(())
}

fn density(all: &[Statistics]) -> Table {
    let head = [
        "workload",
        "unit",
        "units",
        "instructions",
        "hooks",
        "per 1,000",
        "distance",
        "10 to 90%",
        "indirect",
        "changes",
        "interrupts",
    ];
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head);
    for it in all {
        table.add_row([
            clip(&it.workload),
            clip(&it.unit),
            it.units.to_string(),
            format!("{:.1}", it.instructions_per_unit),
            format!("{:.1}", it.hooks_per_unit),
            format!("{:.2}", it.hooks_per_1000),
            it.distance.median.to_string(),
            format!("{} to {}", it.distance.p10, it.distance.p90),
            format!("{:.1}", it.other_targets.per_unit),
            percent(it.hook_targets.changes),
            percent(it.interrupt_share),
        ]);
    }
    align(&mut table, 2);
    table
}

fn lines(all: &[Statistics]) -> Table {
    let near = format!("< {FIRST_LEVEL_LINES}");
    let far = format!("< {SECOND_LEVEL_LINES}");
    let mut table = Table::new();
    let head = ["workload", "of", "lines", "uses", "median", "90%", &near, &far, "farther", "first"];
    table.load_style(presets::NOTHING).set_header(head);
    for it in all {
        let kinds = [("call sites", &it.site_lines), ("code", &it.code_lines), ("data", &it.data_lines)];
        for (index, (name, lines)) in kinds.into_iter().enumerate() {
            table.add_row([
                if index == 0 { clip(&it.workload) } else { String::new() },
                name.to_owned(),
                lines.lines.to_string(),
                lines.uses.to_string(),
                lines.distance.median.to_string(),
                lines.distance.p90.to_string(),
                percent(lines.within_first_level),
                percent(lines.within_second_level),
                percent(lines.beyond),
                percent(lines.first),
            ]);
        }
    }
    align(&mut table, 2);
    table
}

/// Aligns the columns from `first` on to the right.
fn align(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// The most frequent names, and the sum of the others.
fn join<'a>(names: impl Iterator<Item = (&'a str, f64)>) -> String {
    let all: Vec<(&str, f64)> = names.filter(|(_, value)| *value >= MIN_SHOWN).collect();
    let mut parts: Vec<String> =
        all.iter().take(MAX_NAMES).map(|(name, value)| format!("{} {value:.2}", clip(name))).collect();
    let rest: f64 = all.iter().skip(MAX_NAMES).map(|(_, value)| value).sum();
    if rest > 0.0 {
        parts.push(format!("{} others {rest:.2}", all.len() - MAX_NAMES));
    }
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// A name from a file, without control characters and shortened.
fn clip(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect()
}

/// Prints the calls that the kernel's own counters confirm.
pub fn print_checked(checked: &[(&'static str, u64)]) -> Result<(), CliError> {
    if checked.is_empty() {
        return Ok(());
    }
    let mut out = stdout();
    writeln!(out, "\nthe kernel's own counters agree to the digit, for these calls of hooks")?;
    for (workload, calls) in checked {
        writeln!(out, "  {workload}: {calls}")?;
    }
    Ok(())
}

/// Prints the paths of the written files.
pub fn print_files(folder: &Path, files: &[(PathBuf, Vec<u8>)]) -> Result<(), CliError> {
    let mut out = stdout();
    writeln!(out)?;
    for (name, bytes) in files {
        writeln!(out, "{} ({:.0} kB)", folder.join(name).display(), bytes.len() as f64 / 1000.0)?;
    }
    Ok(())
}
