"""Tokens of an answer of a language model, as the servers and libraries tell them; nothing of these is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

# Words for what went in and what came out: of OpenAI's API in its two forms, and of Ollama.
_IN = ("prompt_tokens", "input_tokens", "prompt_eval_count")
_OUT = ("completion_tokens", "output_tokens", "eval_count")


def of_response(response: object) -> tuple[Optional[int], Optional[int]]:
    """Tokens in and out; none where it does not say."""
    usage = _get(response, "usage")
    for told in (usage, response):
        found = _first(told, _IN), _first(told, _OUT)
        if found != (None, None):
            return found
    # A RequestOutput of vLLM has the tokens themselves.
    given, made = _get(response, "prompt_token_ids"), _get(response, "outputs")
    if given is None and made is None:
        return None, None
    return len(given or ()), sum(len(_get(one, "token_ids") or ()) for one in made or ())


def _first(told: object, names: tuple[str, ...]) -> Optional[int]:
    numbers = (_get(told, name) for name in names)
    return next((number for number in numbers if isinstance(number, int) and not isinstance(number, bool)), None)


def _get(told: object, name: str) -> Any:
    return told.get(name) if isinstance(told, Mapping) else getattr(told, name, None)
