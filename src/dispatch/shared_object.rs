//! A shared object with one function in it, as bytes: what `ld -shared` would make of it, without a linker.
//!
//! Three pages, each a segment with rights of its own: the headers and the symbol table (R), the code (R, X), the dynamic
//! section (R, W, for loaders that relocate it in place: glibc before 2.35). It has no section headers, which only
//! linkers and debuggers read (System V gABI, "Program Loading and Dynamic Linking").

use object::Endianness;
use object::elf;
use object::write::Error;
use object::write::elf::{FileHeader, ProgramHeader, Sym, Writer};

/// The page size that segments are aligned to.
const PAGE: u64 = 4096;

/// An ELF64 image of type `ET_DYN` that exports `code` as a function `symbol`, `place` bytes into its page of text.
/// The code is position-independent, returns by itself and is shorter than what is left of 2 GiB.
///
/// # Errors
/// Where the format does not hold what is given.
pub(super) fn image(soname: &str, symbol: &str, code: &[u8], place: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut elf = Writer::new(Endianness::Little, true, &mut bytes);
    let soname = elf.add_dynamic_string(soname.as_bytes());
    let name = elf.add_dynamic_string(symbol.as_bytes());
    elf.reserve_null_dynamic_symbol_index();
    elf.reserve_dynamic_symbol_index();

    elf.reserve_file_header();
    elf.reserve_program_headers(5);
    let hash = elf.reserve_hash(1, 2);
    let symbols = elf.reserve_dynsym();
    let strings = elf.reserve_dynstr()?;
    let strings_size = elf.reserved_len() - strings;
    let headers = Extent { offset: 0, size: elf.reserved_len() };
    let text_size = (place + code.len()) as u64;
    let text = Extent { offset: elf.reserve(text_size, PAGE), size: text_size };
    elf.reserve_until(elf.reserved_len().next_multiple_of(PAGE));
    let start = elf.reserve_dynamic(7);
    let dynamic = Extent { offset: start, size: elf.reserved_len() - start };
    let entry = text.offset + place as u64;

    elf.write_file_header(&FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_DYN,
        e_machine: elf::EM_X86_64,
        e_entry: 0,
        e_flags: elf::FileFlags(0),
    })?;
    elf.write_align_program_headers();
    elf.write_program_header(&headers.segment(elf::PT_LOAD, elf::PF_R, PAGE));
    elf.write_program_header(&text.segment(elf::PT_LOAD, elf::PF_R | elf::PF_X, PAGE));
    elf.write_program_header(&dynamic.segment(elf::PT_LOAD, elf::PF_R | elf::PF_W, PAGE));
    elf.write_program_header(&dynamic.segment(elf::PT_DYNAMIC, elf::PF_R | elf::PF_W, 8));
    // Without it, loaders take it that the object wants an executable stack.
    let stack = Extent { offset: 0, size: 0 };
    elf.write_program_header(&stack.segment(elf::PT_GNU_STACK, elf::PF_R | elf::PF_W, 16));

    elf.write_hash(1, 2, |index| (index == 1).then(|| elf::hash(symbol.as_bytes())));
    elf.write_null_dynamic_symbol();
    let name = elf.dynamic_string_offset(Some(name));
    elf.write_dynamic_symbol(&Sym {
        // Loaders ask whether a symbol is undefined or absolute, not which section it is in.
        section: Some(1),
        st_name: name,
        st_info: elf::SymbolInfo::new(elf::STB_GLOBAL, elf::STT_FUNC),
        st_other: elf::SymbolOther(0),
        st_shndx: elf::SymbolSection(1),
        st_value: entry,
        st_size: code.len() as u64,
    });
    elf.write_dynstr();
    elf.pad_until(entry);
    elf.write(code);
    elf.pad_until(dynamic.offset);
    elf.write_dynamic_string(elf::DT_SONAME, soname)?;
    elf.write_dynamic(elf::DT_HASH, hash)?;
    elf.write_dynamic(elf::DT_SYMTAB, symbols)?;
    elf.write_dynamic(elf::DT_SYMENT, size_of::<elf::Sym64<Endianness>>() as u64)?;
    elf.write_dynamic(elf::DT_STRTAB, strings)?;
    elf.write_dynamic(elf::DT_STRSZ, strings_size)?;
    elf.write_dynamic(elf::DT_NULL, 0)?;
    Ok(bytes)
}

/// A stretch of the file, which lies at the same offset in memory.
struct Extent {
    offset: u64,
    size: u64,
}

impl Extent {
    fn segment(&self, p_type: elf::ProgramType, p_flags: elf::ProgramFlags, p_align: u64) -> ProgramHeader {
        ProgramHeader {
            p_type,
            p_flags,
            p_offset: self.offset,
            p_vaddr: self.offset,
            p_paddr: self.offset,
            p_filesz: self.size,
            p_memsz: self.size,
            p_align,
        }
    }
}
