from __future__ import annotations

import json
import math

import pytest

from carbon_tracker import methods, parameters
from carbon_tracker.backend import compact

VALUES: list[object] = [
    None,
    True,
    0,
    -7,
    2**53,
    1.25,
    1e-9,
    "",
    'a "quoted" \\ word\n',
    "Grüße, 世界 \U0001f331 \x00",
    [],
    {},
    {"version": 1, "tags": ["a", "b"], "pue": 1.1, "in": {"deep": [None, False, {}]}},
]


@pytest.fixture(params=["accelerated", "json"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    found = compact._accelerated() if request.param == "accelerated" else None
    if request.param == "accelerated" and found is None:
        pytest.skip("this Python has no C functions for JSON")
    monkeypatch.setattr(compact, "_ACCELERATED", found)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_it_says_what_json_says(either: None, value: object) -> None:
    assert compact.dumps(value) == json.dumps(value, separators=(",", ":"))
    assert compact.loads(json.dumps(value) + "\n") == value


@pytest.mark.parametrize("text", ["", "nonsense", "{", '{"a":1} {}', '{"a":1}x', "[1,]", '"open'])
def test_what_is_no_json_is_a_value_error(either: None, text: str) -> None:
    with pytest.raises(ValueError):
        compact.loads(text)


def test_constants_are_read_as_json_reads_them(either: None) -> None:
    assert math.isnan(compact.loads("NaN")) and compact.loads("-Infinity") == -math.inf


def test_the_words_are_those_of_the_enumeration() -> None:
    assert tuple(method.value for method in methods.OutputMethod) == parameters.METHODS
