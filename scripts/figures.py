#!/usr/bin/env python3
"""Writes the figures of README.md and docs/*.md from committed data, between their markers.

    scripts/figures.py                  writes every figure
    scripts/figures.py --check          writes nothing, and ends with 1 where text and data differ
    scripts/figures.py --list           prints the names of all figures, with the places that use them
    scripts/figures.py --record REPORT.json [--program PVBENCH]
                                        takes the data of a new example: cells and workloads of a default run, its
                                        answer, and what the gate and `explain` print

A figure stands between `<!-- figures: NAME -->` and `<!-- end -->`, within a line or around a block. A name without
data and a marker without an end are errors. The data are JSON files and recorded output under reports/, published
figures in src/report/published.toml, and code of this repository. Needs only Python's standard library.
"""

import argparse
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import figures_audit

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "reports" / "example"
DATA = EXAMPLE / "figures.json"
TERMINAL, GATE, GATE_BUDGETS, EXPLAIN = (
    EXAMPLE / name for name in ("terminal.txt", "gate.txt", "gate.toml", "explain.txt"))
PROGRAM = ROOT / "target" / "release" / "pvbench"
MARKER = re.compile(r"<!-- figures: ([\w-]+) -->(.*?)<!-- end -->", re.S)
FIGURES = {}


class Missing(Exception):
    """A figure has no data."""


def figure(function):
    """Names a function as the figure that it makes: `example_setting` is `example-setting`."""
    FIGURES[function.__name__.replace("_", "-")] = function
    return function


