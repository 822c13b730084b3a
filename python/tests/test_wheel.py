from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import PYTHON


def build(folder: Path, **environment: str) -> Path:
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    text = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", text, str(folder)],
        cwd=PYTHON,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def test_the_wheel_carries_the_program_and_nothing_has_to_be_installed_with_it(tmp_path: Path) -> None:
    program = tmp_path / "carbon"
    program.write_text("#!/bin/sh\necho the program\n")
    program.chmod(0o755)
    wheel = build(tmp_path, CARBON_BINARY=str(program))
    assert wheel.name.startswith("carbon_tracker-") and "-py3-none-" in wheel.name and "any" not in wheel.name
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        [metadata] = [name for name in names if name.endswith("METADATA")]
        required = [line for line in files.read(metadata).decode().splitlines() if line.startswith("Requires-Dist")]
    assert all("extra ==" in line for line in required), required
    assert "carbon_tracker/py.typed" in names
    assert any(name.endswith(".data/scripts/carbon") for name in names)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    install = ["-m", "pip", "--python", str(python), "install", "-q", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([sys.executable, *install], check=True, timeout=120)
    text = (
        "from carbon_tracker.backend.child import binary; import subprocess as s; print(s.check_output([binary()], text=True))"
    )
    clean = {name: value for name, value in os.environ.items() if name != "CARBON_BINARY"}
    done = subprocess.run([str(python), "-c", text], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == "the program\n\n"


def test_without_a_program_it_is_pure_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CARBON_BINARY")
    assert build(tmp_path).name.endswith("-py3-none-any.whl")
