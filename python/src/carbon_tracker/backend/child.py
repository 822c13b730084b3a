"""A `carbon` of our own beside this process: the same lines on its standard input and output.

There is one for all trackers that are open at a time: each more would be work that the others count as this process's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from _thread import allocate_lock

from . import Backend, BackendError
from .lines import ANSWER_S, Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO, Optional, Union

    from ..reading import Reading

VARIABLE = "CARBON_BINARY"


def binary() -> Optional[str]:
    """The program: the one that `CARBON_BINARY` names, that of this wheel, or the first in PATH."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return named if os.path.isfile(named) else None
    for folder in _folders():
        path = os.path.join(folder, "carbon")
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _folders() -> Iterator[str]:
    """Where programs of wheels are, then those of `PATH`; the ones that cost least to be known come first."""
    if sys.executable:
        yield os.path.dirname(sys.executable)
    import sysconfig

    for scheme in ("", "posix_user"):
        try:
            yield sysconfig.get_path("scripts", scheme) if scheme else sysconfig.get_path("scripts")
        except KeyError:
            continue
    yield from os.get_exec_path()


class Child(Lines):
    """The program, measuring the process that started it."""

    name = "child"

    def __init__(self, path: str) -> None:
        super().__init__()
        self._users = 1
        try:
            # A group of its own: Ctrl-C in the terminal is for the program that is measured, which then ends this one.
            self._process = subprocess.Popen(
                [path, "track"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise BackendError(f"cannot start {path}: {error}") from error
        if self._process.stdin is None or self._process.stdout is None:
            raise BackendError("no pipes to the program")
        self._stdin: IO[bytes] = self._process.stdin
        self._stdout: IO[bytes] = self._process.stdout

    @classmethod
    def find(cls) -> Union[Child, Beside, None]:
        """The program, where there is one: the one that measures for another tracker of this process, or a new one."""
        global _open
        path = binary()
        if path is None:
            return None
        with _opening:
            if _open is not None and _open.enter(path):
                return Beside(_open)
            _open = cls(path)
            return _open

    def enter(self, path: str) -> bool:
        """One tracker more, where it measures this process and a run is open."""
        ours = self._pid == os.getpid() and self._process.args == [path, "track"]
        joins = ours and self.run is not None and self._users > 0 and self._process.poll() is None
        self._users += joins
        return joins

    def end(self, failed: bool) -> Reading:
        """The run ends with the last of the trackers."""
        return super().end(failed) if self._left() else self.read()

    def _left(self) -> bool:
        """One tracker less; whether it was the last."""
        with _opening:
            self._users -= 1
            return self._users <= 0

    def leave(self) -> None:
        """A tracker goes without an end: the program goes with the last, and its run is one that nobody stopped."""
        if os.getpid() != self._pid or self._left():
            self._close()

    def abandon(self) -> None:
        self.leave()

    def _send(self, line: bytes) -> None:
        self._stdin.write(line)
        self._stdin.flush()

    def _receive(self) -> bytes:
        import select

        ready, _, _ = select.select([self._stdout], [], [], ANSWER_S)
        if not ready:
            raise OSError(f"silent for {ANSWER_S:.0f} s")
        # Answers come one for one, so that none waits behind this line.
        return self._stdout.readline()

    def _close(self) -> None:
        self._stdout.close()
        try:
            self._stdin.close()
        except OSError:
            pass
        if os.getpid() == self._pid:
            try:
                self._process.wait(ANSWER_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class Beside(Backend):
    """A tracker beside another one of this process, on the same program: what was used since it began.

    In a ledger of that program there is one run for all of them, of the first: it has each joule once.
    """

    name = "child"

    def __init__(self, child: Child) -> None:
        self._child = child
        self._began: Optional[Reading] = None
        self._counts: dict[str, int] = {}

    def begin(self, about: Mapping[str, object]) -> None:
        try:
            self._began = self._child.read()
        except BackendError:
            self._child.leave()
            raise

    def read(self, segment: Optional[str] = None) -> Reading:
        return self._since(self._child.read())

    def _since(self, reading: Reading) -> Reading:
        if self._began is None:
            raise BackendError("it has not begun")
        since = reading.since(self._began)
        since.resumed = max(since.seconds, reading.resumed - self._began.resumed)
        since.counts = dict(self._counts)
        return since

    def count(self, unit: str, number: int) -> None:
        self._counts[unit] = self._counts.get(unit, 0) + number

    def end(self, failed: bool) -> Reading:
        return self._since(self._child.end(failed))

    def intensity(self) -> Optional[Mapping[str, object]]:
        return self._child.intensity()

    def abandon(self) -> None:
        self._child.leave()


# The one that measures, and who looks whether it does.
_open: Optional[Child] = None
_opening = allocate_lock()


def _forked() -> None:
    """A forked child has a program of its own, and does not wait for a thread that it does not have."""
    global _open, _opening
    _open, _opening = None, allocate_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
