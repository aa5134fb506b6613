//! Files and memory, by the C library of the emulator.

use core::ffi::{CStr, c_char, c_int, c_void};

mod libc {
    use super::{c_char, c_int, c_void};

    unsafe extern "C" {
        pub fn getenv(name: *const c_char) -> *const c_char;
        pub fn fopen(path: *const c_char, mode: *const c_char) -> *mut c_void;
        pub fn fread(to: *mut c_void, size: usize, count: usize, file: *mut c_void) -> usize;
        pub fn fwrite(from: *const c_void, size: usize, count: usize, file: *mut c_void) -> usize;
        pub fn fflush(file: *mut c_void) -> c_int;
        pub fn calloc(count: usize, size: usize) -> *mut c_void;
        pub fn abort() -> !;
    }
}

pub fn abort() -> ! {
    // SAFETY: the call has no obligations.
    unsafe { libc::abort() }
}

/// Zeroed memory for `count` values that are valid as zeroes; null if there is none.
pub fn zeroed<T: Copy>(count: usize) -> *mut T {
    // SAFETY: the call has no obligations; its memory is aligned for all types of this program.
    unsafe { libc::calloc(count, size_of::<T>()).cast() }
}

/// A file of 64-bit words that stays open until the emulator ends.
pub struct File(*mut c_void);

impl File {
    pub const NONE: File = File(core::ptr::null_mut());

    /// Opens the file that a variable of the environment names.
    pub fn open(variable: &CStr, mode: &CStr) -> Option<File> {
        // SAFETY: both calls need strings that end with 0; the environment's do.
        let file = unsafe {
            let path = libc::getenv(variable.as_ptr());
            if path.is_null() {
                return None;
            }
            libc::fopen(path, mode.as_ptr())
        };
        (!file.is_null()).then_some(File(file))
    }

    pub fn read_word(&mut self) -> Option<u64> {
        let mut word = 0u64;
        // SAFETY: the call needs room for one word and an open file.
        let read = unsafe { libc::fread((&raw mut word).cast(), 8, 1, self.0) };
        (read == 1).then_some(word)
    }

    /// Writes words. A disk that is full ends the emulator: a trace with a hole is worth nothing.
    pub fn write(&mut self, words: &[u64]) {
        // SAFETY: the call needs as many words and an open file, which `open` gave.
        let written = unsafe { libc::fwrite(words.as_ptr().cast(), 8, words.len(), self.0) };
        if written != words.len() {
            abort();
        }
    }

    pub fn flush(&mut self) {
        // SAFETY: the call needs an open file, which `open` gave.
        if unsafe { libc::fflush(self.0) } != 0 {
            abort();
        }
    }
}
