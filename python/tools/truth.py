"""A program's energy by its tracker, and by CodeCarbon's, beside the truth: `cargo xtask bench tracker`.

    python tools/truth.py --program CARBON [--seconds 60] [--learn 60] [--codecarbon PYTHON] [--document FILE]

The meter is tests/meter.py: idle power, and so many watts for each busy CPU, whoever keeps it busy; so the truth of a program
is its CPU time by the kernel's account times these watts. An agent has watched the machine for a while, as one that is started
with the machine has; then a program computes, and another one beside it. Both trackers are in the program at the same time,
and CodeCarbon sees the same meter where it looks for one, by a mount namespace of its own. Needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Optional

PYTHON = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PYTHON / "tests"))

from document import conditions, write  # noqa: E402
from lab import Machine, neighbour  # noqa: E402

TRACKED = """
import json, resource, sys, time

def used():
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime

said = {}
if THEIRS:
    import codecarbon
    theirs = codecarbon.OfflineEmissionsTracker(country_iso_code="FRA", tracking_mode="process", save_to_file=False,
                                                log_level="error", allow_multiple_runs=True)
    said["version"] = codecarbon.__version__
    theirs.start()
    their_cpu = used()
from carbon_tracker import EmissionsTracker
tracker = EmissionsTracker(log_level="error", output_methods=[], backend="agent")
tracker.start()
assert tracker._backend.name == "agent", tracker._backend.name
cpu = used()
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    pass
said["cpu_s"] = used() - cpu
tracker.stop()
data, last = tracker.final_emissions_data, tracker._last
said.update(joules=data.energy_consumed * 3.6e6, low=last.low_uj / 1e6, high=last.high_uj / 1e6, quality=last.quality)
if THEIRS:
    said["their_cpu_s"] = used() - their_cpu
    theirs.stop()
    said["their_joules"] = theirs._total_cpu_energy.kWh * 3.6e6
print(json.dumps(said))
"""

# CPUs that are busy for two seconds each, as a machine has it that is used now and then.
BURSTS = (1, 0, 2, 0, 1, 2, 0)

HEAD = (
    "| idle, and a busy CPU above it | beside it | truth | the tracker | off by | its interval | CodeCarbon | off by |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|\n"
)


def beside(count: int) -> str:
    return {0: "nothing that was started for it", 1: "a busy program"}.get(count, f"{count} busy programs")


def learn(seconds: float) -> None:
    """Load that comes and goes, so that an agent can tell idle power from load."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for busy in BURSTS:
            programs = [neighbour(2) for _ in range(min(busy, os.cpu_count() or 1))]
            time.sleep(2)
            for program in programs:
                program.wait()


def one(machine: Machine, seconds: float, neighbours: int, theirs: Optional[str]) -> dict[str, Any]:
    """What both say of a program that computes for so long beside some others."""
    text = f"SECONDS, THEIRS = {seconds!r}, {theirs is not None!r}\n{TRACKED}"
    environment = {**os.environ, "CARBON_SOCKET": str(machine.socket), "PYTHONPATH": str(PYTHON / "src")}
    # What CodeCarbon reads is the machine's class of meters; the rest of what it looks for there it does without.
    mount = 'mount --bind "$1" /sys/class && exec "$2" -c "$3"'
    words = [theirs or sys.executable, "-c", text]
    if machine.sysfs != Path("/sys"):
        words = ["unshare", "-m", "sh", "-c", mount, "sh", str(machine.sysfs / "class"), words[0], text]
    others = [neighbour(seconds + 60) for _ in range(neighbours)]
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True, env=environment, cwd=machine.folder)
    finally:
        for program in others:
            program.kill()
            program.wait()
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def off(joules: float, truth: float) -> str:
    return f"{100 * (joules / truth - 1):+.1f} %"


def row(name: str, said: dict[str, Any], watts: float) -> str:
    truth = watts * said["cpu_s"]
    cells = [name, f"{truth:.0f} J", f"{said['joules']:.0f} J", off(said["joules"], truth)]
    cells.append(f"{said['low']:.0f} to {said['high']:.0f} J")
    if "their_joules" in said:
        their_truth = watts * said["their_cpu_s"]
        cells += [f"{said['their_joules']:.0f} J of {their_truth:.0f} J", off(said["their_joules"], their_truth)]
    else:
        cells += ["", ""]
    return "| " + " | ".join(cells) + " |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, required=True, help="the program carbon")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--learn", type=float, default=60.0, help="for how long the agent has watched before")
    parser.add_argument("--neighbours", type=int, nargs="+", default=[1], help="busy programs beside it, a row each")
    # A server's package at work, and a small one, of which more than half is idle power.
    parser.add_argument(
        "--meters", nargs="+", default=["3:150", "6.3:5.9"], help="watts when idle, and of a busy CPU above that"
    )
    parser.add_argument("--sysfs", type=Path, help="with a meter of these watts that is there already")
    parser.add_argument("--codecarbon", help="a Python that has CodeCarbon")
    parser.add_argument("--document", type=Path, help="the page whose section is written anew")
    given = parser.parse_args()
    rows: list[tuple[str, float, dict[str, Any]]] = []
    for meter in given.meters:
        idle, watts = (float(part) for part in meter.split(":"))
        with tempfile.TemporaryDirectory() as folder:
            machine = Machine(Path(folder), given.program.resolve(), watts, idle, given.sysfs)
            try:
                learn(given.learn)
                for count in given.neighbours:
                    said = one(machine, given.seconds, count, given.codecarbon)
                    rows.append((f"{idle:g} and {watts:g} W | {beside(count)}", watts, said))
            finally:
                machine.close()
    version = next((said["version"] for _, _, said in rows if "version" in said), None)
    both = f", and CodeCarbon {version} in its process mode, both in it at once" if version else ""
    text = (
        f"{conditions()}\n\nA program that computes for {given.seconds:g} s, by its tracker with an agent{both}. "
        f"The agent had seen {given.learn:g} s of load that came and went.\n\n{HEAD}"
    )
    text += "".join(row(name, said, watts) for name, watts, said in rows)
    print(text)
    if given.document is not None:
        write(given.document, "tracker", text)


if __name__ == "__main__":
    main()
