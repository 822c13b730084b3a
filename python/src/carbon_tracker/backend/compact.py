"""JSON by the C functions that the standard library's `json` is made of: importing that one costs a program that does without
it 1.2 MiB and some milliseconds, most of them for `re`.

Where `json` is loaded already, or there are no such functions, it is used.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


class _Plain:
    """What a scanner asks of its decoder."""

    strict = True
    object_hook = object_pairs_hook = array_hook = None
    parse_float, parse_int, parse_constant = float, int, float
    memo: dict[str, str] = {}


def _accelerated() -> tuple[Callable[[str], str], Callable[[str, int], tuple[Any, int]]] | None:
    """Quoting and scanning, where this Python has them."""
    try:
        import _json

        decoder: Any = _Plain
        return _json.encode_basestring_ascii, _json.make_scanner(decoder)
    except Exception:
        return None


_ACCELERATED = None if "json" in sys.modules else _accelerated()


def dumps(value: Any) -> str:
    """Of words, numbers, lists and dictionaries of these."""
    if _ACCELERATED is None:
        import json

        return json.dumps(value, separators=(",", ":"))
    return _text(value, _ACCELERATED[0])


def _text(value: Any, quoted: Callable[[str], str]) -> str:
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{quoted(str(key))}:{_text(item, quoted)}" for key, item in value.items()) + "}"
    return "[" + ",".join(_text(item, quoted) for item in value) + "]"


def loads(text: str) -> Any:
    """One value; a `ValueError` where it is none."""
    if _ACCELERATED is None:
        import json

        return json.loads(text)
    text = text.strip()
    try:
        value, end = _ACCELERATED[1](text, 0)
    except StopIteration:
        raise ValueError("not JSON") from None
    if end != len(text):
        raise ValueError("more than one value")
    return value
