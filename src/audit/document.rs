//! The document of an audit: what `pvbench audit --json` writes, and what its tables and its page are made from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kind::Kind;

/// Version of the document.
pub const SCHEMA: &str = "pvbench.audit/1";

/// The audit of one or several binaries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Audit {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of the program that wrote it.
    pub tool: String,
    /// A binary each; the members of an archive are one each.
    pub binaries: Vec<Binary>,
}

/// What a binary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BinaryKind {
    /// A program that is linked to a fixed address or position-independent.
    Executable,
    /// A library that the loader links.
    SharedObject,
    /// An object file, also as a member of an archive.
    ObjectFile,
    /// A module of Linux (`.ko`).
    KernelModule,
    /// A kernel: vmlinux, or the one in a bzImage.
    Kernel,
}

impl BinaryKind {
    /// Words in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BinaryKind::Executable => "executable",
            BinaryKind::SharedObject => "shared object",
            BinaryKind::ObjectFile => "object file",
            BinaryKind::KernelModule => "kernel module",
            BinaryKind::Kernel => "kernel",
        }
    }
}

/// Where the ranges of functions come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FunctionSource {
    /// The symbol table; unwind tables fill its gaps.
    Symbols,
    /// The unwind tables (`.eh_frame`): ranges without names, except for exported functions.
    UnwindTables,
    /// Neither: starts are the targets of direct calls and the sites of `__fentry__`.
    Calls,
}

/// The numbers of call sites by kind. A kind that has none is left out.
pub type Counts = BTreeMap<Kind, u64>;

/// One binary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Binary {
    /// The file as it was named; `library.a(member.o)` for the member of an archive.
    pub path: String,
    /// What it is.
    pub kind: BinaryKind,
    /// Size of the file or member, in bytes.
    pub bytes: u64,
    /// The linker's build id, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// Where the ranges of functions come from.
    pub function_source: FunctionSource,
    /// The file with the debug information that was used: the binary itself, or a split file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug_information: Option<String>,
    /// Why source lines are missing, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_lines_reason: Option<String>,
    /// Bytes of executable sections.
    pub code_bytes: u64,
    /// Decoded instructions.
    pub instructions: u64,
    /// Bytes that are no instructions (data between functions).
    #[serde(default)]
    pub undecoded_bytes: u64,
    /// Functions, also those without a call site.
    pub functions_total: u64,
    /// Call sites of the whole binary by kind.
    pub counts: Counts,
    /// Executed ways that are no call sites: returns.
    pub returns: u64,
    /// Functions that match `--function`, in the order of their addresses. Without it, all that have a call site.
    pub functions: Vec<Function>,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Function {
    /// The demangled name; `0x401000` for a function without a symbol.
    pub name: String,
    /// The symbol, if it differs from the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Further symbols of the same code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Address of the first byte. Object files are laid out at addresses that the audit chose.
    pub address: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Decoded instructions.
    pub instructions: u64,
    /// Call instructions, jump instructions without condition, and returns, as a disassembler lists them.
    pub call_instructions: u64,
    /// Jump instructions without condition.
    pub jump_instructions: u64,
    /// Return instructions.
    pub return_instructions: u64,
    /// Call sites by kind.
    pub counts: Counts,
    /// Where the function is in the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceLine>,
    /// Its call sites. Without `--function`, direct sites are counted and not listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<Site>,
    /// Its instructions, in a listing (`--function`), else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listing: Vec<ListingLine>,
}

/// A call site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Site {
    /// Address of the instruction.
    pub address: u64,
    /// Its mechanism.
    pub kind: Kind,
    /// Whether it is a jump: the function ends with this call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tail: bool,
    /// What it calls, or the word that holds the target, by name: `memcpy`, `pv_ops+0x18`, `vtable+0x20`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The instruction.
    pub instruction: String,
    /// Where it is in the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceLine>,
    /// The functions that were inlined around it, innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inlined: Vec<String>,
}

/// A line of the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SourceLine {
    /// The file as the compiler named it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// An instruction of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListingLine {
    /// Address.
    pub address: u64,
    /// The instruction.
    pub instruction: String,
    /// The kind of the call site, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// What it calls, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The source line, where it differs from that of the instruction before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceLine>,
}
