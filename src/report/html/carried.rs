//! What the machine code of an op's native body says about the time of `inline`: whether each call reads a word that
//! the call before has just written, and whether the body has a loop.

use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register, UsedMemory};

/// Maximum number of bytes that are decoded. The longest body of the built-in suite has 600; a report may hold any
/// number.
const MAX_CODE_BYTES: usize = 4096;

/// The facts of a body.
#[derive(Default)]
pub(super) struct BodyFacts {
    /// The first word that the body reads and then writes, as in assembly: `gs:[0x8]`, `[rdi]`.
    pub carried: Option<String>,
    /// Whether a branch leads back into the body. A loop with `pause` waits for another CPU, and measuring has none.
    pub has_loop: bool,
}

/// A place in memory, as an instruction names it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    segment: Register,
    base: Register,
    index: Register,
    scale: u32,
    displacement: u64,
}

impl Place {
    fn of(used: &UsedMemory) -> Option<Self> {
        // Calls, returns, pushes and pops use the stack, which every call leaves as it was.
        let is_stack = used.base().full_register() == Register::RSP;
        (!is_stack).then(|| Place {
            segment: used.segment(),
            base: used.base(),
            index: used.index(),
            scale: used.scale(),
            displacement: used.displacement(),
        })
    }

    fn needs(&self, register: Register) -> bool {
        [self.base, self.index].iter().any(|own| *own != Register::None && own.full_register() == register)
    }

    fn text(&self) -> String {
        let segment = match self.segment {
            Register::GS => "gs:",
            Register::FS => "fs:",
            _ => "",
        };
        let name = |register: Register| format!("{register:?}").to_lowercase();
        let mut parts = Vec::new();
        if self.base != Register::None {
            parts.push(name(self.base));
        }
        if self.index != Register::None {
            parts.push(format!("{}*{}", name(self.index), self.scale));
        }
        if self.displacement != 0 || parts.is_empty() {
            parts.push(format!("{:#x}", self.displacement));
        }
        format!("{segment}[{}]", parts.join("+"))
    }
}

/// The facts of a body from its machine code in hexadecimal. Code that does not decode ends them.
pub(super) fn describe_body(code: &str) -> BodyFacts {
    let digits: Vec<u32> = code.chars().take(2 * MAX_CODE_BYTES).map_while(|digit| digit.to_digit(16)).collect();
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect();
    let mut facts = BodyFacts::default();
    let mut read: Vec<Place> = Vec::new();
    let mut factory = InstructionInfoFactory::new();
    let mut last_pause = None;
    for instruction in Decoder::with_ip(64, &bytes, 0, DecoderOptions::NONE) {
        if instruction.is_invalid() {
            break;
        }
        if instruction.mnemonic() == Mnemonic::Pause {
            last_pause = Some(instruction.ip());
        }
        let is_branch = instruction.op_count() == 1 && instruction.op0_kind() == OpKind::NearBranch64;
        if is_branch && !instruction.is_call_near() && instruction.near_branch_target() < instruction.ip() {
            facts.has_loop |= last_pause.is_none_or(|pause| pause < instruction.near_branch_target());
        }
        let info = factory.info(&instruction);
        for used in info.used_memory() {
            let Some(place) = Place::of(used) else { continue };
            let (reads, writes) = match used.access() {
                OpAccess::Read | OpAccess::CondRead => (true, false),
                OpAccess::Write | OpAccess::CondWrite => (false, true),
                OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
                _ => (false, false),
            };
            if reads {
                read.push(place);
            }
            if writes && facts.carried.is_none() && read.contains(&place) {
                facts.carried = Some(place.text());
            }
        }
        for used in info.used_registers() {
            let writes = !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
            // From here on the same words name another place.
            read.retain(|place| !writes || !place.needs(used.register().full_register()));
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(code: &str) -> Option<String> {
        describe_body(code).carried
    }

    #[test]
    fn a_word_that_is_read_and_then_written_is_carried_to_the_next_call() {
        // and dword ptr gs:[8],0xfffffff7
        assert_eq!(carried("6583242508000000f7").as_deref(), Some("gs:[0x8]"));
        // mov rax,gs:[0x78e8]; mov gs:[0x78e8],rax
        assert_eq!(carried("65488b0425e87800006548890425e8780000").as_deref(), Some("gs:[0x78e8]"));
        // movzx eax,word ptr [rdi+4]; lock xadd [rdi],ax
        assert_eq!(carried("0fb7470466f00fc107").as_deref(), Some("[rdi]"));
        // mov rax,[rdi+rcx*8]; mov [rdi+rcx*8],rax
        assert_eq!(carried("488b04cf488904cf").as_deref(), Some("[rdi+rcx*8]"));
    }

    #[test]
    fn other_code_carries_nothing() {
        // mov rax,rdi
        assert_eq!(carried("4889f8"), None);
        // pushf; pop rax: the stack
        assert_eq!(carried("9c58"), None);
        // mov [rdi],rax; mov rax,[rdi]: the next call writes first
        assert_eq!(carried("488907488b07"), None);
        // mov rax,[rdi]; mov rdi,rsi; mov [rdi],rax: another word
        assert_eq!(carried("488b074889f7488907"), None);
        for broken in ["", "f", "zz", "0f", "ffffffffff", "6583"] {
            assert_eq!(carried(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_branch_back_is_a_loop_and_a_branch_ahead_is_none() {
        // dec rdi; jne -5
        assert!(describe_body("48ffcf75fb").has_loop);
        // test byte ptr [rdi],1; je +4; pause; jmp back
        assert!(!describe_body("f607017404f390ebf7").has_loop, "a loop that waits");
        // test rdi,rdi; je +1; nop
        assert!(!describe_body("4885ff740190").has_loop);
    }
}
