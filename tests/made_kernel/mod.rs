//! A small kernel file with the parts that `pvbench linux` reads, at the addresses of a real kernel.
// Each test uses a part of this module.
#![allow(dead_code)]

pub mod tables;

/// Four bytes packed by xz with the filters of Linux's `xz_wrap.sh`. A constant, since the crate for xz only unpacks.
pub const XZ_OF_ELF: &[u8] = &[
    0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x01, 0x69, 0x22, 0xde, 0x36, 0x02, 0x01, 0x04, 0x00, 0x21, 0x01, 0x10,
    0x00, 0x8b, 0x21, 0x6f, 0x49, 0x01, 0x00, 0x03, 0x7f, 0x45, 0x4c, 0x46, 0x00, 0x51, 0xc4, 0x3a, 0xa7, 0x00, 0x01,
    0x18, 0x04, 0x6b, 0xe9, 0xf0, 0xa5, 0x90, 0x42, 0x99, 0x0d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x01, 0x59, 0x5a,
];

const TEXT: u64 = 0xffff_ffff_8100_0000;
const RODATA: u64 = 0xffff_ffff_8200_0000;
const EX_TABLE: u64 = 0xffff_ffff_8200_1000;
const DATA: u64 = 0xffff_ffff_82a0_0000;
const INIT_TEXT: u64 = 0xffff_ffff_8300_0000;
const PARA: u64 = 0xffff_ffff_8301_0000;
const ALT: u64 = 0xffff_ffff_8302_0000;
const REPLACEMENT: u64 = 0xffff_ffff_8303_0000;
const VVAR: u64 = 0xffff_ffff_8304_0000;

/// Address of pv_ops.
pub const PV_OPS: u64 = DATA + 0x100;
/// The sites of `irq_disable`, `set_pte`, `lazy_enter`, and a hook with an empty slot.
pub const SITES: [u64; 4] = [TEXT + 0x200, TEXT + 0x210, TEXT + 0x220, TEXT + 0x230];
const SLOTS: [u8; 4] = [31, 58, 75, 77];
/// Number of alternatives: one for a site, one for other code.
pub const ALTERNATIVES: usize = 2;
/// Number of slots of Linux 6.1 with X86_IOPL_IOPERM and five levels of page tables.
const ALL_SLOTS: usize = 84;
/// Bodies, each at the next multiple of 16, with the slots that point to them.
const BODIES: [(&[u8], &[usize]); 8] = [
    (b"\x9c\x58\xc3", &[30]),
    (b"\xfa\xc3", &[31]),
    (b"\xfb\xc3", &[32]),
    (b"\x0f\x20\xd0\xc3", &[42]),
    (b"\x0f\x20\xd8\xc3", &[44]),
    (b"\x48\x89\xf8\xc3", &[62, 63, 72, 73]),
    (b"\xc3", &[75, 76]),
    (b"\x48\x89\x37\xc3", &[58]),
];

struct Section {
    name: &'static str,
    kind: u32,
    address: u64,
    data: Vec<u8>,
}

fn section(name: &'static str, address: u64, data: Vec<u8>) -> Section {
    Section { name, kind: if name == ".notes" { 7 } else { 1 }, address, data }
}

fn distance(from: u64, to: u64) -> [u8; 4] {
    (to.wrapping_sub(from) as i32).to_le_bytes()
}

fn text() -> Vec<u8> {
    let mut text = vec![0xcc; 0x400];
    let mut put = |at: usize, bytes: &[u8]| text[at..at + bytes.len()].copy_from_slice(bytes);
    for (index, (body, _)) in BODIES.iter().enumerate() {
        put(16 * index, body);
    }
    // Functions of one byte leave room for stubs.
    (8..24).for_each(|index| put(16 * index, b"\xc3"));
    put(0x180, b"\xf3\x48\xab\xc3");
    for (site, slot) in SITES.iter().zip(SLOTS) {
        let call = [&[0xff, 0x15][..], &distance(site + 6, PV_OPS + 8 * u64::from(slot)), b"\xc3"].concat();
        put((site - TEXT) as usize, &call);
    }
    put(0x2f0, b"\x90\x90\xc3");
    put(0x300, b"\xc3");
    text
}

