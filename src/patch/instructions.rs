//! A check of an op's instruction bytes: whether they can be written over a call.

use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind};

/// Why instruction bytes cannot be written over a site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The op has no instruction bytes.
    #[error("its body is a Rust function, so patching has no instructions to write; give INSTRUCTIONS, or Bytes::Call")]
    Missing,
    /// The bytes are longer than the site.
    #[error("its {needed} bytes of instructions do not fit into a site of {site} bytes; raise META.site")]
    TooLong {
        /// Length of the instructions in bytes.
        needed: usize,
        /// Length of the site in bytes.
        site: usize,
    },
    /// The bytes do not decode.
    #[error("its instruction bytes do not decode at byte {at}: {bytes}")]
    Undecodable {
        /// Offset in the bytes, from 0.
        at: usize,
        /// All the bytes in hexadecimal.
        bytes: String,
    },
    /// The bytes depend on the address that they run at.
    #[error(
        "its instruction bytes are not position-independent: the target of {what} at byte {at} would move with the \
         site; use absolute addresses"
    )]
    Positioned {
        /// Offset in the bytes, from 0.
        at: usize,
        /// Mnemonic of the instruction.
        what: String,
    },
    /// Control leaves the bytes before their end.
    #[error("its instruction bytes leave the site by {what} at byte {at}; they must run to their end")]
    Leaves {
        /// Offset in the bytes, from 0.
        at: usize,
        /// Mnemonic of the instruction.
        what: String,
    },
}

/// Checks instruction bytes that are to be written over a site of `site` bytes.
///
/// # Errors
/// If the bytes are too long, do not decode, depend on their address, or leave the site; see [`Unfit`].
pub fn check(bytes: &[u8], site: usize) -> Result<(), Unfit> {
    if bytes.len() > site {
        return Err(Unfit::TooLong { needed: bytes.len(), site });
    }
    // Any address works as long as addresses near it differ from small absolute numbers.
    const TRIAL_ADDRESS: u64 = 1 << 40;
    let inside = TRIAL_ADDRESS..=TRIAL_ADDRESS + bytes.len() as u64;
    let mut decoder = Decoder::with_ip(64, bytes, TRIAL_ADDRESS, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let at = (instruction.ip() - TRIAL_ADDRESS) as usize;
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
            // These continue at the next instruction: `iretq` to the end of the bytes, `syscall`, `int3`, an indirect
            // call.
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
    fn bytes_fit_into_a_site_of_their_length_and_not_into_a_shorter_one() {
        // mov qword ptr [rdi], 0
        let bytes = [0x48, 0xc7, 0x07, 0, 0, 0, 0];
        assert_eq!(check(&bytes, 7), Ok(()));
        assert_eq!(check(&bytes, 6), Err(Unfit::TooLong { needed: 7, site: 6 }));
        assert_eq!(check(&[], 6), Ok(()), "no bytes are written as NOPs");
    }

    #[test]
    fn bytes_that_do_not_decode_are_reported_with_their_offset() {
        // pushfq; and an opcode that 64-bit mode does not have.
        let unfit = check(&[0x9c, 0x06], 6);
        assert!(matches!(&unfit, Err(Unfit::Undecodable { at: 1, .. })), "{unfit:?}");
        // A truncated instruction.
        assert!(matches!(check(&[0x48, 0xc7, 0x07], 6), Err(Unfit::Undecodable { at: 0, .. })));
    }

    #[test]
    fn bytes_that_depend_on_their_address_are_refused_and_jumps_inside_them_are_not() {
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
