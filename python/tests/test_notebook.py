from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stub import Stub

from carbon_tracker import notebook


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    pytest.importorskip("IPython", reason="IPython is not installed")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    from IPython.core.interactiveshell import InteractiveShell

    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "carbon_tracker")
    yield shell
    InteractiveShell.clear_instance()


def test_a_cell_is_measured(agent: Stub, shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell_magic("carbon", "mine --country FRA", "x = 6 * 7")
    assert shell.user_ns["x"] == 42
    assert shell.user_ns["_carbon"].project_name == "mine"
    assert "mine: " in capsys.readouterr().out
    assert not Path("emissions.csv").exists()
    shell.run_cell_magic("carbon", "--csv", "pass")
    assert Path("emissions.csv").exists()


def test_a_cell_that_fails_is_measured_too(agent: Stub, shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell_magic("carbon", "", "1 / 0")
    assert "cell: " in capsys.readouterr().out
    agent.wait_for("done")


def test_the_line_of_the_magic_is_read() -> None:
    assert notebook.arguments("'my project' --region x")["project_name"] == "my project"
    with pytest.raises(ValueError, match="unknown '--colour'"):
        notebook.arguments("--colour")