fn sections() -> Vec<Section> {
    let mut data = vec![0; 0x100 + 8 * ALL_SLOTS];
    for (index, (_, slots)) in BODIES.iter().enumerate() {
        for slot in *slots {
            data[0x100 + 8 * slot..][..8].copy_from_slice(&(TEXT + 16 * index as u64).to_le_bytes());
        }
    }
    let mut para = Vec::new();
    for (site, slot) in SITES.iter().zip(SLOTS) {
        para.extend(site.to_le_bytes());
        para.extend([slot, 6, 0, 0, 0, 0, 0, 0]);
    }
    let mut init = Vec::new();
    for (load, address) in [(b"\x48\xc7\xc7", PARA), (b"\x48\xc7\xc6", PARA + para.len() as u64)] {
        init.extend(load);
        init.extend((address as u32).to_le_bytes());
    }
    init.resize(0x80, 0xcc);
    let mut alternatives = Vec::new();
    // ALT_NOT(X86_FEATURE_XENPV) for the first site; an unrelated feature for other code.
    for (index, (at, feature, length, by)) in
        [(SITES[0], 0x8000u16 | (8 * 32 + 16), 6, 0), (TEXT + 0x2f0, 5, 2, 1)].into_iter().enumerate()
    {
        let entry = ALT + 12 * index as u64;
        alternatives.extend(distance(entry, at));
        alternatives.extend(distance(entry + 4, REPLACEMENT + by));
        alternatives.extend(feature.to_le_bytes());
        alternatives.extend([length, 1]);
    }
    let mut exceptions = Vec::new();
    exceptions.extend(distance(EX_TABLE, TEXT + 0x180));
    exceptions.extend(distance(EX_TABLE + 4, TEXT + 0x300));
    exceptions.extend([0; 4]);
    let mut note = Vec::new();
    [4u32, 8, 18].iter().for_each(|word| note.extend(word.to_le_bytes()));
    note.extend(b"Xen\0");
    note.extend([0; 8]);
    vec![
        section(".text", TEXT, text()),
        section(".rodata", RODATA, b"\0Linux version 6.1.0-made (nobody@nowhere) #1\n\0".to_vec()),
        section("__ex_table", EX_TABLE, exceptions),
        section(".notes", RODATA + 0x2000, note),
        section(".data", DATA, data),
        section(".init.text", INIT_TEXT, init),
        section(".parainstructions", PARA, para),
        section(".altinstructions", ALT, alternatives),
        section(".altinstr_replacement", REPLACEMENT, vec![0xfa, 0x90]),
        section(".vvar", VVAR, vec![0; 4096]),
    ]
}

/// The ELF file of the kernel.
pub fn kernel() -> Vec<u8> {
    elf(sections())
}

/// Address of the first stub of device interrupts, in the kernel with entries.
pub const STUBS: u64 = TEXT + 0x400;
/// Address of the entry of page faults, in the kernel with entries.
pub const PAGE_FAULT: u64 = TEXT + 0x300;

/// The kernel with the entries of an interrupt table: gates for page faults and general protection, stubs for devices.
pub fn kernel_with_entries() -> Vec<u8> {
    let mut sections = sections();
    let text = &mut sections.iter_mut().find(|section| section.name == ".text").unwrap().data;
    for vector in 0x20..=0xffu8 {
        text.extend([0x6a, vector, 0xe9, 0, 0, 0, 0, 0xcc]);
    }
    let mut gates = Vec::new();
    for (vector, address) in [(14u32, PAGE_FAULT), (13, TEXT + 0x310), (0xec, TEXT + 0x320)] {
        gates.extend(vector.to_le_bytes());
        gates.extend(0x10u32.to_le_bytes());
        gates.extend(0x8e00u64.to_le_bytes());
        gates.extend(address.to_le_bytes());
    }
    sections.push(section(".init.data", 0xffff_ffff_8305_0000, gates));
    elf(sections)
}

/// The kernel without one section.
pub fn kernel_without(name: &str) -> Vec<u8> {
    elf(sections().into_iter().filter(|section| section.name != name).collect())
}

fn elf(sections: Vec<Section>) -> Vec<u8> {
    let mut names = vec![0];
    let mut file = vec![0; 64];
    let mut headers = vec![[0u8; 64]];
    let header = |name: usize, kind: u32, address: u64, offset: usize, size: usize| {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&(name as u32).to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[16..24].copy_from_slice(&address.to_le_bytes());
        header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        header[48..56].copy_from_slice(&4u64.to_le_bytes());
        header
    };
    for section in &sections {
        file.resize(file.len().next_multiple_of(16), 0);
        headers.push(header(names.len(), section.kind, section.address, file.len(), section.data.len()));
        names.extend(section.name.bytes().chain([0]));
        file.extend(&section.data);
    }
    let own = names.len();
    names.extend(b".shstrtab\0");
    headers.push(header(own, 3, 0, file.len(), names.len()));
    file.extend(names);
    file.resize(file.len().next_multiple_of(16), 0);
    let at = file.len() as u64;
    headers.iter().for_each(|header| file.extend(header));
    file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0");
    file[20] = 1;
    file[40..48].copy_from_slice(&at.to_le_bytes());
    let counts = [64u16, 56, 0, 64, headers.len() as u16, headers.len() as u16 - 1];
    counts.iter().enumerate().for_each(|(i, it)| file[52 + 2 * i..54 + 2 * i].copy_from_slice(&it.to_le_bytes()));
    file
}

/// A bzImage with a kernel, packed by lz4 as in Debian; without payload if `kernel` is empty.
pub fn bz_image(kernel: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 512 * 3];
    image[0x1f1] = 2;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
    if kernel.is_empty() {
        return image;
    }
    let block = lz4_flex::block::compress(kernel);
    let mut payload = vec![0x02, 0x21, 0x4c, 0x18];
    payload.extend((block.len() as u32).to_le_bytes());
    payload.extend(block);
    payload.extend((kernel.len() as u32).to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image.extend(payload);
    image
}
