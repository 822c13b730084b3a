"""A `carbon` of our own beside this process: the same lines on its standard input and output."""

from __future__ import annotations

import os
import subprocess
import sys

from . import BackendError
from .lines import ANSWER_S, Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Optional

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
    def find(cls) -> Optional[Child]:
        """The program, where there is one."""
        path = binary()
        return cls(path) if path else None

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
