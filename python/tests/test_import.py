from __future__ import annotations

import json

from conftest import Script
from stub import Stub

# What costs: 8 ms and more of a program's start each, on a quiet machine.
HEAVY = {
    "enum",
    "functools",
    "re",
    "threading",
    "typing",
    "asyncio",
    "configparser",
    "csv",
    "dataclasses",
    "email",
    "inspect",
    "json",
    "logging",
    "socket",
    "subprocess",
    "uuid",
}


def test_importing_it_imports_nothing_heavy(script: Script) -> None:
    text = "import sys, os; before = set(sys.modules); import carbon_tracker; print(sorted(set(sys.modules) - before))"
    new = set(json.loads(script(text).stdout.replace("'", '"')))
    assert "carbon_tracker.tracker" in new
    assert not new & HEAVY
    assert "codecarbon" not in new


def test_starting_it_with_an_agent_imports_nothing_heavy(agent: Stub, script: Script) -> None:
    text = (
        "import sys; before = set(sys.modules)\nfrom carbon_tracker import EmissionsTracker\n"
        "t = EmissionsTracker(log_level='error', output_methods=[], country_iso_code='FRA')\nt.start()\n"
        "print(sorted(set(sys.modules) - before)); t.stop()"
    )
    new = set(json.loads(script(text).stdout.replace("'", '"')))
    assert "carbon_tracker.backend.agent" in new
    assert not new & HEAVY


def test_only_what_beginning_needs_is_loaded_then(agent: Stub, script: Script) -> None:
    # Each module more is memory of every program that is tracked.
    text = (
        "import sys; before = set(sys.modules)\nfrom carbon_tracker import EmissionsTracker\n"
        "t = EmissionsTracker(log_level='error', output_methods=[])\nt.start()\n"
        "print(sorted(name for name in set(sys.modules) - before if name.startswith('carbon'))); t.stop()"
    )
    new = json.loads(script(text).stdout.replace("'", '"'))
    parts = ["_version", "backend", "backend.agent", "backend.compact", "backend.lines"]
    parts += ["busy", "config", "parameters", "say", "tracker"]
    assert new == ["carbon_tracker", *(f"carbon_tracker.{part}" for part in parts)]


def test_nothing_runs_in_the_process_between_two_calls(script: Script) -> None:
    text = """
import threading, signal
from carbon_tracker import EmissionsTracker
with EmissionsTracker(output_methods=[], log_level="critical"):
    assert threading.active_count() == 1, threading.enumerate()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
assert threading.active_count() == 1
"""
    script(text)


def test_it_prints_nothing_but_a_line_at_the_end(script: Script) -> None:
    text = "from carbon_tracker import EmissionsTracker\nwith EmissionsTracker(project_name='p'%s): pass"
    done = script(text % "")
    lines = done.stderr.splitlines()
    assert done.stdout == ""
    assert len(lines) == 2, lines
    assert "modelled, not measured" in lines[0]
    assert lines[1].startswith("carbon: p: ") and "CO2e" in lines[1]
    assert script(text % ", log_level='error'").stderr == ""
