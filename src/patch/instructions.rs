//! What an op gives as its instruction bytes: whether they can be written over a call.

use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind};

/// Why bytes cannot be patched in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There are none.
    #[error(
        "patching is to write instructions, and there are none: its body is a Rust function; give INSTRUCTIONS, or \
         Bytes::Call"
    )]
    Missing,
    /// They do not fit.
    #[error("its {needed} bytes of instructions do not fit into a site of {site}; raise META.site")]
    TooLong {
        /// How many there are.
        needed: usize,
        /// How long the site is.
        site: usize,
    },
    /// They are none.
    #[error("its instruction bytes do not decode at byte {at}: {bytes}")]
    Undecodable {
        /// From 0.
        at: usize,
        /// All of them.
        bytes: String,
    },
    /// They mean something else elsewhere.
    #[error("its instruction bytes are not position-independent: at byte {at}, what {what} refers to would move along")]
    Positioned {
        /// From 0.
        at: usize,
        /// The instruction.
        what: String,
    },
    /// They end somewhere else than behind their last byte.
    #[error("its instruction bytes leave the site at byte {at}, by {what}; they must run through to their end")]
    Leaves {
        /// From 0.
        at: usize,
        /// The instruction.
        what: String,
    },
}

/// Looks at instruction bytes that are to be written over a site of `site` bytes.
///
/// # Errors
/// See [`Unfit`].
pub fn check(bytes: &[u8], site: usize) -> Result<(), Unfit> {
    if bytes.len() > site {
        return Err(Unfit::TooLong { needed: bytes.len(), site });
    }
    // Any address, as long as all that is near it can be told from a small number.
    const AT: u64 = 1 << 40;
    let inside = AT..=AT + bytes.len() as u64;
    let mut decoder = Decoder::with_ip(64, bytes, AT, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let at = (instruction.ip() - AT) as usize;
        if instruction.is_invalid() {
            let bytes = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
            return Err(Unfit::Undecodable { at, bytes });
        }
        let near = instruction.op0_kind() == OpKind::NearBranch64;
        let moves = instruction.is_ip_rel_memory_operand() && !inside.contains(&instruction.ip_rel_memory_address())
            || near && !inside.contains(&instruction.near_branch_target());
        let what = format!("{:?}", instruction.mnemonic()).to_lowercase();
        if moves {
            return Err(Unfit::Positioned { at, what });
        }
        let stays = match instruction.flow_control() {
            FlowControl::Next | FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => true,
            FlowControl::UnconditionalBranch => near,
            // What goes on behind it: `iretq` to its end, `syscall`, `int3`, an indirect call.
            FlowControl::Call | FlowControl::IndirectCall | FlowControl::Interrupt | FlowControl::Exception => true,
            FlowControl::Return => instruction.mnemonic() == iced_x86::Mnemonic::Iretq,
            FlowControl::IndirectBranch => false,
        };
        if !stays {
            return Err(Unfit::Leaves { at, what });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_fits_and_a_longer_one_does_not() {
        // mov qword ptr [rdi], 0
        let bytes = [0x48, 0xc7, 0x07, 0, 0, 0, 0];
        assert_eq!(check(&bytes, 7), Ok(()));
        assert_eq!(check(&bytes, 6), Err(Unfit::TooLong { needed: 7, site: 6 }));
        assert_eq!(check(&[], 6), Ok(()), "nothing is patched in as NOPs");
    }

    #[test]
    fn bytes_that_do_not_decode_are_named_by_their_place() {
        // pushfq; and an opcode that 64-bit mode does not have.
        let unfit = check(&[0x9c, 0x06], 6);
        assert!(matches!(&unfit, Err(Unfit::Undecodable { at: 1, .. })), "{unfit:?}");
        // An instruction that is cut short.
        assert!(matches!(check(&[0x48, 0xc7, 0x07], 6), Err(Unfit::Undecodable { at: 0, .. })));
    }

    #[test]
    fn what_depends_on_its_place_is_refused_and_what_jumps_within_is_not() {
        // mov rax, [rip+16]
        assert!(matches!(check(&[0x48, 0x8b, 0x05, 16, 0, 0, 0], 8), Err(Unfit::Positioned { at: 0, .. })));
        // call +0x100
        assert!(matches!(check(&[0xe8, 0, 1, 0, 0], 6), Err(Unfit::Positioned { at: 0, .. })));
        // test edi, edi; je over the next; inc eax
        assert_eq!(check(&[0x85, 0xff, 0x74, 0x02, 0xff, 0xc0], 6), Ok(()));
        // ret
        assert!(matches!(check(&[0x90, 0xc3], 6), Err(Unfit::Leaves { at: 1, .. })));
    }
}
