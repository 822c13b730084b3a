"""Systems that are not Linux: this one without what they lack."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from conftest import Script

WITHOUT = """
import builtins, os, sys
import _socket
for name in ("fcntl", "resource", "pwd", "_posixsubprocess"):
    sys.modules[name] = None
for owner, names in ((os, ("register_at_fork", "sysconf", "fork")), (_socket, ("AF_UNIX",))):
    for name in names:
        delattr(owner, name)
sys.platform = sys.argv[1]
real = builtins.open
def opened(path, *arguments, **keywords):
    if isinstance(path, str) and path.startswith(("/proc", "/sys")):
        raise FileNotFoundError(path)
    return real(path, *arguments, **keywords)
builtins.open = opened
"""


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_it_is_modelled_with_bounds_and_one_warning(script: Script, system: str) -> None:
    text = WITHOUT + (
        "from carbon_tracker import EmissionsTracker\n"
        "with EmissionsTracker(output_methods='csv,json', country_iso_code='FRA') as tracker:\n"
        "    sum(i * i for i in range(3_000_000))\n"
        "last = tracker._last\n"
        "assert 0 < last.low_uj < last.energy_uj < last.high_uj and last.quality == 'modelled'\n"
    )
    done = script(text, system, CARBON_SOCKET="/nowhere")
    warnings = [line for line in done.stderr.splitlines() if "codecarbon: " not in line]
    assert len(warnings) == 1 and "modelled, not measured" in warnings[0], done.stderr
    with Path("emissions.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert float(row["cpu_energy"]) > 0 and row["country_iso_code"] == "FRA"
