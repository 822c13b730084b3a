"""The ways in which CodeCarbon documents its use: with the import changed, by the alias, and by CodeCarbon where it is."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Script
from stub import Stub

FORMS = {
    "object": """
from codecarbon import EmissionsTracker
tracker = EmissionsTracker()
tracker.start()
try:
    work()
finally:
    emissions: float = tracker.stop()
print(emissions)
""",
    "context": """
from codecarbon import EmissionsTracker
with EmissionsTracker(project_name="documented") as tracker:
    work()
print(tracker.final_emissions, tracker.final_emissions_data)
""",
    "decorator": """
from codecarbon import track_emissions
@track_emissions(project_name="documented", measure_power_secs=1)
def train():
    return work()
print(train())
""",
    "bare decorator": """
from codecarbon import track_emissions
@track_emissions
def train():
    return work()
print(train())
""",
    "offline": """
from codecarbon import OfflineEmissionsTracker
tracker = OfflineEmissionsTracker(country_iso_code="CAN")
tracker.start()
work()
tracker.stop()
""",
    "offline context": """
from codecarbon import OfflineEmissionsTracker
with OfflineEmissionsTracker(country_iso_code="USA", region="california") as tracker:
    work()
""",
    "offline decorator": """
from codecarbon import track_emissions
@track_emissions(offline=True, country_iso_code="CAN")
def train():
    return work()
train()
""",
    "tasks": """
from codecarbon import EmissionsTracker
tracker = EmissionsTracker(project_name="documented", measure_power_secs=10)
try:
    tracker.start_task("load")
    work()
    loaded = tracker.stop_task()
    tracker.start_task("build")
    work()
    built = tracker.stop_task()
finally:
    tracker.stop()
print(loaded.energy_consumed, built.duration)
""",
    "task context": """
from codecarbon.emissions_tracker import EmissionsTracker, TaskEmissionsTracker
tracker = EmissionsTracker()
with TaskEmissionsTracker(task_name="load", tracker=tracker):
    work()
tracker.stop()
""",
    "task decorator": """
from codecarbon import EmissionsTracker
from codecarbon.emissions_tracker import track_task_emissions
tracker = EmissionsTracker()
@track_task_emissions(tracker=tracker, task_name="load")
def load():
    return work()
load()
tracker.stop()
""",
    "flush": """
from codecarbon import EmissionsTracker
tracker = EmissionsTracker(on_csv_write="update")
tracker.start()
for epoch in range(2):
    work()
    tracker.flush()
tracker.stop()
""",
    "logger": """
import logging
from codecarbon import EmissionsTracker
from codecarbon.output import LoggerOutput
log = logging.getLogger("mine")
log.addHandler(logging.FileHandler("mine.log"))
log.setLevel(logging.INFO)
tracker = EmissionsTracker(save_to_logger=True, logging_logger=LoggerOutput(log, logging.INFO))
tracker.start()
work()
tracker.stop()
assert "emissions" in open("mine.log").read()
""",
    "output methods": """
from codecarbon import EmissionsTracker, OutputMethod
with EmissionsTracker(output_methods=[OutputMethod.CSV]) as tracker:
    work()
""",
    "custom output": """
from codecarbon import EmissionsTracker
from codecarbon.output import BaseOutput, EmissionsData
class Mine(BaseOutput):
    def out(self, total: EmissionsData, delta: EmissionsData):
        print("mine", total.emissions >= delta.emissions)
with EmissionsTracker(output_handlers=[Mine()]) as tracker:
    work()
""",
    "configuration": """
open(".codecarbon.config", "w").write("[codecarbon]\\nproject_name = documented\\nlog_level = DEBUG\\n")
import os
os.environ["CODECARBON_OUTPUT_FILE"] = "emissions.csv"
from codecarbon import EmissionsTracker
with EmissionsTracker(save_to_file=True) as tracker:
    work()
assert tracker._project_name == "documented"
""",
}

WORK = "def work():\n    return sum(i * i for i in range(300_000))\n"

HOWS: dict[str, Callable[[str], str]] = {
    "import": lambda text: text.replace("from codecarbon", "from carbon_tracker").replace(
        "carbon_tracker.emissions_tracker", "carbon_tracker"
    ),
    "alias": lambda text: f"import carbon_tracker.as_codecarbon\n{text}",
}
if importlib.util.find_spec("codecarbon") is not None:
    # That the texts are such as CodeCarbon takes.
    HOWS["codecarbon"] = lambda text: text


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("form", FORMS)
def test_it_runs_as_documented(agent: Stub, script: Script, form: str, how: str) -> None:
    done = script(HOWS[how](WORK + FORMS[form]))
    assert "Traceback" not in done.stderr, done.stderr
    with Path("emissions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1 and len(rows[0]) == 38
    assert how == "codecarbon" or float(rows[0]["emissions"]) > 0
    if "task" in form:
        [tasks] = Path.cwd().glob("emissions_*_*.csv")
        assert "load" in tasks.read_text()
