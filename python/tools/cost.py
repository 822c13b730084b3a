"""What tracking costs the program that is tracked; printed, for a quiet machine to be compared with docs/python.md.

    python tools/cost.py [--repeat N] [--sleep SECONDS] [--package codecarbon]

Each figure is of programs, alternated with ones that do the same without a tracker. Who measures is whoever is there:
an agent at `CARBON_SOCKET`, else a `carbon` beside the program, else the model.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

# What a program that trains something has loaded anyway.
USUAL = "import asyncio, dataclasses, json, logging, re, socket, subprocess, threading, typing"

BEGIN = """
import sys, time
def rss():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
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
added, used = rss() - memory, time.process_time()
time.sleep({sleep})
used = time.process_time() - used
import json
measured = dict(rss_kib=added, cpu_ms_per_minute=used * 1e3 * 60 / {sleep})
measured.update((name, seconds * 1e3) for name, seconds in times.items())
backend = getattr(globals().get("tracker"), "_backend", None)
print(json.dumps([getattr(backend, "name", ""), measured]), flush=True)
import os
os._exit(0)
"""


def measure(text: str) -> tuple[str, dict[str, float]]:
    # As it is where it is installed: compiled once.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=300, env=environment
    )
    backend, measured = json.loads(done.stdout)
    return backend, measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--sleep", type=float, default=2.0)
    parser.add_argument("--package", default="carbon_tracker")
    given = parser.parse_args()
    more = ", country_iso_code='FRA'" if given.package == "codecarbon" else ""
    for name, before in (("a bare interpreter", ""), ("a program that has imported the usual", USUAL)):
        end = END.format(sleep=given.sleep)
        without = f"{before}\n{BEGIN}times = {{}}\n{end}"
        tracked = f"{before}\n{BEGIN}{TRACK.format(package=given.package, more=more)}{end}"
        rows: list[dict[str, float]] = []
        backend, _ = measure(tracked)
        for _ in range(given.repeat):
            _, base = measure(without)
            backend, row = measure(tracked)
            rows.append({key: value - base.get(key, 0.0) for key, value in row.items()})
        print(f"{given.package}, {backend or 'its own measuring'}; {name}; {given.repeat} runs: median (least, most)")
        for key in rows[0]:
            values = sorted(row[key] for row in rows)
            print(f"  {key:22} {statistics.median(values):9.2f} ({values[0]:.2f}, {values[-1]:.2f})")


if __name__ == "__main__":
    main()
