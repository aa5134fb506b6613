//! `pvbench man`: prints the manual page of the program, or writes a page for every subcommand.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::exit::Exit;
use super::output::stdout;
use super::{Cli, Done, words};
use crate::report::write;
use crate::suite::Suite;

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench man | man -l -
  pvbench man --out ~/.local/share/man/man1";

/// Options of `man`.
#[derive(Args)]
pub struct ManArgs {
    /// Write a page for the program and for each subcommand to DIR
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the page of the program, or writes all pages and prints their paths.
pub fn man(args: &ManArgs, suite: &Suite) -> Done {
    let mut command =
        words::without_hidden(words::command(Cli::command(), suite.name()), suite.name()).disable_help_subcommand(true);
    command.build();
    let mut out = stdout();
    let Some(folder) = &args.out else {
        out.write_all(&render_page(&command)?)?;
        return Ok(Exit::Fine);
    };
    let mut pages = Vec::new();
    render_pages(&command, &mut pages)?;
    write::prepare(folder)?;
    write::files(folder, &pages)?;
    for (name, _) in &pages {
        writeln!(out, "{}", folder.join(name).display())?;
    }
    Ok(Exit::Fine)
}

/// Renders the pages of a command and of its subcommands, as `pvbench-linux-ab.1`.
fn render_pages(command: &Command, pages: &mut Vec<(PathBuf, Vec<u8>)>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    pages.push((format!("{name}.1").into(), render_page(command)?));
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).try_for_each(|sub| render_pages(sub, pages))
}

fn render_page(command: &Command) -> io::Result<Vec<u8>> {
    let source = concat!("pvbench ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(help) = command.get_after_help() {
        page.extend(format_notes(&help.to_string()).into_bytes());
    }
    Ok(page)
}

/// Longest line of text that is not broken again, in characters: the usual width of a terminal.
const MAX_COLUMNS: usize = 80;

/// Formats the text after the help as a section. Its lines stay as they are, as examples and files have columns; only
/// long lines of running text are filled.
fn format_notes(help: &str) -> String {
    let mut section = ".SH NOTES\n.nf\n".to_owned();
    for line in help.lines() {
        let line = line.replace('\\', "\\(rs").replace('-', "\\-");
        // A dot or an apostrophe at the beginning would make the line a request of roff.
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        let is_filled = line.len() > MAX_COLUMNS && !line.starts_with(' ');
        section.push_str(&if is_filled { format!(".fi\n{guard}{line}\n.nf\n") } else { format!("{guard}{line}\n") });
    }
    section.push_str(".fi\n");
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_examples_stay_apart_and_are_no_requests_of_roff() {
        let section = format_notes("Examples:\n  a --b\n.x\n'y\nc\\d");
        assert_eq!(section, ".SH NOTES\n.nf\nExamples:\n  a \\-\\-b\n\\&.x\n\\&'y\nc\\(rsd\n.fi\n");
        let long = "word ".repeat(20);
        assert_eq!(format_notes(&long), format!(".SH NOTES\n.nf\n.fi\n{long}\n.nf\n.fi\n"));
    }
}
