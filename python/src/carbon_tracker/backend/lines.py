"""The protocol of docs/api.md: a line of JSON for each request, a line for each answer."""

from __future__ import annotations

import os
import time

# The lock alone: `threading` costs 0.7 MiB.
from _thread import allocate_lock

from . import Backend, BackendError
from .compact import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Optional

    from ..reading import Reading

VERSION = 1

# The longest answer that is waited for: a stop adds a window and waits for the kernel's last figures, half a second in all.
ANSWER_S = 10.0

# Keys of `start` that the agent takes.
_START = ("project", "experiment", "organisation", "name", "series", "tags", "command", "zone", "pue", "bound", "record")

# A name is 1 to 120 printable characters, a unit up to 64.
_NAME_MAX = 120
_TAGS_MAX = 32


class Lines(Backend):
    """A backend that answers in lines, on whatever is connected to it."""

    def __init__(self) -> None:
        self._began = 0.0
        self._last: Optional[Reading] = None
        self._intensity: Optional[Mapping[str, Any]] = None
        self._counts: dict[str, int] = {}
        self._pid = os.getpid()
        # Requests and answers are in one order; tasks of several threads share the connection.
        self._lock = allocate_lock()

    # What is connected.

    def _send(self, line: bytes) -> None:
        raise NotImplementedError

    def _receive(self) -> bytes:
        """One line with its end; empty where the other side is gone."""
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

    def ask(self, request: str, **keys: Any) -> dict[str, Any]:
        """One request and its answer."""
        line = dumps({"version": VERSION, "request": request, **keys})
        try:
            with self._lock:
                self._send(line.encode() + b"\n")
                answered = self._receive()
        except (OSError, ValueError) as error:
            # The second is Python's word for a pipe that was closed here.
            raise BackendError(f"no answer to {request!r}: {error}") from error
        if not answered.endswith(b"\n"):
            raise BackendError(f"the connection was closed at {request!r}")
        try:
            answer = loads(answered.decode())
        except ValueError as error:
            raise BackendError(f"the answer to {request!r} is not JSON: {error}") from error
        if not isinstance(answer, dict) or not answer.get("ok"):
            said = answer.get("error") if isinstance(answer, dict) else None
            said = said if isinstance(said, dict) else {}
            raise BackendError(f"{said.get('code', 'refused')}: {said.get('message', request)}")
        return answer

    def begin(self, about: Mapping[str, Any]) -> None:
        # One request: each takes four wake-ups, which a busy machine makes everybody wait for.
        keys = {key: about[key] for key in _START if about.get(key) is not None}
        for key in ("project", "experiment", "organisation", "name", "series"):
            if key in keys:
                keys[key] = printable(str(keys[key]))
        if "tags" in keys:
            keys["tags"] = [tag for tag in map(printable, keys["tags"]) if tag][:_TAGS_MAX]
        keys = {key: value for key, value in keys.items() if value not in ("", [])}
        try:
            answer = self.ask("start", **keys)
        except BackendError:
            if "zone" not in keys:
                raise
            # A place that it does not know is no reason not to measure: grams are computed here.
            del keys["zone"]
            answer = self.ask("start", **keys)
        self.run = str(answer["run"])
        self._began = time.monotonic()

    def intensity(self) -> Optional[Mapping[str, Any]]:
        if self._intensity is None:
            try:
                self._rate(self.ask("hello"))
            except BackendError:
                # It is gone, or has ended: the place is what the user said, or unknown.
                self._intensity = {}
        return self._intensity

    def _rate(self, answer: Mapping[str, Any]) -> None:
        intensity = answer.get("intensity")
        if isinstance(intensity, dict):
            self._intensity = intensity

    def read(self, segment: Optional[str] = None) -> Reading:
        keys = {} if segment is None else {"name": printable(segment) or None}
        asked = time.monotonic()
        answer = self.ask("mark", run=self.run, **keys)
        return self._take(answer["total"], asked)

    def count(self, unit: str, number: int) -> None:
        self.ask("count", run=self.run, unit=unit, count=number)
        self._counts[unit] = self._counts.get(unit, 0) + number

    def end(self, failed: bool) -> Reading:
        asked = time.monotonic()
        answer = self.ask("stop", run=self.run, status="failed" if failed else "done")
        self._rate(answer)
        reading = self._take(answer["energy"], asked)
        self._close()
        return reading

    def abandon(self) -> None:
        self._close()

    def _take(self, energy: Mapping[str, Any], asked: float) -> Reading:
        """An answer may wait for the end of a window, a tenth of a second: that is no time of the program's."""
        from ..reading import Reading

        reading = Reading.of_answer(energy, asked - self._began, self._last)
        reading.resumed = time.monotonic() - self._began
        reading.counts = dict(self._counts)
        self._last = reading
        return reading


def printable(text: str) -> str:
    """As a name may be: printable, and not too long."""
    if text.isascii():
        # The tables of Unicode are 64 KiB that most programs have no other use for.
        return "".join(letter for letter in text if " " <= letter <= "~")[:_NAME_MAX].strip()
    return "".join(letter for letter in text if letter.isprintable())[:_NAME_MAX].strip()
