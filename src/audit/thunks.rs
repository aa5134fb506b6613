//! Code that stands between a direct call or jump and its target: retpolines, return thunks, trampolines of static
//! calls, the hook of ftrace, stubs of the procedure linkage table. They are told by their symbol, else by their code.

use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind, Register};
use rustc_hash::FxHashMap;

use super::image::{Image, Word};
use super::kind::Kind;

/// What the targets of direct calls and jumps are.
#[derive(Debug, Default)]
pub struct Thunks {
    /// Stubs of the procedure linkage table, with the word that they jump through.
    stubs: FxHashMap<u64, u64>,
}

impl Thunks {
    /// Finds the stubs of the procedure linkage table.
    #[must_use]
    pub fn find(image: &Image) -> Thunks {
        let mut stubs = FxHashMap::default();
        for chunk in image.plt_chunks() {
            // Stubs have 8 or 16 bytes, with one jump through a word. What follows it is padding or another stub.
            let mut start = None;
            for instruction in Decoder::with_ip(64, &chunk.bytes, chunk.address, DecoderOptions::NONE) {
                match instruction.mnemonic() {
                    Mnemonic::Nop => {}
                    Mnemonic::Jmp if instruction.is_ip_rel_memory_operand() => {
                        let start = start.take().unwrap_or(instruction.ip());
                        stubs.insert(start, instruction.ip_rel_memory_address());
                    }
                    Mnemonic::Jmp => start = None,
                    _ => start = start.or(Some(instruction.ip())),
                }
            }
        }
        Thunks { stubs }
    }

    /// The word that a stub of the procedure linkage table jumps through.
    #[must_use]
    pub fn stub(&self, address: u64) -> Option<u64> {
        self.stubs.get(&address).copied()
    }
}

/// The kind that a symbol's name gives to a call of it.
#[must_use]
pub fn kind_of_name(name: &str) -> Option<Kind> {
    // Linux: `arch/x86/lib/retpoline.S`; GCC: `-mindirect-branch=thunk`; LLVM: `X86RetpolineThunks.cpp`.
    const RETPOLINES: [&str; 8] = [
        "__x86_indirect_thunk",
        "__x86_indirect_call_thunk_",
        "__x86_indirect_jump_thunk_",
        "__x86_indirect_its_thunk_",
        "__x86_indirect_paranoid_thunk_",
        "__llvm_retpoline_",
        "__llvm_external_retpoline_",
        "__llvm_lvi_thunk_",
    ];
    if RETPOLINES.iter().any(|start| name.starts_with(start)) {
        return Some(Kind::Retpoline);
    }
    match name {
        "__x86_return_thunk" | "__x86_return_skl" => Some(Kind::ReturnThunk),
        "__fentry__" | "mcount" => Some(Kind::Fentry),
        _ if name.starts_with("__SCT__") => Some(Kind::StaticCall),
        _ => None,
    }
}

/// The kind of a call of code at `address`, if that code is a thunk without a symbol.
#[must_use]
pub fn kind_of_code(image: &Image, address: u64) -> Option<Kind> {
    // A thunk is shorter than this, with the loop that stops speculation.
    const MAX_BYTES: usize = 64;
    let bytes = image.bytes_from(address);
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    let first = decoder.decode();
    if first.mnemonic() != Mnemonic::Call || first.op0_kind() != OpKind::NearBranch64 {
        return None;
    }
    // The call leads over a loop of `pause` and `lfence` to code that replaces its own return address.
    let inner = first.near_branch_target();
    let offset = inner.checked_sub(address).filter(|offset| (5..32).contains(offset))?;
    let between = Decoder::with_ip(64, bytes.get(5..offset as usize)?, address.wrapping_add(5), DecoderOptions::NONE);
    let stops = |mnemonic| matches!(mnemonic, Mnemonic::Pause | Mnemonic::Lfence | Mnemonic::Jmp | Mnemonic::Int3);
    if !between.into_iter().all(|it| stops(it.mnemonic()) || it.mnemonic() == Mnemonic::Nop) {
        return None;
    }
    let mut decoder = Decoder::with_ip(64, bytes.get(offset as usize..)?, inner, DecoderOptions::NONE);
    let replaces = decoder.decode();
    let on_stack = replaces.memory_base() == Register::RSP && replaces.memory_displacement64() == 0;
    let returns = |mnemonic| matches!(mnemonic, Mnemonic::Ret | Mnemonic::Jmp);
    match replaces.mnemonic() {
        Mnemonic::Mov if on_stack && replaces.op1_kind() == OpKind::Register => {
            returns(decoder.decode().mnemonic()).then_some(Kind::Retpoline)
        }
        Mnemonic::Lea | Mnemonic::Add if replaces.op0_register() == Register::RSP => {
            returns(decoder.decode().mnemonic()).then_some(Kind::ReturnThunk)
        }
        _ => None,
    }
}

