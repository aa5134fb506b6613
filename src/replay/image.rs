//! The machine code of a replay with each mechanism. All have the same layout: only the bytes of the sites differ.
//!
//! ```text
//! table of bodies | stubs: the end of a pass, thunks of retpolines | the recorded code
//! ```

use super::arena::{EXIT, PAGE_BYTES, PASSES, STACK, STREAM, STREAM_END};
use super::item::{Item, encode};
use super::place::Places;
use super::plan::{Plan, Site};
use crate::patch::nops;

/// How the sites of a replay reach their bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SiteKind {
    /// A short body stands in the place of its call; a longer one is called directly.
    Inline,
    /// As Linux patches its sites: the bodies of a list stand in the place of their calls; the others are called.
    Patched,
    /// A direct call.
    Direct,
    /// A call through a table.
    Table,
    /// A call through a table and a retpoline.
    Retpoline,
}

impl SiteKind {
    /// All of them.
    pub const ALL: [SiteKind; 5] =
        [SiteKind::Inline, SiteKind::Patched, SiteKind::Direct, SiteKind::Table, SiteKind::Retpoline];
    /// The mechanisms that are compared with `inline`.
    pub const TREATMENTS: [SiteKind; 4] = [SiteKind::Patched, SiteKind::Direct, SiteKind::Table, SiteKind::Retpoline];

    /// Its name, as in the cells of a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SiteKind::Inline => "inline",
            SiteKind::Patched => "patched",
            SiteKind::Direct => "direct",
            SiteKind::Table => "table",
            SiteKind::Retpoline => "retpoline",
        }
    }
}

/// Bytes of a thunk.
const THUNK_BYTES: usize = 32;
/// Bytes of the stubs before the thunks.
const STUB_BYTES: usize = 64;

/// Offsets of what lies before the recorded code.
#[derive(Clone, Copy)]
pub(super) struct Reserved {
    stubs: usize,
    thunks: usize,
    /// Where the recorded code begins.
    pub code: usize,
}

impl Reserved {
    /// What `slots` slots of the table need.
    pub(super) fn of(slots: usize) -> Reserved {
        let stubs = (slots * 8).next_multiple_of(PAGE_BYTES);
        let thunks = stubs + STUB_BYTES;
        Reserved { stubs, thunks, code: (thunks + slots * THUNK_BYTES).next_multiple_of(PAGE_BYTES) }
    }

    fn thunk(&self, slot: u32) -> usize {
        self.thunks + slot as usize * THUNK_BYTES
    }
}

/// Writes images.
pub(super) struct ImageWriter<'a> {
    pub plan: &'a Plan,
    pub places: &'a Places,
    pub reserved: Reserved,
    /// The block that the window begins with.
    pub head: u32,
}

/// An image under construction.
struct Writer<'a> {
    of: &'a ImageWriter<'a>,
    bytes: Vec<u8>,
    /// Offset of the first of the bytes in the image.
    start: usize,
    /// Offset of the next byte in the image.
    at: usize,
}

