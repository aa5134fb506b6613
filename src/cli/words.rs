//! The command line under the name of a suite: help and messages name the suite's program and its folder for reports
//! instead of `pvbench` and `reports/latest`.

use std::path::Path;
use std::sync::OnceLock;

use clap::{Arg, Command};

/// The name of the built-in suite's program. Help and messages are written for it.
pub(crate) const BUILT_IN: &str = env!("CARGO_PKG_NAME");

/// The default folder for reports of the built-in suite.
const FOLDER: &str = "reports/latest";

/// The name of the suite of this process.
static NAME: OnceLock<&'static str> = OnceLock::new();

/// Sets the name of this process's suite.
pub(crate) fn set_name(name: &'static str) {
    // A process has one suite; messages of a second one would have the name of the first.
    let _ = NAME.set(name);
}

/// Renames the commands in a message for the suite of this process: `uart run` in backticks for `pvbench run`.
pub fn message(text: &str) -> String {
    match NAME.get() {
        Some(name) if *name != BUILT_IN => text.replace("`pvbench ", &format!("`{name} ")),
        _ => text.to_owned(),
    }
}

/// Returns the default folder for reports of a suite. Suites of one package have one each.
pub fn folder(suite: &str) -> String {
    match suite {
        BUILT_IN => FOLDER.to_owned(),
        // A name has letters, digits, '_', '-', '.' and ':'; `..` would lead out of the folder.
        suite => format!("reports/{}/latest", suite.replace('.', "_")),
    }
}

/// Quotes a path so that a shell reads it as one word.
pub(crate) fn quote(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:=@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Renames a command line for a suite.
pub fn command(command: Command, suite: &'static str) -> Command {
    let command = command.name(suite).bin_name(suite);
    if suite == BUILT_IN { command } else { rename_subcommands(command, suite).version(version(suite)) }
}

/// Returns the text after the name in the output of `--version`.
fn version(suite: &str) -> &'static str {
    if suite == BUILT_IN { env!("CARGO_PKG_VERSION") } else { super::handshake::VERSION }
}

/// Returns a command line without its hidden subcommands, for completions and manual pages.
pub(crate) fn without_hidden(command: Command, suite: &'static str) -> Command {
    let shown = Command::new(suite)
        .bin_name(suite)
        .about(command.get_about().cloned().unwrap_or_default())
        .after_help(command.get_after_help().cloned().unwrap_or_default())
        .version(version(suite))
        .propagate_version(true)
        .args(command.get_arguments());
    shown.subcommands(command.get_subcommands().filter(|sub| !sub.is_hide_set()))
}

fn rename_subcommands(command: Command, suite: &'static str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, |sub| rename_subcommand(sub, suite)))
}

fn rename_subcommand(command: Command, suite: &'static str) -> Command {
    let command = match command.get_after_help().map(ToString::to_string) {
        Some(help) => {
            let help = help.replace(FOLDER, &folder(suite)).replace("pvbench ", &format!("{suite} "));
            command.after_help(help)
        }
        None => command,
    };
    rename_subcommands(command.mut_args(|arg| set_default_folder(arg, suite)), suite)
}

/// Moves the default of an argument from the folder `reports/latest` to that of the suite.
fn set_default_folder(arg: Arg, suite: &'static str) -> Arg {
    let default = arg.get_default_values().first().and_then(|value| value.to_str()).map(str::to_owned);
    match default.filter(|value| value.starts_with(FOLDER)) {
        // Leaked once per process and argument: clap needs a static default.
        Some(value) => arg.default_value(&*Box::leak(value.replace(FOLDER, &folder(suite)).into_boxed_str())),
        None => arg,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn help(suite: &'static str, of: &str) -> String {
        let mut command = command(super::super::Cli::command(), suite);
        let sub = command.find_subcommand_mut(of);
        sub.map(|sub| sub.render_long_help().to_string()).unwrap_or_default()
    }

    #[test]
    fn the_help_of_a_suite_names_its_own_program_and_folder() {
        for sub in ["run", "show", "gate", "compare", "ab", "export", "report", "list", "doctor", "explain", "predict"]
        {
            let own = help("uart", sub);
            assert!(own.contains("uart "), "{sub}: {own}");
            let foreign =
                own.lines().find(|line| line.contains("pvbench run") || line.contains(&format!("pvbench {sub}")));
            assert_eq!(foreign, None, "{sub}");
            assert!(!own.contains(FOLDER), "{sub}: {own}");
            assert_eq!(
                help("uart", sub).contains("reports/uart/latest"),
                help(BUILT_IN, sub).contains(FOLDER),
                "{sub}"
            );
        }
    }

    #[test]
    fn every_suite_has_its_own_folder_below_reports() {
        assert_eq!(folder(BUILT_IN), "reports/latest");
        assert_eq!(folder("uart"), "reports/uart/latest");
        assert_eq!(folder(".."), "reports/__/latest");
    }

    #[test]
    fn a_path_is_quoted_where_a_shell_would_split_it() {
        let quoted = ["reports/latest", "a b", "it's", "$(x)", ""].map(|path| quote(Path::new(path)));
        assert_eq!(quoted, ["reports/latest", "'a b'", "'it'\\''s'", "'$(x)'", "''"]);
    }
}
