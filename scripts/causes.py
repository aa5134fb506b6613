#!/usr/bin/env python3
"""Shows by machine code of its own why some calls cost less than the instructions in place.

    scripts/causes.py REPORT.json [--out reports/causes.json]

Waits: the native bodies of the ops that the report shows faster than inline, eight times in a loop: in place, after
NOPs, behind calls of one body, and behind calls of a body per site; and in a loop of one.
Loops: the body of init_IRQ with other numbers of iterations, in place, behind a direct call and behind an indirect one.
Stubs: 4,096 call sites that run once after the predictors were overrun: with a stub that all share, a stub per site,
a word that all share, and a word per site.
Distances: an indirect call, and a stub with an indirect jump, of a body whose address differs in one bit.

Needs x86-64 Linux and only Python's standard library. Takes about 10 seconds. Times are core cycles: ticks of the time
stamp counter, divided by those of a chain of dependent adds that is timed beside each loop. The fastest tenth of the
repetitions counts, because a busy neighbour takes away what the CPU has learnt.
"""

import argparse
import ctypes
import datetime
import json
import mmap
import os
import pathlib
import struct

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIB = 1 << 20
# Offset of the words that indirect calls go through, beyond all code.
WORDS = 56 * MIB
SITES, PASSES, REPEATS = 8, 3000, 31
NOPS = [0, 1, 2, 4, 6, 8, 12, 16, 24, 32]
COLD_SITES, COLD_REPEATS = 4096, 61


class Memory:
    """Memory for code, and for the data of bodies, which address it by the gs segment."""

    def __init__(self):
        prot = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        self.code = mmap.mmap(-1, 64 * MIB, prot=prot)
        self.data = mmap.mmap(-1, MIB)
        self.at = ctypes.addressof(ctypes.c_char.from_buffer(self.code))
        self.data_at = ctypes.addressof(ctypes.c_char.from_buffer(self.data))
        arch_prctl, set_gs = 158, 0x1001
        if ctypes.CDLL(None, use_errno=True).syscall(arch_prctl, set_gs, ctypes.c_ulong(self.data_at)):
            raise SystemExit("arch_prctl(ARCH_SET_GS) failed; allow this system call and try again")

    def write(self, offset, code):
        self.code[offset:offset + len(code)] = bytes(code)

    def run(self, offset, argument=0):
        return ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)(self.at + offset)(argument)


PUSH = bytes.fromhex("535541544155415641574889fd")  # rbx rbp r12..r15; mov rbp,rdi
POP = bytes.fromhex("415f415e415d415c5d5bc3")
START = bytes.fromhex("0faee80f3148c1e2204809d050")  # lfence; rdtsc; push the ticks
STOP = bytes.fromhex("0f01f948c1e2204809d0594829c8")  # rdtscp; subtract the ticks
PAD = bytes.fromhex("4883ec08"), bytes.fromhex("4883c408")  # align the stack
# mov rdi,r12; mov rsi,r13; mov rdx,r14; xor ecx,ecx: three pointers and a number. A site sets those that the op has.
ARGUMENTS = [bytes.fromhex(code) for code in ("4c89e7", "4c89ee", "4c89f2", "31c9")]
CHAIN = bytes.fromhex("4c89ff"), bytes.fromhex("4931c74931c7")  # mov rdi,r15; xor r15,rax twice


def rel32(target, end):
    return struct.pack("<i", target - end)


def head(memory):
    pointers = b"".join(bytes([0x49, 0xbc + n]) + struct.pack("<Q", memory.data_at + (0x80 + n) * 4096)
                        for n in range(4))
    return PUSH + pointers + START + PAD[0] + b"".join(ARGUMENTS)


def tail(loop, end):
    """dec rbp; jne loop; stop; return"""
    return bytes.fromhex("48ffcd0f85") + rel32(loop, end + 9) + PAD[1] + STOP + POP


def adds(memory):
    """The function at 0: a chain of dependent adds, 8 a pass."""
    start = head(memory)
    body = bytes.fromhex("4883c001") * 8
    memory.write(0, start + body + tail(len(start), len(start) + len(body)))


def cycles_per_tick(memory):
    passes = 20_000
    return 8 * passes / min(memory.run(0, passes) for _ in range(3))


