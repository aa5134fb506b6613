//! The section on mechanisms, with the machine code of some call sites beside that of `inline`.

use super::anchor::Anchors;
use super::op_description::hex;
use crate::report::Report;
use crate::report::plots::number::clipped;
use crate::report::schema::{Listing, MechanismInfo};

/// Maximum number of listings that are shown per mechanism.
const MAX_LISTINGS: usize = 4;
/// Maximum number of lines that are shown per listing.
const MAX_LINES: usize = 48;
/// Maximum width of the column of bytes in characters. It holds nine bytes, enough for most instructions.
const MAX_BYTES_WIDTH: usize = 26;

/// A mechanism with its call sequences.
pub struct CallSequence {
    pub id: String,
    pub name: String,
    pub summary: String,
    pub known_from: String,
    /// Year and change, if the mechanism is a step of Linux's history.
    pub step: Option<String>,
    pub pairs: Vec<Pair>,
    /// Number of further listings, which only the report holds.
    pub more: usize,
}

/// A listing, with that of `inline` for the same op.
pub struct Pair {
    pub title: String,
    pub codes: Vec<Code>,
    /// Whether patching changed a byte of the listing.
    pub changed: bool,
}

/// A listing.
pub struct Code {
    pub name: String,
    pub lines: Vec<CodeLine>,
    /// Number of further lines, which only the report holds.
    pub more: usize,
}

/// An instruction.
pub struct CodeLine {
    /// The part of the code (`site`, `callee`, ..), if it differs from that of the line before.
    pub place: Option<String>,
    /// The bytes in hexadecimal, padded to the width of the column.
    pub bytes: String,
    pub text: String,
    pub changed: bool,
}

/// The mechanisms of the catalogue.
pub fn list_sequences(report: &Report, anchors: &Anchors) -> Vec<CallSequence> {
    let mechanisms = &report.catalogue.mechanisms;
    let inline = mechanisms.iter().find(|m| m.name == "inline");
    mechanisms.iter().enumerate().map(|(index, m)| describe(anchors.id(index, &m.name), m, inline)).collect()
}

fn describe(id: String, mechanism: &MechanismInfo, inline: Option<&MechanismInfo>) -> CallSequence {
    let shown = mechanism.listings.iter().take(MAX_LISTINGS);
    let step = mechanism.step.as_deref().map(|step| clipped(step, 200));
    CallSequence {
        id,
        name: clipped(&mechanism.name, 80),
        summary: clipped(&mechanism.summary, 600),
        known_from: clipped(&mechanism.known_from, 600),
        step: mechanism.year.zip(step).map(|(year, step)| format!("{year}: {step}")),
        pairs: shown.map(|listing| pair(&mechanism.name, listing, inline)).collect(),
        more: mechanism.listings.len().saturating_sub(MAX_LISTINGS),
    }
}

fn pair(mechanism: &str, listing: &Listing, inline: Option<&MechanismInfo>) -> Pair {
    let op = clipped(&listing.op, 80);
    let title = match &listing.state {
        Some(state) => format!("{op}, {}", clipped(state, 60)),
        None => op,
    };
    let baseline = inline
        .filter(|inline| inline.name != mechanism)
        .and_then(|inline| inline.listings.iter().find(|other| other.op == listing.op));
    let codes = [Some((mechanism, listing)), baseline.map(|listing| ("inline", listing))];
    Pair {
        title,
        codes: codes.into_iter().flatten().map(|(name, listing)| code(name, listing)).collect(),
        changed: listing.lines.iter().any(|line| line.changed),
    }
}

fn code(name: &str, listing: &Listing) -> Code {
    let shown = listing.lines.get(..MAX_LINES).unwrap_or(&listing.lines);
    let bytes: Vec<String> = shown.iter().map(|line| hex(&line.bytes, 64)).collect();
    let width = bytes.iter().map(String::len).max().unwrap_or(0).min(MAX_BYTES_WIDTH);
    let mut before = None;
    let lines = shown.iter().zip(bytes).map(|(line, bytes)| {
        let is_new_place = before.replace(line.place.as_str()) != Some(line.place.as_str());
        CodeLine {
            place: is_new_place.then(|| clipped(&line.place, 60)),
            bytes: format!("{bytes:width$}"),
            text: clipped(&line.text, 200),
            changed: line.changed,
        }
    });
    Code { name: clipped(name, 80), lines: lines.collect(), more: listing.lines.len() - shown.len() }
}
