//! Kernel files: formats that are recognised, unpacked or refused. The tests make all fixtures.

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use pvbench::linux::count;
use pvbench::linux::elf::Elf;
use pvbench::linux::hooks::{Hooks, HooksError, Rule};
use pvbench::linux::image::{Image, ImageError, ImageKind};
use pvbench::linux::payload::{PayloadError, unpack};
use pvbench::linux::unpatch::{Unpatching, unpatch};

mod made_kernel;

use made_kernel::{ALTERNATIVES, PV_OPS, SITES, bz_image, kernel, kernel_without};

fn pvbench(arguments: &[&str], file: &[u8]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel");
    std::fs::write(&path, file).unwrap();
    let out = folder.path().join("out");
    let mut command = Command::cargo_bin("pvbench").unwrap();
    command.arg("linux").arg(arguments[0]).arg(&path).args(&arguments[1..]);
    if arguments[0] == "unpatch" {
        command.arg("--out").arg(out);
    }
    command.output().unwrap()
}

fn refused(arguments: &[&str], file: &[u8], words: &[&str]) {
    let output = pvbench(arguments, file);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: no '{word}' in: {said}");
    }
}

#[test]
fn a_file_that_is_not_a_kernel_is_refused_with_its_first_bytes() {
    refused(&["sites"], b"#!/bin/sh\n", &["neither a bzImage nor an ELF file", "23 21 2f 62"]);
    refused(&["sites"], b"", &["it is empty"]);
    let missing = Image::read(Path::new("/nowhere/vmlinuz")).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/vmlinuz"));
}

#[test]
fn a_kernel_for_arm64_is_refused_by_name() {
    let mut image = vec![0; 4096];
    image[0x38..0x3c].copy_from_slice(b"ARM\x64");
    refused(&["sites"], &image, &["arm64"]);
    let mut elf = kernel();
    elf[18..20].copy_from_slice(&183u16.to_le_bytes());
    refused(&["sites"], &elf, &["arm64"]);
    refused(&["sites"], &bz_image(&elf), &["arm64"]);
}

#[test]
fn an_old_or_truncated_header_is_refused_with_its_fault() {
    let mut old = bz_image(&kernel());
    old[0x206..0x208].copy_from_slice(&0x0207u16.to_le_bytes());
    refused(&["sites"], &old, &["boot protocol 2.07", "2.08"]);
    let whole = bz_image(&kernel());
    refused(&["sites"], &whole[..0x240], &["cut short", "setup header"]);
    refused(&["sites"], &whole[..whole.len() - 1], &["cut short", "packed kernel"]);
}

#[test]
fn every_supported_compression_is_unpacked() {
    use std::io::Write;
    let kernel = kernel();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&kernel).unwrap();
    assert_eq!(unpack(&gzip.finish().unwrap()).unwrap(), kernel);
    let size = (kernel.len() as u32).to_le_bytes();
    let mut legacy = vec![0x02, 0x21, 0x4c, 0x18];
    let block = lz4_flex::block::compress(&kernel);
    legacy.extend((block.len() as u32).to_le_bytes());
    legacy.extend(block);
    legacy.extend(size);
    assert_eq!(unpack(&legacy).unwrap(), kernel);
    let mut frame = lz4_flex::frame::FrameEncoder::new(Vec::new());
    frame.write_all(&kernel).unwrap();
    assert_eq!(unpack(&[&frame.finish().unwrap()[..], &size].concat()).unwrap(), kernel);
    let zstd = ruzstd::encoding::compress_to_vec(&kernel[..], ruzstd::encoding::CompressionLevel::Fastest);
    assert_eq!(unpack(&[&zstd[..], &size].concat()).unwrap(), kernel);
    assert_eq!(unpack(&[made_kernel::XZ_OF_ELF, &[4, 0, 0, 0]].concat()).unwrap(), b"\x7fELF");
}

#[test]
fn an_unsupported_or_damaged_payload_is_refused_with_its_fault() {
    let refuse = |payload: &[u8]| {
        let mut image = bz_image(&[]);
        image.extend(payload);
        let length = (payload.len() as u32).to_le_bytes();
        image[0x24c..0x250].copy_from_slice(&length);
        Image::of(Path::new("k"), image).unwrap().vmlinux().unwrap_err()
    };
    assert!(refuse(b"BZh91AY&SY").to_string().contains("bzip2"));
    assert!(refuse(b"garbage!").to_string().contains("67 61 72 62"));
    assert!(matches!(
        refuse(b"\x1f\x8b\x08\0\0\0\0\0\0\0"),
        ImageError::Payload { source: PayloadError::Damaged { .. }, .. }
    ));
    assert!(refuse(b"\x02\x21\x4c\x18\xff\xff\0\0abcdef").to_string().contains("lz4 legacy"));
    assert!(matches!(refuse(b"\x28\xb5\x2f\xfd"), ImageError::Payload { .. }));
    assert!(matches!(refuse(b"\xfd7zXZ\0\0\0"), ImageError::Payload { .. }));
    let text = lz4_flex::block::compress(b"no kernel at all");
    let mut packed = vec![0x02, 0x21, 0x4c, 0x18];
    packed.extend((text.len() as u32).to_le_bytes());
    packed.extend(text);
    assert!(refuse(&packed).to_string().contains("not an ELF file"));
}

