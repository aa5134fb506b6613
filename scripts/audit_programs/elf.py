"""Sections, symbols and relocations of x86-64 ELF files: what the checks need, independent of `pvbench audit`."""

import struct

SHT_SYMTAB, SHT_RELA, SHT_DYNSYM = 2, 4, 11
R_X86_64_RELATIVE = 8
# An instruction that no direct call fits into.
NO_CALL = 0, False, None


class Elf:
    """One file. Offsets are those of the file, addresses those of its sections."""

    def __init__(self, path):
        self.path, self.data = path, path.read_bytes()
        if self.data[:5] != b"\x7fELF\x02":
            raise ValueError(f"{path} is no 64-bit ELF file")
        start, = struct.unpack_from("<Q", self.data, 0x28)
        size, count, names = struct.unpack_from("<HHH", self.data, 0x3A)
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", self.data, start + index * size) for index in range(count)]
        self.names = self.sections[names][4]

    def text_at(self, offset):
        return self.data[offset:self.data.index(b"\0", offset)].decode()

    def section(self, name):
        """The header of a section, or None."""
        return next((each for each in self.sections if self.text_at(self.names + each[0]) == name), None)

    def entries(self, name, size):
        """The number of entries of a section; 0 without it."""
        found = self.section(name)
        return found[5] // size if found else 0

    def has_code(self):
        return any(kind == 1 and flags & 4 and size for _, kind, flags, _, _, size, *_ in self.sections)

    def functions(self):
        """Addresses of functions by symbol: a set for each name."""
        found = {}
        for table in (each for each in self.sections if each[1] in (SHT_SYMTAB, SHT_DYNSYM)):
            texts = self.sections[table[6]][4]
            for offset in range(table[4], table[4] + table[5], 24):
                name, kind, _, section, address, _ = struct.unpack_from("<IBBHQQ", self.data, offset)
                if section and kind & 15 in (0, 2):
                    found.setdefault(self.text_at(texts + name), set()).add(address)
        return found

    def relative_words(self):
        """What the loader writes into words: the address of a function, before it adds its base."""
        found = {}
        for table in (each for each in self.sections if each[1] == SHT_RELA and each[2] & 2):
            for offset in range(table[4], table[4] + table[5], 24):
                address, kind, addend = struct.unpack_from("<QQq", self.data, offset)
                if kind == R_X86_64_RELATIVE:
                    found[address] = addend
        return found

    def offset_of(self, address):
        """The place of code in the file."""
        for _, kind, flags, start, offset, size, *_ in self.sections:
            if kind == 1 and flags & 4 and start <= address < start + size:
                return offset + address - start
        raise ValueError(f"{self.path}: no code is at {address:#x}")


def indirect_call(code):
    """Length of an indirect call or jump through memory, whether it is a jump, and its word's distance if relative."""
    prefix = 1 if code[0] & 0xF0 == 0x40 else 0
    if code[prefix] != 0xFF:
        return NO_CALL
    form = code[prefix + 1]
    mode, operation, base = form >> 6, form >> 3 & 7, form & 7
    if operation not in (2, 4) or mode == 3:
        return NO_CALL
    if mode == 0 and base == 5:
        length = prefix + 6
        return length, operation == 4, struct.unpack_from("<i", code, prefix + 2)[0] + length
    has_index = base == 4
    wide = has_index and mode == 0 and code[prefix + 2] & 7 == 5
    return prefix + 2 + has_index + {0: 4 if wide else 0, 1: 1, 2: 4}[mode], operation == 4, None
