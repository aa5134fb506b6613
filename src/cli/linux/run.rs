//! `pvbench linux run`: boots kernels and compares their counts.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;

use super::{BootArgs, name_kernels, run_until_stopped, show};
use crate::cli::Done;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::FailedWrites;
use crate::linux::compare::Subject;
use crate::linux::unpatch::Unpatching;
use crate::report::write;

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench linux run a/vmlinuz b/vmlinuz                two kernels
  pvbench linux run vmlinuz --append init_on_alloc=0 --append init_on_alloc=1";

/// Options of `linux run`.
#[derive(Args)]
pub struct RunArgs {
    /// bzImage (vmlinuz) or vmlinux; the others are compared with the first
    #[arg(value_name = "KERNEL", required = true)]
    kernels: Vec<PathBuf>,
    /// Boot parameters; if repeated, each kernel boots with each of them
    #[arg(long, value_name = "PARAMETERS")]
    append: Vec<String>,
    /// Also write linux.json to DIR
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print linux.json instead of tables
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    boot: BootArgs,
}

/// Boots kernels and compares their counts.
pub fn run(args: &RunArgs) -> Done {
    run_until_stopped(|stop| compare(args, stop))
}

fn compare(args: &RunArgs, stop: &AtomicBool) -> Done {
    let appends = if args.append.is_empty() { vec![String::new()] } else { args.append.clone() };
    let mut subjects = Vec::new();
    for (path, name) in args.kernels.iter().zip(name_kernels(&args.kernels)) {
        for append in &appends {
            let name = match (appends.len(), args.kernels.len()) {
                (1, _) => name.clone(),
                (_, 1) if append.is_empty() => "no parameters".to_owned(),
                (_, 1) => append.clone(),
                _ => format!("{name} {append}"),
            };
            let append = append.clone();
            let counted = !args.boot.no_calls;
            subjects.push(Subject { name, path: path.clone(), variant: Unpatching::Stock, append, counted });
        }
    }
    let mut seen = HashSet::new();
    if let Some(twice) = subjects.iter().find(|subject| !seen.insert(&subject.name)) {
        return Err(CliError::Usage(format!("{} is given twice; name each kernel and each --append once", twice.name)));
    }
    if let Some(folder) = &args.out {
        write::prepare(folder)?;
    }
    let linux = args.boot.compare(&subjects, stop)?;
    let mut unwritten = FailedWrites::default();
    if let Some(folder) = &args.out
        && let Some(text) = unwritten.note(show::json(&linux))
    {
        unwritten.note(write::files(folder, &[("linux.json".into(), text)]));
    }
    if args.json {
        show::print_json(&linux)?
    } else {
        show::print(&linux, &[])?
    }
    Ok(unwritten.ended(Exit::Fine))
}
