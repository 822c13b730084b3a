"""A report by BoAmps, Boavizta's format for the energy of AI tasks (github.com/Boavizta/BoAmps, model, version 0.1).

What can be told is filled in; what the task was is the user's to say, by `metadata`: a dictionary or a file with the report's
own sections, or with these below the key `boamps`. The user's values are above ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Union

from ..emissions import EmissionsData
from ..say import warn_once
from .base import BaseOutput
from .file import replace

FORMAT = "0.1"
SPECIFICATION = "https://github.com/Boavizta/BoAmps/tree/main/model"

_QUALITY = {"measured": "high", "sampled": "medium", "modelled": "low"}


def read_metadata(metadata: Union[Mapping[str, Any], str, None]) -> dict[str, Any]:
    """The sections of the user."""
    if metadata is None:
        return {}
    if isinstance(metadata, str):
        with open(metadata, encoding="utf-8") as file:
            metadata = json.load(file)
    if not isinstance(metadata, Mapping):
        raise ValueError("metadata is a dictionary, or a file with one in JSON")
    inner = metadata.get("boamps", metadata)
    return dict(inner) if isinstance(inner, Mapping) else {}


def merged(ours: Any, theirs: Any) -> Any:
    """The user's values above ours, section by section."""
    if isinstance(ours, dict) and isinstance(theirs, Mapping):
        return {**ours, **{key: merged(ours.get(key), value) for key, value in theirs.items()}}
    return ours if theirs is None else theirs


def components(ours: list[dict[str, Any]], theirs: list[Any]) -> list[Any]:
    """The user's components, filled up with what is known of those of the same type, and ours of the other types."""
    known = {component["componentType"]: component for component in ours}
    given = [merged(known.get(item.get("componentType"), {}), item) for item in theirs if isinstance(item, Mapping)]
    types = {item.get("componentType") for item in given}
    return given + [component for component in ours if component["componentType"] not in types]


class BoAmpsOutput(BaseOutput):
    """`boamps_report_<run_id>.json`."""

    def __init__(self, output_dir: str = ".", context: Union[Mapping[str, Any], None] = None) -> None:
        os.makedirs(output_dir, exist_ok=True)
        self._output_dir, self._context = output_dir, dict(context or {})
        self.save_file_path: Union[str, None] = None

    @classmethod
    def of_metadata(cls, output_dir: str, metadata: Union[Mapping[str, Any], str, None]) -> BoAmpsOutput:
        """With the parameter `metadata`."""
        return cls(output_dir, read_metadata(metadata))

    @classmethod
    def from_file(cls, context_file_path: str, output_dir: str = ".") -> BoAmpsOutput:
        """With a file of sections."""
        return cls(output_dir, read_metadata(context_file_path))

    @classmethod
    def from_dict(cls, context: Mapping[str, Any], output_dir: str = ".") -> BoAmpsOutput:
        """With a dictionary of sections."""
        return cls(output_dir, read_metadata(context))

    def out(self, total: EmissionsData, delta: EmissionsData) -> None:
        """Writes the report anew."""
        if "task" not in self._context:
            warn_once("the BoAmps report lacks its task: give metadata={'task': {...}}, or it is not valid")
        path = os.path.join(self._output_dir, f"boamps_report_{total.run_id}.json")
        replace(path, json.dumps(self.report(total), indent=2) + "\n")
        self.save_file_path = path

    def report(self, data: EmissionsData) -> dict[str, Any]:
        """The report."""
        when = data.timestamp.replace("T", " ")
        method = self.beyond.get("method", {})
        measure = {
            "measurementMethod": "carbon",
            "version": data.codecarbon_version,
            "powerConsumption": data.energy_consumed,
            "measurementDuration": data.duration,
            "measurementDateTime": when,
        }
        if data.cpu_utilization_percent > 0:
            measure["averageUtilizationCpu"] = round(data.cpu_utilization_percent / 100, 4)
        parts: list[dict[str, Any]] = [
            {"componentType": "cpu", "componentName": data.cpu_model, "nbComponent": 1},
            {"componentType": "ram", "nbComponent": 1, "memorySize": data.ram_total_size},
        ]
        if data.gpu_count:
            parts.append({"componentType": "gpu", "componentName": data.gpu_model, "nbComponent": int(data.gpu_count)})
        environment: dict[str, Any] = {"country": data.country_name or None}
        if data.latitude is not None:
            environment.update(latitude=data.latitude, longitude=data.longitude)
        intensity = self.beyond.get("intensity", {})
        if intensity.get("place_known"):
            environment["powerSourceCarbonIntensity"] = intensity.get("g_per_kwh")
        ours: dict[str, Any] = {
            "header": {
                "formatVersion": FORMAT,
                "formatVersionSpecificationUri": SPECIFICATION,
                "reportId": data.run_id,
                "reportDatetime": when,
            },
            "measures": [measure],
            "system": {"os": data.os},
            "software": {"language": "python", "version": data.python_version},
            "infrastructure": {
                "infraType": "publicCloud" if data.cloud_provider else "onPremise",
                "cloudProvider": data.cloud_provider or None,
                "components": parts,
            },
            "environment": environment,
            "quality": _QUALITY.get(str(method.get("quality"))),
        }
        report: dict[str, Any] = merged(ours, self._context)
        theirs = self._context.get("infrastructure", {})
        if isinstance(theirs, Mapping) and isinstance(theirs.get("components"), list):
            report["infrastructure"]["components"] = components(parts, theirs["components"])
        return dict(_without_none(report))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
