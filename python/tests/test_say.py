from __future__ import annotations

import pytest
from conftest import Script

TRACKED = """
import logging
from {package} import EmissionsTracker
tracker = EmissionsTracker(output_methods=[], unknown=1{more})
{silence}
with tracker:
    pass
"""


def said(script: Script, silence: str, more: str = "", package: str = "carbon_tracker") -> str:
    before = "import carbon_tracker.as_codecarbon\n" if package == "codecarbon" else ""
    return script(before + TRACKED.format(silence=silence, more=more, package=package)).stderr


# As programs silence CodeCarbon; the first two name ours.
@pytest.mark.parametrize(
    "silence",
    [
        "logging.getLogger('carbon_tracker').setLevel(logging.ERROR)",
        "logging.getLogger('carbon_tracker').disabled = True",
        "logging.getLogger('codecarbon').setLevel(logging.ERROR)",
        "logging.getLogger('codecarbon').disabled = True",
        "logging.disable(logging.ERROR)",
    ],
)
@pytest.mark.parametrize("package", ["carbon_tracker", "codecarbon"])
def test_a_logger_that_is_silenced_is_silent(script: Script, silence: str, package: str) -> None:
    told = [line for line in said(script, silence, package=package).splitlines() if "unknown parameters" not in line]
    assert told == []
    assert "CO2e" in said(script, "", package=package)


def test_the_parameter_and_the_logger_say_what_is_shown(script: Script) -> None:
    assert said(script, "", ", log_level='critical'") == ""
    verbose = "logging.basicConfig(format='%(name)s %(levelname)s %(message)s')\n"
    silence = verbose + "logging.getLogger('carbon_tracker').setLevel(logging.DEBUG)"
    assert "CO2e" in said(script, silence, ", log_level='warning'")
    alias = "from codecarbon.external.logger import logger\nlogger.setLevel(logging.ERROR)"
    assert "CO2e" not in said(script, alias, package="codecarbon")
