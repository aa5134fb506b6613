//! Linux's patching rules: the code that each site gets.
//!
//! They follow `paravirt_patch()` and `native_patch()` (`arch/x86/kernel/paravirt.c`, `paravirt_patch_64.c`, 2.6.30 to
//! 6.1):
//!
//! * A hook that does nothing becomes NOPs, and the identity becomes `mov %rdi,%rax`.
//! * An op in the native list becomes its own instructions.
//! * Every other op becomes a direct call.
//! * Code that does not fit into the site, or that spoils registers the site keeps (`clobbers` of 2009's `struct
//!   paravirt_patch_site`), is refused: the site stays indirect.

use std::collections::BTreeMap;

use super::body::code_before_return;
use super::nops::pad;
use super::site::{Site, SiteKind};
use super::state::State;
use crate::op::{BodyKind, Bytes, Op, catalogue, spoils};

/// What a patch needs to know about an op with one body.
#[derive(Clone, Debug)]
pub struct Target {
    /// The op's name, for messages.
    pub op: &'static str,
    /// Whether it is the native body.
    pub native: bool,
    /// Address of the body with the C calling convention.
    pub body: usize,
    /// Address of the body that saves all registers except `rax`.
    pub saving: usize,
    /// The kind of code that patching may write over a call of this body.
    pub bytes: Bytes,
    /// The native instructions.
    pub code: Vec<u8>,
    /// Whether these instructions change registers other than `rax` and the flags.
    pub spoils: bool,
}

impl Target {
    /// The target of an op.
    #[must_use]
    pub fn of<O: Op>(body: BodyKind) -> Self {
        let native = body == BodyKind::Native;
        let callee = body.callee::<O>() as usize;
        Target {
            op: O::META.name,
            native,
            body: callee,
            saving: body.saving_callee::<O>() as usize,
            // Xen's patcher treats its hooks as C functions (`xen_patch()`, with four exceptions).
            bytes: if native { O::META.bytes } else { Bytes::Call },
            // SAFETY: `code_before_return` needs a function of this program, and the body of an op is one.
            code: if native { unsafe { code_before_return(callee) } } else { Vec::new() },
            spoils: spoils::<O>(),
        }
    }
}

/// The targets of all built-in ops, by slot: what a kernel knows that boots with these bodies.
#[must_use]
pub fn targets(body: BodyKind) -> BTreeMap<usize, Target> {
    struct All(BodyKind, BTreeMap<usize, Target>);
    impl catalogue::OpVisitor for All {
        fn visit<O: Op>(&mut self) {
            self.1.insert(O::SLOT, Target::of::<O>(self.0));
        }
    }
    let mut all = All(body, BTreeMap::new());
    catalogue::for_each(&mut all);
    all.1
}

/// Why a site refuses a patch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The site is too short.
    #[error("{op}: {needed} bytes of instructions do not fit into a site of {site} bytes")]
    TooShort {
        /// The op.
        op: &'static str,
        /// Length of the instructions in bytes.
        needed: usize,
        /// Length of the site in bytes.
        site: usize,
    },
    /// The instructions spoil registers that the site keeps.
    #[error("{op}: its instructions change registers that a callee-save site keeps")]
    Clobbers {
        /// The op.
        op: &'static str,
    },
    /// The body is more than 2 GiB away.
    #[error("{op}: its body at {body:#x} is out of reach of a site at {site:#x}")]
    OutOfReach {
        /// The op.
        op: &'static str,
        /// Address of the body.
        body: usize,
        /// Address of the site.
        site: usize,
    },
}

/// `mov rax, rdi`
const IDENTITY: [u8; 3] = [0x48, 0x89, 0xf8];
/// `xor eax, eax`: what a static call to `__static_call_return0` becomes.
const RETURN_ZERO: [u8; 2] = [0x31, 0xc0];

/// The code that brings a site into a state. `Ok(None)` if the rules have no such state for the op. `original` is the
/// code that the compiler left there.
///
/// # Errors
/// If the rules have the state, but the site refuses it.
pub fn code(site: &Site, target: &Target, state: State, original: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let body = if site.kind == SiteKind::PvCalleeSave { target.saving } else { target.body };
    let mut code = match (site.kind, state) {
        // `call rel32` and `jmp rel32` from the compiler go to the native body.
        (_, State::Unpatched) => return Ok(Some(original.to_vec())),
        // The key is on under Xen. With the key off, execution falls through to the native instructions.
        (SiteKind::JumpLabel, State::Off) if target.native => Vec::new(),
        (SiteKind::JumpLabel, State::On) => encode_branch(0xe9, site, target, site.target)?,
        (SiteKind::JumpLabel, _) | (_, State::Off | State::On | State::Refused) => return Ok(None),
        (SiteKind::Trampoline, State::Direct) => encode_branch(0xe9, site, target, body)?,
        (_, State::Direct) => encode_branch(0xe8, site, target, body)?,
        (SiteKind::Trampoline | SiteKind::Call, State::Inline | State::Nop) => return Ok(None),
        (_, State::Nop) if target.bytes == Bytes::Nop => Vec::new(),
        // A static call can return one constant without a callee (`__static_call_transform`).
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

/// The state that a kernel gives a site when it boots with this body, and the code it writes. A site that refuses
/// stays as the compiler left it.
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

/// Encodes a `call` (e8) or `jmp` (e9) with a 32-bit distance.
fn encode_branch(opcode: u8, site: &Site, target: &Target, to: usize) -> Result<Vec<u8>, Refusal> {
    let distance = i32::try_from((to as i64).wrapping_sub(site.address as i64 + 5))
        .map_err(|_| Refusal::OutOfReach { op: target.op, body: to, site: site.address })?;
    let mut code = vec![opcode];
    code.extend_from_slice(&distance.to_le_bytes());
    Ok(code)
}