def load(path):
    try:
        return json.loads((ROOT / path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Missing(f"{path} does not exist") from None


def lines_of(path):
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise Missing(f"{path.relative_to(ROOT)} does not exist; run scripts/figures.py --record") from None


def table(head, rows, align=""):
    """A table in Markdown. `align` has a letter per column: l or r."""
    if not rows:
        raise Missing("the table has no rows")
    marks = ["---:" if letter == "r" else "---" for letter in align.ljust(len(head), "l")]
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(marks) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def fenced(lines, language=""):
    return "\n".join([f"```{language}", *(line.rstrip() for line in lines), "```"])


def date(text):
    months = "January February March April May June July August September October November December".split()
    year, month, day = text[:10].split("-")
    return f"{int(day)} {months[int(month) - 1]} {year}"


def of(rows, **keys):
    """The row with these values. None stands for an absent key, too."""
    for row in rows:
        if all(row.get(key) == value for key, value in keys.items()):
            return row
    raise Missing(f"no row with {keys}")


# ---- The example: a default run.

# The op whose cells are kept one by one; of all others, only the medians are.
KEPT_OP = "pte_val"


def value(estimate):
    """The value of an estimate, or of a range, which has a median instead in report/2."""
    return estimate["estimate"] if "estimate" in estimate else estimate["median"]


def quantile(values, share):
    """Type 7 of Hyndman and Fan, as in src/stats/location.rs."""
    values = sorted(values)
    at = share * (len(values) - 1)
    low = values[int(at)]
    return low + (values[min(int(at) + 1, len(values) - 1)] - low) * (at - int(at))


def rounded(number, digits=6):
    return None if number is None else float(f"{number:.{digits}g}")


def triple(estimate):
    return {"value": rounded(value(estimate)), "low": rounded(estimate["low"]), "high": rounded(estimate["high"])}


def extract(report):
    """The part of a report that figures are made of."""
    groups, kept = {}, []
    for cell in report["cells"]:
        if not cell.get("overhead") or cell["body"] == "xen" or cell.get("limit") == "traps":
            continue
        groups.setdefault((cell["mechanism"], cell.get("state"), cell["regime"]), []).append(cell)
        if cell["op"] == KEPT_OP:
            kept.append({
                "mechanism": cell["mechanism"], "state": cell.get("state"), "regime": cell["regime"],
                **triple(cell["overhead"]["cycles"]),
                "extra": (cell.get("instructions") or {}).get("extra"), "resolved": cell["resolved"],
                "limit": cell.get("limit"), "layout_range": cell.get("layout_range"), "floor": cell.get("floor_cycles"),
                "layouts": len(cell["layouts"]),
            })
    medians = []
    for (mechanism, state, regime), cells in groups.items():
        values = [value(cell["overhead"]["cycles"]) for cell in cells]
        median = quantile(values, 0.5)
        # src/report/over_ops.rs: more than half of the ops are resolved on the median's side of zero.
        side = sum(cell["resolved"] and value(cell["overhead"]["cycles"]) * median > 0 for cell in cells)
        # A median that is not resolved lies below the typical floor and below the ends of its interval.
        floors = [abs(cell["floor_cycles"]) for cell in cells if cell.get("floor_cycles") is not None]
        ends = [abs(quantile([cell["overhead"]["cycles"][end] for cell in cells], 0.5)) for end in ("low", "high")]
        bound = max([quantile(floors, 0.5) if floors else 0, *ends])
        medians.append({
            "mechanism": mechanism, "state": state, "regime": regime, "ops": len(cells),
            "five": [rounded(quantile(values, share)) for share in (0, 0.25, 0.5, 0.75, 1)],
            "resolved": sum(cell["resolved"] for cell in cells), "median_resolved": 2 * side > len(cells),
            "bound": rounded(bound),
        })
    workloads = []
    for workload in report["workloads"]:
        kernels = []
        for kernel in workload["kernels"]:
            if kernel.get("overhead_percent"):
                kernels.append({
                    "mechanism": kernel.get("mechanism"), "state": kernel.get("state"), "option": kernel.get("option"),
                    **triple(kernel["overhead_percent"]), "resolved": kernel["resolved"],
                    "extra_percent": (kernel.get("instructions") or {}).get("extra_percent"),
                    "predicted_percent": rounded(kernel.get("predicted_percent")),
                })
        workloads.append({
            "name": workload["name"], "unit": workload["unit"], "summary": workload["summary"],
            "inline_ns": value(inline) if isinstance(inline := workload["inline_ns"], dict) else inline,
            "inline_instructions": workload.get("inline_instructions"),
            "hook_calls": rounded(sum((workload.get("calls") or {}).values())),
            "surroundings": workload.get("surroundings"),
            "placements": workload.get("placements"),
            "floor_percent": workload.get("floor_percent"), "placement_percent": workload.get("placement_percent"),
            "kernels": kernels,
        })
    machine, calibration = report["machine"], report["calibration"]
    return {
        "script": "scripts/figures.py --record", "report": report["schema"], "started": report["run"]["started"],
        "seed": report["run"]["seed"], "duration_seconds": report["run"]["duration_seconds"],
        "cpu_model": machine["cpu_model"], "cpu_family": machine["cpu_family"],
        "cpu_model_number": machine["cpu_model_number"], "cpus": len(machine["cpus_allowed"]),
        "virtualised": machine["virtualised"], "core_ghz": rounded(value(calibration["core_ghz"]), 3),
        "cells_measured": sum(bool(cell.get("overhead")) for cell in report["cells"]),
        "ops": report["run"]["plan"]["ops"],
        "mechanisms": len(report["run"]["plan"]["mechanisms"]),
        "floors": {floor["regime"]: floor["cycles"] for floor in report["floors"]},
        "medians": medians, KEPT_OP: kept, "workloads": workloads, "kernel_time": kernel_time(report),
    }


def kernel_time(report):
    """The prices of a real kernel's hooks, a row for each workload and mechanism; empty without."""
    time, rows = report.get("kernel_time"), []
    if not time:
        return rows
    running, recorded = time["native"]["kernel"], time["recorded"]
    for price in time["prices"]:
        native = of(time["native"]["workloads"], workload=price["workload"])
        workload = of(recorded["workloads"], workload=price["workload"])
        rows.append({
            "workload": price["workload"], "unit": native["unit"], "mechanism": price["mechanism"],
            "state": price.get("state"), "hooks": rounded(price["hooks"]), "cold_share": rounded(price["cold_share"]),
            "cycles": triple(native["cycles"]),
            "percent": [rounded(price["percent"][end]) for end in ("low", "high")],
            "likely": rounded(price.get("likely_percent")),
            "per_hook": [rounded(price["cycles_per_hook"][end]) for end in ("low", "high")],
            "recorded": " ".join(recorded["kernel"].split()[:3]), "running": running.get("release"),
            "virtualised": running.get("virtualised"), "model": workload.get("model"),
            "surroundings": workload.get("surroundings"), "inflated": native.get("inflated"),
        })
    return rows


def example():
    return load(DATA.relative_to(ROOT))


def machine_name(data):
    zen = data["cpu_family"] == 25 and 0x10 <= data["cpu_model_number"] <= 0x1f
    guest = " guest" if data["virtualised"] else ""
    return f"{data['cpu_model']}{' (Zen 4)' if zen else ''}{guest}"


@figure
def example_setting():
    data = example()
    return (f"{machine_name(data)} with {data['cpus']} CPUs at {data['core_ghz']:.2f} GHz, {date(data['started'])}, "
            f"`pvbench run --seed {data['seed']}`, {data['duration_seconds']:.0f} s")


@figure
def example_size():
    data = example()
    return f"{data['ops']} ops, {data['mechanisms']} mechanisms, {data['cells_measured']:,} cells"


def call_sites():
    """Mechanism, state, what a call site holds, and whether README's table shows it, in the order of the tables."""
    with open(ROOT / "src" / "report" / "call_sites.toml", "rb") as file:
        sites = tomllib.load(file)["site"]
    return [(site["mechanism"], site.get("state"), site["holds"], site.get("readme", False)) for site in sites]


def named(mechanism, state):
    return f"`{mechanism}` ({state})" if state else f"`{mechanism}`"


def median_of(data, mechanism, state, regime):
    try:
        row = of(data["medians"], mechanism=mechanism, state=state, regime=regime)
    except Missing:
        return "-"
    if row["median_resolved"]:
        return f"{row['five'][2]:.2f}"
    return f"< {upper_bound(row['bound'])}"


def upper_bound(number):
    """A number that is rounded up, as in src/report/plots/number.rs."""
    digits = 3 if number < 0.1 else 2 if number < 10 else 1 if number < 100 else 0
    return f"{math.ceil(number * 10 ** digits - 1e-6) / 10 ** digits:.{digits}f}"


def ladder(regimes, only_readme):
    data, rows = example(), []
    for mechanism, state, text, in_readme in call_sites():
        of(data["medians"], mechanism=mechanism, state=state, regime="throughput")
        if in_readme or not only_readme:
            medians = (median_of(data, mechanism, state, regime) for regime in regimes)
            rows.append([named(mechanism, state), text, *medians])
    known = {row[0] for row in call_sites()} | {"inline"}
    if unknown := {row["mechanism"] for row in data["medians"]} - known:
        raise Missing(f"src/report/call_sites.toml has no row for {', '.join(sorted(unknown))}")
    return table(["mechanism", "what a call site holds", *regimes], rows, "ll" + "r" * len(regimes))


@figure
def mechanisms_short():
    return ladder(["throughput", "latency", "cold"], True)


@figure
def mechanisms_all():
    return ladder(["throughput", "latency", "pressure", "cold", "flushed", "random2"], False)


@figure
def answer():
    """The table of an answer without its legend, and what the model kernel pays."""
    lines = lines_of(TERMINAL)

    def first(text):
        found = next((index for index, line in enumerate(lines) if text in line), None)
        if found is None:
            raise Missing(f"terminal.txt has no line with '{text}'; run scripts/figures.py --record")
        return found

    kernels = first("'s time above inline, over")
    return fenced([*lines[first("Core cycles per call"):first("hot: ")], *lines[kernels:kernels + 3]])


@figure
def one_cell():
    cell = of(example()[KEPT_OP], mechanism="table", state=None, regime="throughput")
    return (f"`pte_val` behind `table` in `throughput`: {cell['value']:.3f} cycles above `inline`, 95% interval "
            f"{cell['low']:.3f} to {cell['high']:.3f}, floor {cell['floor']:.4f}, "
            f"layout range {cell['layout_range']:.2f} over {cell['layouts']} layouts, "
            f"{cell['extra']:.0f} more instructions, "
            f"{'resolved' if cell['resolved'] else 'not resolved: ' + cell['limit']}")


@figure
def floors():
    rows = [[f"`{regime}`", f"{cycles:.5f}"] for regime, cycles in example()["floors"].items()]
    return table(["regime", "noise, cycles per cycle of the op"], rows, "lr")


@figure
def site_states():
    data, rows = example(), []
    for mechanism in ("site", "site_callee_save"):
        for state in ("unpatched", "direct", "inline"):
            cell = of(data[KEPT_OP], mechanism=mechanism, state=state, regime="throughput")
            rows.append([named(mechanism, state), f"{cell['value']:.3f}", f"{cell['low']:.3f} to {cell['high']:.3f}",
                         f"{cell['layout_range']:.2f}", f"{cell['extra']:.0f}"])
    head = ["site of `pte_val`", "overhead, cycles", "95% interval", "layout range", "more instructions"]
    return table(head, rows, "lrrrr")


@figure
def retpoline_hot():
    return f"{median_of(example(), 'retpoline', None, 'throughput')} cycles"


@figure
def question_retpoline():
    data = example()
    return ", ".join(f"{median_of(data, 'retpoline', None, regime)} cycles in `{regime}`"
                     for regime in ("throughput", "latency", "cold", "random2"))


@figure
def question_once_lock():
    return f"{median_of(example(), 'once_lock', None, 'throughput')} cycles in `throughput`"


@figure
def question_patched():
    data = example()
    kernel = kernel_of(data, "mmap_perf", "site", "inline")
    return f"`mmap_perf` is {kernel['value']:.1f}% slower ({kernel['low']:.1f} to {kernel['high']:.1f})"


# ---- Workloads of the example.

COLUMNS = [("table", None), ("site", "direct"), ("site", "inline"), ("flag", None), ("dyn", None), ("retpoline", None)]
DEAREST = 3


def percent(kernel):
    number = kernel["value"]
    text = f"{number:.1f}" if abs(number) >= 9.95 else f"{number:.2f}"
    return text if kernel["resolved"] else f"({text})"


def workload_of(data, name):
    return of(data["workloads"], name=name)


def kernel_of(data, workload, mechanism, state=None):
    return of(workload_of(data, workload)["kernels"], mechanism=mechanism, state=state, option=None)


def workload_row(workload, columns, dearest, precision):
    row = [f"`{workload['name']}`"]
    for mechanism, state in columns:
        row.append(percent(of(workload["kernels"], mechanism=mechanism, state=state, option=None)))
    dear = lambda kernel: kernel["option"] and kernel["resolved"] and kernel["value"] > 0
    options = [kernel for kernel in workload["kernels"] if dear(kernel)]
    options.sort(key=lambda kernel: -kernel["value"])
    shown = ", ".join(f"{kernel['option']} {kernel['value']:.1f}" for kernel in options[:dearest])
    row.append(shown or "none resolved")
    if precision:
        halves = sorted((kernel["high"] - kernel["low"]) / 2 for kernel in workload["kernels"] if not kernel["option"])
        row += [f"{halves[len(halves) // 2]:.2f}", f"{workload['placement_percent']:.1f}"]
    return row


@figure
def workloads():
    rows = [workload_row(workload, COLUMNS, DEAREST, True) for workload in example()["workloads"]]
    names = [named(*column) for column in COLUMNS]
    head = ["workload", *names, "dearest kernel options", "±", "placement range"]
    return table(head, rows, "l" + "r" * len(names) + "lrr")


@figure
def claim_here():
    data = example()
    columns = (("table", None), ("site", "direct"), ("site", "inline"))
    shown = [kernel_of(data, "mmap_perf", *column) for column in columns]
    return (f"`mmap_perf`, the benchmark of the claim, is {shown[0]['value']:.1f}% slower behind the table, "
            f"{shown[1]['value']:.1f}% with sites patched to direct calls and {shown[2]['value']:.1f}% with native "
            f"instructions in the sites")


def bounds(name, mechanism, state=None):
    """`about 0.3% (0.0 to 1.2)` of a workload's time on the running kernel."""
    row = of(example()["kernel_time"], workload=name, mechanism=mechanism, state=state)
    return f"about {row['likely']:.1f}% ({row['percent'][0]:.1f} to {row['percent'][1]:.1f})"


@figure
def kernel_time_short():
    """The answer to the 1%, in the example."""
    row = of(example()["kernel_time"], workload="mmap_perf", mechanism="site", state="inline")
    return (f"in `mmap_perf`, the benchmark of the claim, the hooks of Linux 6.1 take "
            f"{bounds('mmap_perf', 'site', 'inline')} of the time of the kernel that runs there if they are patched, "
            f"{bounds('mmap_perf', 'site', 'unpatched')} if they never are, and "
            f"{bounds('mmap_perf', 'retpoline')} behind retpolines: {row['hooks']:.0f} hooks in "
            f"{row['cycles']['value']:,.0f} core cycles. "
            f"So 1% is {against_claim('site', 'inline')} for a patched kernel, "
            f"and {against_claim('site', 'unpatched')} for one that is never patched")


@figure
def claim_hooks():
    """The hooks of a unit of the benchmark of the claim, and its time."""
    row = of(example()["kernel_time"], workload="mmap_perf", mechanism="site", state="inline")
    return f"{row['hooks']:.0f} hooks in {row['cycles']['value']:,.0f} core cycles"


@figure
def claim_table():
    """The answer to the 1% by state of the hooks: priced, measured on the model kernel, and counted."""
    data, columns = example(), []
    counted = of(load("reports/linux/recorded-ab.json")["workloads"], name="mmap_perf")
    for linux, model, instructions in [(("site", "inline"), ("site", "inline"), "reference"),
                                       (("site", "unpatched"), ("table", None), shares(counted, ["noalt"])[0]),
                                       (("retpoline", None), ("retpoline", None), "not counted")]:
        row = of(data["kernel_time"], workload="mmap_perf", mechanism=linux[0], state=linux[1])
        low, high = row["percent"]
        columns.append([f"**{row['likely']:.1f}**, between {low:.2f} and {high:.1f}", against_claim(*linux),
                        f"{kernel_of(data, 'mmap_perf', *model)['value']:.1f}", instructions])
    names = ["**priced**: Linux's hooks, % of its time", "so 1% is",
             "**measured**: the model kernel's time, %", "**counted**: Linux's instructions, %"]
    return table(["`mmap_perf`, hooks are", "patched", "never patched", "behind retpolines"],
                 [list(row) for row in zip(names, *columns)], "llll")


def against_claim(mechanism, state):
    """Whether 1% is too much or too little, as the page says it (`Percent::verdict` in src/report/claim.rs)."""
    likely = of(example()["kernel_time"], workload="mmap_perf", mechanism=mechanism, state=state)["likely"]
    return "probably too much" if likely < 1 / 1.5 else "probably too little" if likely > 1.5 else "about right"


@figure
def kernel_time_all():
    """Percent of the running kernel's time, by workload."""
    rows, columns = [], [("site", "inline"), ("site", "unpatched"), ("retpoline", None)]
    data = example()["kernel_time"]
    for name in dict.fromkeys(row["workload"] for row in data):
        first = of(data, workload=name, mechanism="site", state="inline")
        rows.append([f"`{name}`, {first['unit']}", f"{first['hooks']:,.1f}", f"{100 * first['cold_share']:.1f}",
                     f"{first['cycles']['value']:,.0f}",
                     *(bounds(name, *column).removeprefix("about ").replace("%", "") for column in columns)])
    return table(["workload, unit", "hooks", "cold, %", "cycles on the running kernel", "patched, %",
                  "never patched, %", "retpolines, %"], rows, "lrrrrrr")


@figure
def kernel_time_setting():
    row = example()["kernel_time"][0]
    under = f" under {row['virtualised']}" if row["virtualised"] else ""
    return f"hooks of {row['recorded']}, time of Linux {row['running']}{under}"


@figure
def beside_linux():
    """What surrounds the hooks of the model kernel and of Linux."""
    data, rows = example(), []

    def shown(it):
        return [f"{it['hooks_per_1000']:.1f}",
                f"{it['distance_median']:.0f} ({it['distance_p10']:.0f} to {it['distance_p90']:.0f})",
                f"{100 * it['cold_share']:.1f}"]

    for workload in data["workloads"]:
        linux = [row for row in data["kernel_time"] if row["model"] == workload["name"]][:1]
        if linux and workload["surroundings"]:
            pairs = zip(shown(workload["surroundings"]), shown(linux[0]["surroundings"]))
            rows.append([f"`{workload['name']}`", *(side for pair in pairs for side in pair)])
    return table(["workload", "hooks per 1,000, model", "Linux", "distance, model", "Linux", "cold, %, model", "Linux"],
                 rows, "lrrrrrr")


@figure
def density_ratio():
    """How much more densely the model kernel calls hooks than Linux, over the workloads that both have."""
    data, ratios, in_time = example(), [], []
    for workload in data["workloads"]:
        linux = [row for row in data["kernel_time"] if row["model"] == workload["name"]][:1]
        if linux and workload["surroundings"]:
            ratios.append(workload["surroundings"]["hooks_per_1000"] / linux[0]["surroundings"]["hooks_per_1000"])
            model = workload["hook_calls"] / (workload["inline_ns"] * data["core_ghz"])
            in_time.append(model / (linux[0]["hooks"] / linux[0]["cycles"]["value"]))
    return (f"{min(ratios):.1f} to {max(ratios):.1f} times as densely as Linux per instruction, and "
            f"{min(in_time):.0f} to {max(in_time):.0f} times per cycle")


@figure
def price_validation():
    it = load("reports/price-validation.json")
    kernel, user = it["groups"]
    return (f"{it['covered']} of {it['pairs']} pairs of a program and a mechanism ({len(it['programs'])} programs) are "
            f"covered: {kernel['covered']} of {kernel['pairs']} of the model kernel, {user['covered']} of "
            f"{user['pairs']} of user programs. {it['covered_left_out']} are covered if the constants are chosen "
            f"without the program in question. In the median the range is {it['median_width']:.1f} times as wide as "
            f"the measured overhead. The likely value, by the other programs, is off by a factor of "
            f"{it['likely_factor_median']:.2f} in the median, and of {it['likely_factor_p90']:.1f} or less in nine of "
            f"ten")


@figure
def price_missed():
    rows = [[f"`{it['program']}`", it["mechanism"], f"{it['measured_cycles']:,.1f}",
             f"{it['range_cycles'][0]:,.1f} to {it['range_cycles'][1]:,.1f}"]
            for it in load("reports/price-validation.json")["missed"]]
    return table(["program", "mechanism", "measured, cycles", "range, cycles"], rows, "llrr")


def hook_cost(it):
    return f"{it['value']:.1f} ± {it['half']:.1f}"


@figure
def replay_known():
    """The truth and the replay of each program of known cost."""
    rows = []
    for it in load("reports/replay-validation.json")["programs"]:
        def pair(kind):
            text = f"{it[kind]['truth']['value']:.1f}, {hook_cost(it[kind]['replay'])}"
            return text if it[kind]["holds"] else f"**{text}**"

        off = f"{100 * it['inline']['error']:+.0f}"
        rows.append([f"`{it['program']}`", f"{it['code_lines']:,}", f"{it['inline']['truth']:,.0f}",
                     off if it["inline"]["holds"] else f"**{off}**", pair("direct"), pair("table"), pair("retpoline")])
    return table(["program", "code lines", "cycles", "replay off, %", "direct", "table", "retpoline"], rows, "lrrrrrr")


def of_programs(counts):
    return f"{counts[0]} of {counts[1]}"


@figure
def replay_sum():
    it = load("reports/replay-validation.json")
    large = it["holds_large"]
    return (f"of the programs of {it['min_lines']} lines or more, inline cycles are within 15% in "
            f"{of_programs(large['inline'])}, a direct call within 1.5 cycles in {of_programs(large['direct'])}, the "
            f"table in {of_programs(large['table'])}, and a retpoline within 25% in {of_programs(large['retpoline'])}")


@figure
def replay_stream_sum():
    it = load("reports/replay-validation.json")
    return (f"with half the length {of_programs(it['moved_half_length'])} costs move outside the intervals, with a "
            f"stream of twice the size {of_programs(it['moved_double_stream'])}")


@figure
def replay_stream():
    """The cost of a hook with another length and size of the stream."""
    rows = []
    for it in load("reports/replay-validation.json")["stream"]:
        def side(kind):
            text = hook_cost(it[kind])
            return f"**{text}**" if it[f"moved_{kind}"] else text

        model = " of the model kernel" if it["known"] and not it["workload"].startswith("known") else ""
        rows.append([f"`{it['workload']}`{model}", it["mechanism"], hook_cost(it["whole"]), side("half_length"),
                     side("double_stream")])
    return table(["workload", "mechanism", "whole", "half the length", "twice the stream"], rows, "llrrr")


@figure
def replay_linux():
    """What the replays of Linux's own recordings have of them."""
    rows = [[f"`{name}`", f"{it['recorded_code_lines']:,}", f"{it['code_lines']:,}",
             f"{100 * it['instructions_share']:+.1f}", f"{100 * it['streamed_share']:.0f}",
             f"{it['stream_bytes_per_unit']:,.0f}", f"{100 * it['placement_range']:.0f}", hook_cost(it["copy"])]
            for name, it in load("reports/replay-validation.json")["linux"].items()]
    return table(["workload", "code lines", "in the replay", "instructions, %", "addresses in the stream, %",
                  "stream, bytes per unit", "placement range, %", "A/A with a copy, cycles per hook"], rows, "lrrrrrrr")


@figure
def density():
    workload, linux = workload_of(example(), "mmap_perf"), load("reports/linux/debian-cloud.json")["linux"]
    real = of(linux["workloads"], name="mmap_perf")
    instructions = real["counts"][0]["per_unit"]["estimate"]
    calls = sum(real["calls"].values())
    here = 1000 * workload["hook_calls"] / workload["inline_instructions"]
    return (f"The model kernel calls {here:.1f} hooks per 1,000 instructions in `mmap_perf`; Linux 6.1 calls "
            f"{1000 * calls / instructions:.1f} ({calls:.0f} in {instructions:,.0f} instructions). "
            f"A call with its touches takes "
            f"{workload['inline_ns']:.0f} ns")


@figure
def prediction():
    data, rows = example(), []
    for mechanism, state in [("table", None), ("site", "direct"), ("retpoline", None)]:
        kernel = kernel_of(data, "mmap_perf", mechanism, state)
        if kernel["predicted_percent"] is not None:
            rows.append([named(mechanism, state), f"{kernel['predicted_percent']:.1f}", f"{kernel['value']:.1f}"])
    return table(["`mmap_perf`", "predicted, %", "measured, %"], rows, "lrr")


@figure
def prediction_error():
    """As src/report/prediction_error.rs: factors where both are a cost, and predictions of none."""
    factors, missed = [], 0
    for workload in example()["workloads"]:
        for kernel in workload["kernels"]:
            predicted, measured = kernel["predicted_percent"], kernel["value"]
            if predicted is None or not kernel["resolved"] or measured <= 0:
                continue
            if predicted > workload["floor_percent"]:
                name = named(kernel["mechanism"], kernel["state"])
                factors.append((max(predicted / measured, measured / predicted), f"`{workload['name']}` with {name}"))
            else:
                missed += 1
    if not factors:
        raise Missing("no workload has a prediction")
    worst, name = max(factors)
    return (f"predictions miss {len(factors)} measured overheads by a factor of "
            f"{quantile([factor for factor, _ in factors], 0.5):.1f} in the median and of {worst:.0f} at worst "
            f"({name}), and {missed} more predict no cost where there is one")


@figure
def hotness():
    workload = workload_of(example(), "page_life")
    shown = [of(workload["kernels"], option=option) for option in ("sanitize_mem", "init_on_free")]
    return (f"`sanitize_mem` zeroes pages when they are freed and not when they are allocated: "
            f"{shown[0]['value']:.1f}% more time in `page_life`. "
            f"`init_on_free` zeroes them both times: {shown[1]['value']:.1f}%")


@figure
def profile():
    lines = lines_of(ROOT / "reports" / "profile-mmap_perf.txt")
    rows = [line.split(None, 1) for line in lines[1:9]]
    return table(["share of samples", "function"], [[share, f"`{name}`"] for share, name in rows], "rl")


# ---- Recorded output.

@figure
def gate_budgets():
    return fenced(lines_of(GATE_BUDGETS), "toml")


@figure
def gate_output():
    return fenced([line for line in lines_of(GATE) if line])


@figure
def explain():
    return fenced(lines_of(EXPLAIN))


# ---- Code of this repository.

@figure
def uart_code():
    """The bench target of docs/own-ops.md, which a doctest compiles."""
    lines = lines_of(ROOT / "docs" / "own-ops.md")
    try:
        start = lines.index("pvbench::functions! {")
        block = lines[start:lines.index("```", start)]
    except ValueError:
        raise Missing("docs/own-ops.md has no block with pvbench::functions!") from None
    return fenced([line for line in block if line and not line.strip().startswith("///")], "rust")


@figure
def uart_budgets():
    return fenced(lines_of(ROOT / "examples" / "uart_hal" / "budgets.toml")[2:8], "toml")


# ---- Real kernels.

def shares(workload, kernels):
    row = []
    for name in kernels:
        percent_of = of(workload["counts"], kernel=name)["percent"]
        row.append(f"{percent_of['estimate'] + 0.0:+.2f}".replace("-0.00", "0.00"))
    return row


@figure
def linux_setting():
    found = load("reports/linux/debian-cloud.json")
    linux = found["linux"]
    return f"{found['package']}, `{linux['kernels'][0]['append']}`, QEMU {linux['qemu']}, {date(found['date'])}"


@figure
def linux_debian():
    rows = []
    for workload in load("reports/linux/debian-cloud.json")["linux"]["workloads"]:
        stock = of(workload["counts"], kernel="stock")["per_unit"]["estimate"]
        rows.append([f"`{workload['name']}`, {workload['unit']}", f"{stock:,.0f}",
                     *shares(workload, ["nopatch", "noalt"]),
                     f"{sum(workload['calls'].values()):,.1f}"])
    return table(["workload, unit", "instructions, `stock`", "`nopatch`, %", "`noalt`, %", "hook calls"], rows, "lrrrr")


PARAVIRT = [("paravirt", "PARAVIRT"), ("paravirt-spinlocks", "+ SPINLOCKS"), ("xxl", "XXL"),
            ("xxl-spinlocks", "XXL + SPINLOCKS"), ("noalt", "the same, never patched")]
OTHERS = [("up", "SMP=n"), ("preempt", "PREEMPT"), ("retpoline", "retpolines, return thunks"),
          ("stackprotector", "stack protector"), ("memcg", "MEMCG"), ("security", "security hooks")]
NETWORK = [("audit", "AUDIT"), ("selinux", "SELinux with AUDIT")]


@figure
def linux_paravirt():
    rows = []
    for workload in load("reports/linux/options.json")["groups"][0]["workloads"]:
        base = of(workload["counts"], kernel="base")["per_unit"]["estimate"]
        rows.append([f"`{workload['name']}`", f"{base:,.0f}", *shares(workload, [name for name, _ in PARAVIRT])])
    return table(["workload", "instructions without", *(f"{label}, %" for _, label in PARAVIRT)], rows, "lrrrrrr")


@figure
def linux_options():
    groups, rows = load("reports/linux/options.json")["groups"], []
    for workload in groups[0]["workloads"]:
        network = of(groups[1]["workloads"], name=workload["name"])
        rows.append([f"`{workload['name']}`", *shares(workload, [name for name, _ in OTHERS]),
                     *shares(network, [name for name, _ in NETWORK])])
    return table(["workload", *(label for _, label in OTHERS + NETWORK)], rows, "l" + "r" * len(OTHERS + NETWORK))


def published():
    with open(ROOT / "src" / "report" / "published.toml", "rb") as file:
        return tomllib.load(file)["figure"]


@figure
def claim():
    """Percent in mmap_perf above the same kernel without, from all sources."""
    of_2009 = of(published(), id="mmap-perf-2009-05")["rows"]

    def then(metric):
        row = of(of_2009, metric=metric)
        return f"{100 * (row['with'] / row['without'] - 1):+.2f}"

    debian = of(load("reports/linux/debian-cloud.json")["linux"]["workloads"], name="mmap_perf")
    built = of(load("reports/linux/options.json")["groups"][0]["workloads"], name="mmap_perf")
    here = [kernel_of(example(), "mmap_perf", *column)["value"] for column in (("site", "inline"), ("table", None))]
    return table(["where", "what", "%"], [
        ["2009, CONFIG_PARAVIRT against none, Core 2", "instructions", then("instructions")],
        ["the same run", "cycles", then("CPU cycles")],
        ["Debian 6.1, hooks never patched against patched", "instructions", shares(debian, ["noalt"])[0]],
        ["Linux 6.1 built small, all hooks against none, patched", "instructions", shares(built, ["xxl-spinlocks"])[0]],
        ["the same, never patched", "instructions", shares(built, ["noalt"])[0]],
        ["the model kernel, patched sites against inline", "time", f"{here[0]:+.2f}"],
        ["the same, hooks behind the table", "time", f"{here[1]:+.2f}"],
    ], "llr")


@figure
def claim_short():
    """The same in a line."""
    rows = [line.split(" | ") for line in claim().splitlines()[2:]]
    figures = [row[2].rstrip(" |").lstrip("+") for row in rows[:5]]
    then, cycles, _, patched, unpatched = figures
    return (f"in 2009, on a Core 2, CONFIG_PARAVIRT took {then}% more instructions and {cycles}% more cycles. "
            f"Today a small Linux 6.1 with all hooks takes {patched}% more instructions patched, and {unpatched}% "
            f"never patched, than the same kernel built without any")


@figure
def linux_recorded():
    rows = []
    for it in load("reports/linux/recorded.json"):
        distance, sites = it["distance"], it["site_lines"]
        cold = 1 - sites["within_first_level"]
        rows.append([f"`{it['workload']}`, {it['unit']}", f"{it['units']:,}", f"{it['instructions_per_unit']:,.0f}",
                     f"{it['hooks_per_unit']:,.1f}", f"{it['hooks_per_1000']:.2f}",
                     f"{distance['median']} ({distance['p10']} to {distance['p90']})", f"{100 * cold:.1f}",
                     f"{it['other_targets']['per_unit']:,.1f}",
                     f"{sum(each['per_unit'] for each in it['privileged']):,.1f}",
                     f"{100 * it['interrupt_share']:.2f}"])
    heads = ["workload, unit", "units", "instructions", "hooks", "hooks per 1,000", "distance (10 to 90%)", "cold, %",
             "indirect", "privileged", "interrupts, %"]
    return table(heads, rows, "lrrrrrrrrr")


@figure
def linux_recorded_dense():
    rates = sorted(it["hooks_per_1000"] for it in load("reports/linux/recorded.json") if it["workload"] != "mprotect")
    return f"{rates[0]:.1f} to {rates[-1]:.1f}"


@figure
def linux_recorded_close():
    return str(of(load("reports/linux/recorded.json"), workload="mmap_perf")["distance"]["p25"])


@figure
def linux_identical():
    found = load("reports/linux/identical.json")
    kinds = "; ".join(run["run"] for run in found["runs"])
    return f"{len(found['runs'])} runs wrote {'identical' if found['identical'] else 'different'} files ({kinds})"


# ---- Validation.

CONDITIONS = ["alone", "busy neighbour", "memory bus in use"]


@figure
def characteristics():
    found, rows = load("reports/operating-characteristics.json")["experiments"], []
    for difference in sorted({row["difference_percent"] for row in found}):
        rows_of = [of(found, condition=condition, difference_percent=difference) for condition in CONDITIONS]
        rows.append([f"{difference:g}%" if difference else "none: the same loop twice",
                     f"{1000 * rows_of[0]['measuring_seconds_per_try']:.0f} ms",
                     *(f"{row['found']:,} of {row['tries']:,}" for row in rows_of)])
    return table(["true difference", "measuring", *CONDITIONS], rows, "lrrrr")


@figure
def characteristics_sum():
    found = load("reports/operating-characteristics.json")
    rows = found["experiments"]
    equal = [row for row in rows if row["difference_percent"] == 0]
    missed = sum(row["tries"] - row["interval_holds_the_truth"] for row in rows)
    tries = sum(row["tries"] for row in rows)
    wrong = sum(row["found_on_the_wrong_side"] for row in rows)
    return (f"{sum(row['found'] for row in equal)} of {sum(row['tries'] for row in equal):,} comparisons of a loop "
            f"with itself were called a difference, {wrong} differences had the wrong sign, and "
            f"{missed} of {tries:,} intervals missed the truth ({found['cpu']}, {date(found['date'])})")


@figure
def selftest():
    found = load("reports/operating-characteristics.json")["selftest"]
    cycles = [abs(truth["estimate"] - truth["truth"]) for truth in found["truths"] if truth["unit"] == "cycles"]
    return (f"In the recorded run {found['missed']} of {len(found['truths'])} intervals missed the truth, where "
            f"{found['may_miss']} may by chance; no estimate in cycles was off by more than {max(cycles):.4f}")


@figure
def widths():
    found = load("reports/widths.json")
    rows = [[f"{run['time_seconds']} s", f"{run['workers']}", *(f"{run['median_width_cycles'][kind]:.5f}"
                                                               for kind in ("blocks and workers", "layouts"))]
            for run in found["runs"]]
    head = ["time of the run", "workers", "width limited by blocks and workers, cycles", "limited by layouts"]
    return table(head, rows, "rrrr")


@figure
def peers():
    rows = []
    for pair in load("reports/peers.json")["pairs"]:
        for tool, found in pair["tools"].items():
            rows.append([f"`{pair['op']}` {pair['to']} / {pair['from']}", tool, f"{found['seconds_median']:.1f}",
                         f"{found['ratio_median']:.4f}", f"{100 * found['spread_sd']:.3f}%",
                         f"{100 * found['spread_range']:.3f}%"])
    return table(["pair", "tool", "time, s", "ratio", "spread (SD)", "spread (range)"], rows, "llrrrr")


@figure
def peers_setting():
    found = load("reports/peers.json")
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{versions}; {found['cpu']}, {date(found['date'])}, {found['repetitions']} repetitions in turn"


@figure
def causes_setting():
    found = load("reports/causes.json")
    return f"{found['cpu']}, {date(found['date'])}"


@figure
def causes_waits():
    """The ops that a call makes much faster, and those that NOPs make as fast."""
    rows = []
    for row in load("reports/causes.json")["waits"]:
        gain, inline = row["report_gain"], row["report_inline"]
        # As in src/report/html/faster.rs.
        if inline >= 4 and gain >= 0.15 * inline or row["in_place"] - row["best_after_nops"] >= 0.5 * gain:
            fields = ("in_place", "best_after_nops", "calls_of_one_body", "calls_of_a_body_per_site", "one_in_place")
            rows.append([f"`{row['op']}`", *(f"{row[field]:.2f}" for field in fields)])
    head = ["op", "eight in place", "after NOPs, the best of 0 to 32", "eight calls of one body",
            "eight calls, a body per site", "one in place"]
    return table(head, rows, "lrrrrr")


@figure
def causes_loops():
    rows = [[str(row["iterations"]), *(f"{row[way]:.1f}" for way in ("inline", "direct", "indirect"))]
            for row in load("reports/causes.json")["loops"]]
    return table(["iterations", "in place", "direct call", "indirect call"], rows, "rrrr")


@figure
def causes_stubs():
    texts = {"direct": "direct call", "word": "call through a word that all sites share",
             "word per site": "call through a word per site", "stub": "call of a stub that all sites share",
             "stub per site": "call of a stub per site", "trampoline": "call of a direct jump that all sites share",
             "trampoline per site": "call of a direct jump per site"}
    rows = [[texts[row["way"]], f"{row['above_inline']:.1f}"] for row in load("reports/causes.json")["stubs"]
            if row["way"] in texts]
    return table(["4,096 sites, each run once", "cycles above in place"], rows, "lr")


@figure
def causes_distances_date():
    return date(load("reports/causes.json")["distances_date"])


@figure
def causes_distances():
    rows = []
    for row in load("reports/causes.json")["distances"]:
        place = "none" if row["bit"] is None else f"bit {row['bit']}"
        rows.append([place, *(f"{row[way]:.2f}" for way in ("call", "stub"))])
    head = ["address of the body differs in", "indirect call", "call of a stub with an indirect jump"]
    return table(head, rows, "lrr")


def measured(value_of):
    if isinstance(value_of, list):
        numbers = [number for number in value_of if isinstance(number, (int, float))]
        text = f"{len(numbers)} layouts, most {max(numbers):.4f}"
        return "; ".join([text, *(item for item in value_of if isinstance(item, str))])
    return f"{value_of:,}" if isinstance(value_of, int) else re.sub(r" ?\[\]|[\[\]']", "", str(value_of))


@figure
def acceptance():
    rows = [[found["promise"], measured(found["measured"]), "kept" if found["kept"] else "**missed**"]
            for found in load("reports/acceptance.json")["promises"]]
    return table(["promise", "measured", ""], rows)


@figure
def acceptance_setting():
    found = load("reports/acceptance.json")
    return f"{found['machine']}, {date(found['date'])}, {found['cells']:,} cells"


@figure
def page_size():
    size = (EXAMPLE / "index.html").stat().st_size
    return f"{size / 1e6:.1f} MB"


@figure
def user_crate():
    found = load("reports/user-crate.json")
    cpu = f"{found['cpu_seconds']:.0f} s of CPU time, {found['cpu_model']}"
    return f"{found['wall_seconds']:.0f} s on {found['cpus']} CPUs ({cpu})"


@figure
def same_shape():
    found = load("reports/same-shape.json")["pairs"]
    counted, equal = (sum(pair[key] for pair in found) for key in ("instructions_counted", "instructions_equal"))
    compared, overlap = (sum(pair[key] for pair in found) for key in ("overheads_compared", "overheads_overlap"))
    return (f"{equal} of {counted} cells execute the same number of instructions, "
            f"and the intervals of {overlap} of {compared} "
            f"overheads overlap")


@figure
def gate_validation():
    rows = []
    for found in load("reports/gate-validation.json")["results"]:
        named_it = found.get("failed_and_named_it")
        rows.append([found["what"] + (", beside a busy loop" if found["busy_neighbour"] else ""), str(found["runs"]),
                     str(found["kept"]["count"]), str(found["failed"]["count"]), str(found["inconclusive"]["count"]),
                     str(named_it["count"]) if named_it else "-", f"{found['seconds_median']:.1f}"])
    return table(["source", "runs", "kept", "exceeded", "inconclusive", "named the cause", "seconds"], rows, "lrrrrrr")


@figure
def gate_unchanged():
    """How often the gate failed unchanged code."""
    found = [it for it in load("reports/gate-validation.json")["results"] if it["source"] == "unchanged"]
    runs, failed, cannot_tell = (sum(it["runs"] if key == "runs" else it[key]["count"] for it in found)
                                 for key in ("runs", "failed", "inconclusive"))
    return (f"of {runs} runs of unchanged code, half beside a busy loop, {failed} failed and {cannot_tell} could not "
            f"tell")


@figure
def gate_validation_setting():
    found = load("reports/gate-validation.json")
    return f"{found['cpu']}, {date(found['date'])}, compilers at work on the other CPU"


FIGURES.update(figures_audit.make(load, table, date))


# ---- The command.

def pages():
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def placed(body):
    """A figure in its markers: a block if it has several lines, else within its line."""
    return f"\n{body}\n" if "\n" in body else body


def write(check):
    """Writes all figures, or only compares them. Returns the faults."""
    faults, used = [], {}
    made = {}
    for page in pages():
        name, text = page.relative_to(ROOT), page.read_text(encoding="utf-8")
        if len(re.findall(r"<!-- figures:", text)) != len(MARKER.findall(text)):
            faults.append(f"{name}: a figure has no <!-- end -->")
            continue

        def one(match):
            figure_name = match[1]
            used.setdefault(figure_name, []).append(str(name))
            if figure_name not in FIGURES:
                faults.append(f"{name}: no figure has the name '{figure_name}'; scripts/figures.py --list has all")
                return match[0]
            try:
                body = made.setdefault(figure_name, None) or FIGURES[figure_name]()
            except (Missing, KeyError, TypeError, IndexError) as error:
                faults.append(f"{name}: figure '{figure_name}' has no data: {error}")
                return match[0]
            made[figure_name] = body
            # Markdown shows a line that begins with a comment as HTML, with its backticks.
            if "\n" not in body and re.search(r"(^|\n)[> ]*$", match.string[:match.start()]):
                faults.append(f"{name}: figure '{figure_name}' is at the start of a line; put a word before it")
            whole = f"<!-- figures: {figure_name} -->{placed(body)}<!-- end -->"
            if check and whole != match[0]:
                faults.append(f"{name}: figure '{figure_name}' differs from its data; run scripts/figures.py")
            return whole

        changed = MARKER.sub(one, text)
        if not check and changed != text:
            page.write_text(changed, encoding="utf-8")
            print(f"wrote {name}")
    return faults, used


def compact(document):
    """JSON with a line per row of its lists."""
    def shown(content):
        if isinstance(content, list) and content:
            return "[\n  " + ",\n  ".join(json.dumps(row) for row in content) + "\n ]"
        return json.dumps(content)

    return "{\n " + ",\n ".join(f"{json.dumps(key)}: {shown(content)}" for key, content in document.items()) + "\n}\n"


def record(report, program):
    with open(report, encoding="utf-8") as file:
        DATA.write_text(compact(extract(json.load(file))), encoding="utf-8")
    commands = [
        (TERMINAL, 0, ["show", report, "answer"]),
        (GATE, 1, ["gate", report, "--budget", GATE_BUDGETS.relative_to(ROOT)]),
        (EXPLAIN, 0, ["explain", "pte_val", "site_callee_save"]),
    ]
    # The width of the text is that of a pipe.
    environment = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    for path, code, command in commands:
        done = subprocess.run([program, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
        if done.returncode != code:
            sys.exit(f"figures.py: pvbench {command[0]} ended with {done.returncode}, not {code}; "
                     f"{path.name} is as before")
        path.write_text("\n".join(line.rstrip() for line in done.stdout.splitlines()).strip() + "\n", encoding="utf-8")
    print(f"recorded {DATA.relative_to(ROOT)}; run scripts/figures.py")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--record", metavar="REPORT.json", type=pathlib.Path)
    parser.add_argument("--program", default=PROGRAM, type=pathlib.Path)
    args = parser.parse_args()
    if args.record:
        return record(args.record.resolve(), args.program.resolve())
    faults, used = write(args.check or args.list)
    if args.list:
        for name in FIGURES:
            print(f"{name:24} {', '.join(used.get(name, ['unused']))}")
        return 0
    for fault in faults:
        print(f"figures.py: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
