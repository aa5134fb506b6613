//! `pvbench linux sites`: lists the call sites of pv_ops in a kernel.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::cli::Done;
use crate::cli::exit::Exit;
use crate::cli::output::stdout;
use crate::linux::elf::Elf;
use crate::linux::error::LinuxError;
use crate::linux::hooks::{Hooks, Rule};
use crate::linux::image::Image;

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench linux sites vmlinuz
  pvbench linux sites vmlinuz --json > sites.json";

/// Options of `linux sites`.
#[derive(Args)]
pub struct SitesArgs {
    /// bzImage (vmlinuz) or vmlinux
    #[arg(value_name = "KERNEL")]
    kernel: PathBuf,
    /// Print the sites as JSON
    #[arg(long)]
    json: bool,
}

/// The sites of an op that patching replaces in the same way.
#[derive(Serialize)]
struct SiteLine {
    op: String,
    slot: usize,
    rule: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    sites: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct Sites {
    release: Option<String>,
    layout: String,
    sites: usize,
    bytes: usize,
    ops: Vec<SiteLine>,
}

/// Lists the sites.
pub fn sites(args: &SitesArgs) -> Done {
    let image = Image::read(&args.kernel).map_err(LinuxError::from)?;
    let elf = Elf::of(&image.path, image.vmlinux().map_err(LinuxError::from)?).map_err(LinuxError::from)?;
    let hooks = Hooks::of(&elf).map_err(LinuxError::from)?;
    let mut groups: BTreeMap<(usize, Rule), (usize, usize)> = BTreeMap::new();
    for site in &hooks.sites {
        let group = groups.entry((site.slot, site.rule.clone())).or_default();
        *group = (group.0 + 1, group.1 + site.length);
    }
    let line = |((slot, rule), (sites, bytes)): ((usize, Rule), (usize, usize))| SiteLine {
        op: hooks.name(slot),
        slot,
        rule: rule.name(),
        instructions: match &rule {
            Rule::Instructions(code) => {
                Some(code.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
            }
            Rule::Nop | Rule::Call | Rule::Empty => None,
        },
        sites,
        bytes,
    };
    let ops: Vec<SiteLine> = groups.into_iter().map(line).collect();
    let all = Sites {
        release: elf.banner(),
        layout: hooks.recognised(),
        sites: ops.iter().map(|line| line.sites).sum(),
        bytes: ops.iter().map(|line| line.bytes).sum(),
        ops,
    };
    let mut out = stdout();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &all)?;
        writeln!(out)?;
        return Ok(Exit::Fine);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["op", "slot", "patched to", "sites", "bytes"]);
    for line in &all.ops {
        let rule = line.instructions.as_ref().map_or_else(|| line.rule.to_owned(), |code| code.clone());
        table.add_row([&line.op, &line.slot.to_string(), &rule, &line.sites.to_string(), &line.bytes.to_string()]);
    }
    for column in [1, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{}", all.release.as_deref().unwrap_or("unknown kernel version"))?;
    writeln!(out, "pv_ops: {}", all.layout)?;
    writeln!(out, "{table}")?;
    writeln!(out, "{} sites, {} bytes", all.sites, all.bytes)?;
    Ok(Exit::Fine)
}
