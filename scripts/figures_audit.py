"""Figures of docs/audit.md: what real programs have (`scripts/audit_programs.py`)."""

DATA = "reports/audit-programs.json"
LINKER = ["plt", "got"]
OWN = ["memory", "table", "virtual", "register", "retpoline", "pv", "static_call"]


def short(value):
    for scale, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"


def spread(bounds, show):
    return f"{show(bounds['low'])} to {show(bounds['high'])}" if bounds else "-"


def percent(value):
    return f"{value:.2f}"


def make(load, table, date):
    """All figures by name. `load` reads a file of JSON, `table` and `date` write."""
    def binaries():
        """Each file that was audited: its name, the version, and its row."""
        found = load(DATA)
        sqlite, python, kernel = found["sqlite"], found["python"], found["kernel"]
        return [("ripgrep", found["ripgrep"]["version"], found["ripgrep"]),
                ("rav1d, a decoder", found["rav1d"]["version"], found["rav1d"]),
                ("Debian's libsqlite3.so, stripped", sqlite["version"], sqlite),
                ("Debian's python3, stripped", python["version"], python),
                *([("the same with its symbols", python["version"], python["with_symbols"])]
                  if "with_symbols" in python else []),
                ("Debian's kernel, vmlinuz", kernel["version"], kernel),
                *([("the same, vmlinux with debug information", kernel["version"], kernel["with_symbols"])]
                  if "with_symbols" in kernel else []),
                (f"its {kernel['modules']['files']:,} modules", kernel["version"], kernel["modules"]),
                ("pvbench", found["pvbench"]["version"], found["pvbench"])]

    def runs():
        found = load(DATA)
        symbols = "with_symbols" in found["python"]
        return [("ripgrep", found["ripgrep"]["run"]), ("rav1d", found["rav1d"]["run"]),
                ("sqlite3, `:memory:`", found["sqlite"]["runs"]["memory"]),
                ("sqlite3, a file", found["sqlite"]["runs"]["file"]),
                ("python3", (found["python"]["with_symbols"] if symbols else found["python"])["run"]),
                ("pvbench", found["pvbench"]["run"])]

    def audit_programs_sites():
        rows = []
        for name, version, row in binaries():
            sites = row["sites"]
            sums = [sites.get("direct", 0), sum(sites.get(kind, 0) for kind in LINKER),
                    sum(sites.get(kind, 0) for kind in OWN), sites.get("unknown", 0)]
            rows.append([name, version, f"{row['bytes'] / 1e6:.1f}", *(f"{value:,}" for value in sums),
                         f"{row['audit_seconds']:.2f}", f"{row['audit_bytes'] / 1e6:.0f}"])
        return table(["program", "version", "MB", "direct", "linker's", "own", "unknown", "CPU seconds", "memory, MB"],
                     rows, "llrrrrrrr")

    def audit_programs_kinds():
        rows = []
        for name, _, row in binaries():
            rows.append([name, *(f"{row['sites'].get(kind, 0):,}" for kind in [*LINKER, *OWN, "jump_table"])])
        return table(["program", *(f"`{kind}`" for kind in [*LINKER, *OWN, "jump_table"])], rows, "l" + "r" * 10)

    def audit_programs_runs():
        rows = []
        for name, run in runs():
            calls = {kind["kind"]: kind["calls"] for kind in run["kinds"]}
            rows.append([name, f"{run['cpu_seconds']:.3f}", short(calls.get("direct", 0)),
                         short(sum(calls.get(kind, 0) for kind in LINKER)),
                         short(sum(calls.get(kind, 0) for kind in OWN)), spread(run["cycles"], short),
                         spread(run["percent"], percent)])
        return table(["run", "CPU seconds", "direct calls", "linker's", "own", "core cycles", "percent of the run"],
                     rows, "lrrrrrr")

    def audit_programs_dearest():
        rows = []
        for name, run in runs():
            for site in run["dearest"]:
                most = site["most"]
                share = f"{100 * most['calls'] / site['calls']:.0f}" if most else ""
                called = f"{share}% the same of {site['targets']}" if most else "not known"
                saves = site["saves"] or {}
                place = f", {site['source']}" if site["source"] else ""
                rows.append([name, f"`{clip(site['function'])}`{place}", site["kind"], short(site["calls"]), called,
                             spread(site["percent"], percent), spread(saves.get("direct"), short),
                             spread(saves.get("compared"), short)])
        head = ["run", "site", "kind", "calls", "reaches", "percent", "saved if direct, cycles", "if compared, cycles"]
        return table(head, rows, "lllrlrrr")

    def audit_programs_kernel():
        kernel = load(DATA)["kernel"]
        lists = kernel["modules"]["lists"]
        parts = [f"{row['audit']:,} of {row['listed']:,} {kind}" for kind, row in lists.items()]
        differ = sum(row["files_that_differ"] for row in lists.values())
        image = f"{kernel['audit_pv_sites']:,} of {kernel['listed_pv_sites']:,} pv sites in vmlinuz"
        return f"{image}; in {kernel['modules']['files']:,} modules {', '.join(parts)} sites; {differ} modules differ"

    def audit_programs_vmlinux():
        lists = load(DATA)["kernel"]["with_symbols"]["lists"]
        return "; ".join(f"{row['audit']:,} of {row['listed']:,} {kind} sites" for kind, row in lists.items())

    def audit_programs_counted():
        found = load(DATA)["counted"]
        parts = [f"{row['equal']} of {len(row['sites'])} in {name}" for name, row in found.items()]
        calls = sum(site["counted"] for row in found.values() for site in row["sites"])
        return f"{' and '.join(parts)} ({calls:,} calls)"

    def audit_programs_stripped():
        same = load(DATA)["python"]["same_sites"]
        return (f"of {same['sites']:,} indirect sites, {same['in_both']:,} are found with and without symbols, and "
                f"{same['same_kind']:,} of them have the same kind")

    def audit_programs_direct():
        rows = []
        for name in ("ripgrep", "rav1d", "sqlite"):
            row = load(DATA)[name]["made_direct"]
            measured = row["measured_percent"]
            rows.append([name, f"{row['sites']:,}", short(row["calls"]), spread(row["predicted_percent"], percent),
                         f"{measured['value']:.2f} ({measured['low']:.2f} to {measured['high']:.2f})",
                         f"{row['measured_cycles_per_call']:.2f}", "yes" if row["interval_meets_range"] else "**no**"])
        head = ["program", "sites made direct", "calls", "predicted saving, %", "measured saving, %", "cycles per call",
                "within the range"]
        return table(head, rows, "lrrrrrl")

    def audit_programs_setting():
        found = load(DATA)
        build = {"debug": "a development build, several times as slow as a release", "release": "a release build"}
        return (f"{found['cpu']}, {date(found['date'])}, {found['valgrind']}, load {found['load']}; pvbench is "
                f"{build.get(found['build'], 'a build of its own')}")

    made = [audit_programs_sites, audit_programs_kinds, audit_programs_runs, audit_programs_dearest,
            audit_programs_kernel, audit_programs_vmlinux, audit_programs_counted, audit_programs_stripped,
            audit_programs_direct, audit_programs_setting]
    return {function.__name__.replace("_", "-"): function for function in made}


def clip(name):
    """A name that fits into a table."""
    name = name.replace("|", "\\|").replace("`", "")
    return name if len(name) <= 60 else name[:57] + ".."
