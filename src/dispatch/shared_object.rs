//! A shared object with one function, as bytes: the output of `ld -shared`, without a linker.
//!
//! It has three pages, each a segment with its own permissions: the headers and the symbol table (R), the code (R, X),
//! and the dynamic section (R, W, for loaders that relocate it in place: glibc before 2.35). See the System V gABI,
//! "Program Loading and Dynamic Linking". Section headers, for debuggers and disassemblers, follow at the end.

use object::Endianness;
use object::elf;
use object::write::Error;
use object::write::elf::{FileHeader, ProgramHeader, SectionHeader, Sym, Writer};

/// Alignment of segments in bytes: the page size.
const PAGE: u64 = 4096;

/// Makes an ELF64 image of type `ET_DYN` that exports `code` as the function `symbol`, at byte `offset` of the text
/// page. The code must be position-independent, end with a return, and fit into 2 GiB.
///
/// # Errors
/// Fails when the format cannot hold the input.
pub(super) fn image(soname: &str, symbol: &str, code: &[u8], offset: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut elf = Writer::new(Endianness::Little, true, &mut bytes);
    let soname = elf.add_dynamic_string(soname.as_bytes());
    let name = elf.add_dynamic_string(symbol.as_bytes());
    elf.reserve_null_dynamic_symbol_index();
    elf.reserve_dynamic_symbol_index();
    // Sections are reserved in the order in which their headers are written.
    elf.reserve_hash_section_index();
    elf.reserve_dynsym_section_index();
    elf.reserve_dynstr_section_index();
    let text_name = elf.add_section_name(b".text");
    let text_section = elf.reserve_section_index();
    elf.reserve_dynamic_section_index();
    elf.reserve_shstrtab_section_index();

    elf.reserve_file_header();
    elf.reserve_program_headers(5);
    let hash = elf.reserve_hash(1, 2);
    let symbols = elf.reserve_dynsym();
    let strings = elf.reserve_dynstr()?;
    let strings_size = elf.reserved_len() - strings;
    let headers = Extent { offset: 0, size: elf.reserved_len() };
    let text_size = (offset + code.len()) as u64;
    let text = Extent { offset: elf.reserve(text_size, PAGE), size: text_size };
    elf.reserve_until(elf.reserved_len().next_multiple_of(PAGE));
    let start = elf.reserve_dynamic(7);
    let dynamic = Extent { offset: start, size: elf.reserved_len() - start };
    elf.reserve_shstrtab()?;
    elf.reserve_section_headers();
    let entry = text.offset + offset as u64;

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
    // Without this header, loaders give the program an executable stack.
    let stack = Extent { offset: 0, size: 0 };
    elf.write_program_header(&stack.segment(elf::PT_GNU_STACK, elf::PF_R | elf::PF_W, 16));

    elf.write_hash(1, 2, |index| (index == 1).then(|| elf::hash(symbol.as_bytes())));
    elf.write_null_dynamic_symbol();
    let name = elf.dynamic_string_offset(Some(name));
    elf.write_dynamic_symbol(&Sym {
        section: Some(text_section.0),
        st_name: name,
        st_info: elf::SymbolInfo::new(elf::STB_GLOBAL, elf::STT_FUNC),
        st_other: elf::SymbolOther(0),
        st_shndx: elf::SHN_UNDEF,
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
    elf.write_shstrtab();
    elf.write_null_section_header();
    elf.write_hash_section_header(hash);
    elf.write_dynsym_section_header(symbols, 1);
    elf.write_dynstr_section_header(strings);
    let sh_name = elf.section_name_offset(Some(text_name));
    elf.write_section_header(&SectionHeader {
        sh_name,
        sh_type: elf::SHT_PROGBITS,
        sh_flags: elf::SHF_ALLOC | elf::SHF_EXECINSTR,
        sh_addr: text.offset,
        sh_offset: text.offset,
        sh_size: text.size,
        sh_link: 0,
        sh_info: 0,
        sh_addralign: PAGE,
        sh_entsize: 0,
    });
    elf.write_dynamic_section_header(dynamic.offset);
    elf.write_shstrtab_section_header();
    Ok(bytes)
}

/// A range of the file; it has the same offset in memory.
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