/// Whether the code at an address is a return and nothing else: a jump there returns.
#[must_use]
pub fn is_return(image: &Image, address: u64) -> bool {
    // `ret`, and `rep ret` for processors that predict two bytes better.
    let bytes = image.bytes_from(address);
    image.is_code(address) && (bytes.starts_with(&[0xc3]) || bytes.starts_with(&[0xf3, 0xc3]))
}

/// Whether the code at an address is the trampoline of a static call: a jump, and `ud1 %esp, %ecx` as its mark
/// (`arch/x86/include/asm/static_call.h`).
#[must_use]
pub fn is_trampoline(image: &Image, address: u64) -> bool {
    const MARK: &[u8] = &[0x0f, 0xb9, 0xcc];
    const JUMP_BYTES: usize = 5;
    image.bytes_from(address).get(JUMP_BYTES..).is_some_and(|after| after.starts_with(MARK))
}

/// The name of what a word holds: of the global offset table, or of a table of functions.
#[must_use]
pub fn name_of_word(image: &Image, word: u64) -> Option<String> {
    match image.word(word)? {
        Word::External(name) if !name.is_empty() => Some(name.to_owned()),
        Word::External(_) => None,
        Word::Address(address) => name_of_address(image, address),
    }
}

/// The name of an address: a symbol, or a symbol and a distance.
#[must_use]
pub fn name_of_address(image: &Image, address: u64) -> Option<String> {
    let (symbol, offset) = image.symbol(address)?;
    Some(if offset == 0 { symbol.name.to_owned() } else { format!("{}+{offset:#x}", symbol.name) })
}

/// Whether the loader writes the address of the hook of ftrace or gprof to a word.
#[must_use]
pub fn holds_fentry(image: &Image, word: u64) -> bool {
    matches!(image.word(word), Some(Word::External(name)) if kind_of_name(name) == Some(Kind::Fentry))
}

#[cfg(test)]
mod tests {
    use object::elf;

    use super::kind_of_name;
    use crate::audit::kind::Kind;
    use crate::audit::made::{Made, RET, RETPOLINE, sites};

    /// The kind of a call of a function.
    fn kind_of_call(name: &str, code: &[u8]) -> Kind {
        let mut made = Made::new();
        let (callee, _) = made.function(name, code);
        let (_, at) = made.function("caller", &[0xe8, 0, 0, 0, 0, 0xc3]);
        made.relocate(at + 1, callee, elf::R_X86_64_PLT32, -4);
        sites(&made.audit(), "caller")[0].0
    }

    #[test]
    fn a_retpoline_is_told_by_its_code_whatever_its_name() {
        assert_eq!(kind_of_call("some_function", RETPOLINE), Kind::Retpoline);
        // Without the store over the return address, it is a function that calls.
        let mut other = RETPOLINE.to_vec();
        other[12..16].copy_from_slice(&[0x48, 0x89, 0x44, 0x24]);
        other[16] = 8;
        other.push(0xc3);
        assert_eq!(kind_of_call("some_function", &other), Kind::Direct);
    }

    #[test]
    fn a_thunk_of_returns_is_told_by_its_code() {
        // call 1f; 2: pause; lfence; jmp 2b; 1: lea 8(%rsp), %rsp; ret
        let code = [&RETPOLINE[..12], &[0x48, 0x8d, 0x64, 0x24, 8, 0xc3]].concat();
        assert_eq!(kind_of_call("some_function", &code), Kind::ReturnThunk);
    }

    #[test]
    fn a_trampoline_of_a_static_call_is_told_by_its_mark() {
        // jmp to itself; ud1 %esp, %ecx
        assert_eq!(kind_of_call("some_function", &[0xe9, 0xfb, 0xff, 0xff, 0xff, 0x0f, 0xb9, 0xcc]), Kind::StaticCall);
        assert_eq!(kind_of_call("some_function", &[0xe9, 0xfb, 0xff, 0xff, 0xff, 0x0f, 0xb9, 0xcd]), Kind::Direct);
    }

    #[test]
    fn names_of_kernels_and_compilers_tell_thunks() {
        for (name, kind) in [
            ("__x86_indirect_thunk_rax", Some(Kind::Retpoline)),
            ("__x86_indirect_thunk", Some(Kind::Retpoline)),
            ("__llvm_retpoline_r11", Some(Kind::Retpoline)),
            ("__x86_return_thunk", Some(Kind::ReturnThunk)),
            ("__fentry__", Some(Kind::Fentry)),
            ("mcount", Some(Kind::Fentry)),
            ("__SCT__might_resched", Some(Kind::StaticCall)),
            ("fentry", None),
            ("memcpy", None),
        ] {
            assert_eq!(kind_of_name(name), kind, "{name}");
            assert_eq!(kind_of_call(name, RET), kind.unwrap_or(Kind::Direct), "{name}");
        }
    }
}
