"""Results as JSON: the columns, and what these have no room for."""

from __future__ import annotations

import json
import os

from ..emissions import EmissionsData, TaskEmissionsData
from .base import BaseOutput
from .file import replace

SCHEMA = "carbon_tracker/1"


class JsonOutput(BaseOutput):
    """`emissions_<run_id>.json`, written anew at each flush and stop."""

    def __init__(self, output_dir: str) -> None:
        if not os.path.isdir(output_dir):
            raise OSError(f"folder {output_dir!r} does not exist: make it, or give another output_dir")
        self.output_dir = output_dir

    def out(self, total: EmissionsData, delta: EmissionsData) -> None:
        """Writes the file."""
        report = {"schema": SCHEMA, **total.values, **self.beyond}
        replace(os.path.join(self.output_dir, f"emissions_{total.run_id}.json"), json.dumps(report, indent=2) + "\n")

    def task_out(self, data: list[TaskEmissionsData], experiment_name: str) -> None:
        """Tasks are in the file already."""
