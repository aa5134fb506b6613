//! `pvbench list`: ops, mechanisms, regimes, workloads and kernel options.

use std::io::{IsTerminal, Write};

use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::Done;
use super::exit::Exit;
use super::output::stdout;
use crate::dispatch::Mechanism;
use crate::kernel::flags::PageFlags;
use crate::measure::loops::code_memory;
use crate::op::Since;
use crate::regime::Regime;
use crate::report::schema::{OpInfo, OptionInfo};
use crate::run::catalogue::{op_info, option_infos};
use crate::suite::{Listed, Suite};
use crate::workload;

pub(crate) const EXAMPLES: &str = "Examples:\n  pvbench list\n  pvbench list ops\n  pvbench list mechanisms --json";

/// Options of `list`.
#[derive(Args, Default)]
pub struct ListArgs {
    /// The list to print (default: the names and sizes of all lists)
    #[arg(value_enum, ignore_case = true)]
    what: Option<What>,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Ops of the suite
    #[value(alias = "op")]
    Ops,
    /// Mechanisms that reach an op
    #[value(alias = "mechanism")]
    Mechanisms,
    /// Regimes: the circumstances of a call
    #[value(alias = "regime")]
    Regimes,
    /// Workloads: the macro benchmarks
    #[value(alias = "workload")]
    Workloads,
    /// Kernel options, measured for comparison
    #[value(alias = "option")]
    Options,
}

/// Prints a list, or the names and sizes of all lists.
pub fn list(args: &ListArgs, suite: &Suite) -> Done {
    let Some(what) = args.what else { return print_lists(args.json, suite) };
    let (header, rows, values) = match what {
        What::Ops => ops(suite),
        What::Mechanisms => mechanisms(suite),
        What::Regimes => regimes(),
        What::Workloads => workloads(suite),
        What::Options => options(),
    };
    let mut out = stdout();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &values)?;
        writeln!(out)?;
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
        if std::io::stdout().is_terminal() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(terminal_width());
        }
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        if matches!(what, What::Options) {
            writeln!(out, "\nPage flags, laid out as in include/linux/page-flags-layout.h:")?;
            for layout in page_flags() {
                writeln!(out, "  {layout}")?;
            }
        }
    }
    Ok(Exit::Fine)
}

/// Prints the names and sizes of all lists.
fn print_lists(as_json: bool, suite: &Suite) -> Done {
    let counts = [
        ("ops", suite.ops().len()),
        ("mechanisms", suite.mechanisms().len()),
        ("regimes", Regime::ALL.len()),
        ("workloads", suite.workloads().len()),
        ("options", option_infos().len()),
    ];
    let mut out = stdout();
    if as_json {
        let value: serde_json::Map<String, Value> =
            counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
        serde_json::to_writer_pretty(&mut out, &value)?;
        writeln!(out)?;
        return Ok(Exit::Fine);
    }
    for (name, count) in counts {
        writeln!(out, "{count:4} {name:11} {} list {name}", suite.name())?;
    }
    Ok(Exit::Fine)
}

