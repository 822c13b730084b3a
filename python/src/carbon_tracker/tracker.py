"""The trackers: start, stop and tasks. Errors never reach the program that is tracked: they are told."""

from __future__ import annotations

import os
import time

# All that `weakref` is made of; importing it whole costs 0.2 MiB. See tools/cost.py.
from _weakref import ref

from . import busy, parameters, say
from .backend import open_backend, prepare
from .say import quiet

# `typing` is half of what importing all of this would cost.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any, Optional, TypeVar, Union

    from .backend import Backend
    from .emissions import EmissionsData
    from .methods import OutputMethod
    from .output import BaseOutput
    from .place import Place
    from .reading import Reading
    from .tasks import Task, Tasks

    _Self = TypeVar("_Self", bound="BaseEmissionsTracker")

# Those that track, by their ids.
_live: dict[int, ref[BaseEmissionsTracker]] = {}


class BaseEmissionsTracker:
    """What both trackers share. All parameters are optional; docs/python.md has each."""

    _offline = False

    def __init__(
        self,
        project_name: Optional[str] = None,
        measure_power_secs: Optional[float] = None,
        api_call_interval: Optional[int] = None,
        api_endpoint: Optional[str] = None,
        api_key: Optional[str] = None,
        output_dir: Optional[str] = None,
        output_file: Optional[str] = None,
        output_methods: Union[list[OutputMethod], list[str], str, None] = None,
        save_to_file: Optional[bool] = None,
        save_to_api: Optional[bool] = None,
        save_to_logger: Optional[bool] = None,
        logging_logger: Optional[object] = None,
        save_to_prometheus: Optional[bool] = None,
        save_to_logfire: Optional[bool] = None,
        prometheus_url: Optional[str] = None,
        output_handlers: Optional[list[BaseOutput]] = None,
        gpu_ids: Union[list[int], list[str], str, None] = None,
        emissions_endpoint: Optional[str] = None,
        experiment_id: Optional[str] = None,
        experiment_name: Optional[str] = None,
        electricitymaps_api_token: Optional[str] = None,
        co2_signal_api_token: Optional[str] = None,
        tracking_mode: Optional[str] = None,
        log_level: Union[int, str, None] = None,
        on_csv_write: Optional[str] = None,
        logger_preamble: Optional[str] = None,
        force_cpu_power: Optional[float] = None,
        force_ram_power: Optional[float] = None,
        pue: Optional[float] = None,
        wue: Optional[float] = None,
        force_carbon_intensity_g_co2e_kwh: Optional[float] = None,
        force_mode_cpu_load: Optional[bool] = None,
        allow_multiple_runs: Optional[bool] = None,
        rapl_include_dram: Optional[bool] = None,
        rapl_prefer_psys: Optional[bool] = None,
        metadata: Union[Mapping[str, Any], str, None] = None,
        *,
        country_iso_code: Optional[str] = None,
        region: Optional[str] = None,
        cloud_provider: Optional[str] = None,
        cloud_region: Optional[str] = None,
        country_2letter_iso_code: Optional[str] = None,
        backend: Optional[str] = None,
        tags: Optional[list[str]] = None,
        **others: object,
    ) -> None:
        given = dict(locals())
        for name in ("self", "others", "__class__"):
            given.pop(name, None)
        self._values = parameters.resolve({**others, **given})
        self.run_id: str = ""
        """A UUID; that of the ledger once tracking has begun, unless it was set before."""
        self.final_emissions: Optional[float] = None
        """kg of CO2 equivalent, after `stop`."""
        self.final_emissions_data: Optional[EmissionsData] = None
        self._backend: Optional[Backend] = None
        self._place: Optional[Place] = None
        self._outputs: Optional[list[BaseOutput]] = None
        self._start_time: Optional[float] = None
        self._of_tasks: Optional[Tasks] = None
        self._previous: Optional[EmissionsData] = None
        self._cpu_began: Optional[tuple[int, int]] = None
        self._began_by_task = False
        self._last: Optional[Reading] = None
        # What `start` needs is loaded here, so that it is a connection and a request: what it waits for, a program waits for.
        quiet(prepare)(self._values["backend"])
        quiet(self._look)()
        if self._values["tracking_mode"] == "machine":
            say.warn_once(
                "tracking_mode=machine: this program and what it starts are measured, not its neighbours; "
                'the whole machine is in "carbon top"'
            )

    # The life of a run.

    @quiet
    def start(self) -> None:
        """Begins to track. A second call does nothing."""
        if self._backend is not None:
            say.warn("already tracking")
            return
        self._open()

    @quiet
    def flush(self) -> Optional[float]:
        """Writes what was used so far, and goes on. Gives kg of CO2 equivalent."""
        if not self._tracks():
            say.say("error", "start the tracker first")
            return None
        data = self._record(self._read())
        self._write(data)
        return data.emissions

    @quiet
    def stop(self) -> Optional[float]:
        """Ends tracking, writes, and gives kg of CO2 equivalent. A further call gives the same again."""
        return self._stop(failed=False)

    def _stop(self, failed: bool) -> Optional[float]:
        if not self._tracks() or self._backend is None:
            if self._start_time is None and self.final_emissions is None:
                say.warn("stopped without having been started")
            return self.final_emissions
        for name in reversed(list(self._of_tasks.open if self._of_tasks is not None else ())):
            self.stop_task(name)
        backend, self._backend, self._start_time = self._backend, None, None
        try:
            reading = backend.end(failed)
        except Exception as error:
            quiet(backend.abandon)()
            if self._last is None:
                raise
            # What was last read is what is known.
            say.warn(f"the end is not measured, what was read before is written: {error}")
            reading = self._last
        self._last = reading
        _live.pop(id(self), None)
        data = self._record(reading, backend)
        self.final_emissions_data, self.final_emissions = data, data.emissions
        self._write(data, backend)
        for output in self._outputs or ():
            quiet(output.exit)()
        say.say("info", self.summary())
        return data.emissions

    def _open(self) -> None:
        if self.final_emissions_data is not None:
            # Of a run before: a live intensity, or the agent's, may be another by now.
            self._place = None
        self._look()
        self._cpu_began = busy.cpu_times()
        self._of_tasks, self._previous, self._last = None, None, None
        self._backend = open_backend(self._values["backend"], self._about(), self._values["force_cpu_power"])
        self._start_time = time.perf_counter()
        if not self.run_id:
            self.run_id = self._backend.run or _new_id()
        key = id(self)
        _live[key] = ref(self, lambda _: _live.pop(key, None))

    def _look(self) -> None:
        """Told at once where something is wrong with it; a place that nobody named is looked at when it is needed."""
        if os.environ.get("CARBON_ZONE") or any(self._values[name] is not None for name in parameters.OF_PLACE):
            self._where()

    def _where(self) -> Place:
        if self._place is None:
            from .place import of_parameters

            self._place = of_parameters(self._values)
        return self._place

    def _about(self) -> dict[str, Any]:
        """What the protocol's `start` is told."""
        import sys

        values, place = self._values, self._place
        tags = values["tags"]
        return {
            "project": values["project_name"],
            "experiment": values["experiment_name"],
            "tags": [str(tag) for tag in tags] if isinstance(tags, (list, tuple)) else None,
            "command": [str(word) for word in sys.orig_argv] if hasattr(sys, "orig_argv") else list(sys.argv),
            "zone": place.zone if place is not None else None,
            "pue": values["pue"] if values["pue"] != 1 else None,
            "bound": "connection",
        }

    def _tracks(self) -> bool:
        return self._backend is not None

    def _read(self, segment: Optional[str] = None) -> Reading:
        if self._backend is None:
            raise RuntimeError("not tracking")
        try:
            self._last = self._backend.read(segment)
        except Exception as error:
            if self._last is None:
                raise
            say.warn_once(f"energy is not read any more: {error}")
        return self._last

    def _record(self, reading: Reading, backend: Optional[Backend] = None) -> EmissionsData:
        from .place import ask_live, of_answer
        from .record import record

        place, backend = self._where(), backend or self._backend
        if not place.known and backend is not None:
            of_answer(place, backend.intensity())
        token = self._values["electricitymaps_api_token"]
        if token and not self._offline and self._values["force_carbon_intensity_g_co2e_kwh"] is None:
            ask_live(place, token)
        return record(self._values, self.run_id, "process", reading, place, self._cpu_began)

    def _write(self, data: EmissionsData, backend: Optional[Backend] = None) -> None:
        import dataclasses

        from .emissions import TaskEmissionsData
        from .output import make_outputs

        if self._outputs is None:
            self._outputs = make_outputs(self._values)
        delta = dataclasses.replace(data)
        if self._previous is not None:
            delta.compute_delta_emission(self._previous)
        ended = self._of_tasks.ended() if self._of_tasks is not None else []
        tasks = [TaskEmissionsData.of(task.task_name, of_task) for task, of_task in ended]
        more = self._beyond(backend)
        for output in self._outputs:
            output.beyond = more
            quiet(output.out)(data, delta)
            if tasks:
                quiet(output.task_out)(tasks, self._values["experiment_name"])
        self._previous = data

    def _beyond(self, backend: Optional[Backend]) -> dict[str, Any]:
        from .record import beyond

        backend = backend or self._backend
        if self._last is None or backend is None:
            return {}
        more = beyond(self._last, self._where(), backend.name, backend.run, float(self._values["pue"]))
        more["tasks"] = self._of_tasks.beyond() if self._of_tasks is not None else []
        return more

    def summary(self) -> str:
        """What was used in one line; empty before the first flush or stop."""
        from .summary import line

        data = self.final_emissions_data or self._previous
        return line(data, self._last, self._where()) if data is not None and self._last is not None else ""

    # Tasks.

    @quiet
    def start_task(self, task_name: Optional[str] = None) -> Optional[str]:
        """Begins a task, within the ones that are open, and gives its name. Without `start` before, tracking begins here."""
        from .tasks import Tasks

        if self._backend is None:
            self._open()
            self._began_by_task = True
        if self._of_tasks is None:
            self._of_tasks = Tasks(self)
        return self._of_tasks.begin(task_name, _new_id())

    @quiet
    def stop_task(self, task_name: Optional[str] = None) -> Optional[EmissionsData]:
        """Ends a task, the innermost where none is named, and gives what was used in it."""
        if self._of_tasks is None:
            say.warn(f"no task {task_name!r} is open" if task_name else "no task is open")
            return None
        return self._of_tasks.end(task_name)

    @quiet
    def count(self, unit: str, number: int = 1) -> None:
        """Adds to what was done, such as tokens or samples: energy for each is in the results. Count in batches."""
        if self._backend is None:
            say.warn_once(f"{unit} are not counted: start the tracker first")
            return
        self._backend.count(unit, int(number))

    def energy_per(self, unit: str) -> Optional[float]:
        """Joules for one unit of what was counted, so far or in all; none where nothing was."""
        reading = self._last if self._backend is None else self._read()
        done = reading.counts.get(unit, 0) if reading is not None else 0
        return reading.energy_uj / 1e6 / done if reading is not None and done else None

    # Manners of CodeCarbon.

    def get_detected_hardware(self) -> dict[str, Any]:
        """What the machine says of itself."""
        from . import machine

        names = machine.gpus()
        return {
            "ram_total_size": machine.memory()[0],
            "cpu_count": os.cpu_count(),
            "cpu_physical_count": machine.cores(),
            "cpu_model": machine.cpu_model(),
            "gpu_count": len(names),
            "gpu_model": machine.gpu_summary(names),
            "gpu_ids": None,
        }

    def service_shutdown(self, signum: int, frame: object) -> None:
        """A handler of signals that stops the tracker."""
        self.stop()

    def _measure_power_and_energy(self) -> None:
        """Private in CodeCarbon, and called by programs all the same."""
        if self._backend is not None:
            quiet(self._read)()

    def _prepare_emissions_data(self) -> Optional[EmissionsData]:
        """Private in CodeCarbon, and called by programs all the same."""
        if self._backend is None:
            return self.final_emissions_data
        return self._record(self._read())

    def _energy_of(self, column: str) -> Any:
        from .units import Energy

        data = self._prepare_emissions_data()
        return Energy.from_energy(getattr(data, column) if data is not None else 0.0)

    # Private in CodeCarbon, and read by programs all the same.
    _total_energy = property(lambda self: self._energy_of("energy_consumed"))
    _total_cpu_energy = property(lambda self: self._energy_of("cpu_energy"))
    _total_gpu_energy = property(lambda self: self._energy_of("gpu_energy"))
    _total_ram_energy = property(lambda self: self._energy_of("ram_energy"))

    @property
    def _tasks(self) -> Mapping[str, Task]:
        """Private in CodeCarbon, and read by programs all the same."""
        return self._of_tasks.all if self._of_tasks is not None else {}

    @property
    def _active_task(self) -> Optional[str]:
        """Private in CodeCarbon, and read by programs all the same: the task that was begun last of the open ones."""
        return self._of_tasks.open[-1] if self._of_tasks is not None and self._of_tasks.open else None

    def __getattr__(self, name: str) -> Any:
        # Parameters, as CodeCarbon keeps them: `_project_name`, `_output_dir` and so on.
        values = self.__dict__.get("_values", {})
        if name[:1] == "_" and name[1:] in values:
            return values[name[1:]]
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __enter__(self: _Self) -> _Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        quiet(self._stop)(failed=kind is not None)


class EmissionsTracker(BaseEmissionsTracker):
    """Tracks this program. Reaches no network but where a parameter names a service."""


class OfflineEmissionsTracker(BaseEmissionsTracker):
    """The same, and never asks for a live intensity."""

    _offline = True


def _new_id() -> str:
    import uuid

    return str(uuid.uuid4())


def _forked() -> None:
    """In a forked child: the run is the parent's, and so is the connection, which must close when the parent ends."""
    for reference in list(_live.values()):
        tracker = reference()
        if tracker is None:
            continue
        backend, tracker._backend, tracker._start_time = tracker._backend, None, None
        if backend is not None:
            quiet(backend.abandon)()
        tracker._of_tasks = None
    _live.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
