from __future__ import annotations

import pytest

TESTS = """
import time
import pytest

def burn():
    while time.process_time() < burn.until:
        pass

@pytest.mark.energy(joules=0.001)
def test_too_much():
    burn.until = time.process_time() + 0.3
    burn()

@pytest.mark.energy(joules=1000)
def test_enough():
    pass

def test_part(energy):
    with energy.below(joules=1000):
        pass
    assert energy.joules >= 0
    with pytest.raises(pytest.fail.Exception, match="more than 0.001 J"):
        with energy.below(joules=0.001):
            burn.until = time.process_time() + 0.3
            burn()
"""


def test_a_test_above_its_energy_fails(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*it used * J, more than 0.001 J*"])
