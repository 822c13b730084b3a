"""A model in pure Python, where there is no Linux or no program: CPU time times watts, with its bounds.

Energy of running = CPU time x (W at full load - W idle) of a hardware thread of this microarchitecture, the medians of
data/cpu-arch-power.csv. These are of whole servers at the wall, so memory is in it, and nothing is added for that.
Nine times in ten the truth is within a factor of 1.7 either way where the microarchitecture is known, and 2.2 where it is
not: those of the program's own model (carbon-user/src/meters/cpu_power.rs).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Optional

from ..reading import Reading
from . import Backend

KNOWN_FACTOR = 1.7
UNKNOWN_FACTOR = 2.2


class Processor:
    """Watts of a hardware thread above idle, and how sure they are."""

    def __init__(self, cpuinfo: str) -> None:
        from .._tables import CONSTANTS
        from .._tables.processors import WATTS

        self.name = microarchitecture(cpuinfo)
        known = WATTS.get(self.name) if self.name else None
        if known is not None:
            idle, full = known
            self.factor = KNOWN_FACTOR
        else:
            idle = CONSTANTS["cpu_unknown_idle_w_per_thread"][0]
            full = CONSTANTS["cpu_unknown_max_w_per_thread"][0]
            self.name, self.factor = "unknown processor", UNKNOWN_FACTOR
        self.watts = max(0.0, full - idle)


def microarchitecture(cpuinfo: str) -> Optional[str]:
    """That of the first processor of /proc/cpuinfo, where it is in the table."""
    from .._tables.processors import PROCESSORS

    fields = {}
    for line in cpuinfo.strip().split("\n\n", 1)[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    try:
        if "vendor_id" in fields:
            vendor, family = fields["vendor_id"], int(fields["cpu family"])
            model, stepping = int(fields["model"]), int(fields.get("stepping") or -1)
        else:
            vendor, family = f"ARM:{fields['CPU implementer']}", None
            model, stepping = int(fields["CPU part"], 16), -1
    except (KeyError, ValueError):
        return None
    for (of, in_family, first, last, steppings), name in PROCESSORS.items():
        fits = of.lower() == vendor.lower() and in_family == family and first <= model <= last
        if fits and (steppings is None or steppings[0] <= stepping <= steppings[1]):
            return name
    return None


def read_text(path: str) -> str:
    """A file of the kernel; empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def cpu_seconds() -> float:
    """CPU time of this process, of its children that were waited for, and on Linux of those alive and theirs."""
    # That of the children is in ticks of 10 ms; its own is exact.
    times = os.times()
    total = time.process_time() + times.children_user + times.children_system
    return total + (living_seconds(os.getpid()) if sys.platform == "linux" else 0.0)


def living_seconds(ancestor: int) -> float:
    """CPU time of all living descendants, and of what these have waited for. Fields by proc(5)."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return 0.0
    for pid in pids:
        fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if len(fields) > 14:
            parents[pid] = int(fields[1])
            ticks[pid] = sum(int(field) for field in fields[11:15])
    members: set[int] = set()
    found = {ancestor}
    while found:
        found = {pid for pid, parent in parents.items() if parent in found and pid not in members}
        members |= found
    return sum(ticks[pid] for pid in members) / os.sysconf("SC_CLK_TCK")


class Modelled(Backend):
    """The model. `watts` is what the user knows of the whole processor at full load."""

    name = "model"

    def __init__(self, watts: Optional[float] = None) -> None:
        self._processor = Processor(read_text("/proc/cpuinfo"))
        if watts is not None:
            self._processor.watts = watts / (os.cpu_count() or 1)
            self._processor.name = f"{watts:g} W at full load, as given"
        self._began = 0.0
        self._cpu_began = 0.0
        self._cpu = 0.0
        self._counts: dict[str, int] = {}

    def why(self) -> str:
        """What it is, in a line."""
        processor = self._processor
        return (
            f"CPU time x {processor.watts:.2f} W a hardware thread ({processor.name}), right within a factor of "
            f"{processor.factor:g} nine times in ten; accelerators are not in it"
        )

    def begin(self, about: Mapping[str, Any]) -> None:
        self._cpu_began = cpu_seconds()
        self._began = time.monotonic()

    def read(self, segment: Optional[str] = None) -> Reading:
        # A child that ended and was not waited for takes its time with it: what was seen stays.
        self._cpu = max(self._cpu, cpu_seconds() - self._cpu_began)
        reading = Reading()
        reading.seconds = reading.resumed = time.monotonic() - self._began
        reading.cpu_ns = round(self._cpu * 1e9)
        reading.cpu_uj = reading.dynamic_uj = round(self._cpu * self._processor.watts * 1e6)
        reading.low_uj = round(reading.cpu_uj / self._processor.factor)
        reading.high_uj = round(reading.cpu_uj * self._processor.factor)
        reading.quality, reading.method = "modelled", self.why()
        reading.counts = dict(self._counts)
        return reading

    def count(self, unit: str, number: int) -> None:
        self._counts[unit] = self._counts.get(unit, 0) + number

    def end(self, failed: bool) -> Reading:
        return self.read()
