"""The record of results: CodeCarbon's 38 columns in their order and units."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import Any, Optional


@dataclass
class EmissionsData:
    """What was used since the start: energies in kWh at the site, emissions in kg of CO2 equivalent, powers in W."""

    timestamp: str
    project_name: str
    run_id: str
    experiment_id: str
    duration: float
    emissions: float
    emissions_rate: float
    cpu_power: float
    gpu_power: float
    ram_power: float
    cpu_energy: float
    gpu_energy: float
    ram_energy: float
    energy_consumed: float
    water_consumed: float
    country_name: str
    country_iso_code: str
    region: Optional[str]
    cloud_provider: str
    cloud_region: str
    os: str
    python_version: str
    codecarbon_version: str
    cpu_count: float
    cpu_model: str
    gpu_count: float
    gpu_model: str
    longitude: Optional[float]
    latitude: Optional[float]
    ram_total_size: float
    tracking_mode: str
    cpu_utilization_percent: float = 0.0
    gpu_utilization_percent: float = 0.0
    ram_utilization_percent: float = 0.0
    ram_used_gb: float = 0.0
    on_cloud: str = "N"
    pue: float = 1
    wue: float = 0

    @property
    def values(self) -> OrderedDict[str, Any]:
        """The columns in their order."""
        return OrderedDict((field.name, getattr(self, field.name)) for field in fields(self))

    def compute_delta_emission(self, previous_emission: EmissionsData) -> None:
        """Becomes what was added since another record of the same run."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) - getattr(previous_emission, name))
        self.emissions_rate = self.emissions / self.duration if self.duration > 0 else 0.0

    def toJSON(self) -> str:
        """All of it, keys sorted."""
        return json.dumps(self.values, sort_keys=True, indent=4)


_SUMS = (
    "duration",
    "emissions",
    "cpu_energy",
    "gpu_energy",
    "ram_energy",
    "energy_consumed",
    "water_consumed",
)


@dataclass
class TaskEmissionsData:
    """The same of one task: its name first, without experiment, PUE and WUE."""

    task_name: str
    timestamp: str
    project_name: str
    run_id: str
    duration: float
    emissions: float
    emissions_rate: float
    cpu_power: float
    gpu_power: float
    ram_power: float
    cpu_energy: float
    gpu_energy: float
    ram_energy: float
    energy_consumed: float
    water_consumed: float
    country_name: str
    country_iso_code: str
    region: Optional[str]
    cloud_provider: str
    cloud_region: str
    os: str
    python_version: str
    codecarbon_version: str
    cpu_count: float
    cpu_model: str
    gpu_count: float
    gpu_model: str
    longitude: Optional[float]
    latitude: Optional[float]
    ram_total_size: float
    tracking_mode: str
    cpu_utilization_percent: float = 0.0
    gpu_utilization_percent: float = 0.0
    ram_utilization_percent: float = 0.0
    ram_used_gb: float = 0.0
    on_cloud: str = "N"

    @property
    def values(self) -> OrderedDict[str, Any]:
        """The columns in their order."""
        return OrderedDict((field.name, getattr(self, field.name)) for field in fields(self))

    @classmethod
    def of(cls, task_name: str, data: EmissionsData) -> TaskEmissionsData:
        """The record of a task."""
        of_task = {field.name for field in fields(cls)}
        return cls(task_name=task_name, **{name: value for name, value in data.values.items() if name in of_task})


COLUMNS = tuple(field.name for field in fields(EmissionsData))
TASK_COLUMNS = tuple(field.name for field in fields(TaskEmissionsData))
