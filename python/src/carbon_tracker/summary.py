"""The one line at the end."""

from __future__ import annotations

from .emissions import EmissionsData
from .place import Place
from .reading import Reading


def quantity(value: float, units: tuple[tuple[float, str], ...]) -> str:
    """With the largest unit that leaves a number of at least one."""
    for size, unit in units:
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    size, unit = units[-1]
    return f"{value / size:.3g} {unit}"


def energy(kwh: float) -> str:
    """Such as `3.4 Wh`."""
    return quantity(kwh * 3.6e6, ((3.6e6, "kWh"), (3.6e3, "Wh"), (1.0, "J"), (1e-3, "mJ")))


def mass(kg: float) -> str:
    """Such as `12 g`."""
    return quantity(kg * 1e3, ((1e6, "t"), (1e3, "kg"), (1.0, "g"), (1e-3, "mg"), (1e-6, "ug")))


def line(data: EmissionsData, reading: Reading, place: Place) -> str:
    """Energy, emissions, time, how they are known, and what one of each counted thing took."""
    where = place.zone or ("given intensity" if place.known else "unknown place: world's average")
    per = "".join(
        f"; {energy(data.energy_consumed / count)} for one of {count} {unit}"
        for unit, count in reading.counts.items()
        if count
    )
    quality = reading.quality if reading.quality != "none" else "nothing measured"
    return (
        f"{data.project_name}: {energy(data.energy_consumed)}, {mass(data.emissions)} CO2e "
        f"({place.g_per_kwh:g} g/kWh, {where}) in {data.duration:.1f} s, {quality}{per}"
    )
