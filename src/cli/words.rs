//! The command line under the name of a suite: what help and messages say of `pvbench` and of its folder for reports is
//! said of the suite's program and of its own.

use std::sync::OnceLock;

use clap::{Arg, Command};

/// The name of the built-in suite's program, which help and messages are written for.
pub const BUILT_IN: &str = env!("CARGO_PKG_NAME");

/// Where the built-in suite's reports go.
const FOLDER: &str = "reports/latest";

/// The suite that this process is of.
static NAME: OnceLock<&'static str> = OnceLock::new();

/// Takes the name of this process's suite.
pub fn set_name(name: &'static str) {
    // A process has one suite; another one's messages would be said to be of the first.
    let _ = NAME.set(name);
}

/// A message with the commands in it as this process's suite has them: `uart run` in backticks for `pvbench run`.
pub fn message(text: &str) -> String {
    match NAME.get() {
        Some(name) if *name != BUILT_IN => text.replace("`pvbench ", &format!("`{name} ")),
        _ => text.to_owned(),
    }
}

/// The folder that a suite's reports go to where none is named. Suites of one package have one each.
pub fn folder(suite: &str) -> String {
    match suite {
        BUILT_IN => FOLDER.to_owned(),
        // A name has letters, digits, '_', '-', '.' and ':', and `..` would lead elsewhere.
        suite => format!("reports/{}/latest", suite.replace('.', "_")),
    }
}

/// A command line under a suite's name.
pub fn command(command: Command, suite: &'static str) -> Command {
    let command = command.name(suite).bin_name(suite);
    if suite == BUILT_IN { command } else { renamed(command, suite).version(super::handshake::VERSION) }
}

fn renamed(command: Command, suite: &'static str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, |sub| subcommand(sub, suite)))
}

fn subcommand(command: Command, suite: &'static str) -> Command {
    let command = match command.get_after_help().map(ToString::to_string) {
        Some(help) => {
            let help = help.replace(FOLDER, &folder(suite)).replace("pvbench ", &format!("{suite} "));
            command.after_help(help)
        }
        None => command,
    };
    renamed(command.mut_args(|arg| with_folder(arg, suite)), suite)
}

/// An argument whose default is in the folder for reports has it in the suite's.
fn with_folder(arg: Arg, suite: &'static str) -> Arg {
    let default = arg.get_default_values().first().and_then(|value| value.to_str()).map(str::to_owned);
    match default.filter(|value| value.starts_with(FOLDER)) {
        // Once a process: clap takes what lives as long.
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
    fn a_suites_help_speaks_of_its_own_program_and_folder() {
        for sub in ["run", "gate", "compare", "ab", "export", "report", "list", "doctor", "explain", "predict"] {
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
    fn every_suite_has_a_folder_of_its_own_below_reports() {
        assert_eq!(folder(BUILT_IN), "reports/latest");
        assert_eq!(folder("uart"), "reports/uart/latest");
        assert_eq!(folder(".."), "reports/__/latest");
    }
}
