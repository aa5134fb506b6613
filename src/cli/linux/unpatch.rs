//! `pvbench linux unpatch`: writes variants of a kernel that never patch pv_ops.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::Done;
use crate::cli::exit::Exit;
use crate::cli::output::stdout;
use crate::linux::elf::Elf;
use crate::linux::error::LinuxError;
use crate::linux::hooks::Hooks;
use crate::linux::image::Image;
use crate::linux::unpatch::{Unpatching, unpatch as edit};
use crate::report::write;

pub(crate) const EXAMPLES: &str = "Example:
  pvbench linux unpatch vmlinuz --out folder/";

/// Options of `linux unpatch`.
#[derive(Args)]
pub struct UnpatchArgs {
    /// bzImage (vmlinuz) or vmlinux
    #[arg(value_name = "KERNEL")]
    kernel: PathBuf,
    /// Folder for vmlinux.stock, vmlinux.nopatch and vmlinux.noalt
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// Writes all variants of a kernel.
pub fn unpatch(args: &UnpatchArgs) -> Done {
    let image = Image::read(&args.kernel).map_err(LinuxError::from)?;
    let elf = Elf::of(&image.path, image.vmlinux().map_err(LinuxError::from)?).map_err(LinuxError::from)?;
    let hooks = Hooks::of(&elf).map_err(LinuxError::from)?;
    let (mut files, mut lines) = (Vec::new(), Vec::new());
    for variant in Unpatching::ALL {
        let mut elf = elf.clone();
        let edits = edit(&mut elf, &hooks, variant).map_err(LinuxError::from)?;
        let name = format!("vmlinux.{}", variant.name());
        lines.push(format!(
            "{}: {} of {} sites never patched, {} of {} alternatives left out",
            args.out.join(&name).display(),
            edits.sites,
            hooks.sites.len(),
            edits.alternatives,
            edits.of_alternatives
        ));
        files.push((PathBuf::from(name), elf.bytes.into_owned()));
    }
    write::files(&args.out, &files)?;
    let mut out = stdout();
    writeln!(out, "pv_ops: {}", hooks.recognised())?;
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(Exit::Fine)
}
