"""Audits of programs, and checks of them against independent truths."""

import json
import math
import os
import random
import shutil
import statistics
import subprocess
import tempfile

from elf import Elf, indirect_call

# Sections of a Linux kernel and its modules that list sites, with the size of an entry and the kind of the audit.
SITE_LISTS = [("pv", ".parainstructions", 16), ("retpoline", ".retpoline_sites", 4),
              ("static_call", ".static_call_sites", 8), ("fentry", "__mcount_loc", 8)]
# Runs whose median is the CPU time of a program.
TIMED_RUNS = 5
# Copies of a program in a comparison of its time, and the 97.5% quantile of Student's t with a degree less.
PLACEMENTS, T_QUANTILE = 12, 2.20
# Files of one call of the audit.
FILES_PER_CALL = 50
# Shortest instruction that a direct call or jump fits into.
DIRECT_BYTES = 5
NOPS = {0: b"", 1: b"\x90", 2: b"\x66\x90", 3: b"\x0f\x1f\x00"}


class Failed(Exception):
    """A program or a check failed; the message says which."""


def run(command, **options):
    """Runs a command and returns its output. The error has the end of its messages."""
    shown = " ".join(str(word) for word in command[:6])
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    except OSError as error:
        raise Failed(f"{shown}: {error}") from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise Failed(f"{shown} ended with {done.returncode}: {'; '.join(last)}")
    return done.stdout


