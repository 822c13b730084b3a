"""What a backend says: energy since it began, in whole microjoules, and how it is known."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Optional

UJ_PER_KWH = 3.6e12

# The protocol's words for what draws, and the columns that they go to.
_CPU = ("package", "platform")

QUALITIES = ("none", "modelled", "sampled", "measured")


class Reading:
    """Energy up to a moment, or between two: cumulative ones are subtracted."""

    __slots__ = (
        "counts",
        "cpu_ns",
        "cpu_uj",
        "domains",
        "dynamic_uj",
        "gpu_uj",
        "high_uj",
        "idle_uj",
        "low_uj",
        "method",
        "quality",
        "ram_uj",
        "resumed",
        "seconds",
    )

    def __init__(self) -> None:
        self.seconds = 0.0
        """Since the run began, by the monotonic clock: up to when it was asked for."""
        self.resumed = 0.0
        """The same, up to when the program went on with it: where what is measured next begins."""
        self.cpu_ns = 0
        self.cpu_uj = 0
        self.ram_uj = 0
        self.gpu_uj = 0
        self.dynamic_uj = 0
        """Caused by running; part of the sum of the three."""
        self.idle_uj = 0
        """The share of energy drawn when idle; part of the sum of the three."""
        self.low_uj = 0
        """Of the sum: nine times in ten the truth is between these."""
        self.high_uj = 0
        self.quality = "none"
        self.method = ""
        """Source in words."""
        self.counts: dict[str, int] = {}
        self.domains: list[dict[str, object]] = []
        """What draws, and how each of them is known; without energies."""

    @property
    def energy_uj(self) -> int:
        """The sum."""
        return self.cpu_uj + self.ram_uj + self.gpu_uj

    @classmethod
    def of_answer(cls, energy: Mapping[str, Any], seconds: float, before: Optional[Reading] = None) -> Reading:
        """From an energy object of the protocol. `before` lends the names of sources where the object has no domains."""
        reading = cls()
        reading.seconds = seconds
        reading.cpu_ns = int(energy.get("cpu_ns") or 0)
        sources = []
        for row in energy.get("domains") or ():
            joules = sum(int(row.get(key) or 0) for key in ("dynamic_uj", "static_uj", "held_uj"))
            kind = row.get("domain")
            if kind in _CPU:
                reading.cpu_uj += joules
            elif kind == "dram":
                reading.ram_uj += joules
            elif kind == "gpu":
                reading.gpu_uj += joules
            sources.append(f"{kind}: {row.get('quality')}, {row.get('source')}")
            reading.domains.append({key: row.get(key) for key in ("domain", "device", "quality", "source")})
        total = int(energy.get("energy_uj") or 0)
        # Domains that this client does not know are in the sum all the same.
        reading.cpu_uj += max(0, total - reading.energy_uj)
        reading.dynamic_uj = int(energy.get("dynamic_uj") or 0)
        reading.idle_uj = max(0, total - reading.dynamic_uj)
        low, high = energy.get("dynamic_low_uj"), energy.get("dynamic_high_uj")
        reading.low_uj = reading.idle_uj + int(reading.dynamic_uj if low is None else low)
        reading.high_uj = reading.idle_uj + int(reading.dynamic_uj if high is None else high)
        reading.quality = str(energy.get("quality") or "none")
        reading.method = "; ".join(dict.fromkeys(sources)) or (before.method if before else "")
        if before is not None and not reading.domains:
            reading.domains = before.domains
        return reading

    def since(self, before: Reading) -> Reading:
        """What was added after `before`. Bounds are scaled, since errors of the two are not independent."""
        difference = Reading()
        difference.seconds = max(0.0, self.seconds - before.resumed)
        for name in ("cpu_ns", "cpu_uj", "ram_uj", "gpu_uj", "dynamic_uj", "idle_uj"):
            setattr(difference, name, max(0, getattr(self, name) - getattr(before, name)))
        part = difference.energy_uj / self.energy_uj if self.energy_uj else 0.0
        difference.low_uj, difference.high_uj = round(self.low_uj * part), round(self.high_uj * part)
        difference.quality, difference.method, difference.domains = self.quality, self.method, self.domains
        difference.counts = {
            unit: count - before.counts.get(unit, 0)
            for unit, count in self.counts.items()
            if count > before.counts.get(unit, 0)
        }
        return difference

    def scaled(self, pue: float) -> tuple[float, float, float]:
        """kWh of processors, accelerators and memory, at the site."""
        return tuple(uj / UJ_PER_KWH * pue for uj in (self.cpu_uj, self.gpu_uj, self.ram_uj))  # type: ignore[return-value]
