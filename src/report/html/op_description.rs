//! The description of an op: its prototype, its calls and its machine code.

use crate::op::{Bytes, Conventions, Kind, Since};
use crate::report::plots::number::{NOTHING, clipped, plural};
use crate::report::schema::OpInfo;

/// Maximum number of bytes of machine code that are shown per op.
const MAX_CODE_BYTES: usize = 120;

/// The description of an op.
pub struct Description {
    pub purpose: String,
    pub prototype: String,
    /// Call, patching, bodies and origin, in one line.
    pub facts: String,
    /// Machine code of the native body in hexadecimal, with spaces between bytes.
    pub code: String,
}

/// The description of an op of the catalogue.
pub fn describe(op: &OpInfo) -> Description {
    let arguments = match op.arguments {
        0 => "no argument".to_owned(),
        n => format!("{n} {}", plural(n, "argument", "arguments")),
    };
    let result = if op.returns { "a result" } else { "no result" };
    let convention = match op.conventions {
        Conventions::C => "C convention: the caller-saved registers are lost",
        Conventions::CalleeSave => "PV_CALLEE_SAVE: all registers except rax are kept",
    };
    let patched = match op.bytes {
        Bytes::Instruction => "the op's own instructions",
        Bytes::Nop => "only NOPs",
        Bytes::Identity => "mov %rdi,%rax",
        Bytes::Call => "a direct call of the native body",
    };
    let kind = |kind| match kind {
        Kind::Real => "real",
        Kind::Modelled => "modelled",
    };
    let since = match op.since {
        Since::Linux61 => Some("Linux 6.1"),
        Since::Linux2630Only => Some("Linux 2.6.30, not 6.1"),
        Since::NotLinux => None,
    };
    let native = kind(op.native_kind);
    let bodies = match since {
        Some(_) => format!("native {native}, Xen {}", kind(op.xen_kind)),
        None => native.to_owned(),
    };
    let mut facts = vec![format!("{arguments}, {result}"), convention.to_owned(), format!("patching writes {patched}")];
    facts.push(format!("{}: {bodies}", if since.is_some() { "bodies" } else { "body" }));
    facts.extend(since.map(|since| format!("hook of {since}")));
    facts.push(format!("defined in {}", clipped(&op.source, 400)));
    Description {
        purpose: clipped(&op.purpose, 400),
        prototype: clipped(&op.prototype, 400),
        facts: facts.join("; "),
        code: if op.native_code.is_empty() { NOTHING.to_owned() } else { hex(&op.native_code, MAX_CODE_BYTES) },
    }
}

/// Hexadecimal digits with spaces between bytes, at most `most` bytes.
pub fn hex(digits: &str, most: usize) -> String {
    let digits: Vec<char> = clipped(digits, 2 * most).chars().collect();
    digits.chunks(2).map(String::from_iter).collect::<Vec<_>>().join(" ")
}
