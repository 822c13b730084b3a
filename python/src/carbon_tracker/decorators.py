"""Decorators and the context of a task; functions, coroutines and generators alike."""

from __future__ import annotations

from . import say
from .tracker import BaseEmissionsTracker, EmissionsTracker, OfflineEmissionsTracker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, Optional, TypeVar, Union, overload

    _Function = TypeVar("_Function", bound=Callable[..., Any])

    # Makes what is entered at each call of a decorated function.
    _Begin = Callable[[], Any]


# Flags of code objects, by Python's documentation of `inspect`, which is slow to import.
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200


class TaskEmissionsTracker:
    """A task as a context: of `tracker`, or of one that is made for it."""

    def __init__(self, task_name: str, tracker: Optional[BaseEmissionsTracker] = None) -> None:
        self.is_default_tracker = tracker is None
        self.tracker = EmissionsTracker() if tracker is None else tracker
        self.task_name = task_name
        self._begun: Optional[str] = None

    def __enter__(self) -> TaskEmissionsTracker:
        self._begun = self.tracker.start_task(self.task_name)
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._begun is not None:
            self.tracker.stop_task(self._begun)
        if self.is_default_tracker:
            self.tracker.stop()

    def record_tokens(
        self,
        response: object = None,
        input_tokens: Optional[int] = None,
        output_tokens: Optional[int] = None,
    ) -> None:
        """Counts a request to a language model, by its answer or by numbers, as CodeCarbon's next version does.

        `count` has what is done: `input_tokens`, `output_tokens` and `requests`, with their energies.
        """
        from .tokens import of_response

        said = of_response(response) if response is not None else (None, None)
        given = (said[0] if input_tokens is None else input_tokens, said[1] if output_tokens is None else output_tokens)
        if given == (None, None):
            say.warn_once("record_tokens: the answer does not say how many tokens it took: give them as numbers")
        for unit, number in (("input_tokens", given[0]), ("output_tokens", given[1]), ("requests", 1)):
            if number:
                self.tracker.count(unit, number)


def _around(function: Any, begin: _Begin) -> Any:
    """`function` within the context that `begin` makes, for as long as it really runs."""
    from collections.abc import Coroutine
    from functools import wraps

    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if flags & _COROUTINE:

        @wraps(function)
        async def coroutine(*arguments: Any, **keywords: Any) -> Any:
            with begin():
                return await function(*arguments, **keywords)

        return coroutine
    if flags & _ASYNC_GENERATOR:

        @wraps(function)
        async def async_generator(*arguments: Any, **keywords: Any) -> Any:
            with begin():
                inner = function(*arguments, **keywords)
                step, sent = inner.asend, None
                try:
                    while True:
                        try:
                            item = await step(sent)
                        except StopAsyncIteration:
                            return
                        try:
                            step, sent = inner.asend, (yield item)
                        except GeneratorExit:
                            raise
                        except BaseException as error:
                            # As `yield from` does: it may be meant for the function.
                            step, sent = inner.athrow, error
                finally:
                    await inner.aclose()

        return async_generator
    if flags & _GENERATOR:

        @wraps(function)
        def generator(*arguments: Any, **keywords: Any) -> Any:
            with begin():
                return (yield from function(*arguments, **keywords))

        return generator

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        tracked = begin()
        tracked.__enter__()
        try:
            result = function(*arguments, **keywords)
        except BaseException as error:
            tracked.__exit__(type(error), error, error.__traceback__)
            raise
        if isinstance(result, Coroutine):
            # It was made and has not run: a partial, an object, or another decorator around an `async def`.
            return _awaited(result, tracked)
        tracked.__exit__(None, None, None)
        return result

    return call


async def _awaited(coroutine: Any, tracked: Any) -> Any:
    """The coroutine, to its end, in a context that was entered before."""
    try:
        result = await coroutine
    except BaseException as error:
        tracked.__exit__(type(error), error, error.__traceback__)
        raise
    tracked.__exit__(None, None, None)
    return result


if TYPE_CHECKING:

    @overload
    def track_emissions(fn: _Function) -> _Function: ...

    @overload
    def track_emissions(
        fn: Union[str, None] = None, *arguments: Any, offline: Optional[bool] = None, **parameters: Any
    ) -> Callable[[_Function], _Function]: ...


def track_emissions(fn: Any = None, *arguments: Any, offline: Optional[bool] = None, **parameters: Any) -> Any:
    """Tracks each call of a function by a tracker of its own; all parameters of the trackers are taken.

    `offline` is for CodeCarbon's sake: no tracker reaches a network unless it is told to.
    """
    if fn is not None and not callable(fn):
        arguments, fn = (fn, *arguments), None
    if offline and not any(parameters.get(name) for name in ("country_iso_code", "cloud_provider")):
        say.warn_once("offline without country_iso_code: the place is unknown, and the world's average is used")
    kind = OfflineEmissionsTracker if offline else EmissionsTracker

    def decorate(function: Any) -> Any:
        return _around(function, lambda: kind(*arguments, **parameters))

    return decorate(fn) if fn is not None else decorate


if TYPE_CHECKING:

    @overload
    def track_task_emissions(fn: _Function) -> _Function: ...

    @overload
    def track_task_emissions(
        fn: None = None, tracker: Optional[BaseEmissionsTracker] = None, task_name: str = ""
    ) -> Callable[[_Function], _Function]: ...


def track_task_emissions(fn: Any = None, tracker: Optional[BaseEmissionsTracker] = None, task_name: str = "") -> Any:
    """Tracks each call of a function as a task: of `tracker`, or of one that is made for the call."""

    def decorate(function: Any) -> Any:
        name = task_name or getattr(function, "__name__", "task")
        return _around(function, lambda: TaskEmissionsTracker(name, tracker=tracker))

    return decorate(fn) if fn is not None else decorate
