"""Energy and emissions of Python programs, measured by Carbon; takes the place of CodeCarbon's package.

    from carbon_tracker import EmissionsTracker

    with EmissionsTracker(project_name="thesis") as tracker:
        train()

Importing it costs next to nothing: what is needed only while tracking, or only at its end, is imported then.
"""

from __future__ import annotations

from ._version import __version__
from .tracker import BaseEmissionsTracker, EmissionsTracker, OfflineEmissionsTracker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .decorators import TaskEmissionsTracker, track_emissions, track_task_emissions
    from .emissions import EmissionsData, TaskEmissionsData
    from .methods import OutputMethod
    from .output import BaseOutput

__all__ = [
    "BaseEmissionsTracker",
    "BaseOutput",
    "EmissionsData",
    "EmissionsTracker",
    "OfflineEmissionsTracker",
    "OutputMethod",
    "TaskEmissionsData",
    "TaskEmissionsTracker",
    "__version__",
    "load_ipython_extension",
    "track_emissions",
    "track_task_emissions",
]

_LATER = {
    "BaseOutput": "output",
    "EmissionsData": "emissions",
    "OutputMethod": "methods",
    "TaskEmissionsData": "emissions",
    "TaskEmissionsTracker": "decorators",
    "track_emissions": "decorators",
    "track_task_emissions": "decorators",
}


def __getattr__(name: str) -> object:
    if name in _LATER:
        from importlib import import_module

        found = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(shell: object) -> None:
    """Called by `%load_ext carbon_tracker`: adds the magic `%%carbon`."""
    from .notebook import register

    register(shell)
