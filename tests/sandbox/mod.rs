//! Child processes for which the kernel refuses some system calls, as in a strict container (seccomp(2)).
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::{c_long, sock_filter};

/// A system call to refuse with EPERM. With a bit, it is refused only where its third argument has that bit.
#[derive(Clone, Copy)]
pub struct Refused(pub c_long, pub Option<u32>);

/// `mprotect` that makes memory executable.
pub const MPROTECT_EXEC: Refused = Refused(libc::SYS_mprotect, Some(libc::PROT_EXEC as u32));

/// Makes the kernel refuse these calls to the child of `command`, from its first instruction.
pub fn refuse(command: &mut Command, refused: &[Refused]) {
    refuse_with(command, refused, libc::EPERM);
}

/// Like [`refuse`], with an error other than EPERM.
pub fn refuse_with(command: &mut Command, refused: &[Refused], error: libc::c_int) {
    let load = |offset: u32| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let mut filter = Vec::new();
    for &Refused(call, bit) in refused {
        // struct seccomp_data: nr at 0, args[2] at 32.
        let with_error = instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | error as u32);
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        filter.push(load(0));
        match bit {
            None => filter.push(instruction(equal, 0, 1, call as u32)),
            Some(bit) => {
                filter.push(instruction(equal, 0, 3, call as u32));
                filter.push(load(32));
                filter.push(instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, bit));
            }
        }
        filter.push(with_error);
    }
    filter.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: plain system calls, with arguments of this process.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: `install` only makes system calls, which is allowed between fork and exec.
    unsafe { command.pre_exec(install) };
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}
