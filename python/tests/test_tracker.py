from __future__ import annotations

import asyncio
import csv
import dataclasses
import inspect
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from stub import CPU_W, DRAM_W, Stub

from carbon_tracker import (
    EmissionsData,
    EmissionsTracker,
    OfflineEmissionsTracker,
    TaskEmissionsTracker,
    track_emissions,
    track_task_emissions,
)
from carbon_tracker.emissions import COLUMNS, TASK_COLUMNS

FIXTURES = Path(__file__).parent / "fixtures"


def rows(path: str = "emissions.csv") -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def data_of(tracker: EmissionsTracker) -> EmissionsData:
    assert tracker.final_emissions_data is not None
    return tracker.final_emissions_data


def test_the_columns_are_codecarbons() -> None:
    assert ",".join(COLUMNS) == (FIXTURES / "codecarbon-3.3.2-header.csv").read_text().strip()
    # CodeCarbon leaves columns of which nothing is known out of the file of tasks.
    unknown = ("region", "longitude", "latitude")
    known = [name for name in TASK_COLUMNS if name not in unknown]
    assert ",".join(known) == (FIXTURES / "codecarbon-3.3.2-task-header.csv").read_text().strip()
    assert len(COLUMNS) == 38


def test_the_life_of_a_tracker(agent: Stub) -> None:
    tracker = EmissionsTracker(project_name="life", force_carbon_intensity_g_co2e_kwh=500, pue=1.5, wue=2)
    assert tracker.start() is None
    time.sleep(0.2)
    first = tracker.flush()
    time.sleep(0.1)
    total = tracker.stop()
    assert first is not None and total is not None and 0 < first < total
    assert tracker.stop() == total == tracker.final_emissions
    data = data_of(tracker)
    joules = data.duration * (CPU_W + DRAM_W) * 1.5
    assert data.energy_consumed * 3.6e6 == pytest.approx(joules, rel=0.05)
    assert data.cpu_energy + data.ram_energy + data.gpu_energy == pytest.approx(data.energy_consumed)
    assert data.emissions == pytest.approx(data.energy_consumed * 0.5)
    assert data.emissions_rate == pytest.approx(data.emissions / data.duration)
    assert data.water_consumed == pytest.approx(2 * data.energy_consumed)
    # A steady power is told as that power: CodeCarbon 3.3.2 says 17.8 W of steady 50.
    assert data.cpu_power == pytest.approx(CPU_W * 1.5, rel=0.05)
    assert data.ram_power == pytest.approx(DRAM_W * 1.5, rel=0.05)
    [one, two] = rows()
    assert (one["run_id"], two["run_id"]) == (tracker.run_id, tracker.run_id) == (next(iter(agent.runs)),) * 2
    assert float(two["emissions"]) == total
    assert (two["project_name"], two["pue"], two["tracking_mode"]) == ("life", "1.5", "process")
    assert dataclasses.asdict(data) == dict(data.values)
    assert '"project_name": "life"' in data.toJSON()


def test_beginning_is_one_request(agent: Stub) -> None:
    tracker = EmissionsTracker(output_methods=[], country_iso_code="FRA")
    tracker.start()
    assert [request["request"] for request in agent.requests] == ["start"]
    tracker.flush()
    tracker.stop()
    # The agent's place is asked for where the user gave none, and once; the end of a run says it unasked.
    with EmissionsTracker(output_methods=[]) as other:
        other.flush()
        other.flush()
    with EmissionsTracker(output_methods=[]):
        pass
    assert [request["request"] for request in agent.requests].count("hello") == 1


def test_waiting_for_an_answer_is_no_time_of_the_programs(agent: Stub) -> None:
    agent.window_s = 0.2
    tracker = EmissionsTracker()
    tracker.start()
    tracker.start_task("one")
    time.sleep(0.1)
    one = tracker.stop_task()
    tracker.stop()
    assert one is not None and 0.1 <= one.duration < 0.2
    # What was waited for within the run is of it, and the end is when it was asked for.
    assert 0.5 <= data_of(tracker).duration < 0.7


def test_a_tracker_that_was_not_started_harms_nobody(said: pytest.LogCaptureFixture) -> None:
    tracker = EmissionsTracker()
    assert tracker.flush() is None
    assert tracker.stop() is None
    assert tracker.stop_task() is None
    tracker.count("tokens", 1)
    assert not Path("emissions.csv").exists()


def test_the_run_id_can_be_set(agent: Stub) -> None:
    tracker = EmissionsTracker()
    tracker.run_id = "mine"
    tracker.start()
    tracker.stop()
    assert rows()[0]["run_id"] == "mine"


def test_an_error_of_the_program_is_its_own_and_the_row_is_written(agent: Stub) -> None:
    with pytest.raises(ZeroDivisionError), EmissionsTracker():
        _ = 1 / 0
    assert len(rows()) == 1
    agent.wait_for("failed")


