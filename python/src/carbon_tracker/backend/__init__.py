"""Who measures: the agent of this machine, else a `carbon` of our own beside this process, else a model in pure Python.

Whoever it is, nothing of it runs in this process between two calls.
"""

from __future__ import annotations

import sys

from ..say import say, warn_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Optional

    from ..reading import Reading


class BackendError(Exception):
    """A backend that cannot be used, or no longer; the message says why."""


class Backend:
    """Measures this process and all that it starts, from `begin` to `end`."""

    name = "none"
    """`agent`, `child` or `model`."""

    run: Optional[str] = None
    """The id under which the run is in a ledger."""

    def begin(self, about: Mapping[str, Any]) -> None:
        """Starts. `about` has what the protocol's `start` takes."""
        raise NotImplementedError

    def read(self, segment: Optional[str] = None) -> Reading:
        """Energy since the begin. What follows is in a segment of this name."""
        raise NotImplementedError

    def count(self, unit: str, number: int) -> None:
        """Adds to what was done."""

    def end(self, failed: bool) -> Reading:
        """Ends, and gives the energy since the begin."""
        raise NotImplementedError

    def intensity(self) -> Optional[Mapping[str, Any]]:
        """That of whoever measures, where it has one: the keys of the run's report."""
        return None

    def abandon(self) -> None:
        """In a process that was forked: lets go, and leaves the run to the parent."""


_WORDS = {"child": 'program carbon, see "carbon doctor",'}


def open_backend(wanted: str, about: Mapping[str, Any], model_watts: Optional[float]) -> Backend:
    """The best that begins. `wanted` is `auto`, or the name of the only one; the model always works."""
    why_not = []
    for name in ("agent", "child") if wanted == "auto" else (wanted,):
        try:
            backend = _make(name)
            if backend is None:
                continue
            backend.begin(about)
            return backend
        except Exception as error:
            # That there is none is the usual case, and no error; one that is there and does not measure is worth a word, which
            # the model's warning has.
            why_not.append(f"the {_WORDS.get(name, name)} does not measure ({error})")
            say("debug", why_not[-1])
    from .modelled import Modelled

    model = Modelled(model_watts)
    model.begin(about)
    warn_once("; ".join([f"energy is modelled, not measured: {model.why()}", *why_not]))
    return model


def prepare(wanted: str) -> None:
    """Loads what asking an agent takes, so that beginning is a connection and a request."""
    if wanted in ("auto", "agent"):
        from .agent import load

        load()


def _make(name: str) -> Optional[Backend]:
    if name == "agent":
        from .agent import Agent

        return Agent.find()
    if name == "child" and sys.platform == "linux":
        from .child import Child

        return Child.find()
    return None
