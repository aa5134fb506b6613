//! Linux's patching rules: which site gets what.
//!
//! As `paravirt_patch()` and `native_patch()` have them (`arch/x86/kernel/paravirt.c`, `paravirt_patch_64.c`, 2.6.30 to
//! 6.1): a hook that does nothing becomes NOPs, the identity `mov %rdi,%rax`, an op in the native list its own
//! instructions, all else a direct call. What does not fit into the site, or spoils registers that the site keeps
//! (`clobbers` of 2009's `struct paravirt_patch_site`), is refused and stays indirect.

use std::collections::BTreeMap;

use super::function::code_before_return;
use super::nops::pad;
use super::site::{Site, SiteKind};
use super::state::State;
use crate::op::{BodyKind, Bytes, Op, catalogue, spoils};

/// What patching knows of an op on one platform.
#[derive(Clone, Debug)]
pub struct Target {
    /// The op's name, for messages.
    pub op: &'static str,
    /// Whether that is bare metal.
    pub native: bool,
    /// The body, to be called by the C convention.
    pub body: usize,
    /// The body as a callee that saves all but `rax`.
    pub saving: usize,
    /// What patching may write in place of a call on this platform.
    pub bytes: Bytes,
    /// The native instructions.
    pub code: Vec<u8>,
    /// Whether these instructions spoil registers beside `rax` and the flags.
    pub spoils: bool,
}

impl Target {
    /// That of an op.
    #[must_use]
    pub fn of<O: Op>(platform: BodyKind) -> Self {
        let native = platform == BodyKind::Native;
        let body = platform.body::<O>() as usize;
        Target {
            op: O::META.name,
            native,
            body,
            saving: platform.saving_body::<O>() as usize,
            // Xen's hooks are C functions to its patcher (`xen_patch()` but for four of them).
            bytes: if native { O::META.bytes } else { Bytes::Call },
            // SAFETY: a body is a function of this program.
            code: if native { unsafe { code_before_return(body) } } else { Vec::new() },
            spoils: spoils::<O>(),
        }
    }
}

/// Those of all built-in ops, by slot: what a kernel knows that boots on a platform.
#[must_use]
pub fn targets(platform: BodyKind) -> BTreeMap<usize, Target> {
    struct All(BodyKind, BTreeMap<usize, Target>);
    impl catalogue::OpVisitor for All {
        fn visit<O: Op>(&mut self) {
            self.1.insert(O::SLOT, Target::of::<O>(self.0));
        }
    }
    let mut all = All(platform, BTreeMap::new());
    catalogue::for_each(&mut all);
    all.1
}

/// Why a site is not to be patched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too short.
    #[error("{op}: {needed} bytes of instructions do not fit into a site of {site}")]
    TooShort {
        /// The op.
        op: &'static str,
        /// How long the instructions are.
        needed: usize,
        /// How long the site is.
        site: usize,
    },
    /// The registers.
    #[error("{op}: its instructions spoil registers that a callee-save site keeps")]
    Clobbers {
        /// The op.
        op: &'static str,
    },
    /// More than 2 GiB away.
    #[error("{op}: its body at {body:#x} is out of reach of a site at {site:#x}")]
    OutOfReach {
        /// The op.
        op: &'static str,
        /// The body.
        body: usize,
        /// The site.
        site: usize,
    },
}

/// `mov rax, rdi`
const IDENTITY: [u8; 3] = [0x48, 0x89, 0xf8];
/// `xor eax, eax`: what a static call to `__static_call_return0` becomes.
const RETURN_ZERO: [u8; 2] = [0x31, 0xc0];

/// What would be written over a site to bring it into a state: `Ok(None)` where the rules know no such state for that
/// op, `original` being what the compiler left there.
///
/// # Errors
/// Where the rules have it, but the site does not take it.
pub fn code(site: &Site, target: &Target, state: State, original: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let body = if site.kind == SiteKind::PvCalleeSave { target.saving } else { target.body };
    let mut code = match (site.kind, state) {
        // `call rel32` and `jmp rel32` as the compiler left them go to the native body.
        (_, State::Unpatched) => return Ok(Some(original.to_vec())),
        // The key says whether this is Xen: off, the native instructions follow.
        (SiteKind::JumpLabel, State::Off) if target.native => Vec::new(),
        (SiteKind::JumpLabel, State::On) => transfer(0xe9, site, target, site.target)?,
        (SiteKind::JumpLabel, _) | (_, State::Off | State::On | State::Refused) => return Ok(None),
        (SiteKind::Trampoline, State::Direct) => transfer(0xe9, site, target, body)?,
        (_, State::Direct) => transfer(0xe8, site, target, body)?,
        (SiteKind::Trampoline | SiteKind::Call, State::Inline | State::Nop) => return Ok(None),
        (_, State::Nop) if target.bytes == Bytes::Nop => Vec::new(),
        // A static call knows one value that it can return by itself (`__static_call_transform`).
        (SiteKind::StaticCall, State::Inline) if target.code == RETURN_ZERO => RETURN_ZERO.to_vec(),
        (SiteKind::StaticCall, _) => return Ok(None),
        (_, State::Inline) if target.bytes == Bytes::Identity => IDENTITY.to_vec(),
        (kind, State::Inline) if target.bytes == Bytes::Instruction => {
            if kind == SiteKind::PvCalleeSave && target.spoils {
                return Err(Refusal::Clobbers { op: target.op });
            }
            target.code.clone()
        }
        (_, State::Inline | State::Nop) => return Ok(None),
    };
    if code.len() > site.length {
        return Err(Refusal::TooShort { op: target.op, needed: code.len(), site: site.length });
    }
    pad(&mut code, site.length);
    Ok(Some(code))
}

/// The state that a kernel which boots on this platform gives a site, and what it writes. Where the site refuses, it
/// stays `unpatched`.
#[must_use]
pub fn booted(site: &Site, target: &Target, original: &[u8]) -> (State, Vec<u8>) {
    for state in [State::Off, State::On, State::Nop, State::Inline, State::Direct] {
        match code(site, target, state, original) {
            Ok(Some(written)) => return (state, written),
            Ok(None) => {}
            Err(_) => break,
        }
    }
    (State::Refused, original.to_vec())
}

/// A `call` (e8) or `jmp` (e9) with a 32-bit distance.
fn transfer(opcode: u8, site: &Site, target: &Target, to: usize) -> Result<Vec<u8>, Refusal> {
    let distance = i32::try_from((to as i64).wrapping_sub(site.address as i64 + 5))
        .map_err(|_| Refusal::OutOfReach { op: target.op, body: to, site: site.address })?;
    let mut code = vec![opcode];
    code.extend_from_slice(&distance.to_le_bytes());
    Ok(code)
}
