"""A fixture and a mark for pytest: a test that uses more energy than stated fails.

@pytest.mark.energy(joules=50)
def test_inference(): ...

def test_training(energy):
    with energy.below(joules=500):
        train()
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .tracker import EmissionsTracker

JOULES_PER_KWH = 3.6e6


class Energy:
    """What the fixture `energy` gives."""

    def __init__(self) -> None:
        self.joules = 0.0
        """Of what was measured last."""

    @contextmanager
    def below(self, joules: float) -> Iterator[EmissionsTracker]:
        """Fails the test where what is in it uses more."""
        tracker = EmissionsTracker(project_name="pytest", output_methods=[], log_level="error")
        with tracker:
            yield tracker
        data = tracker.final_emissions_data
        if data is None:
            pytest.fail("its energy is not known: see the warnings of carbon_tracker")
        self.joules = data.energy_consumed * JOULES_PER_KWH
        if self.joules > joules:
            pytest.fail(f"it used {self.joules:.3g} J, more than {joules:g} J: {tracker.summary()}")


@pytest.fixture
def energy() -> Energy:
    """Measures parts of a test."""
    return Energy()


def pytest_configure(config: Any) -> None:
    """Makes the mark known."""
    config.addinivalue_line("markers", "energy(joules): fail the test where it uses more energy")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: Any) -> Iterator[None]:
    """Measures a test that has the mark."""
    mark = item.get_closest_marker("energy")
    if mark is None:
        yield
        return
    limit = mark.kwargs.get("joules", mark.args[0] if mark.args else None)
    if limit is None:
        raise pytest.UsageError("pytest.mark.energy needs joules=...")
    watch = Energy()
    tracker = EmissionsTracker(project_name="pytest", output_methods=[], log_level="error")
    tracker.start()
    outcome = yield
    tracker.stop()
    data = tracker.final_emissions_data
    watch.joules = 0.0 if data is None else data.energy_consumed * JOULES_PER_KWH
    item.user_properties.append(("energy_j", watch.joules))
    if outcome.excinfo is None and (data is None or watch.joules > float(limit)):  # type: ignore[attr-defined]
        outcome.force_exception(  # type: ignore[attr-defined]
            pytest.fail.Exception(f"it used {watch.joules:.3g} J, more than {float(limit):g} J", pytrace=False)
        )
