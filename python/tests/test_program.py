"""With the real program beside the process: `carbon track`, which needs no agent and no root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Script

from carbon_tracker import EmissionsTracker
from carbon_tracker.backend import BackendError

BURN = "import time\nwhile time.process_time() < {}: pass\n"


def tracker(**parameters: Any) -> EmissionsTracker:
    made = EmissionsTracker(output_methods=[], log_level="error", backend="child", **parameters)
    made.start()
    assert made._backend is not None and made._backend.name == "child"
    return made


def cpu_s(of: EmissionsTracker) -> float:
    assert of._last is not None
    return of._last.cpu_ns / 1e9


def accounting(program: Path) -> str:
    """How it follows this process."""
    hello = '{"version":1,"request":"hello"}\n'
    done = subprocess.run(
        [program, "track", "--pid", str(os.getpid())], input=hello, capture_output=True, text=True, check=True
    )
    word: str = json.loads(done.stdout)["accounting"]
    return word


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def test_root_follows_by_the_kernel_and_others_by_proc(program: Path) -> None:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    has = int(status["CapEff"], 16)
    # CAP_PERFMON and CAP_BPF (capabilities(7)), and the kernel's types.
    able = os.geteuid() == 0 and has >> 38 & 3 == 3 and Path("/sys/kernel/btf/vmlinux").exists()
    assert accounting(program) in (("books", "hook") if able else ("proc",))


def test_this_process_is_measured_from_now_on(program: Path) -> None:
    burn(0.5)
    it = tracker()
    begun = time.process_time()
    burn(1.0)
    used = time.process_time() - begun
    it.stop()
    assert used - 0.05 < cpu_s(it) < used + 0.3
    reading = it._last
    assert reading is not None
    assert 0 < reading.low_uj <= reading.energy_uj <= reading.high_uj
    assert reading.method


def test_trackers_that_overlap_share_one_program(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each had a program of its own, whose work the others counted as this process's.
    monkeypatch.setenv("CARBON_STORE", "ledger.db")
    one = tracker(project_name="one")
    burn(0.3)
    two = tracker(project_name="two")
    assert getattr(two._backend, "_child", None) is one._backend
    burn(0.4)
    two.count("items", 2)
    one.stop()
    burn(0.3)
    two.stop()
    # Each has what was used while it was open, whichever ends first.
    assert 0.65 < cpu_s(one) < 1.0 and 0.65 < cpu_s(two) < 1.0
    assert one._last is not None and two._last is not None
    assert (one._last.counts, two._last.counts) == ({}, {"items": 2})
    # The ledger has one run, with each joule once; the next tracker has its own.
    three = tracker(project_name="three")
    three.stop()
    asked = [str(program), "runs", "list", "--store", "ledger.db", "--format", "json"]
    listed = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)["runs"]
    runs = {run["project"]: run for run in listed}
    assert set(runs) == {"one", "three"} and runs["one"]["cpu_ns"] > 0.95e9
    assert {run["status"] for run in listed} == {"done"}


def test_a_tracker_that_is_dropped_beside_another_ends_nothing(program: Path) -> None:
    one, two = tracker(), tracker()
    backend = two._backend
    assert backend is not None
    backend.abandon()
    burn(0.2)
    one.stop()
    assert cpu_s(one) > 0.15
    with pytest.raises(BackendError):
        backend.read()


def test_a_program_that_was_killed_is_not_shared(program: Path) -> None:
    one = tracker()
    process = getattr(one._backend, "_process", None)
    assert process is not None
    process.kill()
    process.wait()
    two = tracker()
    burn(0.2)
    two.stop()
    assert cpu_s(two) > 0.15


def test_a_forked_worker_measures_itself_whatever_its_parent_was_doing(program: Path, script: Script) -> None:
    text = (
        "import os, time\n"
        "from carbon_tracker import EmissionsTracker\n"
        "from carbon_tracker.backend import child\n"
        "def tracker(): return EmissionsTracker(output_methods=[], log_level='error', backend='child')\n"
        "outer = tracker()\nouter.start()\n"
        "child._opening.acquire()\n"
        "if os.fork() == 0:\n"
        "    own = tracker()\n    own.start()\n"
        "    assert type(own._backend).__name__ == 'Child', own._backend\n"
        "    begun = time.process_time()\n"
        "    while time.process_time() < begun + 0.3: pass\n"
        "    own.stop()\n    os._exit(0 if own._last.cpu_ns > 0.25e9 else 9)\n"
        "child._opening.release()\n"
        "assert os.waitstatus_to_exitcode(os.wait()[1]) == 0\n"
        "outer.stop()\nassert outer._last.cpu_ns > 0.25e9\n"
    )
    script(text)


def test_50_short_children_are_counted(program: Path) -> None:
    # CodeCarbon 3.3.2 has 0.5 % of them.
    import resource

    it = tracker()
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    for _ in range(50):
        subprocess.run([sys.executable, "-S", "-c", BURN.format(0.2)], check=True)
    used = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before
    it.stop()
    assert used > 9
    assert used * 0.97 < cpu_s(it) < used * 1.1 + 0.5


def test_children_that_nobody_waits_for_are_counted_by_the_kernels_books(program: Path, tmp_path: Path) -> None:
    by = accounting(program)
    if by == "proc":
        pytest.skip(f"only root may load programs into the kernel, and here it is followed by {by}")
    it = tracker()
    # Each is init's before it ends, and lives between two looks.
    one = "import os, sys, time\nwhile time.process_time() < 0.1: pass\nopen(sys.argv[1], 'w').write(str(time.process_time()))"
    for number in range(10):
        subprocess.run(
            ["sh", "-c", f'"{sys.executable}" -S -c "$1" "$2" &', "sh", one, tmp_path / f"{number}.used"], check=True
        )
    for _ in range(600):
        used = [path.read_text() for path in tmp_path.glob("*.used")]
        if len(used) == 10 and all(used):
            break
        time.sleep(0.05)
    it.stop()
    assert len(used) == 10
    assert sum(map(float, used)) * 0.98 < cpu_s(it) < sum(map(float, used)) * 1.3 + 0.3


def test_a_busy_neighbour_is_not_charged(program: Path) -> None:
    # CodeCarbon 3.3.2 charged 748 of 770 J to an idle process. The neighbour is no descendant: its parent has ended.
    neighbour = "import time; end = time.time() + 3\nwhile time.time() < end: pass"
    command = f"{sys.executable} -c '{neighbour}' >/dev/null 2>&1 &"
    subprocess.run(["sh", "-c", command], check=True)
    it = tracker()
    time.sleep(2)
    it.stop()
    assert cpu_s(it) < 0.3
    assert it._last is not None and it._last.energy_uj < 2e6


def test_two_trackers_at_once_have_each_what_there_was(program: Path) -> None:
    one = tracker()
    two = tracker()
    begun = time.process_time()
    burn(1.0)
    used = time.process_time() - begun
    two.stop()
    one.stop()
    # The first has the second's measuring program in it, which is a child of this process.
    assert cpu_s(two) == pytest.approx(used, abs=0.3)
    assert cpu_s(one) == pytest.approx(used, abs=0.6)


def test_a_task_is_a_difference(program: Path) -> None:
    it = tracker()
    it.start_task("idle")
    time.sleep(0.3)
    idle = it.stop_task()
    it.start_task("busy")
    burn(0.5)
    busy = it.stop_task()
    it.count("items", 5)
    it.stop()
    assert idle is not None and busy is not None
    assert busy.energy_consumed > 3 * idle.energy_consumed
    assert it.energy_per("items") is not None


def test_kill_9_leaves_a_row_in_the_ledger(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # CodeCarbon 3.3.2 leaves nothing.
    monkeypatch.setenv("CARBON_STORE", str(tmp_path / "ledger.db"))
    text = (
        "from carbon_tracker import EmissionsTracker\n"
        "t = EmissionsTracker(project_name='killed one', log_level='error', backend='child')\nt.start()\n"
        "import time\nbegun = time.process_time()\nwhile time.process_time() < begun + 1: pass\n"
        "print(t._backend.name, flush=True)\ntime.sleep(60)\n"
    )
    victim = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    assert victim.stdout is not None and victim.stdout.readline() == b"child\n"
    # A window and a half: what a process did in its last window goes with it where nobody waits for it.
    time.sleep(1.5)
    victim.kill()
    victim.wait()
    victim.stdout.close()
    for _ in range(200):
        listed = subprocess.run([program, "runs", "list", "--format", "json"], capture_output=True, text=True, check=False)
        runs = json.loads(listed.stdout)["runs"] if listed.returncode == 0 else []
        if runs and runs[0]["status"] != "running":
            break
        time.sleep(0.05)
    [run] = runs
    assert (run["project"], run["status"]) == ("killed one", "killed")
    assert run["cpu_ns"] > 0.5e9


def test_what_the_parser_refuses_is_a_line(program: Path) -> None:
    asked = ['{"version":1,"request":"hello"}', "nonsense", '{"version":1,"request":"mark","run":"x"}']
    done = subprocess.run(
        [program, "track", "--pid", str(os.getpid())],
        input="\n".join(asked) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["ok"] for answer in answers] == [True, False, False]
    assert [answer["error"]["code"] for answer in answers[1:]] == ["bad_request", "no_such_run"]


def test_a_process_that_is_not_there_is_told(program: Path) -> None:
    done = subprocess.run([program, "track", "--pid", "999999999"], capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "no process of that number" in done.stderr


def test_it_ends_with_its_program(program: Path, script: Script) -> None:
    text = (
        "from carbon_tracker import EmissionsTracker\n"
        "t = EmissionsTracker(log_level='error', backend='child', output_methods=[])\nt.start()\n"
        "print(t._backend._process.pid)\n"
    )
    pid = int(script(text).stdout)
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)
    raise AssertionError("it still runs")


def test_a_program_that_does_not_measure_is_told_with_the_models_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "carbon"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CARBON_BINARY", str(broken))
    with EmissionsTracker(output_methods=[]) as tracker:
        sum(range(1_000_000))
    assert tracker._last is not None and tracker._last.quality == "modelled"
    [word] = [record.getMessage() for record in said.records if record.levelname == "WARNING"]
    assert "modelled, not measured" in word and 'carbon doctor", does not measure' in word
