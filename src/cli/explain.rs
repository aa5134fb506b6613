//! `pvbench explain`: prints the instructions of an op, decoded.

use std::io::{IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use clap::Args;
use comfy_table::{Table, presets};

use super::Done;
use super::error::CliError;
use super::exit::Exit;
use super::output::stdout;
use crate::measure::explain::{Explainer, Explanation};
use crate::measure::variant::MechanismState;
use crate::op::InstructionMix;
use crate::patch::State;
use crate::select::single;
use crate::suite::{OpEntry, Suite};

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench explain pte_val table
  pvbench explain irq_disable site_callee_save --state inline
  pvbench explain set_pte retpoline

Each column lists the instructions in the order in which they ran; `*` marks bytes that patching changed. Below are the
instructions per op, with an eighth of the loop's own two, and their mix, without the loop's own. Addresses have
names: `pv_ops+0x18` is the op's slot in the table, `body` its native body, `saving_body` the body that saves registers,
`other_body` a body that the pointer is compared with, `loop` the loop around the sites, and `thunk`, `trampoline`,
`stub`, `check` and `method` the code on the way.";

/// Options of `explain`.
#[derive(Args)]
pub struct ExplainArgs {
    /// The op; `pvbench list ops` has all names
    op: String,
    /// The mechanism; `pvbench list mechanisms` has all names
    mechanism: String,
    /// State of its sites: unpatched, direct, inline, nop, off, on (default: all states of the op)
    #[arg(long, value_name = "S")]
    state: Option<String>,
}

/// Prints the instructions of `inline` and of the mechanism side by side, before and after patching.
pub fn explain(args: &ExplainArgs, suite: &Suite) -> Done {
    let ops = suite.ops();
    let names: Vec<&str> = ops.iter().map(|op| op.meta.name).collect();
    let op = &ops[single("op", &args.op, &names)?];
    let mechanisms = suite.mechanism_metas();
    let names: Vec<&str> = mechanisms.iter().map(|m| m.name).collect();
    let mechanism = mechanisms[single("mechanism", &args.mechanism, &names)?];
    let inline = MechanismState::plain("inline");
    let mut columns = MechanismState::list(&mechanism);
    let asked = match &args.state {
        None => None,
        Some(state) => {
            let names: Vec<&str> = mechanism.states.iter().map(|state| state.name()).collect();
            if names.is_empty() {
                let message =
                    format!("{} has no states, as it has no patchable site; leave --state out", mechanism.name);
                return Err(CliError::Usage(message));
            }
            Some(mechanism.states[single("state", state, &names)?])
        }
    };
    if let Some(asked) = asked {
        // The unpatched state is shown for comparison.
        columns.retain(|column| column.state == Some(asked) || column.state == Some(State::Unpatched));
    }
    let mut explainer = Explainer::new()?;
    let mut shown = vec![("inline".to_owned(), explainer.explain(op, &inline)?)];
    for column in columns.iter().filter(|column| column.mechanism != "inline") {
        match explainer.explain(op, column) {
            Ok(explanation) => shown.push((column.to_string(), explanation)),
            // Not every op has every state; only a state that was named must exist.
            Err(_) if asked.is_none() && column.state.is_some() => {}
            Err(error) => return Err(error.into()),
        }
    }
    print(op, &shown)
}

fn print(op: &OpEntry, shown: &[(String, Explanation)]) -> Done {
    let mut out = stdout();
    writeln!(out, "{}: {}\n", op.meta.name, op.meta.purpose.trim())?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(shown.iter().map(|(name, _)| name));
    table.add_row(shown.iter().map(|(_, explanation)| format_listing(explanation)));
    table.add_row(shown.iter().map(|(_, explanation)| {
        let whole = if explanation.ops == 1 { "" } else { "\n(the sites differ, so a whole pass is shown)" };
        let mix = describe_mix(explanation);
        format!("{} instructions per op{whole}\n{}", explanation.per_op, mix.join("\n"))
    }));
    // Side by side if the terminal is wide enough, else one below the other.
    let width = table.lines().map(|line| line.trim_end().chars().count()).max().unwrap_or(0);
    let room = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(200, |size| usize::from(size.ws_col));
    if width <= room || !std::io::stdout().is_terminal() {
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        return Ok(Exit::Fine);
    }
    let heading = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
    for (name, explanation) in shown {
        writeln!(out, "{heading}{name}{heading:#}: {} instructions per op", explanation.per_op)?;
        writeln!(out, "{}", format_listing(explanation))?;
        writeln!(out, "{}\n", describe_mix(explanation).join(", "))?;
    }
    Ok(Exit::Fine)
}

/// Describes the instruction mix in words: one text per class.
fn describe_mix(explanation: &Explanation) -> Vec<String> {
    explanation.mix.as_ref().map_or_else(Vec::new, InstructionMix::describe)
}

/// Formats the lines of an explanation: region of the code, bytes, instruction.
fn format_listing(explanation: &Explanation) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    let width = explanation.lines.iter().map(|line| line.bytes.len() * 3).max().unwrap_or(0).min(30);
    let mut last = None;
    let lines = explanation.lines.iter().map(|line| {
        let place = if last == Some(line.place) { "" } else { line.place.name() };
        last = Some(line.place);
        let mark = if line.changed { '*' } else { ' ' };
        format!("{place:10} {mark}{:width$} {}", hex(&line.bytes), line.text)
    });
    lines.collect::<Vec<_>>().join("\n")
}
