"""What is said to the user: through the logger `carbon_tracker`, on standard error unless the program has its own handlers.

`logging` is imported with the first word said: most of the time nothing is.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from typing import Any, Callable, Optional, TypeVar

    _Result = TypeVar("_Result")

NAME = "carbon_tracker"
# Programs that came from CodeCarbon silence its logger: that holds for this one too.
THEIRS = "codecarbon"
LEVELS = {"notset": 0, "debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "critical": 50, "fatal": 50}

_state: dict[str, object] = {"level": 20, "preamble": ""}
_said: set[str] = set()
_logger: logging.Logger | None = None


def configure(level: object, preamble: str) -> None:
    """Takes the lowest level that is shown, a word or a number, and what stands before each message."""
    _state["level"], _state["preamble"] = level_number(level), preamble
    if _logger is not None:
        _logger.setLevel(_shown())


def level_number(level: object) -> int:
    """The number of a level; a word that is none counts as `info`, and is told."""
    if isinstance(level, int):
        return level
    text = str(level).strip().lower()
    if text.isdigit():
        return int(text)
    if text not in LEVELS:
        warn_once(f"unknown log_level {level!r}: give one of {', '.join(LEVELS)}; info is used")
    return LEVELS.get(text, 20)


def _shown() -> int:
    """The lowest level that is shown. For `logging` 0 is none at all, and then its root's holds."""
    level = _state["level"]
    return max(1, level) if isinstance(level, int) else LEVELS["info"]


def logger() -> logging.Logger:
    """The logger, made with the first call. A level that the program has given it stands."""
    global _logger
    import logging

    if _logger is None:
        _logger = logging.getLogger(NAME)
        if not _logger.handlers and not logging.getLogger().handlers:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("carbon: %(message)s"))
            _logger.addHandler(handler)
            _logger.propagate = False
        if _logger.level == 0:
            _logger.setLevel(_shown())
    return _logger


def say(level: str, message: str) -> None:
    """Says something, where the level is to be shown."""
    number = LEVELS[level]
    # Where `logging` is not loaded, nobody has set a level but by the parameter.
    if ("logging" not in sys.modules and number < _shown()) or _silenced(number):
        return
    preamble = f"[{_state['preamble']}] " if _state["preamble"] else ""
    logger().log(number, "%s%s", preamble, message)


def _silenced(number: int) -> bool:
    """Whether CodeCarbon's logger is there and would not say it."""
    if "logging" not in sys.modules:
        return False
    import logging

    theirs = logging.root.manager.loggerDict.get(THEIRS)
    return isinstance(theirs, logging.Logger) and (theirs.disabled or theirs.level > number)


def warn(message: str) -> None:
    """Says that something is not as asked."""
    say("warning", message)


def warn_once(message: str) -> None:
    """The same, once in the life of the program."""
    if message not in _said:
        _said.add(message)
        warn(message)


def quiet(method: Callable[..., _Result]) -> Callable[..., Optional[_Result]]:
    """An error of the method becomes a word."""

    def tried(*arguments: Any, **keywords: Any) -> Optional[_Result]:
        try:
            return method(*arguments, **keywords)
        except Exception as error:
            warn(f"{tried.__name__}: {type(error).__name__}: {error}")
            return None

    # As functools.wraps does, which costs 0.5 MiB: handlers of users may be objects without any of these.
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        if hasattr(method, name):
            setattr(tried, name, getattr(method, name))
    tried.__dict__["__wrapped__"] = method
    return tried
