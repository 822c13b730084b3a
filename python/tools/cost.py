"""What tracking costs the program that is tracked: `cargo xtask bench tracker`.

    python tools/cost.py [--program CARBON] [--codecarbon PYTHON] [--repeat N] [--sleep SECONDS] [--document FILE]

Each figure is of programs, alternated with ones that do the same without a tracker. With --program, an agent measures, on
tests/meter.py; without, whoever is there: an agent at `CARBON_SOCKET`, else a `carbon` beside the program, else the model.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Optional

PYTHON = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PYTHON / "tests"))

from document import conditions, write  # noqa: E402
from lab import Machine  # noqa: E402

# What a program that trains something has loaded anyway.
USUAL = "import asyncio, dataclasses, json, logging, re, socket, subprocess, threading, typing"

BEGIN = """
import sys, time
def rss():
    with open("/proc/self/status") as file:
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in file if line.startswith(("VmRSS", "RssAnon"))}
    return sizes["VmRSS"], sizes["RssAnon"]
rss()
memory, begun, used = rss(), time.perf_counter(), time.process_time()
"""

TRACK = """
from {package} import OfflineEmissionsTracker
imported, imported_cpu = time.perf_counter(), time.process_time()
tracker = OfflineEmissionsTracker(log_level="error", save_to_file=False{more})
made = time.perf_counter()
tracker.start()
started, started_cpu = time.perf_counter(), time.process_time()
times = dict(import_ms=imported - begun, import_cpu_ms=imported_cpu - used, make_ms=made - imported,
             start_ms=started - made, make_and_start_cpu_ms=started_cpu - imported_cpu)
"""

END = """
(added, own), used = (now - before for now, before in zip(rss(), memory)), time.process_time()
time.sleep({sleep})
used = time.process_time() - used
import json
measured = dict(rss_mib=added / 1024, own_mib=own / 1024, cpu_ms_per_minute=used * 1e3 * 60 / {sleep})
measured.update((name, seconds * 1e3) for name, seconds in times.items())
backend = getattr(globals().get("tracker"), "_backend", None)
print(json.dumps([getattr(backend, "name", ""), measured]), flush=True)
import os
os._exit(0)
"""

# Key, words, and whether the least of all runs is told beside the median: a clock counts what others do too.
ROWS = (
    ("import_cpu_ms", "import, CPU time", "ms", False),
    ("import_ms", "import, by the clock", "ms", True),
    ("make_and_start_cpu_ms", "constructor and `start()`, CPU time", "ms", False),
    ("start_ms", "`start()`, by the clock", "ms", True),
    ("rss_mib", "memory (RSS)", "MiB", False),
    ("own_mib", "of it the process's own", "MiB", False),
    ("cpu_ms_per_minute", "CPU time in a minute of tracking", "ms", False),
)

Figures = dict[str, list[float]]


def measure(python: str, text: str) -> tuple[str, dict[str, float]]:
    # As it is where it is installed: compiled once.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(PYTHON / "src")
    done = subprocess.run([python, "-c", text], capture_output=True, text=True, check=True, timeout=300, env=environment)
    backend, measured = json.loads(done.stdout)
    return backend, measured


def figures(package: str, python: str, before: str, repeat: int, sleep: float) -> tuple[str, Figures]:
    """What a program with a tracker has more than one without, each in so many runs; and who measured."""
    more = ", country_iso_code='FRA', allow_multiple_runs=True" if package == "codecarbon" else ""
    end = END.format(sleep=sleep)
    without = f"{before}\n{BEGIN}times = {{}}\n{end}"
    tracked = f"{before}\n{BEGIN}{TRACK.format(package=package, more=more)}{end}"
    rows: list[dict[str, float]] = []
    backend, _ = measure(python, tracked)
    for _ in range(repeat):
        _, base = measure(python, without)
        backend, row = measure(python, tracked)
        rows.append({key: value - base.get(key, 0.0) for key, value in row.items()})
    return backend, {key: sorted(row[key] for row in rows) for key in rows[0]}


def cell(values: list[float], unit: str, least: bool) -> str:
    median = statistics.median(values)
    text = f"{median:.2f} {unit}" if abs(median) < 10 else f"{median:.0f} {unit}"
    return f"{text} (least {values[0]:.1f})" if least else text


def table(columns: list[tuple[str, Figures]]) -> str:
    lines = ["| | " + " | ".join(name for name, _ in columns) + " |", "|---|" + "---:|" * len(columns)]
    for key, words, unit, least in ROWS:
        lines.append(f"| {words} | " + " | ".join(cell(found[key], unit, least) for _, found in columns) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--sleep", type=float, default=2.0, help="seconds of tracking, in which nothing is done")
    parser.add_argument("--program", type=Path, help="the program carbon, whose agent measures; needs root")
    parser.add_argument("--codecarbon", help="a Python that has CodeCarbon")
    parser.add_argument("--document", type=Path, help="the page whose section is written anew")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if given.program is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            machine = Machine(folder, given.program.resolve(), 10.0, 5.0)
            stack.callback(machine.close)
            os.environ["CARBON_SOCKET"] = str(machine.socket)
        columns, backend = [], ""
        for name, before in (("a bare interpreter", ""), ("one that has imported the usual", USUAL)):
            backend, found = figures("carbon_tracker", sys.executable, before, given.repeat, given.sleep)
            columns.append((name, found))
        columns += theirs(given.codecarbon, given.repeat, given.sleep)
    text = (
        f"{conditions()}\n\nMedians of {given.repeat} runs, measured by: {backend}; Python {sys.version.split()[0]}. "
        f"*The usual*: `{USUAL.removeprefix('import ')}`.\n\n{table(columns)}"
    )
    print(text)
    if given.document is not None:
        write(given.document, "cost", text)


def theirs(python: Optional[str], repeat: int, sleep: float) -> list[tuple[str, Figures]]:
    if python is None:
        return []
    version = subprocess.run(
        [python, "-c", "import codecarbon; print(codecarbon.__version__)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return [(f"CodeCarbon {version}, bare", figures("codecarbon", python, "", repeat, sleep)[1])]


if __name__ == "__main__":
    main()
