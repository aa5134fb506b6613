//! `dlsym`: a plug-in. The body is in a shared object that is opened at run time. dlsym(3) finds its address by name
//! once, and a pointer per op keeps it.
//!
//! Machine code: exactly `call qword ptr [rip + dlsym + 8*slot]` (`ff 15 disp32`), as for `table`. The body is a copy
//! of the native one, in a mapping of its own far from the program's text. A Xen body is a compiled function that
//! refers to the rest of the program and cannot be copied, so this mechanism does not switch.
//!
//! The object is made at run time ([`shared_object`]) and written to a memfd, so that a build needs no C compiler and
//! no second file. dlopen(3) treats it like a file on disk.

use std::any::TypeId;
use std::arch::asm;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, NulError};
use std::fs::File;
use std::io::Write;
use std::os::fd::IntoRawFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::io::Errno;

use super::shared_object;
use super::slots::Slots;
use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, BodyKind, Op, Reg, Ret};
use crate::patch::body::code_before_return;
use crate::patch::writer::executable_memfd;

/// The addresses that dlsym(3) returned, per op.
pub static DLSYM: Slots = Slots::new();

/// Addresses found so far, by op. An object stays open until the process ends.
static FOUND: Mutex<BTreeMap<TypeId, usize>> = Mutex::new(BTreeMap::new());

/// `ret`
const RET: u8 = 0xc3;

/// The reason why a body in a shared object is unavailable.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("a statically linked program has no dlopen(3); build it for a target that links dynamically")]
    Static,
    #[error("the native body of {op} does not decode as code that ends with a return; write it with native!")]
    NoCode { op: &'static str },
    #[error("the shared object cannot be made: {0}")]
    Image(#[from] object::write::Error),
    #[error("memfd_create failed ({0}); see /proc/sys/vm/memfd_noexec and the limits of the container")]
    Memfd(#[from] Errno),
    #[error("the shared object cannot be written to a memfd: {0}")]
    Write(#[from] std::io::Error),
    #[error("the name of the op contains a NUL: {0}")]
    Name(#[from] NulError),
    #[error("dlopen of {path} failed: {said}")]
    Open { path: String, said: String },
    #[error("dlsym of {symbol} failed: {said}")]
    Symbol { symbol: String, said: String },
}

/// Finds the address of the native body of `O` in a shared object, which the first call opens.
fn find<O: Op>() -> Result<usize, LoadError> {
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(address) = found.get(&TypeId::of::<O>()) {
        return Ok(*address);
    }
    let native = O::native as *const () as usize;
    // SAFETY: a function of this program.
    let mut code = unsafe { code_before_return(native) };
    // SAFETY: a function has at least one byte.
    if code.is_empty() && unsafe { *(native as *const u8) } != RET {
        return Err(LoadError::NoCode { op: O::META.name });
    }
    code.push(RET);
    // Functions of one object would follow each other. At the start of a page each, all would compete for one set of
    // the instruction cache, so their offsets differ by a line.
    let address = load(O::META.name, &code, O::SLOT * 64 % 4096)?;
    found.insert(TypeId::of::<O>(), address);
    Ok(address)
}

/// Makes a shared object of `code`, opens it and finds `symbol` in it. The code starts at `offset` bytes in its page.
fn load(symbol: &str, code: &[u8], offset: usize) -> Result<usize, LoadError> {
    if cfg!(target_feature = "crt-static") {
        return Err(LoadError::Static);
    }
    let name = CString::new(symbol)?;
    let image = shared_object::image(&format!("pvbench-{symbol}.so"), symbol, code, offset)?;
    let mut file = File::from(executable_memfd()?);
    file.write_all(&image)?;
    // The descriptor stays open, so that no other file gets its number. glibc takes two files with one path for the
    // same (`_dl_map_object`, elf/dl-load.c).
    let path = format!("/proc/self/fd/{}", file.into_raw_fd());
    let c_path = CString::new(path.as_str())?;
    // SAFETY: a path that ends with NUL; the object has no initialisers.
    let handle = unsafe { libc::dlopen(c_path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if handle.is_null() {
        return Err(LoadError::Open { path, said: last_error() });
    }
    // SAFETY: an open handle, and a name that ends with NUL.
    let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if address.is_null() {
        return Err(LoadError::Symbol { symbol: symbol.to_owned(), said: last_error() });
    }
    Ok(address as usize)
}

/// Returns the text of dlerror(3) for this thread's last failure.
fn last_error() -> String {
    // SAFETY: it takes no argument, and its result is valid until the next call in this thread.
    let said = unsafe { libc::dlerror() };
    if said.is_null() {
        return "dlerror gives no reason".to_owned();
    }
    // SAFETY: a string that ends with NUL, as above.
    unsafe { CStr::from_ptr(said) }.to_string_lossy().into_owned()
}

/// An indirect call of a body in a shared object, through a pointer from dlsym(3).
pub struct Dlsym;

impl Dispatch for Dlsym {
    const META: Mechanism = Mechanism {
        name: "dlsym",
        needs_assembly: Some("its machine code is copied into a shared object"),
        way: CallSequence::IndirectMemory,
        switches: false,
        known_from: "SunOS (dlopen, dlsym), POSIX.1-2001; every plug-in",
        summary: "an indirect call of a function in a shared object, whose address dlsym(3) finds by name at run time",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the slot holds a copy of the native body of `O`, which follows the C ABI; its clobbers are declared,
        // and the block does not claim `nostack`.
        unsafe {
            asm!("call qword ptr [rip + {found} + {offset}]", found = sym DLSYM, offset = const O::SLOT * 8,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }

    /// Opens a trial object and finds its function, once per process.
    fn unavailable() -> Option<String> {
        static REASON: OnceLock<Option<String>> = OnceLock::new();
        REASON.get_or_init(|| load("trial", &[RET], 0).err().map(|error| error.to_string())).clone()
    }

    /// Finds the native body. If that fails, which [`Dispatch::unavailable`] reports before, a call aborts.
    fn bind<O: Op>(_platform: BodyKind) {
        if let Ok(address) = find::<O>() {
            DLSYM.set(O::SLOT, address);
        }
    }
}
