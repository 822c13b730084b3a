"""Results for Prometheus: to a Pushgateway, by CodeCarbon's names, or to a file for node_exporter's textfile collector.

Where there is an agent, its own /metrics is the better way: nothing has to be pushed.
"""

from __future__ import annotations

import base64
import os

from ..emissions import EmissionsData
from .base import BaseOutput
from .file import replace
from .http import send

JOB = "codecarbon"

_GAUGES = {
    "duration": "Seconds since the start.",
    "emissions": "Emissions in kg of CO2 equivalent.",
    "emissions_rate": "Emissions in kg of CO2 equivalent a second.",
    "cpu_power": "Mean power of processors in W.",
    "gpu_power": "Mean power of accelerators in W.",
    "ram_power": "Mean power of memory in W.",
    "cpu_energy": "Energy of processors in kWh.",
    "gpu_energy": "Energy of accelerators in kWh.",
    "ram_energy": "Energy of memory in kWh.",
    "energy_consumed": "Energy in kWh.",
}
_LABELS = (
    "project_name",
    "country_name",
    "country_iso_code",
    "region",
    "cloud_provider",
    "cloud_region",
    "os",
    "codecarbon_version",
    "cpu_model",
    "cpu_count",
    "gpu_model",
    "gpu_count",
    "tracking_mode",
    "ram_total_size",
)


def escaped(value: object) -> str:
    """A label's value in the text format."""
    return ("" if value is None else str(value)).replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def exposition(data: EmissionsData, total: EmissionsData) -> str:
    """The text format, version 0.0.4: gauges of `data`, and a counter of all energy."""
    pairs = [(name, getattr(data, name)) for name in _LABELS] + [("run_id", data.run_id)]
    labels = ",".join(f'{name}="{escaped(value)}"' for name, value in pairs)
    lines = []
    for name, text in _GAUGES.items():
        lines += [f"# HELP codecarbon_{name} {text}", f"# TYPE codecarbon_{name} gauge"]
        lines.append(f"codecarbon_{name}{{{labels}}} {getattr(data, name)!r}")
    lines += ["# HELP codecarbon_energy_total Energy in kWh since the start.", "# TYPE codecarbon_energy_total counter"]
    lines.append(f"codecarbon_energy_total{{{labels}}} {total.energy_consumed!r}")
    return "\n".join(lines) + "\n"


class PrometheusOutput(BaseOutput):
    """To a Pushgateway, from which it is deleted at the end."""

    def __init__(self, prometheus_url: str, job_name: str = JOB) -> None:
        address = prometheus_url if "://" in prometheus_url else f"http://{prometheus_url}"
        self._url = f"{address.rstrip('/')}/metrics/job/{job_name}"

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "text/plain; version=0.0.4"}
        user, password = os.environ.get("PROMETHEUS_USERNAME"), os.environ.get("PROMETHEUS_PASSWORD")
        if user is not None and password is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        return headers

    def out(self, total: EmissionsData, delta: EmissionsData) -> None:
        """Replaces what this job has there."""
        status, answer = send(self._url, exposition(delta, total).encode(), self._headers(), "PUT")
        if status not in (200, 202):
            raise OSError(f"{self._url} answers with status {status}: {answer[:200].decode(errors='replace').strip()}")

    def exit(self) -> None:
        """Takes it away again, since a gateway never forgets by itself."""
        send(self._url, b"", self._headers(), "DELETE")


class TextfileOutput(BaseOutput):
    """`codecarbon_<run_id>.prom`, whole or not at all."""

    def __init__(self, output_dir: str) -> None:
        if not os.path.isdir(output_dir):
            raise OSError(f"folder {output_dir!r} does not exist: make it, or give another output_dir")
        self.output_dir = output_dir

    def out(self, total: EmissionsData, delta: EmissionsData) -> None:
        """Writes the file anew."""
        replace(os.path.join(self.output_dir, f"codecarbon_{total.run_id}.prom"), exposition(total, total))
