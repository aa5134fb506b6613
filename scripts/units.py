#!/usr/bin/env python3
"""Checks that the compiler treats the kernels of all mechanisms and of all options alike.

A build with several codegen units does not inline functions of another unit. So all instances of a kernel's function
must lie in one unit. Builds the library in target/units, with symbols that name the types, and lists generic
functions whose instances lie in several units, and functions that have an instance for some mechanisms or options only,
because the others inline it. Exits with 1 if there are functions of several units. Needs ar and nm.

    scripts/units.py [--library LIBRARY.rlib]
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The type that an instance differs by, and the one that all of the other kind have.
MECHANISM = re.compile(r"pvbench::dispatch::\w+::([A-Z]\w+)")
OPTION = re.compile(r"pvbench::kernel::(?:options::([A-Z]\w+)|config::(Plain))")


def build() -> Path:
    """Builds the library with the options of a release build and returns its path."""
    target = ROOT / "target/units"
    command = ["cargo", "rustc", "--release", "--locked", "--lib", "--target-dir", str(target)]
    subprocess.run([*command, "--", "-C", "symbol-mangling-version=v0"], cwd=ROOT, check=True)
    return target / "release/libpvbench.rlib"


def instances(library: Path) -> list:
    """Functions of kernels and workloads with their unit."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["ar", "x", str(library.resolve())], cwd=folder, check=True)
        for unit in sorted(Path(folder).glob("*.o")):
            command = ["nm", "-C", "--defined-only", str(unit)]
            listed = subprocess.run(command, capture_output=True, text=True, check=True)
            symbols = (line.split(" ", 2) for line in listed.stdout.splitlines())
            found += [(symbol[2], unit.name) for symbol in symbols if len(symbol) == 3 and symbol[1] in "tTwW"]
    return [(name, unit) for name, unit in found if "kernel::" in name or "workload::" in name]


def by_type(functions: list, kind: re.Pattern, fixed: re.Pattern, value: str) -> dict:
    """Units of a generic function by the type that it was instantiated with. `fixed` has the value everywhere."""
    units = defaultdict(lambda: defaultdict(set))
    for name, unit in functions:
        own = {"".join(match) if isinstance(match, tuple) else match for match in kind.findall(name)}
        other = {"".join(match) if isinstance(match, tuple) else match for match in fixed.findall(name)}
        # `All` is the list of all mechanisms.
        if len(own) == 1 and other <= {value} and not own & {"All"}:
            units[kind.sub("_", name)][own.pop()].add(unit)
    return units


def check(title: str, units: dict) -> int:
    """Prints the exceptions, and returns the number of functions that lie in several units."""
    types = {name for instances in units.values() for name in instances}
    apart = [name for name, instances in units.items() if len({frozenset(unit) for unit in instances.values()}) > 1]
    print(f"{title}: {len(units)} functions, {len(types)} types, {len(apart)} functions in several units")
    for name in apart:
        print(f"  in several units: {name}")
    for name, instances in sorted(units.items()):
        if len(types) > len(instances) > 1:
            print(f"  {len(instances)} instances ({', '.join(sorted(instances))}): {name}")
    return len(apart)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--library", type=Path, help="an existing library, built with -C symbol-mangling-version=v0")
    options = options.parse_args()
    functions = instances(options.library or build())
    apart = check("mechanisms", by_type(functions, MECHANISM, OPTION, "Plain"))
    apart += check("options", by_type(functions, OPTION, MECHANISM, "Inline"))
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
