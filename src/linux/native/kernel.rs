//! What is known of the running kernel.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::host::{Machine, Root};
use crate::report::native::NativeKernel;

/// Largest configuration that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Describes the running kernel. `machine` is that of the same root.
#[must_use]
pub fn describe(root: &Root, machine: &Machine) -> NativeKernel {
    let release = machine.kernel.clone();
    let config = read_config(root, release.as_deref());
    let command_line = root.text("proc/cmdline").unwrap_or_default();
    NativeKernel {
        pv_ops: config.map(|config| describe_pv_ops(&config, &command_line).to_owned()),
        release,
        virtualised: machine.virtualised.clone(),
        mitigations: machine.mitigations.clone(),
    }
}

/// What the kernel made of its `pv_ops` at boot (`arch/x86/kernel/alternative.c`).
fn describe_pv_ops(config: &str, command_line: &str) -> &'static str {
    let is_set = |name: &str| config.lines().any(|line| line.strip_prefix(name) == Some("=y"));
    // The parameter is gone since Linux 6.8.
    let is_kept = command_line.split_ascii_whitespace().any(|word| word == "noreplace-paravirt");
    match (is_set("CONFIG_PARAVIRT"), is_set("CONFIG_PARAVIRT_XXL"), is_kept) {
        (false, ..) => "none: built without CONFIG_PARAVIRT",
        (true, _, true) => "never patched (noreplace-paravirt)",
        (true, true, false) => "patched at boot, with CONFIG_PARAVIRT_XXL",
        (true, false, false) => "patched at boot, without CONFIG_PARAVIRT_XXL",
    }
}

/// Reads the configuration of the running kernel, where it shows one.
fn read_config(root: &Root, release: Option<&str>) -> Option<String> {
    let compressed = std::fs::File::open(root.locate("proc/config.gz")).ok().and_then(|file| {
        let mut text = String::new();
        GzDecoder::new(file.take(MAX_CONFIG_BYTES)).take(MAX_CONFIG_BYTES).read_to_string(&mut text).ok()?;
        Some(text)
    });
    compressed.or_else(|| root.text(format!("boot/config-{}", release?)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_and_the_command_line_say_what_became_of_pv_ops() {
        let xxl = "# CONFIG_XEN_PVH is not set\nCONFIG_PARAVIRT=y\nCONFIG_PARAVIRT_XXL=y\n";
        assert_eq!(describe_pv_ops(xxl, "quiet"), "patched at boot, with CONFIG_PARAVIRT_XXL");
        assert_eq!(describe_pv_ops(xxl, "quiet noreplace-paravirt"), "never patched (noreplace-paravirt)");
        assert_eq!(describe_pv_ops("CONFIG_PARAVIRT=y\n", ""), "patched at boot, without CONFIG_PARAVIRT_XXL");
        let none = describe_pv_ops("# CONFIG_PARAVIRT is not set\nCONFIG_PARAVIRT_CLOCK=y\n", "");
        assert_eq!(none, "none: built without CONFIG_PARAVIRT");
    }
}
