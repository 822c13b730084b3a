"""From a reading and a place to the record of results, and to what is known beyond its columns."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Optional

from . import busy, machine
from ._version import __version__
from .emissions import EmissionsData
from .place import Place
from .reading import UJ_PER_KWH, Reading


def record(
    values: Mapping[str, Any],
    run_id: str,
    mode: str,
    reading: Reading,
    place: Place,
    cpu_before: Optional[tuple[int, int]],
) -> EmissionsData:
    """The record. Powers are energy over time, so that they and the energies say the same."""
    import platform

    pue, wue = float(values["pue"]), float(values["wue"])
    cpu, gpu, ram = reading.scaled(pue)
    energy = cpu + gpu + ram
    seconds = reading.seconds
    names = machine.gpus()
    ram_total, ram_used = machine.memory()

    def watts(kwh: float) -> float:
        return kwh * 3.6e6 / seconds if seconds > 0 else 0.0

    emissions = energy * place.g_per_kwh / 1000.0
    return EmissionsData(
        timestamp=datetime.now().strftime("%Y-%m-%dT%H:%M:%S"),
        project_name=values["project_name"],
        run_id=run_id,
        experiment_id=values["experiment_id"],
        duration=seconds,
        emissions=emissions,
        emissions_rate=emissions / seconds if seconds > 0 else 0.0,
        cpu_power=watts(cpu),
        gpu_power=watts(gpu),
        ram_power=watts(ram),
        cpu_energy=cpu,
        gpu_energy=gpu,
        ram_energy=ram,
        energy_consumed=energy,
        water_consumed=wue * energy,
        country_name=place.country_name,
        country_iso_code=place.country_iso_code,
        region=place.region or None,
        cloud_provider=place.cloud_provider,
        cloud_region=place.cloud_region,
        os=platform.platform(),
        python_version=platform.python_version(),
        codecarbon_version=f"carbon_tracker {__version__}",
        cpu_count=os.cpu_count() or 0,
        cpu_model=machine.cpu_model(),
        gpu_count=len(names),
        gpu_model=machine.gpu_summary(names),
        longitude=place.longitude,
        latitude=place.latitude,
        ram_total_size=ram_total,
        tracking_mode=mode,
        cpu_utilization_percent=busy.cpu_percent(cpu_before, busy.cpu_times()),
        ram_utilization_percent=100.0 * ram_used / ram_total if ram_total else 0.0,
        ram_used_gb=ram_used,
        on_cloud="Y" if place.cloud_provider else "N",
        pue=pue,
        wue=wue,
    )


def beyond(reading: Reading, place: Place, backend: str, carbon_run: Optional[str], pue: float) -> dict[str, Any]:
    """What the 38 columns have no room for: how each number is known."""
    kwh_per_uj = pue / UJ_PER_KWH
    grams = place.g_per_kwh
    return {
        "method": {
            "backend": backend,
            "quality": reading.quality,
            "source": reading.method,
            "domains": reading.domains,
            "energy_low_kwh": reading.low_uj * kwh_per_uj,
            "energy_high_kwh": reading.high_uj * kwh_per_uj,
            "dynamic_kwh": reading.dynamic_uj * kwh_per_uj,
            "idle_share_kwh": reading.idle_uj * kwh_per_uj,
            "cpu_seconds": reading.cpu_ns / 1e9,
        },
        "intensity": {
            "g_per_kwh": grams,
            "source": place.source,
            "place_known": place.known,
            "zone": place.zone,
        },
        "counts": dict(reading.counts),
        "carbon_run": carbon_run,
        "command": list(sys.argv),
    }
