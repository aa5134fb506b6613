#!/usr/bin/env python3
"""Makes the table of workloads in the README from a report.

    scripts/readme_workloads.py reports/latest/report.json

Prints the table, and writes it into README.md between its two marks. Needs only Python's standard library.
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MECHANISMS = [("table", None), ("site", "direct"), ("site", "inline"), ("flag", None), ("dyn", None), ("retpoline", None)]
OPTIONS = 3


def shown(kernel):
    """Formats an overhead, in brackets if it is not resolved."""
    percent = kernel["overhead_percent"]["estimate"]
    text = f"{percent:.1f}" if abs(percent) >= 9.95 else f"{percent:.2f}"
    return text if kernel["resolved"] else f"({text})"


def row(workload):
    cells = [f"`{workload['name']}`"]
    kernels = [kernel for kernel in workload["kernels"] if kernel.get("overhead_percent")]
    for mechanism, state in MECHANISMS:
        found = [k for k in kernels if (k.get("mechanism"), k.get("state")) == (mechanism, state)]
        cells.append(shown(found[0]) if found else "-")
    options = sorted((k for k in kernels if k.get("option") and k["resolved"]),
                     key=lambda k: -k["overhead_percent"]["estimate"])
    dearest = [f"{k['option']} {k['overhead_percent']['estimate']:.1f}" for k in options[:OPTIONS]
               if k["overhead_percent"]["estimate"] > 0]
    cells.append(", ".join(dearest) or "none resolved")
    halves = sorted((k["overhead_percent"]["high"] - k["overhead_percent"]["low"]) / 2 for k in kernels if not k.get("option"))
    cells.append(f"{halves[len(halves) // 2]:.2f}" if halves else "-")
    placement = workload.get("placement_percent")
    cells.append(f"{placement:.1f}" if placement is not None else "-")
    return "| " + " | ".join(cells) + " |"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    names = [f"{m} ({s})" if s else m for m, s in MECHANISMS]
    columns = " | ".join(f"`{name}`" for name in names)
    lines = [f"| workload | {columns} | dearest other options | ± | placement range |",
             "|---|" + "---:|" * len(names) + "---|---:|---:|"]
    lines += [row(workload) for workload in report["workloads"]]
    table = "\n".join(lines)
    print(table)
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    begin, end = "<!-- workloads -->\n", "<!-- /workloads -->"
    text, found = re.subn(re.escape(begin) + ".*?" + re.escape(end), lambda _: f"{begin}\n{table}\n\n{end}", text,
                          flags=re.S)
    if found != 1:
        print("README.md lacks the marks of the table, <!-- workloads --> and <!-- /workloads -->; add them",
              file=sys.stderr)
        return 2
    readme.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