/// Header and rows of a table, and the same as JSON values.
type Listing = (Vec<&'static str>, Vec<Vec<String>>, Vec<Value>);

fn ops(suite: &Suite) -> Listing {
    let infos: Vec<OpInfo> = suite.ops().iter().map(op_info).collect();
    let rows: Vec<Vec<String>> = infos
        .iter()
        .map(|op| {
            vec![
                op.name.clone(),
                word(&op.group),
                op.arguments.to_string(),
                if op.returns { "value" } else { "-" }.to_owned(),
                word(&op.native_kind),
                word(&op.xen_kind),
                word(&op.bytes),
                word(&op.conventions),
                word(&op.since),
                op.purpose.clone(),
            ]
        })
        .collect();
    let header =
        vec!["op", "group", "args", "returns", "native", "xen", "patched to", "convention", "kernels", "purpose"];
    let values = infos.iter().map(|op| json!(op)).collect();
    if infos.iter().any(|op| op.since != Since::NotLinux) {
        return (header, rows, values);
    }
    // Group, Xen body and kernels apply to Linux's ops only.
    let keep = |column: &str| !["group", "xen", "kernels"].contains(&column);
    let kept =
        |row: Vec<String>| header.iter().zip(row).filter(|(column, _)| keep(column)).map(|(_, cell)| cell).collect();
    let rows = rows.into_iter().map(kept).collect();
    (header.iter().copied().filter(|column| keep(column)).collect(), rows, values)
}

/// Returns the word of a unit variant in the document.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

fn mechanisms(suite: &Suite) -> Listing {
    let all = suite.mechanisms();
    let no_patching = code_memory().err().map(|error| error.to_string());
    let bodies = |m: &Mechanism| if m.switches { "native and xen" } else { "native" };
    let states = |m: &Mechanism| m.states.iter().map(|state| state.name()).collect::<Vec<_>>();
    let mut rows = Vec::with_capacity(all.len());
    let mut values = Vec::with_capacity(all.len());
    for Listed { mechanism: m, unavailable } in all {
        // A suite whose ops are all Rust functions cannot use a mechanism that needs assembly.
        let refused = m.needs_assembly.filter(|_| !suite.ops().is_empty() && suite.ops().iter().all(|op| !op.assembly));
        let unavailable =
            unavailable().or_else(|| refused.map(|why| format!("{why}, and the ops here are Rust functions")));
        // States are set in copies of the loops. Without executable memory for copies the other variants are measured.
        let stateless = if m.states.is_empty() { None } else { no_patching.as_ref() };
        let here = match (&unavailable, stateless) {
            (Some(reason), _) => format!("no: {reason}"),
            (None, Some(reason)) => format!("no states: {reason}"),
            (None, None) => "yes".to_owned(),
        };
        let listed = if m.states.is_empty() { "-".to_owned() } else { states(m).join(" ") };
        rows.push(vec![
            m.name.to_owned(),
            m.way.describe().to_owned(),
            listed,
            here,
            bodies(m).to_owned(),
            m.known_from.to_owned(),
            m.summary.to_owned(),
        ]);
        values.push(json!({
            "name": m.name, "machine_code": m.way.describe(), "states": states(m), "bodies": bodies(m),
            "available": unavailable.is_none(), "unavailable": unavailable, "states_unavailable": stateless,
            "known_from": m.known_from, "summary": m.summary
        }));
    }
    (vec!["mechanism", "machine code", "states", "here", "bodies", "known from", "description"], rows, values)
}

fn regimes() -> Listing {
    let rows = Regime::ALL.iter().map(|r| vec![r.name().to_owned(), r.summary().to_owned()]).collect();
    let values = Regime::ALL.iter().map(|r| json!({ "name": r.name(), "summary": r.summary() })).collect();
    (vec!["regime", "description"], rows, values)
}

fn workloads(suite: &Suite) -> Listing {
    let metas: Vec<workload::WorkloadMeta> = suite.workloads().iter().map(|entry| entry.meta).collect();
    let row = |m: &workload::WorkloadMeta| [m.name, m.unit, m.summary, m.source].map(str::to_owned).to_vec();
    let value = |m: &workload::WorkloadMeta| {
        let (name, unit, summary, source) = (m.name, m.unit, m.summary, m.source);
        json!({ "name": name, "unit": unit, "summary": summary, "source": source })
    };
    let header = vec!["workload", "unit", "description", "modelled after"];
    (header, metas.iter().map(row).collect(), metas.iter().map(value).collect())
}

fn options() -> Listing {
    let infos = option_infos();
    let row = |o: &OptionInfo| vec![o.name.clone(), o.switch.clone(), o.summary.clone()];
    (
        vec!["option", "switched on by", "description"],
        infos.iter().map(row).collect(),
        infos.iter().map(|o| json!(o)).collect(),
    )
}

/// Layouts of page flags that were discussed for Linux: free bits of the word, and nodes that move to a table.
fn page_flags() -> Vec<PageFlags> {
    use crate::kernel::flags::{Flags, page_flags};
    let i386 = Flags { word: 32, flags: 22, zones: 3, nodes: 1, sections: 0, last_cpu: 0 };
    [
        Flags { ..i386 },
        Flags { nodes: 16, sections: 32, ..i386 },
        Flags { flags: 23, nodes: 16, sections: 32, ..i386 },
        Flags { word: 64, flags: 23, zones: 4, nodes: 64, sections: 0, last_cpu: 0 },
        Flags { word: 64, flags: 23, zones: 4, nodes: 1024, sections: 0, last_cpu: 21 },
    ]
    .map(page_flags)
    .to_vec()
}

fn terminal_width() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(100, |size| size.ws_col.max(60))
}
