//! The recorder's plugin: its build, and the interfaces of the emulator that it knows.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::RecordError;
use crate::linux::compile::{Embedded, cache_folder, find_rustc};
use crate::linux::error::LinuxError;

/// The first and the last major version of QEMU whose interface is known.
pub const FIRST: u32 = 5;
/// As [`FIRST`].
pub const LAST: u32 = 10;
/// The first major version that refuses plugins of interface 0. It accepts 2, and differs for this plugin only in
/// `qemu_plugin_insn_data`, whose result tells which of the two it is.
const FIRST_WITH_2: u32 = 9;

const OPTIONS: [&str; 9] = [
    "--edition=2024",
    "--crate-name=recorder",
    "--crate-type=cdylib",
    "--target=x86_64-unknown-linux-gnu",
    "-Copt-level=3",
    "-Ccodegen-units=1",
    "-Cpanic=abort",
    "-Crelocation-model=pic",
    "-Cstrip=symbols",
];

/// The interface that the plugin declares to this version of QEMU.
///
/// # Errors
/// [`RecordError::Interface`], if the version is not among the known ones.
pub fn interface(version: &str) -> Result<u32, RecordError> {
    let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
    match major {
        Some(major @ FIRST..=LAST) => Ok(if major < FIRST_WITH_2 { 0 } else { 2 }),
        _ => Err(RecordError::Interface { version: version.to_owned() }),
    }
}

/// Builds the plugin for an interface, or takes a cached one. Returns its file.
///
/// # Errors
/// If the compiler is missing, fails or is stopped.
pub fn build(interface: u32, stop: &AtomicBool) -> Result<PathBuf, LinuxError> {
    let declared = format!("pub const INTERFACE: i32 = {interface};\n");
    let sources = [
        ("main.rs", include_str!("plugin/main.rs")),
        ("code.rs", include_str!("plugin/code.rs")),
        ("files.rs", include_str!("plugin/files.rs")),
        ("own.rs", include_str!("plugin/own.rs")),
        ("state.rs", include_str!("plugin/state.rs")),
        ("interface.rs", &declared),
    ];
    let plugin = Embedded { name: "recorder", sources: &sources, options: &OPTIONS };
    Ok(plugin.build(&find_rustc(), &cache_folder(), stop)?.0)
}
