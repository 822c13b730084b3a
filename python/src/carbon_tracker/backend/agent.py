"""The agent of this machine, by its Unix socket."""

from __future__ import annotations

import os

from .lines import ANSWER_S, Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket
    from typing import Any, Optional

DEFAULT = "/run/carbon/carbon.sock"
VARIABLE = "CARBON_SOCKET"


def _sockets() -> Any:
    """What the module `socket` is made of: its enumerations and selectors cost 1.3 MiB more."""
    try:
        import _socket

        return _socket
    except ImportError:
        import socket

        return socket


def _path() -> Optional[str]:
    """The socket, where there is one."""
    path = os.environ.get(VARIABLE) or DEFAULT
    return path if path != "none" and os.path.exists(path) else None


def load() -> None:
    """Loads what a connection takes, where there is something to connect to."""
    if _path() is not None:
        _sockets()


class Agent(Lines):
    """The agent. The connection is that of this process: a forked child lets go of it."""

    name = "agent"

    def __init__(self, connected: socket) -> None:
        super().__init__()
        self._socket = connected
        self._buffer = b""

    @classmethod
    def find(cls) -> Optional[Agent]:
        """The agent, where there is a socket; an error where nobody answers there."""
        path = _path()
        if path is None:
            return None
        sockets = _sockets()
        family = getattr(sockets, "AF_UNIX", None)
        if family is None:
            return None
        connected = sockets.socket(family, sockets.SOCK_STREAM)
        try:
            connected.settimeout(ANSWER_S)
            connected.connect(path)
        except OSError:
            connected.close()
            raise
        return cls(connected)

    def _send(self, line: bytes) -> None:
        self._socket.sendall(line)

    def _receive(self) -> bytes:
        while b"\n" not in self._buffer:
            more = self._socket.recv(65_536)
            if not more:
                break
            self._buffer += more
        line, end, self._buffer = self._buffer.partition(b"\n")
        return line + end

    def _close(self) -> None:
        self._socket.close()
