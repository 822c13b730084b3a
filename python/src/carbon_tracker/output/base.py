"""What all outputs are."""

from __future__ import annotations

from typing import Any

from ..emissions import EmissionsData, TaskEmissionsData


class BaseOutput:
    """A handler of results. All methods are optional; an error in one is told and stops neither program nor other handlers."""

    beyond: dict[str, Any] = {}
    """What the columns have no room for, set before each call: how each number is known, and what was counted."""

    def out(self, total: EmissionsData, delta: EmissionsData) -> None:
        """At flush and stop: all since the start, and what is new since the last call."""

    def live_out(self, total: EmissionsData, delta: EmissionsData) -> None:
        """CodeCarbon calls it while it polls; nothing is polled here, so it is never called."""

    def task_out(self, data: list[TaskEmissionsData], experiment_name: str) -> None:
        """At flush and stop, where there are tasks that have ended."""

    def exit(self) -> None:
        """At stop, after all of it."""
