//! System calls and ports.

use core::arch::asm;

/// The mark of a kernel with counters, before its counters in the shared page (`src/linux/count.rs`).
const MAGIC: u64 = u64::from_le_bytes(*b"pvbench1");
/// Offset of the mark in the page, in bytes.
const MAGIC_OFFSET: usize = 0x800;
const PAGE: usize = 4096;

/// System call numbers, x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`).
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Call {
    Read = 0,
    Write = 1,
    Close = 3,
    Mmap = 9,
    Mprotect = 10,
    Munmap = 11,
    RtSigaction = 13,
    Pipe = 22,
    SchedYield = 24,
    Mremap = 25,
    Nanosleep = 35,
    Getpid = 39,
    Fork = 57,
    Execve = 59,
    Exit = 60,
    Wait4 = 61,
    Kill = 62,
    Getppid = 110,
    Reboot = 169,
    Iopl = 172,
    Futex = 202,
    Openat = 257,
}

/// # Safety
/// As for the system call.
#[inline(always)]
pub unsafe fn call(call: Call, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the block must declare what it changes: rcx and r11; the caller vouches for what the call documents.
    unsafe {
        asm!("syscall", inlateout("rax") call as usize => result, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// A call of up to three arguments without a contract: it touches no memory of ours, or only the named buffer.
#[inline(always)]
pub fn simple(which: Call, a: usize, b: usize, c: usize) -> isize {
    // SAFETY: all callers in this program pass numbers, or addresses of buffers that outlive the call.
    unsafe { call(which, [a, b, c, 0, 0, 0]) }
}

pub fn exit(code: usize) -> ! {
    loop {
        simple(Call::Exit, code, 0, 0);
    }
}

/// Number of instructions executed since boot.
#[inline(always)]
pub fn instructions() -> u64 {
    // SAFETY: this reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// First letter and number of `name=number`. For `spin`, the letter is p, since `scale` has the same first letter.
///
/// # Safety
/// `text` is a string that ends with 0.
pub unsafe fn parse(mut text: *const u8) -> Option<(u8, u64)> {
    // SAFETY: no read is beyond the 0.
    unsafe {
        let name = if *text == b's' && *text.add(1) == b'p' { b'p' } else { *text };
        while *text != b'=' {
            if *text == 0 {
                return None;
            }
            text = text.add(1);
        }
        let mut value = 0u64;
        loop {
            text = text.add(1);
            match *text {
                0 => return Some((name, value)),
                digit @ b'0'..=b'9' => value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')),
                _ => return None,
            }
        }
    }
}

/// The kernel's counters in the page of its clock, which every process has below the vDSO; null if there are none.
///
/// # Safety
/// `environment` is followed by a 0 and the auxiliary vector.
pub unsafe fn shared_page(mut environment: *const usize) -> *const u64 {
    const AT_SYSINFO_EHDR: usize = 33;
    // SAFETY: the vector ends with a 0.
    let vdso = unsafe {
        while *environment != 0 {
            environment = environment.add(1);
        }
        let mut pair = environment.add(1);
        while *pair != 0 && *pair != AT_SYSINFO_EHDR {
            pair = pair.add(2);
        }
        *pair.add(1)
    };
    let mut pipe = [0i32; 2];
    simple(Call::Pipe, pipe.as_mut_ptr() as usize, 0, 0);
    let mut found = core::ptr::null();
    for page in 1..=16 {
        let at = vdso.wrapping_sub(page * PAGE) + MAGIC_OFFSET;
        // The kernel reads the word for us: an unmapped page gives an error instead of a signal.
        if simple(Call::Write, pipe[1] as usize, at, 8) == 8 {
            let mut word = 0u64;
            simple(Call::Read, pipe[0] as usize, (&raw mut word) as usize, 8);
            // SAFETY: a word of this function; the read is volatile, since the kernel wrote it.
            if unsafe { (&raw const word).read_volatile() } == MAGIC {
                found = (at + 8) as *const u64;
                break;
            }
        }
    }
    simple(Call::Close, pipe[0] as usize, 0, 0);
    simple(Call::Close, pipe[1] as usize, 0, 0);
    found
}

/// Allows this process to use ports. Returns whether the kernel agreed.
pub fn ports() -> bool {
    simple(Call::Iopl, 3, 0, 0) == 0
}

/// Writes a byte to a port, after `ports`.
pub fn out(port: u16, byte: u8) {
    // SAFETY: `ports` was called; the devices at these ports print and power off.
    unsafe { asm!("out dx, al", in("dx") port, in("al") byte, options(nomem, nostack)) }
}

/// Ends the emulator with status 33, which has no other cause; if ports are denied, by a restart.
pub fn power_off() -> ! {
    if ports() {
        out(0xf4, 0x10);
    }
    // SAFETY: LINUX_REBOOT_MAGIC1 and 2, LINUX_REBOOT_CMD_RESTART.
    unsafe { call(Call::Reboot, [0xfee1_dead, 672_274_793, 0x0123_4567, 0, 0, 0]) };
    exit(0)
}

/// # Safety
/// As for the function of C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the copy needs two ranges of `count` bytes: the caller vouches for them.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack))
    }
    to
}

/// # Safety
/// As for the function of C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the stores need a range of `count` bytes: the caller vouches for it.
    unsafe { asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8, options(nostack)) }
    to
}
