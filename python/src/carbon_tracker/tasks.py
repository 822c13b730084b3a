"""Tasks of a run: nested, and of several threads or coroutines at once. Imported with the first of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Optional

from . import busy, say
from .record import record

if TYPE_CHECKING:
    from .emissions import EmissionsData
    from .reading import Reading
    from .tracker import BaseEmissionsTracker

# Tasks that are open in this thread or coroutine: id of the tracker, name. So those of one are not within those of another.
_stack: ContextVar[tuple[tuple[int, str], ...]] = ContextVar("carbon_tracker_tasks", default=())


class Task:
    """A task: where it began, and once it has ended what it used."""

    def __init__(self, name: str, asked: Optional[str], parent: Optional[str], began: Reading) -> None:
        self.task_name, self.asked, self.parent, self.began = name, asked, parent, began
        self.cpu = busy.cpu_times()
        self.emissions_data: Optional[EmissionsData] = None
        """None while it is open; the name is CodeCarbon's, which programs read."""
        self.counts: Mapping[str, int] = {}

    @property
    def is_active(self) -> bool:
        """Whether it is open."""
        return self.emissions_data is None


class Tasks:
    """The tasks of one run."""

    def __init__(self, tracker: BaseEmissionsTracker) -> None:
        self._tracker = tracker
        self.all: dict[str, Task] = {}
        self.open: list[str] = []

    def begin(self, asked: Optional[str], fresh_id: str) -> str:
        """Begins one within the open ones of this thread or coroutine, and gives its name."""
        name = asked or fresh_id
        if name in self.all:
            name = f"{name}_{fresh_id}"
        parent = self._innermost()
        self.all[name] = Task(name, asked, parent, self._tracker._read(name))
        self.open.append(name)
        _stack.set((*_stack.get(), (id(self), name)))
        return name

    def _innermost(self) -> Optional[str]:
        """The open task that was begun last in this thread or coroutine."""
        return next((name for of, name in reversed(_stack.get()) if of == id(self) and name in self.open), None)

    def end(self, asked: Optional[str]) -> Optional[EmissionsData]:
        """Ends one, the innermost where none is named, and gives what was used in it."""
        name = asked or self._innermost() or (self.open[-1] if self.open else None)
        if name is not None and name not in self.open:
            # The second of a name has another one, and is ended by what it was asked by.
            name = next((open_ for open_ in reversed(self.open) if self.all[open_].asked == name), name)
        if name is None or name not in self.open:
            say.warn(f"no task {name!r} is open" if name else "no task is open")
            return None
        self.open.remove(name)
        _stack.set(tuple(entry for entry in _stack.get() if entry != (id(self), name)))
        task, tracker = self.all[name], self._tracker
        reading = tracker._read(self.open[-1] if self.open else "").since(task.began)
        task.counts = reading.counts
        task.emissions_data = record(tracker._values, tracker.run_id, "process", reading, tracker._where(), task.cpu)
        return task.emissions_data

    def ended(self) -> list[tuple[Task, EmissionsData]]:
        """Those that have ended, with what they used, in the order of their begin."""
        return [(task, task.emissions_data) for task in self.all.values() if task.emissions_data is not None]

    def beyond(self) -> list[dict[str, Any]]:
        """What is told of them beyond the columns of their file."""
        return [
            {"name": task.task_name, "parent": task.parent, "counts": task.counts, "energy_kwh": data.energy_consumed}
            for task, data in self.ended()
        ]
