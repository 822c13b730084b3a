from __future__ import annotations

import csv
from pathlib import Path

import pytest
from conftest import Script

# What public code imports from CodeCarbon.
IMPORTS = """
import codecarbon
from codecarbon import EmissionsTracker, OfflineEmissionsTracker, OutputMethod, track_emissions
from codecarbon.core.units import Energy, EmissionsPerKWh, Power, Time, Water
from codecarbon.emissions_tracker import BaseEmissionsTracker, TaskEmissionsTracker, track_task_emissions
from codecarbon.external.logger import logger, set_logger_level
from codecarbon.output import BaseOutput, EmissionsData, FileOutput, GoogleCloudLoggerOutput, HTTPOutput, LoggerOutput
from codecarbon.output_methods.metrics.logfire import LogfireOutput
from codecarbon.output_methods.base_output import BaseOutput as Again
from codecarbon.output_methods.emissions_data import TaskEmissionsData
import codecarbon.output_methods.metrics.prometheus
"""


def test_code_that_imports_codecarbon_runs_unchanged(script: Script) -> None:
    text = "import carbon_tracker.as_codecarbon\n" + IMPORTS
    text += """
import importlib.metadata, importlib.util
assert importlib.util.find_spec("codecarbon") is not None
assert importlib.metadata.version("codecarbon") == codecarbon.__version__ == "3.3.2"
assert Again is BaseOutput
assert Energy.from_power_and_time(power=Power.from_watts(1000), time=Time.from_seconds(3600)).kWh == 1
set_logger_level("error")

class Mine(BaseOutput):
    def out(self, total, delta):
        print(type(total).__name__, total.energy_consumed > 0)

@track_emissions(offline=True, country_iso_code="FRA", output_handlers=[Mine()], log_level="error")
def train():
    return sum(i * i for i in range(1_000_000))

train()
"""
    assert script(text).stdout == "EmissionsData True\n"
    with Path("emissions.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert row["country_iso_code"] == "FRA"


def test_nothing_is_shadowed_unless_asked(script: Script, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "codecarbon").mkdir(parents=True)
    (theirs / "codecarbon" / "__init__.py").write_text("__version__ = 'theirs'\n")
    text = "import carbon_tracker, codecarbon\nprint(codecarbon.__version__)"
    assert script(text, PYTHONPATH=str(theirs)).stdout == "theirs\n"
    text = "import carbon_tracker.as_codecarbon, codecarbon\nprint(codecarbon.__version__)"
    assert script(text, PYTHONPATH=str(theirs)).stdout == "3.3.2\n"
    # One that is there already is replaced, and that is told.
    done = script(
        "import codecarbon, carbon_tracker.as_codecarbon\n" + IMPORTS + "print(codecarbon.__version__)", PYTHONPATH=str(theirs)
    )
    assert done.stdout == "3.3.2\n" and "was imported before" in done.stderr


@pytest.mark.parametrize("how", ["path", "module"])
def test_a_script_runs_without_a_change(script: Script, how: str) -> None:
    Path("train.py").write_text("import sys, codecarbon\nprint(codecarbon.__carbon_tracker__ != '', sys.argv[1:], __name__)\n")
    words = ["train.py", "-x"] if how == "path" else ["-m", "train", "-x"]
    text = f"import sys; sys.path.insert(0, '.'); from carbon_tracker import as_codecarbon as a; sys.exit(a.main({words}))"
    assert script(text).stdout == "True ['-x'] __main__\n"
