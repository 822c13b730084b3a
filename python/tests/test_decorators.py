"""What the decorators are put on, and tokens of a task: plain functions are in test_tracker.py."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import functools
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from stub import Stub

from carbon_tracker import EmissionsTracker, TaskEmissionsTracker, track_emissions, track_task_emissions

WAIT_S = 0.2


async def wait(value: int = 7) -> int:
    await asyncio.sleep(WAIT_S)
    return value


def by_another_decorator() -> Callable[[], Any]:
    @functools.wraps(wait)
    def inner() -> Any:
        return wait()

    return inner


class Waits:
    async def __call__(self) -> int:
        return await wait()


def rows() -> list[dict[str, str]]:
    with Path("emissions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "made", [functools.partial(wait, 7), by_another_decorator(), Waits()], ids=["partial", "wrapped", "object"]
)
def test_what_gives_a_coroutine_is_tracked_to_its_end(agent: Stub, made: Callable[[], Any]) -> None:
    tracked = track_emissions(made)
    assert asyncio.run(tracked()) == 7
    [row] = rows()
    assert float(row["duration"]) >= WAIT_S
    agent.wait_for("done")


def test_a_coroutine_that_fails_is_a_run_that_failed(agent: Stub) -> None:
    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        asyncio.run(track_emissions(functools.partial(fails))())
    agent.wait_for("failed")
    tracker = EmissionsTracker(output_methods=[])
    with pytest.raises(KeyError):
        asyncio.run(track_task_emissions(tracker=tracker, task_name="t")(functools.partial(fails))())
    assert tracker._active_task is None and not tracker._tasks["t"].is_active
    tracker.stop()


def test_what_is_thrown_into_a_generator_reaches_it(agent: Stub) -> None:
    # So that it can be made a context: what happens within is thrown in where it waits.
    seen: list[str] = []

    @contextlib.asynccontextmanager
    @track_emissions
    async def within() -> AsyncIterator[int]:
        try:
            yield 1
        except ValueError as error:
            seen.append(str(error))

    async def use() -> None:
        async with within() as value:
            assert value == 1
            raise ValueError("inside")

    asyncio.run(use())
    assert seen == ["inside"]
    assert len(rows()) == 1


USAGE = SimpleNamespace(usage=SimpleNamespace(prompt_tokens=3, completion_tokens=5))
VLLM = SimpleNamespace(
    prompt_token_ids=[1, 2, 3], outputs=[SimpleNamespace(token_ids=[1, 2]), SimpleNamespace(token_ids=[3, 4, 5])]
)


@pytest.mark.parametrize(
    "response",
    [
        USAGE,
        {"usage": {"prompt_tokens": 3, "completion_tokens": 5}},
        {"usage": {"input_tokens": 3, "output_tokens": 5}},
        {"prompt_eval_count": 3, "eval_count": 5, "done": True},
        VLLM,
    ],
    ids=["openai", "its JSON", "the newer form", "ollama", "vllm"],
)
def test_tokens_of_an_answer_are_counted(agent: Stub, response: object) -> None:
    tracker = EmissionsTracker(output_methods=[])
    with TaskEmissionsTracker(task_name="model", tracker=tracker) as task:
        task.record_tokens(response=response)
        task.record_tokens(input_tokens=10, output_tokens=20)
    assert tracker._tasks["model"].counts == {"input_tokens": 13, "output_tokens": 25, "requests": 2}
    tracker.stop()
    per = tracker.energy_per("output_tokens")
    assert per is not None and per > 0


def test_an_answer_without_tokens_is_told(agent: Stub, said: pytest.LogCaptureFixture) -> None:
    tracker = EmissionsTracker(output_methods=[])
    with TaskEmissionsTracker(task_name="model", tracker=tracker) as task:
        task.record_tokens(response={"usage": None})
    tracker.stop()
    assert tracker._tasks["model"].counts == {"requests": 1}
    assert "does not say how many tokens" in said.text