#[test]
fn a_kernel_without_pv_ops_or_pvh_is_refused_with_the_missing_part() {
    refused(&["sites"], &kernel_without(".parainstructions"), &["no call sites of pv_ops", "CONFIG_PARAVIRT"]);
    refused(&["unpatch"], &kernel_without(".parainstructions"), &["no call sites of pv_ops"]);
    refused(&["sites"], &kernel_without(".altinstructions"), &[".altinstructions"]);
    refused(&["unpatch"], &kernel_without(".init.text"), &[".init.text"]);
    let elf = Elf::of(Path::new("k"), kernel_without(".notes")).unwrap();
    assert!(elf.can_start().unwrap_err().to_string().contains("PVH"));
    assert!(Elf::of(Path::new("k"), kernel()).unwrap().can_start().is_ok());
}

fn made() -> (Elf<'static>, Hooks) {
    let image = Image::of(Path::new("k"), bz_image(&kernel())).unwrap();
    assert_eq!(image.kind, ImageKind::BzImage);
    let elf = Elf::of(&image.path, image.vmlinux().unwrap()).unwrap();
    let hooks = Hooks::of(&elf).unwrap();
    (elf, hooks)
}

#[test]
fn sites_have_a_slot_and_a_rule() {
    let (elf, hooks) = made();
    assert_eq!(elf.release(), Some((6, 1)));
    assert_eq!(hooks.base, PV_OPS);
    let rules: Vec<&Rule> = hooks.sites.iter().map(|site| &site.rule).collect();
    assert_eq!(rules, [&Rule::Instructions(vec![0xfa]), &Rule::Call, &Rule::Nop, &Rule::Empty]);
    assert_eq!(hooks.sites.iter().map(|site| site.address).collect::<Vec<_>>(), SITES);
    assert_eq!(hooks.alternatives.len(), ALTERNATIVES);
}

#[test]
fn nopatch_changes_one_address_and_noalt_one_bit_per_alternative() {
    let (elf, hooks) = made();
    let differ = |variant| {
        let mut edited = elf.clone();
        let edits = unpatch(&mut edited, &hooks, variant).unwrap();
        let bits = elf.bytes.iter().zip(edited.bytes.iter()).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
        let bytes = elf.bytes.iter().zip(edited.bytes.iter()).filter(|(a, b)| a != b).count();
        (edits, bytes, bits)
    };
    assert_eq!(differ(Unpatching::Stock).1, 0);
    let (edits, nopatch, _) = differ(Unpatching::Nopatch);
    assert!((1..=4).contains(&nopatch));
    assert_eq!((edits.sites, edits.alternatives), (4, 0));
    let (edits, noalt, _) = differ(Unpatching::Noalt);
    assert_eq!(edits.alternatives, 1);
    assert_eq!(noalt, nopatch + 1);
}

#[test]
fn an_unrecognised_kernel_is_not_edited() {
    let (mut elf, hooks) = made();
    // A second instruction loads the same address.
    let text = elf.section(".init.text").unwrap().address;
    let load = elf.at(text, 7).unwrap().to_vec();
    assert!(elf.write(text + 32, &load));
    let error = unpatch(&mut elf, &hooks, Unpatching::Nopatch).unwrap_err();
    assert!(error.to_string().contains("2 instructions"), "{error}");
    let (mut elf, _) = made();
    // A site is not a call of a slot.
    assert!(elf.write(SITES[0], &[0x90; 6]));
    assert!(matches!(Hooks::of(&elf), Err(HooksError::Unknown { .. })));
}

#[test]
fn a_kernel_with_counters_reaches_every_body_through_a_counter() {
    let (mut elf, hooks) = made();
    let before = elf.quad(PV_OPS + 8 * hooks.sites[0].slot as u64).unwrap();
    let counters = count::count(&mut elf, Some(&hooks)).unwrap();
    assert_eq!(counters.slots, hooks.slots());
    let stub = elf.quad(PV_OPS + 8 * hooks.sites[0].slot as u64).unwrap();
    assert_ne!(stub, before);
    let code = elf.at(stub, 12).unwrap();
    assert_eq!((&code[..3], code[7]), (&[0x48, 0xff, 0x05][..], 0xe9));
    let jump = i64::from(i32::from_le_bytes(code[8..12].try_into().unwrap()));
    assert_eq!((stub + 12).wrapping_add_signed(jump), before);
    // The `rep` has a new address, and so has its entry in the table of exceptions.
    assert_eq!((counters.reps, counters.reps_left), (1, 0));
    let table = elf.section("__ex_table").unwrap();
    let first = i32::from_le_bytes(elf.data(table)[..4].try_into().unwrap());
    let moved = table.address.wrapping_add_signed(i64::from(first));
    assert_eq!(elf.at(moved, 3).unwrap(), &[0xf3, 0x48, 0xab]);
}