impl ImageWriter<'_> {
    /// Offset of the first instruction of the window.
    pub(super) fn entry(&self) -> usize {
        self.place(self.head)
    }

    fn place(&self, block: u32) -> usize {
        self.places.blocks.get(block as usize).map_or(self.reserved.stubs, |place| *place as usize)
    }

    /// The offset of each site in the image, and its bytes with a mechanism.
    pub(super) fn write_sites(&self, kind: SiteKind) -> Vec<(usize, Vec<u8>)> {
        let mut sites = Vec::new();
        for block in 0..self.plan.blocks.len() as u32 {
            let mut at = self.place(block);
            let late = self.places.late.get(block as usize).copied().unwrap_or(0);
            self.places.for_each_item(self.plan, block, late, |item, wanted, length| {
                if let Item::Site { .. } = item {
                    let mut writer = Writer { of: self, bytes: vec![0; length], start: at, at };
                    writer.item(item, wanted, length, kind);
                    sites.push((at, writer.bytes));
                }
                at += length;
            });
        }
        sites
    }

    /// The image that will run at `base`.
    pub(super) fn write(&self, kind: SiteKind, base: usize) -> Vec<u8> {
        // Bytes between the blocks trap.
        let mut writer = Writer { of: self, bytes: vec![0xcc; self.places.bytes], start: 0, at: 0 };
        for slot in &self.plan.slots {
            writer.put(&((base + self.place(*slot)) as u64).to_le_bytes());
        }
        writer.stubs();
        for slot in 0..self.plan.slots.len() as u32 {
            writer.thunk(slot);
        }
        for block in 0..self.plan.blocks.len() as u32 {
            writer.at = self.place(block);
            let late = self.places.late.get(block as usize).copied().unwrap_or(0);
            self.places.for_each_item(self.plan, block, late, |item, wanted, length| {
                let end = writer.at + length;
                writer.item(item, wanted, length, kind);
                writer.at = end;
            });
        }
        writer.bytes
    }
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let start = self.at - self.start;
        if let Some(to) = self.bytes.get_mut(start..start + bytes.len()) {
            to.copy_from_slice(bytes);
        }
        self.at += bytes.len();
    }

    /// An opcode, and the distance of `target` from its end.
    fn relative(&mut self, opcode: &[u8], target: usize) {
        self.put(opcode);
        let distance = target as i64 - (self.at as i64 + 4);
        self.put(&(distance as i32).to_le_bytes());
    }

    fn short_or_relative(&mut self, length: usize, short: u8, long: &[u8], target: usize) {
        if length == 2 {
            let distance = target as i64 - (self.at as i64 + 2);
            self.put(&[short, distance as i8 as u8]);
        } else {
            self.relative(long, target);
        }
    }

    /// An opcode with a word of the header.
    fn header(&mut self, opcode: &[u8], word: i32) {
        self.put(opcode);
        self.put(&word.to_le_bytes());
    }

    fn stubs(&mut self) {
        self.at = self.of.reserved.stubs;
        // dec qword [passes]; jz exit; mov r14, [stream]; mov rsp, [stack]; jmp head; exit: jmp [exit]; ud2
        self.header(&[0x48, 0xff, 0x8d], PASSES);
        self.put(&[0x74, 7 + 7 + 5]);
        self.header(&[0x4c, 0x8b, 0xb5], STREAM);
        self.header(&[0x48, 0x8b, 0xa5], STACK);
        let head = self.of.entry() + super::place::HEAD_BYTES;
        self.relative(&[0xe9], head);
        self.header(&[0xff, 0xa5], EXIT);
        self.put(&[0x0f, 0x0b]);
    }

    fn thunk(&mut self, slot: u32) {
        self.at = self.of.reserved.thunk(slot);
        // mov r11, [slot]; call 2f; 1: pause; lfence; jmp 1b; 2: mov [rsp], r11; ret
        self.relative(&[0x4c, 0x8b, 0x1d], slot as usize * 8);
        self.put(&[0xe8, 7, 0, 0, 0, 0xf3, 0x90, 0x0f, 0xae, 0xe8, 0xeb, 0xf9, 0x4c, 0x89, 0x1c, 0x24, 0xc3]);
    }

    fn item(&mut self, item: Item, wanted: usize, length: usize, kind: SiteKind) {
        match item {
            Item::Taken { block } => self.short_or_relative(length, 0x75, &[0x0f, 0x85], self.of.place(block)),
            Item::Untaken => self.short_or_relative(length, 0x74, &[0x0f, 0x84], self.at + length),
            Item::Jump { block } => self.short_or_relative(length, 0xeb, &[0xe9], self.of.place(block)),
            Item::Call { block } => self.relative(&[0xe8], self.of.place(block)),
            Item::KnownTarget { block } => self.relative(&[0x4c, 0x8d, 0x1d], self.of.place(block)),
            Item::Head => {
                self.header(&[0x4c, 0x3b, 0xb5], STREAM_END);
                self.relative(&[0x0f, 0x83], self.of.reserved.stubs);
            }
            Item::Site { site } => {
                if let Some(site) = self.of.plan.sites.get(site as usize) {
                    self.site(site, length, kind);
                }
            }
            item => self.put(&encode(item, wanted)),
        }
    }

    fn site(&mut self, site: &Site, width: usize, kind: SiteKind) {
        let start = self.at;
        let kind = if kind == SiteKind::Patched && site.is_patched { SiteKind::Inline } else { kind };
        match (kind, &site.inline) {
            (SiteKind::Inline, Some(body)) => {
                for (item, length) in body {
                    self.put(&encode(*item, usize::from(*length)));
                }
            }
            (SiteKind::Inline, None) | (SiteKind::Patched | SiteKind::Direct, _) => {
                self.relative(&[0xe8], self.of.place(site.body))
            }
            (SiteKind::Table, _) => self.relative(&[0xff, 0x15], site.slot as usize * 8),
            (SiteKind::Retpoline, _) => self.relative(&[0xe8], self.of.reserved.thunk(site.slot)),
        }
        let mut padding = Vec::new();
        nops::pad(&mut padding, (start + width).saturating_sub(self.at));
        self.put(&padding);
    }
}
