from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Script
from stub import Stub

from carbon_tracker import EmissionsTracker

START = "from carbon_tracker import EmissionsTracker\nt = EmissionsTracker(log_level='error')\nt.start()\n"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_leave_the_run_to_their_parent(agent: Stub, tmp_path: Path, method: str) -> None:
    # A file, since spawn imports the main module again.
    file = tmp_path / "workers.py"
    file.write_text(
        "import multiprocessing, sys\n"
        "from carbon_tracker import EmissionsTracker\n"
        "tracker = EmissionsTracker(log_level='error')\n"
        "def work(number):\n"
        "    tracker.count('items', 1)\n"
        "    assert tracker.stop() is None\n"
        "    return number\n"
        "if __name__ == '__main__':\n"
        "    tracker.start()\n"
        "    with multiprocessing.get_context(sys.argv[1]).Pool(4) as pool:\n"
        "        assert pool.map(work, range(8)) == list(range(8))\n"
        "    tracker.count('items', 100)\n"
        "    assert tracker.stop() is not None\n"
    )
    subprocess.run([sys.executable, str(file), method], check=True, timeout=60)
    [run] = agent.runs.values()
    assert (run.status, run.counts) == ("done", {"items": 100})
    assert len(Path("emissions.csv").read_text().splitlines()) == 2


def test_a_child_that_lives_on_does_not_hold_the_run_open(agent: Stub, script: Script) -> None:
    script(START + "import os, time, sys\nif os.fork() == 0:\n    os.closerange(0, 3)\n    time.sleep(3)\n    os._exit(0)\n")
    # The program ended without stop: the connection is closed although the child, which had it, lives.
    run = agent.wait_for("killed", seconds=2)
    assert run.request["bound"] == "connection"


def test_kill_9_leaves_a_closed_run(agent: Stub) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", START + "import time\nprint('on', flush=True)\ntime.sleep(60)"], stdout=subprocess.PIPE
    )
    assert program.stdout is not None and program.stdout.readline() == b"on\n"
    program.kill()
    program.wait()
    program.stdout.close()
    agent.wait_for("killed")


def test_a_handler_of_signals_writes_the_row(agent: Stub) -> None:
    text = START + (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: (t.service_shutdown(*a), sys.exit(0)))\n"
        "print('on', flush=True)\ntime.sleep(60)"
    )
    program = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    assert program.stdout is not None and program.stdout.readline() == b"on\n"
    program.send_signal(signal.SIGTERM)
    assert program.wait(20) == 0
    program.stdout.close()
    assert len(Path("emissions.csv").read_text().splitlines()) == 2


def test_two_trackers_at_once_are_two_runs(agent: Stub) -> None:
    one, two = EmissionsTracker(project_name="one"), EmissionsTracker(project_name="two")
    one.start()
    two.start()
    one.stop()
    two.stop()
    assert [run.request["project"] for run in agent.runs.values()] == ["one", "two"]
    assert agent.connections == 2


def test_the_model_counts_children_however_short(script: Script) -> None:
    # CodeCarbon 3.3.2, in its process mode, has 0.5 % of them.
    text = (
        "import subprocess, sys, resource\n"
        "from carbon_tracker import EmissionsTracker\n"
        "t = EmissionsTracker(log_level='error', output_methods=[])\nt.start()\n"
        "before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])\n"
        "burn = 'import time\\nwhile time.process_time() < 0.1: pass'\n"
        "for _ in range(10): subprocess.run([sys.executable, '-c', burn])\n"
        "used = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before\n"
        "t.stop()\nprint(used, t._last.cpu_ns / 1e9)\n"
    )
    used, attributed = map(float, script(text).stdout.split())
    assert used > 1
    assert used * 0.99 - 0.02 < attributed < used * 1.2 + 0.5


def test_the_model_sees_children_that_live(script: Script) -> None:
    text = (
        "import subprocess, sys, time\n"
        "from carbon_tracker import EmissionsTracker\n"
        "t = EmissionsTracker(log_level='error', output_methods=[])\nt.start()\n"
        "burn = 'import time\\nwhile time.process_time() < 0.4: pass\\nprint(1, flush=True)\\ntime.sleep(60)'\n"
        "child = subprocess.Popen([sys.executable, '-c', burn], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\nt.stop()\nchild.kill()\nprint(t._last.cpu_ns / 1e9)\n"
    )
    # In ticks of 10 ms.
    assert float(script(text).stdout) > 0.36


def test_a_socket_that_nobody_answers_at_is_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub(tmp_path / "gone.sock")
    stub._listener.shutdown(socket.SHUT_RDWR)
    stub._listener.close()
    monkeypatch.setenv("CARBON_SOCKET", str(stub.path))
    begun = time.monotonic()
    with EmissionsTracker(output_methods=[]) as tracker:
        assert tracker._backend is not None and tracker._backend.name == "model"
    assert time.monotonic() - begun < 5
    assert os.path.exists(stub.path)
