"""Tests that fail where they use more energy than stated: `pytest examples/test_energy.py`."""

import pytest

from carbon_tracker.pytest_plugin import Energy


@pytest.mark.energy(joules=500)
def test_inference() -> None:
    assert sum(range(1_000_000)) == 499_999_500_000


def test_a_part(energy: Energy) -> None:
    with energy.below(joules=500):
        sorted(range(1_000_000), reverse=True)