def test_a_tracker_can_be_used_again(agent: Stub) -> None:
    tracker = EmissionsTracker()
    for _ in range(2):
        tracker.start()
        tracker.stop()
    assert len(rows()) == 2
    assert [run.status for run in agent.runs.values()] == ["done", "done"]


def test_an_agent_that_goes_away_costs_a_word(agent: Stub, said: pytest.LogCaptureFixture) -> None:
    tracker = EmissionsTracker()
    tracker.start()
    time.sleep(0.1)
    before = tracker.flush()
    agent.hang_up()
    assert tracker.stop() == before
    assert "what was read before is written" in said.text


def test_an_agent_that_cannot_follow_processes_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub(tmp_path / "other.sock", runs=False)
    monkeypatch.setenv("CARBON_SOCKET", str(stub.path))
    with EmissionsTracker(output_methods=[]) as tracker:
        assert tracker._backend is not None and tracker._backend.name == "model"
    stub.close()


def test_names_that_the_agent_would_refuse_are_made_fit(agent: Stub) -> None:
    with EmissionsTracker(project_name="a\nb" * 100, experiment_name="", tags=["x"]):
        pass
    [run] = agent.runs.values()
    assert run.request["project"] == ("ab" * 100)[:120]
    assert run.request["bound"] == "connection" and run.request["tags"] == ["x"]
    assert "experiment" not in run.request


