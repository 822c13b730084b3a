from __future__ import annotations

import csv
import importlib.util
import json
import logging
import platform
import sys
import threading
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import Script
from stub import Stub

from carbon_tracker import BaseOutput, EmissionsData, EmissionsTracker, TaskEmissionsData
from carbon_tracker.emissions import COLUMNS
from carbon_tracker.output.file import FileOutput
from carbon_tracker.output.model_card import co2_eq_emissions, put_into, update


class Web:
    """A server that notes what it gets and answers with what it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status = web.statuses.pop(0) if web.statuses else 201
                if status < 300:
                    web.got.append(
                        (self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                    )
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps({"id": f"server-{len(web.got)}"}).encode())

            do_POST = do_PUT = do_DELETE = _any

            def log_message(self, *arguments: object) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


def tracked(**parameters: Any) -> EmissionsData:
    with EmissionsTracker(**parameters) as tracker:
        tracker.count("tokens", 10)
        tracker.start_task("part")
        tracker.stop_task()
    assert tracker.final_emissions_data is not None
    return tracker.final_emissions_data


def lines(path: str = "emissions.csv") -> list[list[str]]:
    with Path(path).open(newline="") as file:
        return list(csv.reader(file))


# emissions.csv.


def test_rows_are_appended_in_the_files_own_order(agent: Stub) -> None:
    order = list(reversed(COLUMNS))
    Path("emissions.csv").write_text(",".join(order) + "\n")
    data = tracked()
    header, row = lines()
    assert header == order
    assert dict(zip(header, row))["run_id"] == data.run_id


def test_a_file_with_other_columns_is_set_aside(agent: Stub) -> None:
    for content in ("a,b\n1,2\n", "c\n3\n", "d\n4\n"):
        Path("emissions.csv").write_text(content)
        tracked()
    assert [Path(f"emissions.csv{end}").read_text()[0] for end in (".bak", ".bak_0", ".bak_1")] == ["a", "c", "d"]
    assert lines()[0] == list(COLUMNS)


def test_a_row_that_was_cut_off_does_not_take_the_next_with_it(agent: Stub) -> None:
    tracked()
    file = Path("emissions.csv")
    file.write_text(file.read_text()[:-40])
    tracked()
    assert len(lines()) == 3 and len(lines()[2]) == 38


def test_an_empty_file_gets_a_header(agent: Stub) -> None:
    Path("emissions.csv").touch()
    tracked()
    assert lines()[0] == list(COLUMNS)


def test_update_has_one_row_for_each_run(agent: Stub) -> None:
    for _ in range(2):
        tracker = EmissionsTracker(on_csv_write="update")
        tracker.start()
        for _ in range(3):
            tracker.flush()
        tracker.stop()
    assert len(lines()) == 3
    appended = EmissionsTracker()
    appended.start()
    appended.flush()
    appended.stop()
    assert len(lines()) == 5


def test_ranks_that_share_a_file_lose_no_row(agent: Stub, tmp_path: Path) -> None:
    data = tracked(output_methods=[])

    def write() -> None:
        for _ in range(20):
            FileOutput("shared.csv", ".").out(data, None)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines("shared.csv")) == 161
    assert {len(line) for line in lines("shared.csv")} == {38}


def test_a_folder_that_is_not_there_is_told(agent: Stub, said: pytest.LogCaptureFixture) -> None:
    assert tracked(output_dir="nowhere").energy_consumed >= 0
    assert "'nowhere' does not exist" in said.text


# Handlers.


def test_handlers_of_ones_own_are_called(agent: Stub, said: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    class Mine(BaseOutput):
        def out(self, total: EmissionsData, delta: EmissionsData) -> None:
            calls.append(f"out {delta.duration <= total.duration} {self.beyond['counts']}")

        def task_out(self, data: list[TaskEmissionsData], experiment_name: str) -> None:
            calls.append(f"task {data[0].task_name} {experiment_name}")

        def exit(self) -> None:
            calls.append("exit")

    class Broken(BaseOutput):
        def out(self, total: EmissionsData, delta: EmissionsData) -> None:
            raise RuntimeError("of the handler")

    tracked(output_methods=[], output_handlers=[Broken(), Mine()])
    assert calls == ["out True {'tokens': 10}", "task part base", "exit"]
    assert "of the handler" in said.text


def test_the_second_delta_is_what_is_new(agent: Stub) -> None:
    deltas: list[EmissionsData] = []

    class Mine(BaseOutput):
        def out(self, total: EmissionsData, delta: EmissionsData) -> None:
            deltas.append(delta)

    tracker = EmissionsTracker(output_methods=[], output_handlers=[Mine()])
    tracker.start()
    tracker.flush()
    total = tracker.stop()
    assert total is not None
    assert sum(delta.emissions for delta in deltas) == pytest.approx(total)
    assert sum(delta.duration for delta in deltas) == pytest.approx(tracker.final_emissions_data.duration)  # type: ignore[union-attr]


def test_json_says_how_each_number_is_known(agent: Stub) -> None:
    data = tracked(output_methods="json")
    report = json.loads(Path(f"emissions_{data.run_id}.json").read_text())
    assert report["schema"] == "carbon_tracker/1"
    assert report["energy_consumed"] == data.energy_consumed
    method = report["method"]
    assert (method["backend"], method["quality"]) == ("agent", "measured")
    assert [(row["domain"], row["quality"], row["source"]) for row in method["domains"]] == [
        ("package", "measured", "a stub"),
        ("dram", "measured", "a stub"),
    ]
    assert method["energy_low_kwh"] < data.energy_consumed < method["energy_high_kwh"]
    assert (report["intensity"]["place_known"], report["counts"]) == (False, {"tokens": 10})
    assert report["tasks"][0]["name"] == "part"


@pytest.mark.parametrize("ids", ["0", "GPU-4e81f0f5-0d3b-4b5c-9d1e-2f6a7b8c9d0e", "MIG-4e81f0f5-0d3b-4b5c-9d1e-2f6a7b8c9d0e"])
def test_accelerators_are_counted_however_they_are_named(agent: Stub, monkeypatch: pytest.MonkeyPatch, ids: str) -> None:
    # CodeCarbon 3.3.2 selects none by a UUID, and has 0 kWh.
    monkeypatch.setattr("stub.GPU_W", 300)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ids)
    for data in (tracked(), tracked(gpu_ids=ids)):
        assert data.gpu_energy == pytest.approx(data.cpu_energy * 30, rel=0.01)
        assert data.energy_consumed == pytest.approx(data.cpu_energy + data.ram_energy + data.gpu_energy)


def test_a_logger_gets_a_line_of_json(agent: Stub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    data = tracked(output_methods=["logger"], logging_logger=logging.getLogger("mine"), log_level="error")
    [record] = [record for record in caplog.records if record.name == "mine"]
    assert json.loads(record.getMessage())["run_id"] == data.run_id


def test_a_web_address_gets_the_record(agent: Stub, web: Web, said: pytest.LogCaptureFixture) -> None:
    data = tracked(output_methods=[], emissions_endpoint=f"{web.url}/hook")
    [(method, path, _, body)] = web.got
    assert (method, path) == ("POST", "/hook")
    assert set(json.loads(body)) == {*COLUMNS, "user"} and json.loads(body)["emissions"] == data.emissions
    web.statuses = [500]
    tracked(output_methods=[], emissions_endpoint=f"{web.url}/hook")
    assert "answers with status 500" in said.text
    tracked(output_methods=[], emissions_endpoint="file:///etc/passwd")
    assert "is no web address" in said.text


def test_a_gateway_gets_metrics_and_loses_them_at_the_end(agent: Stub, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_USERNAME", "u")
    monkeypatch.setenv("PROMETHEUS_PASSWORD", "p")
    tracked(output_methods=["prometheus"], prometheus_url=web.url.removeprefix("http://"), project_name='a"b')
    (method, path, headers, body), (last, _, _, _) = web.got
    assert (method, path, last) == ("PUT", "/metrics/job/codecarbon", "DELETE")
    assert headers["authorization"] == "Basic dTpw"
    text = body.decode()
    assert 'codecarbon_emissions{project_name="a\\"b"' in text
    assert text.count("# TYPE") == 11 and "# TYPE codecarbon_energy_total counter" in text


def test_a_textfile_is_written(agent: Stub) -> None:
    data = tracked(output_methods=["textfile"])
    text = Path(f"codecarbon_{data.run_id}.prom").read_text()
    assert f'run_id="{data.run_id}"' in text and text.endswith("\n")


# The API.


def api(web: Web, **parameters: Any) -> EmissionsTracker:
    return EmissionsTracker(**{"output_methods": ["api"], "api_endpoint": web.url, "api_key": "key", **parameters})


def test_the_api_gets_a_run_and_its_emissions(agent: Stub, web: Web, tmp_path: Path) -> None:
    tracker = api(web, experiment_id="exp")
    tracker.start()
    tracker.flush()
    total = tracker.stop()
    (_, runs, headers, run), first, second = web.got
    assert (runs, first[1], second[1]) == ("/runs", "/emissions", "/emissions")
    assert headers["x-api-token"] == "key" and json.loads(run)["experiment_id"] == "exp"
    bodies = [json.loads(body) for _, _, _, body in (first, second)]
    assert json.loads(run)["node"] == platform.node() and json.loads(run)["experiment_name"] == "base"
    # The stub measures, and is sure within a tenth.
    assert [body["quality"] for body in bodies] == ["measured"] * 2
    for body in bodies:
        assert body["stddev_energy"] == pytest.approx(body["energy_consumed"] * 0.1 / 1.645, rel=0.01)
        assert 0 < body["seconds"] < 1 and body["duration"] == 1
    assert [body["run_id"] for body in bodies] == ["server-1", "server-1"]
    assert sum(body["emissions_sum"] for body in bodies) == pytest.approx(total)
    keys = [entry[2]["idempotency-key"] for entry in web.got]
    assert keys == [f"{tracker.run_id}:run", f"{tracker.run_id}:0", f"{tracker.run_id}:1"]
    assert not list((tmp_path / "home/state/carbon/spool").glob("*.json"))


def test_an_outage_loses_nothing(agent: Stub, web: Web, said: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    # CodeCarbon 3.3.2 lost 36 % by two refusals in six.
    spool = tmp_path / "home/state/carbon/spool"
    web.statuses = [500, 201, 201, 503, 201]
    tracker = api(web)
    tracker.start()
    for _ in range(4):
        tracker.flush()
    web.statuses = [500]
    total = tracker.stop()
    assert total is not None and len(list(spool.glob("*.json"))) == 1
    assert "key" not in json.loads(next(spool.glob("*.json")).read_text())
    assert "answers with status 500" in said.text
    # The next program delivers what the first one could not.
    second = api(web)
    second.start()
    more = second.stop()
    assert more is not None
    sums = [json.loads(body)["emissions_sum"] for _, path, _, body in web.got if path == "/emissions"]
    assert sum(sums) == pytest.approx(total + more)
    keys = [headers["idempotency-key"] for _, _, headers, _ in web.got]
    assert len(keys) == len(set(keys))
    assert not list(spool.glob("*.json"))


def test_what_is_refused_for_good_is_kept_and_blocks_nothing(
    agent: Stub, web: Web, said: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    spool = tmp_path / "home/state/carbon/spool"
    web.statuses = [422]
    first = api(web)
    first.start()
    first.stop()
    kept = json.loads(next(spool.glob(f"{first.run_id}.*.refused")).read_text())
    assert len(kept["emissions"]) == 1 and not list(spool.glob("*.json"))
    assert "kept in" in said.text and "not sent again" in said.text
    web.got.clear()
    second = api(web)
    second.start()
    second.stop()
    assert [path for _, path, _, _ in web.got] == ["/runs", "/emissions"]


def test_a_run_that_was_removed_from_the_server_blocks_nothing(agent: Stub, web: Web, tmp_path: Path) -> None:
    spool = tmp_path / "home/state/carbon/spool"
    web.statuses = [201, 404]
    first = api(web)
    first.start()
    first.stop()
    assert len(list(spool.glob(f"{first.run_id}.*.refused"))) == 1 and not list(spool.glob("*.json"))
    # A wrong path or token says the same of a run that is to be made: somebody may mend that.
    web.statuses = [404]
    second = api(web)
    second.start()
    second.stop()
    assert [path.name for path in spool.glob("*.json")] == [f"{second.run_id}.json"]


def test_what_waits_is_not_sent_with_another_projects_token(
    agent: Stub, web: Web, said: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    spool = tmp_path / "home/state/carbon/spool"

    def program(key: str, **parameters: Any) -> str:
        tracker = api(web, **{"api_key": key, **parameters})
        tracker.start()
        tracker.stop()
        return tracker.run_id

    web.statuses = [500] * 2
    first, of_one = program("one"), program("one", experiment_id="an experiment of one")
    web.got.clear()
    second = program("two")
    assert {headers["idempotency-key"].partition(":")[0] for _, _, headers, _ in web.got} == {second}
    assert "wait for a tracker with the token that they were made with" in said.text
    # An experiment is of one project, whatever the token is by now; else the token says it.
    program("three", experiment_id="an experiment of one")
    assert [path.name for path in spool.glob("*.json")] == [f"{first}.json"]
    program("one")
    assert not list(spool.glob("*.json"))
    tokens = {headers["idempotency-key"]: headers["x-api-token"] for _, _, headers, _ in web.got}
    assert (tokens[f"{first}:0"], tokens[f"{of_one}:0"]) == ("one", "three")


def test_a_server_that_is_not_there_costs_a_word(agent: Stub, said: pytest.LogCaptureFixture) -> None:
    tracked(output_methods=["api"], api_endpoint="http://127.0.0.1:1")
    assert "1 runs wait in" in said.text


# Reports.


def test_boamps_has_the_users_sections_above_ours(agent: Stub, said: pytest.LogCaptureFixture) -> None:
    metadata = {
        "boamps": {
            "task": {"taskStage": "training", "taskFamily": "chatbot"},
            "infrastructure": {"cloudService": "x", "components": [{"componentType": "cpu", "manufacturer": "AMD"}]},
            "quality": "low",
        }
    }
    data = tracked(output_methods=["boamps"], metadata=metadata)
    report = json.loads(Path(f"boamps_report_{data.run_id}.json").read_text())
    assert report["task"]["taskStage"] == "training" and report["quality"] == "low"
    cpu, ram = report["infrastructure"]["components"]
    assert (cpu["manufacturer"], cpu["componentName"]) == ("AMD", data.cpu_model)
    assert (ram["componentType"], report["infrastructure"]["cloudService"]) == ("ram", "x")
    assert report["measures"][0]["powerConsumption"] == data.energy_consumed
    assert report["header"]["reportId"] == data.run_id
    assert "lacks its task" not in said.text
    tracked(output_methods=["boamps"])
    assert "lacks its task" in said.text


def test_a_model_card_gets_its_emissions(agent: Stub) -> None:
    data = tracked(output_methods=["model_card"], country_iso_code="FRA")
    value = co2_eq_emissions(data, training_type="fine-tuning")
    assert value["emissions"] == pytest.approx(data.emissions * 1000, abs=1e-6)
    assert (value["geographical_location"], value["training_type"]) == ("France", "fine-tuning")
    card = Path(f"model_card_{data.run_id}.md").read_text()
    assert card.startswith("---\nco2_eq_emissions:\n  emissions: ")
    readme = Path("README.md")
    readme.write_text("---\nlicense: mit\nco2_eq_emissions:\n  emissions: 1\n\n  source: old\ntags:\n- a\n---\n# Model\n")
    update("README.md", data)
    text = readme.read_text()
    assert text.count("co2_eq_emissions:") == 1 and "old" not in text
    assert text.startswith("---\nlicense: mit\ntags:\n- a\nco2_eq_emissions:\n") and text.endswith("---\n# Model\n")
    with pytest.raises(ValueError, match="no end"):
        put_into("---\nno end\n", value)


def test_loggers_of_experiments_get_metrics(agent: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: dict[str, Any] = {}
    mlflow = types.SimpleNamespace(log_metrics=logged.update, set_tags=logged.update)
    wandb = types.SimpleNamespace(run=types.SimpleNamespace(summary=logged))
    for name, module in (("mlflow", mlflow), ("wandb", wandb)):
        logged.clear()
        monkeypatch.setitem(sys.modules, name, module)
        data = tracked(output_methods=[name])
        assert logged["carbon/energy_consumed"] == data.energy_consumed
        assert logged["carbon/energy_per_tokens"] == data.energy_consumed / 10
        assert logged["carbon/quality"] == "measured" and "carbon/task/part" in logged


def test_a_logger_that_is_not_installed_is_told(
    agent: Stub, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    tracked(output_methods="mlflow,csv")
    assert "no output by mlflow" in said.text
    assert len(lines()) == 2


def test_a_handler_that_is_any_callable_works_and_its_errors_are_told(agent: Stub, said: pytest.LogCaptureFixture) -> None:
    from functools import partial

    seen: list[object] = []
    handler = BaseOutput()
    handler.out = partial(lambda mark, total, delta: seen.append((mark, total)), "a")  # type: ignore[method-assign]
    handler.exit = partial(int, "no number")  # type: ignore[assignment]
    with EmissionsTracker(output_methods=[], output_handlers=[handler]):
        pass
    assert len(seen) == 1
    assert "ValueError" in said.text


# Beside CodeCarbon's own programs.


def test_carbonboard_opens_the_file(agent: Stub, script: Script) -> None:
    if importlib.util.find_spec("codecarbon") is None or importlib.util.find_spec("dash") is None:
        pytest.skip("too large to be installed for tests alone, and not here: pip install codecarbon[carbonboard]")
    for name in ("one", "one", "two"):
        tracked(project_name=name, country_iso_code="FRA")
    text = """
import pandas
from codecarbon.viz.data import Data
frame, data = pandas.read_csv("emissions.csv"), Data()
project = data.get_project_data(frame, "one")
summary = data.get_project_summary(project.data)
print(len(project.data), summary["total"]["energy_consumed"] > 0, summary["country_name"])
"""
    assert script(text).stdout == "2 True France\n"
