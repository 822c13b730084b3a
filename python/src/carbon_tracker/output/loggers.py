"""Results to the loggers of experiments: MLflow and Weights & Biases, to the run that is open there."""

from __future__ import annotations

from typing import Any

from ..emissions import EmissionsData, TaskEmissionsData
from .base import BaseOutput

METRICS = (
    "duration",
    "emissions",
    "energy_consumed",
    "cpu_energy",
    "gpu_energy",
    "ram_energy",
    "cpu_power",
    "gpu_power",
    "ram_power",
    "water_consumed",
)


def metrics(data: EmissionsData, beyond: dict[str, Any]) -> dict[str, float]:
    """What is logged: the sums and mean powers, and kWh for one of what was counted."""
    found = {f"carbon/{name}": float(getattr(data, name)) for name in METRICS}
    for unit, count in beyond.get("counts", {}).items():
        if count:
            found[f"carbon/energy_per_{unit}"] = data.energy_consumed / count
    return found


def facts(data: EmissionsData, beyond: dict[str, Any]) -> dict[str, str]:
    """What is told with it: where, and how it is known."""
    method, intensity = beyond.get("method", {}), beyond.get("intensity", {})
    return {
        "carbon/quality": str(method.get("quality", "none")),
        "carbon/intensity": f"{intensity.get('g_per_kwh')} g/kWh, {intensity.get('source')}",
        "carbon/country": data.country_iso_code,
        "carbon/run_id": data.run_id,
    }


class MlflowOutput(BaseOutput):
    """To the active run of MLflow; one is begun where there is none, as MLflow does."""

    def __init__(self) -> None:
        import mlflow

        self._mlflow = mlflow

    def out(self, total: EmissionsData, delta: EmissionsData) -> None:
        """Logs metrics and tags."""
        self._mlflow.log_metrics(metrics(total, self.beyond))
        self._mlflow.set_tags(facts(total, self.beyond))

    def task_out(self, data: list[TaskEmissionsData], experiment_name: str) -> None:
        """Logs the energy of each task."""
        self._mlflow.log_metrics({f"carbon/task/{task.task_name}": task.energy_consumed for task in data})


class WandbOutput(BaseOutput):
    """To the run of Weights & Biases that is open."""

    def __init__(self) -> None:
        import wandb

        if wandb.run is None:
            raise RuntimeError("no run of wandb is open: call wandb.init first")
        self._run = wandb.run

    def out(self, total: EmissionsData, delta: EmissionsData) -> None:
        """Puts all into the summary of the run."""
        self._run.summary.update({**metrics(total, self.beyond), **facts(total, self.beyond)})

    def task_out(self, data: list[TaskEmissionsData], experiment_name: str) -> None:
        """Puts the energy of each task there."""
        self._run.summary.update({f"carbon/task/{task.task_name}": task.energy_consumed for task in data})
