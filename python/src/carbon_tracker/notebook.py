"""The magic `%%carbon` of Jupyter and IPython: what a cell used, below it. `%load_ext carbon_tracker` brings it."""

from __future__ import annotations

import shlex
from typing import Any, Optional

from .tracker import EmissionsTracker


def arguments(line: str) -> dict[str, str]:
    """`--project thesis --country FRA --csv` of the magic's line; a word alone is the name of the project."""
    known = {
        "--project": "project_name",
        "--country": "country_iso_code",
        "--region": "region",
        "--output-dir": "output_dir",
    }
    words, found = iter(shlex.split(line)), {"output_methods": ""}
    for word in words:
        if word == "--csv":
            found["output_methods"] = "csv"
        elif word in known:
            found[known[word]] = next(words, "")
        elif word.startswith("-"):
            raise ValueError(f"unknown {word!r}: give a project, {', '.join(known)} or --csv")
        else:
            found["project_name"] = word
    return found


def carbon(shell: Any, line: str, cell: str) -> Optional[EmissionsTracker]:
    """Runs a cell within a tracker; gives nothing, so that the cell's own value is what is shown."""
    found = {"project_name": "cell", "log_level": "warning", **arguments(line)}
    tracker = EmissionsTracker(**found)  # type: ignore[arg-type]
    tracker.start()
    try:
        shell.run_cell(cell)
    finally:
        tracker.stop()
        if tracker.final_emissions_data is not None:
            print(tracker.summary())
    shell.user_ns["_carbon"] = tracker.final_emissions_data
    return None


def register(shell: Any) -> None:
    """Adds the magic."""
    shell.register_magic_function(lambda line, cell: carbon(shell, line, cell), "cell", "carbon")
