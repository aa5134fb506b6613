//! `pvbench audit A --against B`: the sites that changed their kind since an older build.

use std::path::Path;

use crate::audit::changes;
use crate::audit::terminal;
use crate::cli::Done;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::pager;

/// Compares a binary with an older build of it, and prints what changed. A site that became indirect is a regression.
pub fn against(after: &Path, before: &Path, json: bool) -> Done {
    let changes = changes::compare(before, after)?;
    let regressed = changes.functions.iter().any(changes::FunctionChange::became_indirect);
    let exit = if regressed { Exit::Exceeded } else { Exit::Fine };
    if json {
        output::json(&changes)?;
    } else {
        pager::print(&terminal::changes(&changes, pager::width()));
    }
    Ok(exit)
}
