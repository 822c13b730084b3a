from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PYTHON
from stub import Stub

EXAMPLES = PYTHON / "examples"


def run(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_run() -> None:
    known = {"script.py", "training.py", "decorated.py", "test_energy.py", "notebook.ipynb"}
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == known


def test_the_plain_script(agent: Stub) -> None:
    assert run(str(EXAMPLES / "script.py")).endswith("kg CO2e\n")
    assert [run.request["project"] for run in agent.runs.values()] == ["script"]


def test_the_training_loop(agent: Stub) -> None:
    assert run(str(EXAMPLES / "training.py")).endswith("J for a token\n")
    [report] = [json.loads(path.read_text()) for path in Path().glob("emissions_*.json")]
    assert [task["counts"]["tokens"] for task in report["tasks"]] == [40960] * 3
    with next(Path().glob("emissions_base_*.csv")).open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3


def test_decorated_functions(agent: Stub) -> None:
    run(str(EXAMPLES / "decorated.py"))
    with Path("emissions.csv").open(newline="") as file:
        rows = {row["project_name"]: row for row in csv.DictReader(file)}
    assert float(rows["wait"]["duration"]) >= 0.2 and rows["sum"]["country_iso_code"] == "FRA"


def test_tests_with_an_energy() -> None:
    assert "2 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "test_energy.py"))


def test_the_notebook(agent: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    import nbformat
    from nbclient import NotebookClient

    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    # The kernel of this interpreter, whatever others are installed.
    kernels = tmp_path / "JUPYTER_DATA_DIR" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "p",
        "language": "python",
    }
    (kernels / "kernel.json").write_text(json.dumps(spec))
    notebook = nbformat.reads((EXAMPLES / "notebook.ipynb").read_text(), as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": os.getcwd()}}).execute()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "notebook: " in text and " notebook\n" in text