def resources(command, stdin=None, env=None):
    """CPU seconds, peak memory in bytes, and the output of a command."""
    with open(stdin or os.devnull, "rb") as given, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, stderr=errors,
                                   env=env)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            message = errors.read().decode(errors="replace").strip()[-300:]
            raise Failed(f"{command[0]} ended with {process.returncode}: {message}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, output


def cpu_seconds(command, stdin=None, env=None):
    return statistics.median(resources(command, stdin, env)[0] for _ in range(TIMED_RUNS))


def add(sums, counts):
    for kind, count in counts.items():
        sums[kind] = sums.get(kind, 0) + count


def audit(program, files):
    """The static audit of one or many files, as a row, and the documents of its binaries."""
    seconds, memory, binaries = 0, 0, []
    for first in range(0, len(files), FILES_PER_CALL):
        command = [program, "audit", "--json", *files[first:first + FILES_PER_CALL]]
        spent, peak, output = resources(command)
        seconds, memory = seconds + spent, max(memory, peak)
        binaries += json.loads(output)["binaries"]
    sums = {}
    for binary in binaries:
        add(sums, binary["counts"])
    row = {"bytes": sum(file.stat().st_size for file in files),
           "functions": sum(binary["functions_total"] for binary in binaries),
           "function_source": binaries[0]["function_source"], "has_lines": "no_lines_reason" not in binaries[0],
           "instructions": sum(binary["instructions"] for binary in binaries), "sites": sums,
           "audit_seconds": round(seconds, 2), "audit_bytes": memory}
    if len(files) > 1:
        row["files"] = len(files)
    return row, binaries


def short_source(source):
    """File and line, without the folders of a registry or of a build."""
    path = source["file"].split("/registry/src/")[-1]
    return f"{'/'.join(path.split('/')[-3:])}:{source['line']}"


def price_run(program, report, binary, arguments, seconds, counts=None):
    """The audit of a run, as a row, and the whole document."""
    how = ["--counts", counts] if counts else ["--run"]
    command = [program, "audit", binary, *how, "--report", report, "--seconds", f"{seconds:.6f}", "--json"]
    document = json.loads(run([str(word) for word in command] + ([] if counts else ["--", *arguments])))
    sites = [{"function": site["function"], "kind": site["kind"], "calls": site["calls"], "cycles": site.get("cycles"),
              "percent": site.get("percent"), "targets": site["targets_total"], "known_calls": site["known_calls"],
              "most": site["targets"][0] if site["targets"] else None, "saves": site.get("saves"),
              "source": short_source(site["source"]) if site.get("source") else None} for site in document["sites"][:3]]
    row = {key: document.get(key) for key in ("instructions", "own_instructions", "cpu_seconds", "cycles", "percent")}
    return {**row, "kinds": document["kinds"], "sites_total": len(document["sites"]), "dearest": sites}, document


def callgrind(command, counts, stdin=None, env=None):
    with open(stdin or os.devnull, "rb") as given:
        run(["valgrind", "--tool=callgrind", "--dump-instr=yes", f"--callgrind-out-file={counts}",
             "--quiet", "--", *command], stdin=given, env=env)


def counted_sites(program, report, binary, times):
    """Compares the sites of a program that count themselves with the audit of its run."""
    told = dict(line.split() for line in run([binary, times]).decode().splitlines())
    _, document = price_run(program, report, binary, [times], 1)
    found = {}
    for site in document["sites"]:
        if site["function"] in told:
            found[site["function"]] = found.get(site["function"], 0) + site["calls"]
    rows = [{"site": name, "counted": int(count), "audit": found.get(name, 0)} for name, count in told.items()]
    return {"sites": rows, "equal": sum(row["counted"] == row["audit"] for row in rows)}


def kernel_lists(files, binaries):
    """Compares the sites of kernels or modules with the lists that the kernel itself has of them."""
    rows = {kind: {"listed": 0, "audit": 0, "files_that_differ": 0} for kind, _, _ in SITE_LISTS}
    for file, binary in zip(files, binaries, strict=True):
        elf = Elf(file)
        for kind, section, size in SITE_LISTS:
            if len(files) == 1 and not elf.section(section):
                rows.pop(kind, None)
                continue
            listed, found = elf.entries(section, size), binary["counts"].get(kind, 0)
            row = rows[kind]
            row["listed"] += listed
            row["audit"] += found
            row["files_that_differ"] += listed != found
    return rows


def same_sites(left, right):
    """Indirect sites of two audits of the same code, by address: how many are in both with the same kind."""
    def indirect(binary):
        sites = (site for function in binary["functions"] for site in function.get("sites", []))
        return {site["address"]: site["kind"] for site in sites}
    one, other = indirect(left), indirect(right)
    both = one.keys() & other.keys()
    return {"sites": len(one.keys() | other.keys()), "in_both": len(both),
            "same_kind": sum(one[address] == other[address] for address in both)}


def direct_sites(binary, document):
    """Sites that always called one function of the same binary, and whose instruction a direct call fits into: each
    with its place in the file, and the direct call."""
    elf = Elf(binary)
    functions, words = elf.functions(), elf.relative_words()
    for site in document["sites"]:
        if site["targets_total"] != 1 or site["known_calls"] != site["calls"] or "direct" not in site.get("saves", {}):
            continue
        offset = elf.offset_of(site["address"])
        code = elf.data[offset:offset + 15]
        named = functions.get(site["targets"][0]["name"], set())
        target = next(iter(named)) if len(named) == 1 else None
        # A call of a stub is as long as a direct call.
        length, is_jump, distance = (5, code[0] == 0xE9, None) if site["kind"] == "plt" else indirect_call(code)
        if site["kind"] == "got":
            target = words.get(site["address"] + distance) if distance is not None else None
        if target and length >= DIRECT_BYTES:
            relative = target - site["address"] - DIRECT_BYTES
            direct = (b"\xe9" if is_jump else b"\xe8") + relative.to_bytes(4, "little", signed=True)
            yield site, offset, direct + NOPS[length - DIRECT_BYTES]


def write_pair(binary, chosen, folder):
    """Two copies of a file that differ in nothing but the calls, at new places in memory."""
    plain, patched = (folder / name / binary.name for name in ("plain", "direct"))
    for file in (plain, patched):
        file.parent.mkdir(exist_ok=True)
        file.unlink(missing_ok=True)
        shutil.copy(binary, file)
    with patched.open("r+b") as file:
        for _, offset, code in chosen:
            file.seek(offset)
            file.write(code)
    return plain, patched


def measure_direct(binary, document, command_of, folder, blocks):
    """Writes direct calls over indirect ones, so that nothing else moves, and compares the CPU time with both files.
    `command_of` makes the arguments of `resources` for a file."""
    chosen = list(direct_sites(binary, document))
    if not chosen:
        raise Failed(f"{binary.name}: no site that ran can be made direct in place")
    differences, times, rng = [], [], random.Random(1)
    # Pages of the page cache have other addresses in each copy, which moves times by as much as the calls do.
    for _ in range(PLACEMENTS):
        plain, patched = write_pair(binary, chosen, folder)
        runs = {file: command_of(file) for file in (plain, patched)}
        if resources(*runs[plain])[2] != resources(*runs[patched])[2]:
            raise Failed(f"{binary.name}: with direct calls, the output differs")
        own = []
        for _ in range(max(blocks // PLACEMENTS, 3)):
            spent = {plain: 0.0, patched: 0.0}
            order = [plain, patched, patched, plain] if rng.random() < 0.5 else [patched, plain, plain, patched]
            for file in order:
                spent[file] += resources(*runs[file])[0] / 2
            own.append(spent[plain] - spent[patched])
            times.append(spent[plain])
        differences.append(statistics.median(own))
    error = statistics.stdev(differences) / math.sqrt(PLACEMENTS)
    seconds, mean = statistics.median(times), statistics.mean(differences)
    hertz = document["cpu_cycles"] / document["cpu_seconds"]
    scale = 100 / seconds
    saves = [site["saves"]["direct"] for site, _, _ in chosen]
    low, high = (sum(each[end] for each in saves) * scale / hertz for end in ("low", "high"))
    reach = T_QUANTILE * error
    measured = {"value": mean * scale, "low": (mean - reach) * scale, "high": (mean + reach) * scale}
    calls = sum(site["calls"] for site, _, _ in chosen)
    return {"sites": len(chosen), "calls": calls, "placements": PLACEMENTS, "blocks": len(times),
            "cpu_seconds": seconds, "predicted_percent": {"low": low, "high": high}, "measured_percent": measured,
            "measured_cycles_per_call": mean * hertz / calls,
            "interval_meets_range": measured["high"] >= low and measured["low"] <= high}
