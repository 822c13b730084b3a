"""Stands in for the package `codecarbon`, for code that imports it itself, such as callbacks of trainers.

    import carbon_tracker.as_codecarbon

before that code. Nothing else shadows `codecarbon`: without this import a CodeCarbon that is installed stays what it is.
`python -m carbon_tracker.as_codecarbon script.py ...` does it for a script that is not to be changed.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Any, Union

from . import decorators, emissions, methods, output, parameters, say, tracker, units
from ._version import __version__
from .output import api, boamps, http, prometheus
from .output import file as csv_file
from .output import logger as log_output

VERSION = "3.3.2"
"""The CodeCarbon whose surface this is; programs compare `codecarbon.__version__`."""


def _suppress(*kinds: type[BaseException]) -> Any:
    import contextlib

    return contextlib.suppress(*kinds)


class LogfireOutput(output.BaseOutput):
    """Can be made, and says that nothing is sent."""

    def __init__(self) -> None:
        say.warn_once(parameters.NO_LOGFIRE)


def _surface() -> dict[str, dict[str, object]]:
    """Module by module, what public code imports from it."""
    trackers: dict[str, object] = {
        "BaseEmissionsTracker": tracker.BaseEmissionsTracker,
        "EmissionsTracker": tracker.EmissionsTracker,
        "OfflineEmissionsTracker": tracker.OfflineEmissionsTracker,
        "track_emissions": decorators.track_emissions,
    }
    tasks: dict[str, object] = {
        "TaskEmissionsTracker": decorators.TaskEmissionsTracker,
        "track_task_emissions": decorators.track_task_emissions,
    }
    data: dict[str, object] = {
        "EmissionsData": emissions.EmissionsData,
        "TaskEmissionsData": emissions.TaskEmissionsData,
    }
    base: dict[str, object] = {"BaseOutput": output.BaseOutput, "OutputMethod": methods.OutputMethod}
    loggers: dict[str, object] = {
        "LoggerOutput": log_output.LoggerOutput,
        "GoogleCloudLoggerOutput": log_output.GoogleCloudLoggerOutput,
    }
    web: dict[str, object] = {"HTTPOutput": http.HTTPOutput, "CodeCarbonAPIOutput": api.CodeCarbonAPIOutput}
    files: dict[str, object] = {"FileOutput": csv_file.FileOutput}
    metrics: dict[str, object] = {"PrometheusOutput": prometheus.PrometheusOutput}
    logfire: dict[str, object] = {"LogfireOutput": LogfireOutput}
    report: dict[str, object] = {"BoAmpsOutput": boamps.BoAmpsOutput}
    quantities: dict[str, object] = {
        name: getattr(units, name) for name in ("Energy", "EmissionsPerKWh", "Power", "Time", "Water")
    }
    log = say.logger()
    return {
        "codecarbon": {**trackers, "OutputMethod": methods.OutputMethod, "__version__": VERSION, "__app_name__": "codecarbon"},
        "codecarbon._version": {"__version__": VERSION},
        "codecarbon.emissions_tracker": {**trackers, **tasks, **data, **base, **quantities, "logger": log},
        "codecarbon.output": {**data, **base, **loggers, **web, **files, **metrics, **logfire, **report},
        "codecarbon.output_methods": {},
        "codecarbon.output_methods.base_output": {**base, **data},
        "codecarbon.output_methods.emissions_data": data,
        "codecarbon.output_methods.file": files,
        "codecarbon.output_methods.http": web,
        "codecarbon.output_methods.logger": loggers,
        "codecarbon.output_methods.boamps": report,
        "codecarbon.output_methods.metrics": {},
        "codecarbon.output_methods.metrics.prometheus": metrics,
        "codecarbon.output_methods.metrics.logfire": logfire,
        "codecarbon.core": {},
        "codecarbon.core.units": quantities,
        "codecarbon.core.util": {"suppress": _suppress},
        "codecarbon.external": {},
        "codecarbon.external.logger": {
            "logger": log,
            "set_logger_level": lambda level=None: say.configure(level or "info", ""),
            "set_logger_format": lambda _preamble="": None,
        },
    }


def install() -> ModuleType:
    """Puts the modules where `import` looks first. A CodeCarbon that was imported before is replaced, which is told."""
    surface = _surface()
    found = sys.modules.get("codecarbon")
    if found is not None and getattr(found, "__carbon_tracker__", None) is None:
        say.warn("codecarbon was imported before carbon_tracker.as_codecarbon: what was taken from it then stays its own")
    for name in [name for name in sys.modules if name == "codecarbon" or name.startswith("codecarbon.")]:
        del sys.modules[name]
    for name, members in surface.items():
        module = ModuleType(name, "Carbon's, in place of CodeCarbon's.")
        is_package = any(other.startswith(name + ".") for other in surface)
        # Libraries ask `importlib.util.find_spec("codecarbon")` whether it is there.
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=is_package)
        if is_package:
            module.__path__ = []
        module.__dict__["__carbon_tracker__"] = __version__
        module.__dict__.update(members)
        sys.modules[name] = module
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
    _answer_for_the_distribution()
    return sys.modules["codecarbon"]


def _answer_for_the_distribution() -> None:
    """Libraries also ask `importlib.metadata.version("codecarbon")`: answered where it is not there."""
    import importlib.metadata

    original = importlib.metadata.version
    if getattr(original, "__carbon_tracker__", False):
        return

    def version(distribution_name: str) -> str:
        try:
            return original(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name == "codecarbon":
                return VERSION
            raise

    version.__dict__["__carbon_tracker__"] = True
    importlib.metadata.version = version


def main(words: list[str]) -> Union[int, None]:
    """Runs a script, or `-m module`, with the modules in place."""
    import runpy

    if not words:
        print("usage: python -m carbon_tracker.as_codecarbon (script.py | -m module) [arguments]", file=sys.stderr)
        return 2
    if words[0] == "-m" and len(words) > 1:
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
    return None


install()

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
