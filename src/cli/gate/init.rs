//! `pvbench gate --init`: a first budget file.

use std::io::Write;
use std::path::Path;

use super::GateArgs;
use crate::cli::Done;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::stdout;
use crate::gate::init;
use crate::report::read;
use crate::select::select;

/// Prints a first budget file, of a report or of a binary.
pub(super) fn print(args: &GateArgs) -> Done {
    #[cfg(feature = "audit")]
    if let Some(binary) = &args.binary {
        let text = crate::gate::binaries::first_budgets(binary, &args.function)?;
        let Some(text) = text else {
            let message = format!(
                "{}: no function with a name matches {}; `pvbench audit {}` lists functions",
                binary.display(),
                args.function.join(", "),
                binary.display()
            );
            return Err(CliError::Usage(message));
        };
        stdout().write_all(text.as_bytes())?;
        return Ok(Exit::Fine);
    }
    match &args.report {
        Some(path) => print_first_budgets(path, &args.mechanism),
        None => Err(CliError::Usage("--init needs a report.json, or --binary FILE with --function".to_owned())),
    }
}

/// Prints a budget file whose budgets the report keeps.
fn print_first_budgets(path: &Path, mechanisms: &[String]) -> Done {
    let report = read::report(path)?;
    let mut names: Vec<&str> = Vec::new();
    for cell in &report.cells {
        if !names.contains(&cell.mechanism.as_str()) {
            names.push(&cell.mechanism);
        }
    }
    let kept: Vec<&str> = select("mechanism", mechanisms, &names)?.into_iter().map(|index| names[index]).collect();
    let Some(text) = init::budgets(&report, |mechanism| kept.contains(&mechanism)) else {
        let message = format!(
            "{}: the report has no instruction counts to make budgets of; measure where `pvbench doctor` says that \
             ptrace is ok",
            path.display()
        );
        return Err(CliError::Usage(message));
    };
    stdout().write_all(text.as_bytes())?;
    Ok(Exit::Fine)
}
