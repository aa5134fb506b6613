//! The section on ops, which describes each op of the report once.

use super::anchor::Anchors;
use super::facts::{Fact, fact};
use crate::op::{Bytes, Conventions, Kind, Since};
use crate::report::Report;
use crate::report::plots::grid::{GROUPS, group_name};
use crate::report::plots::number::{NOTHING, clipped, plural};
use crate::report::schema::OpInfo;

/// Maximum number of bytes of machine code that are shown per op.
const MAX_CODE_BYTES: usize = 120;

/// A structure of `pv_ops` with its ops.
pub struct OpGroup {
    pub name: &'static str,
    pub ops: Vec<OpEntry>,
}

/// An op.
pub struct OpEntry {
    pub id: String,
    pub name: String,
    pub purpose: String,
    pub prototype: String,
    pub facts: Vec<Fact>,
    /// Machine code of the native body in hexadecimal, with spaces between bytes.
    pub code: String,
}

/// The ops of the catalogue, group by group.
pub fn groups(report: &Report, anchors: &Anchors) -> Vec<OpGroup> {
    let ops = &report.catalogue.ops;
    let members = |group| ops.iter().enumerate().filter(move |(_, op)| op.group == group);
    GROUPS
        .into_iter()
        .map(|group| OpGroup {
            name: group_name(group),
            ops: members(group).map(|(index, op)| entry(anchors.id(index, &op.name), op)).collect(),
        })
        .filter(|group| !group.ops.is_empty())
        .collect()
}

fn entry(id: String, op: &OpInfo) -> OpEntry {
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
    let mut facts =
        vec![fact("call", format!("{arguments}, {result}; {convention}")), fact("patching writes", patched)];
    facts.push(fact(if since.is_some() { "bodies" } else { "body" }, bodies));
    facts.extend(since.map(|since| fact("hook of", since)));
    facts.push(fact("defined in", clipped(&op.source, 400)));
    OpEntry {
        id,
        name: clipped(&op.name, 80),
        purpose: clipped(&op.purpose, 400),
        prototype: clipped(&op.prototype, 400),
        facts,
        code: if op.native_code.is_empty() { NOTHING.to_owned() } else { hex(&op.native_code, MAX_CODE_BYTES) },
    }
}

/// Hexadecimal digits with spaces between bytes, at most `most` bytes.
pub fn hex(digits: &str, most: usize) -> String {
    let digits: Vec<char> = clipped(digits, 2 * most).chars().collect();
    digits.chunks(2).map(String::from_iter).collect::<Vec<_>>().join(" ")
}
