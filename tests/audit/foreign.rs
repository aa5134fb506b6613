//! Input that is no program for this CPU: the error says what it is, and what to do next.

use std::path::Path;
use std::process::Command;

use pvbench::audit::{AuditError, Options, audit_bytes, audit_file};

use super::builds;

fn refuse(bytes: &[u8]) -> String {
    let done = audit_bytes(Path::new("input"), bytes.to_vec(), &Options::default());
    let message = done.expect_err("foreign input was accepted").to_string();
    assert!(message.starts_with("input"), "{message}");
    assert!(message.contains("; "), "no next step: {message}");
    message
}

/// The header of an ELF file.
fn elf(class: u8, machine: u16) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(64, 0);
    (bytes[4], bytes[16]) = (class, 2);
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes
}

#[test]
fn foreign_files_are_named() {
    let archive_member = |content: &[u8]| {
        let header = format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "text.o/", 0, 0, 0, 644, content.len());
        [b"!<arch>\n", header.as_bytes(), content].concat()
    };
    let packed = {
        let mut bytes = elf(2, 62);
        bytes.extend_from_slice(b"....UPX!....");
        bytes
    };
    for (bytes, said) in [
        (elf(2, 183), "arm64"),
        (elf(2, 243), "machine 243"),
        (elf(1, 3), "32-bit"),
        (elf(1, 62), "32-bit"),
        (elf(2, 62)[..17].to_vec(), "cut short"),
        (packed, "UPX"),
        (b"MZ\x90\0".to_vec(), "Windows"),
        (b"\xcf\xfa\xed\xfe\x07".to_vec(), "macOS"),
        (b"#!/bin/sh\nexec x\n".to_vec(), "script"),
        (b"BC\xc0\xde".to_vec(), "bitcode"),
        (b"!<thin>\n".to_vec(), "thin archive"),
        (b"!<arch>\n".to_vec(), "none of its 0 members"),
        (archive_member(b"text\n\n"), "none of its 1 members"),
        (archive_member(&elf(2, 183)), "none of its 1 members"),
        (b"hello".to_vec(), "68 65 6c 6c 6f"),
        (Vec::new(), "empty"),
        (b"\x1f\x8b\x08\0broken".to_vec(), ""),
        (elf(2, 62), ""),
    ] {
        let message = refuse(&bytes);
        assert!(message.contains(said), "{said}: {message}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing")] {
        let error = audit_file(&path, &Options::default()).expect_err("no file");
        assert!(matches!(error, AuditError::Read { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn debug_information_alone_has_no_code() {
    if !builds::has("gcc") || !builds::has("objcopy") {
        eprintln!("gcc or objcopy is not installed: nothing was split");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = &builds::small(folder.path())[1];
    let split = folder.path().join("split.debug");
    let done = Command::new("objcopy").arg("--only-keep-debug").arg(program).arg(&split).status();
    assert!(done.unwrap().success());
    let error = audit_file(&split, &Options::default()).expect_err("it has no code");
    assert!(matches!(error, AuditError::NoCode { .. }), "{error}");
}
