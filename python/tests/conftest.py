from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from stub import Stub

from carbon_tracker import say

pytest_plugins = ["pytester"]

PYTHON = Path(__file__).resolve().parent.parent
Script = Callable[..., "subprocess.CompletedProcess[str]"]


def binary() -> Path | None:
    """The program of this tree: the one that is named, else the one that cargo built last for tests."""
    named = os.environ.get("CARBON_TEST_BINARY")
    target = Path(os.environ.get("CARGO_TARGET_DIR", PYTHON.parent / "target"))
    path = Path(named) if named else target / "debug" / "carbon"
    return path if path.is_file() else None


def pytest_report_header() -> str:
    return f"program: {binary() or 'none'}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    # A line that the project's test command counts.
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(f"SKIPPED: python {report.nodeid}: {reason.removeprefix('Skipped: ')}")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of this machine or of another test is seen: no agent, no program, no configuration, no spool."""
    for name in list(os.environ):
        if name.lower().startswith(("codecarbon_", "carbon_")) and name != "CARBON_TEST_BINARY":
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("CARBON_SOCKET", "none")
    monkeypatch.setenv("CARBON_BINARY", "none")
    monkeypatch.setenv("CARBON_STORE", "none")
    monkeypatch.setenv("CARBON_STATE", "none")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    say._said.clear()
    say.configure("info", "")
    yield


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    stub = Stub(tmp_path / "carbon.sock")
    monkeypatch.setenv("CARBON_SOCKET", str(stub.path))
    yield stub
    stub.close()


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real program, which trackers find."""
    path = binary()
    if path is None:
        pytest.skip("no program carbon is built")
    monkeypatch.setenv("CARBON_BINARY", str(path))
    return path


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    say.logger().propagate = True
    caplog.set_level("DEBUG", logger=say.NAME)
    return caplog


@pytest.fixture
def script() -> Script:
    """Runs a text as a program of its own."""

    def run(text: str, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", text, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **environment},
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run