def make_loop(memory, body, arguments, way, nops, chained):
    """A loop of bodies. Returns its offset."""
    # An odd number of cache lines: the bodies lie in different sets of the cache.
    callee, stride, start = MIB, 17 * 64, MIB + 64 * 1024
    for site in range(SITES + 1):
        memory.write(callee + stride * site, body + b"\xc3")
    memory.write(WORDS, struct.pack("<Q", memory.at + callee))
    code = bytearray(head(memory))
    while (start + len(code)) % 128:
        code.append(0x90)
    loop = start + len(code)
    for site in range(1 if way == "one" else SITES):
        code += arguments + (CHAIN[0] if chained else b"") + b"\x90" * nops
        if way in ("inline", "one"):
            code += body
        elif way == "indirect":
            code += b"\xff\x15" + rel32(WORDS, start + len(code) + 6)
        else:
            own = site + 1 if way == "own" else 0
            code += b"\xe8" + rel32(callee + stride * own, start + len(code) + 5)
        code += CHAIN[1] if chained else b""
    memory.write(start, code + tail(loop, start + len(code)))
    return start


def time_loops(memory, body, variants, arguments=b"", chained=False, passes=PASSES):
    """Core cycles per body for each way and number of NOPs: the fastest tenth."""
    found = {variant: [] for variant in variants}
    for _ in range(REPEATS):
        for way, nops in variants:
            start = make_loop(memory, body, arguments, way, nops, chained)
            memory.data[:] = bytes(MIB)
            memory.run(start, 200)
            sites = 1 if way == "one" else SITES
            found[way, nops].append(memory.run(start, passes) * cycles_per_tick(memory) / (passes * sites))
    return {variant: sorted(values)[REPEATS // 10] for variant, values in found.items()}


def waits(memory, report):
    codes = {op["name"]: bytes.fromhex(op["native_code"]) for op in report["catalogue"]["ops"]}
    counts = {op["name"]: op["arguments"] for op in report["catalogue"]["ops"]}
    gains = {}
    for cell in report["cells"]:
        hot = cell["regime"] in ("throughput", "latency", "pressure")
        if hot and cell["resolved"] and cell["mechanism"] != "inline" and cell["body"] == "native":
            gain = -cell["overhead"]["cycles"]["estimate"]
            key = cell["op"], cell["regime"] == "latency"
            if gain > gains.get(key, (0, 0))[0]:
                gains[key] = gain, cell["native_cycles"]
    rows = []
    for (op, chained), (gain, inline) in sorted(gains.items(), key=lambda it: -it[1][0]):
        variants = [("inline", nops) for nops in NOPS] + [("direct", 0), ("indirect", 0), ("own", 0), ("one", 0)]
        arguments = b"".join(ARGUMENTS[:counts[op]])
        if op.startswith("write_"):
            # The second argument of write_ldt_entry and its like is an index: mov esi,1
            arguments += bytes.fromhex("be01000000")
        found = {key: round(value, 2) for key, value in
                 time_loops(memory, codes[op], variants, arguments, chained).items()}
        after_nops = {nops: found["inline", nops] for nops in NOPS}
        rows.append({"op": op, "chained": chained, "report_gain": round(gain, 2), "report_inline": round(inline, 2),
                     "in_place": after_nops[0], "after_nops": after_nops, "best_after_nops": min(after_nops.values()),
                     "calls_of_one_body": found["direct", 0], "indirect_calls_of_one_body": found["indirect", 0],
                     "calls_of_a_body_per_site": found["own", 0], "one_in_place": found["one", 0]})
        print(rows[-1])
    return rows


def loops(memory, report):
    """init_IRQ counts from 32 to 256; here to fewer. The bound is the operand of `cmp eax,0x100`."""
    code = bytes.fromhex(next(op for op in report["catalogue"]["ops"] if op["name"] == "init_IRQ")["native_code"])
    at = code.index(bytes.fromhex("3d00010000"))
    rows = []
    for iterations in (8, 16, 32, 64, 96, 128, 160, 192, 224):
        body = code[:at + 1] + struct.pack("<I", 32 + iterations) + code[at + 5:]
        found = time_loops(memory, body, [("inline", 0), ("direct", 0), ("indirect", 0)], passes=400)
        rows.append({"iterations": iterations, **{way: round(value, 1) for (way, _), value in found.items()}})
        print(rows[-1])
    return rows


WAYS = ["inline", "direct", "word", "word per site", "stub", "stub per site", "trampoline", "trampoline per site"]


def make_cold(memory, way, base):
    """4,096 sites in a row, each followed by a jump to the next cache line."""
    callee, stubs, entry = base, base + 64, base + 64 + 16 * (COLD_SITES + 1) + 64
    memory.write(callee, bytes.fromhex("4889f8c3"))
    own = way.endswith("per site")
    word = lambda site: WORDS + 8 * (site if own else 0)
    memory.write(WORDS, struct.pack("<Q", memory.at + callee) * COLD_SITES)
    code = bytearray(PUSH + START + PAD[0])
    for site in range(COLD_SITES):
        stub = stubs + 16 * (site + 1 if own else 0)
        if way.startswith("stub"):
            memory.write(stub, b"\xff\x25" + rel32(WORDS, stub + 6))
        elif way.startswith("trampoline"):
            memory.write(stub, b"\xe9" + rel32(callee, stub + 5))
        begin = entry + len(code)
        part = bytearray(b"\x48\x89\xef")  # mov rdi,rbp
        end = begin + len(part)
        if way == "inline":
            part += bytes.fromhex("4889f8")
        elif way == "direct":
            part += b"\xe8" + rel32(callee, end + 5)
        elif way.startswith("word"):
            part += b"\xff\x15" + rel32(word(site), end + 6)
        else:
            part += b"\xe8" + rel32(stub, end + 5)
        code += part + b"\x90" * (24 - len(part))
    memory.write(entry, code + PAD[1] + STOP + POP)
    return entry


def make_eviction(memory, base):
    """16,384 direct and 8,192 indirect jumps."""
    direct = (b"\xeb\x0e" + b"\x90" * 14) * 16384
    indirect = (bytes.fromhex("488d0509000000ffe0") + b"\xcc" * 7) * 8192  # lea rax,[rip+9]; jmp rax
    memory.write(base, direct + indirect + b"\xc3")
    return base


def stubs(memory):
    # Every body is equal, so the words may lead to that of the way that was made last.
    entries = {way: make_cold(memory, way, (2 + index) * MIB) for index, way in enumerate(WAYS)}
    eviction = make_eviction(memory, 20 * MIB)
    found = {way: [] for way in WAYS}
    for repeat in range(COLD_REPEATS):
        for index in range(len(WAYS)):
            way = WAYS[(repeat + index) % len(WAYS)]
            factor = cycles_per_tick(memory)
            memory.run(eviction)
            memory.run(eviction)
            found[way].append(memory.run(entries[way]) * factor / COLD_SITES)
    medians = {way: sorted(values)[COLD_REPEATS // 2] for way, values in found.items()}
    rows = [{"way": way, "cycles": round(medians[way], 1), "above_inline": round(medians[way] - medians["inline"], 1)}
            for way in WAYS]
    for row in rows:
        print(row)
    return rows


# The bits of an address that are tried; 47 bits belong to a program.
BITS = [30, 32, 34, 35, 36, 37, 38, 40, 42, 44]


def map_at(address):
    """A page of executable memory at this address; None if it is taken."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [
        ctypes.c_long]
    map_fixed_noreplace = 0x100000
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | map_fixed_noreplace
    prot = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    return address if libc.mmap(address, 4096, prot, flags, -1, 0) == address else None


def make_far(memory, index, way, body):
    """A loop of calls of `body`, an address. Returns its offset. Each loop has a place of its own, because a site whose
    target has changed once is predicted more slowly."""
    start, word = MIB + 16448 * index, WORDS + 8 * index
    stub = start + 4096
    memory.write(word, struct.pack("<Q", body))
    memory.write(stub, b"\xff\x25" + rel32(word, stub + 6))
    code = bytearray(head(memory))
    loop = start + len(code)
    for _ in range(SITES):
        end = start + len(code)
        code += b"\xff\x15" + rel32(word, end + 6) if way == "call" else b"\xe8" + rel32(stub, end + 5)
    memory.write(start, code + tail(loop, start + len(code)))
    return start


def distances(memory):
    # Not the place of the loop or of the stub in their pages.
    near, offset = 8 * MIB + 0x440, 0x440
    memory.write(near, b"\xc3")
    bodies = {None: memory.at + near}
    for bit in BITS:
        page = map_at((memory.at + near) // 4096 * 4096 ^ 1 << bit)
        if page:
            bodies[bit] = page + offset
            ctypes.memset(bodies[bit], 0xC3, 1)
    kinds = [(bit, way) for bit in bodies for way in ("call", "stub")]
    starts = {kind: make_far(memory, index, kind[1], bodies[kind[0]]) for index, kind in enumerate(kinds)}
    found = {kind: [] for kind in kinds}
    for _ in range(REPEATS):
        for kind, times in found.items():
            start = starts[kind]
            memory.run(start, 200)
            times.append(memory.run(start, PASSES) * cycles_per_tick(memory) / (PASSES * SITES))
    rows = [{"bit": bit, **{way: round(sorted(found[bit, way])[REPEATS // 10], 2) for way in ("call", "stub")}}
            for bit in bodies]
    for row in rows:
        print(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "reports" / "causes.json")
    arguments = parser.parse_args()
    report = json.loads(arguments.report.read_text(encoding="utf-8"))
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    memory = Memory()
    adds(memory)
    found = {"script": "scripts/causes.py", "cpu": report["machine"]["cpu_model"],
             "date": datetime.date.today().isoformat(), "stubs": stubs(memory), "waits": waits(memory, report),
             "loops": loops(memory, report), "distances": distances(memory),
             "distances_date": datetime.date.today().isoformat()}
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