def test_a_zone_that_the_agent_does_not_know_is_no_reason_not_to_measure(agent: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARBON_ZONE", "middle earth")
    with EmissionsTracker(output_methods=[]):
        pass
    agent.wait_for("done")


# Tasks.


def test_tasks_are_nested_and_sum_up(agent: Stub) -> None:
    tracker = EmissionsTracker(output_methods="csv,json", experiment_name="tasks")
    tracker.start()
    tracker.start_task("outer")
    time.sleep(0.1)
    begun = time.monotonic()
    tracker.start_task("inner")
    time.sleep(0.1)
    inner = tracker.stop_task()
    around = time.monotonic() - begun
    outer = tracker.stop_task("outer")
    tracker.stop()
    assert isinstance(inner, EmissionsData) and isinstance(outer, EmissionsData)
    assert 0 < inner.energy_consumed < outer.energy_consumed <= data_of(tracker).energy_consumed
    assert CPU_W * 0.0999 <= inner.cpu_energy * 3.6e6 <= CPU_W * around
    [run] = agent.runs.values()
    assert run.segments == [None, "outer", "inner", "outer", None]
    of_tasks = rows(f"emissions_tasks_{tracker.run_id}.csv")
    assert [row["task_name"] for row in of_tasks] == ["outer", "inner"]
    assert set(TASK_COLUMNS) - set(of_tasks[0]) == {"region", "longitude", "latitude"}


def test_a_task_alone_begins_the_tracking(agent: Stub, said: pytest.LogCaptureFixture) -> None:
    tracker = EmissionsTracker()
    tracker.start_task("a")
    tracker.start_task("a")
    again = tracker.stop_task()
    assert again is not None
    assert tracker.stop_task("a") is not None
    assert tracker.stop_task("a") is None
    assert tracker.stop_task("unknown") is None
    assert tracker.stop() is not None
    names = [row["task_name"] for row in rows(f"emissions_base_{tracker.run_id}.csv")]
    assert names[0] == "a" and names[1].startswith("a_")


def test_the_second_task_of_a_name_is_ended_by_that_name(agent: Stub) -> None:
    with EmissionsTracker(output_methods=[]) as tracker:
        for _ in range(3):
            tracker.start_task("epoch")
            assert isinstance(tracker.stop_task("epoch"), EmissionsData)


def test_a_task_that_is_open_at_the_end_is_ended(agent: Stub) -> None:
    with EmissionsTracker() as tracker:
        tracker.start_task("open")
    assert [row["task_name"] for row in rows(f"emissions_base_{tracker.run_id}.csv")] == ["open"]


def test_tasks_of_threads_do_not_mix(agent: Stub) -> None:
    parents: dict[str, object] = {}
    with EmissionsTracker(output_methods=[]) as tracker:

        def work(name: str) -> None:
            with TaskEmissionsTracker(name, tracker=tracker), TaskEmissionsTracker(f"in {name}", tracker=tracker):
                time.sleep(0.02)

        threads = [threading.Thread(target=work, args=(f"task {number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        parents = {name: task.parent for name, task in tracker._tasks.items()}
        assert all(task.emissions_data is not None for task in tracker._tasks.values())
    assert len(parents) == 16
    assert all(parents[f"in task {number}"] == f"task {number}" for number in range(8))
    assert all(parents[f"task {number}"] is None for number in range(8))


def test_what_was_done_is_counted(agent: Stub, said: pytest.LogCaptureFixture) -> None:
    tracker = EmissionsTracker(output_methods="json")
    tracker.start()
    with TaskEmissionsTracker("epoch", tracker=tracker):
        tracker.count("tokens", 100)
        time.sleep(0.05)
    tracker.count("tokens", 28)
    per_token = tracker.energy_per("tokens")
    assert per_token is not None and per_token > 0 and tracker.energy_per("samples") is None
    tracker.stop()
    [run] = agent.runs.values()
    assert run.counts == {"tokens": 128}
    assert tracker._tasks["epoch"].counts == {"tokens": 100}
    assert "for one of 128 tokens" in said.text


# Decorators.


def test_a_function_is_tracked_as_it_is(agent: Stub) -> None:
    @track_emissions(project_name="decorated")
    def add(a: int, b: int) -> int:
        "Adds."
        return a + b

    assert add(1, b=2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Adds.")
    [row] = rows()
    assert row["project_name"] == "decorated"


def test_the_bare_decorator_and_the_offline_one(agent: Stub) -> None:
    @track_emissions
    def one() -> int:
        return 1

    @track_emissions(offline=True, country_iso_code="FRA")
    def two() -> int:
        return 2

    assert one() + two() == 3
    assert [row["country_iso_code"] for row in rows()] == ["", "FRA"]


def test_a_coroutine_is_tracked_to_its_end(agent: Stub) -> None:
    # CodeCarbon 3.3.2 has 0.0046 s of 4 s.
    @track_emissions
    async def work() -> str:
        await asyncio.sleep(0.3)
        return "done"

    assert inspect.iscoroutinefunction(work)
    assert asyncio.run(work()) == "done"
    [row] = rows()
    assert float(row["duration"]) >= 0.3


def test_generators_are_tracked_to_their_end(agent: Stub) -> None:
    @track_emissions
    def numbers() -> Iterator[Any]:
        got = yield 1
        time.sleep(0.1)
        yield got

    @track_emissions
    async def later() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0.05)
            yield number

    generator: Any = numbers()
    assert next(generator) == 1
    assert not Path("emissions.csv").exists()
    assert generator.send("sent") == "sent"
    assert next(generator, None) is None

    async def consume() -> list[int]:
        return [number async for number in later()]

    assert asyncio.run(consume()) == [0, 1, 2]
    assert [float(row["duration"]) >= 0.1 for row in rows()] == [True, True]


def test_tasks_by_decorator(agent: Stub) -> None:
    tracker = EmissionsTracker(output_methods=[])

    @track_task_emissions(tracker=tracker, task_name="named")
    def named() -> None: ...

    @track_task_emissions(tracker=tracker)
    async def unnamed() -> None:
        await asyncio.sleep(0.01)

    @track_task_emissions
    def alone() -> int:
        return 7

    named()
    asyncio.run(unnamed())
    tracker.stop()
    assert list(tracker._tasks) == ["named", "unnamed"]
    assert [alone(), alone()] == [7, 7]
    assert len(rows()) == 2


# Without an agent.


def test_the_model_has_cpu_time_and_bounds(said: pytest.LogCaptureFixture) -> None:
    with OfflineEmissionsTracker(country_iso_code="FRA", output_methods="json") as tracker:
        burn(0.3)
    reading = tracker._last
    assert reading is not None
    assert reading.quality == "modelled"
    assert 0.25e9 < reading.cpu_ns < 1e9
    assert 0 < reading.low_uj < reading.energy_uj < reading.high_uj
    assert said.text.count("modelled, not measured") == 1


def test_idle_costs_nothing_and_memory_has_no_floor() -> None:
    with EmissionsTracker(output_methods=[]) as tracker:
        time.sleep(0.3)
    data = data_of(tracker)
    assert data.ram_energy == 0
    assert data.energy_consumed * 3.6e6 < 0.3


def test_watts_that_are_known_are_taken_by_the_model() -> None:
    import os

    with EmissionsTracker(output_methods=[], force_cpu_power=100 * (os.cpu_count() or 1)) as tracker:
        burn(0.2)
    reading = tracker._last
    assert reading is not None
    assert reading.energy_uj == pytest.approx(reading.cpu_ns / 1e9 * 100 * 1e6, rel=0.01)


# Manners of CodeCarbon.


def test_private_names_in_use_are_there(agent: Stub) -> None:
    tracker = EmissionsTracker(output_methods=[])
    tracker.start()
    assert tracker._start_time is not None
    tracker._measure_power_and_energy()
    data = tracker._prepare_emissions_data()
    assert isinstance(data, EmissionsData)
    assert tracker._total_energy.kWh >= data.energy_consumed
    parts = (tracker._total_cpu_energy, tracker._total_gpu_energy, tracker._total_ram_energy)
    assert sum(part.kWh for part in parts) >= data.energy_consumed
    assert (tracker._project_name, tracker._output_dir, tracker._measure_power_secs) == ("codecarbon", ".", 15)
    assert not hasattr(tracker, "_no_such_name") and not hasattr(tracker, "project_name")
    hardware = tracker.get_detected_hardware()
    assert {"ram_total_size", "cpu_count", "cpu_model", "gpu_count", "gpu_model"} <= set(hardware)
    tracker.service_shutdown(15, None)
    assert tracker.final_emissions is not None
