"""An agent that speaks the lines of docs/api.md and measures nothing: each second is worth 10 J of CPU and 2 J of memory.

It is strict where the agent is: a key that is not in the document is refused.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Optional

CPU_W, DRAM_W = 10, 2
# Of an accelerator; without any watts there is none.
GPU_W = 0

KEYS: dict[str, set[str]] = {
    "hello": set(),
    "start": {
        "project",
        "experiment",
        "organisation",
        "name",
        "series",
        "tags",
        "command",
        "zone",
        "pue",
        "bound",
        "members",
        "record",
    },
    "join": {"run"},
    "mark": {"run", "name"},
    "count": {"run", "unit", "count"},
    "energy": {"run"},
    "stop": {"run", "status", "exit_status", "notes", "report"},
}
NAMES = ("project", "experiment", "organisation", "name", "series")
ZONES = re.compile(r"[A-Z]{2,3}(-[A-Z0-9]+)?|[a-z]+:[a-z0-9-]+")


class Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Run:
    def __init__(self, request: dict[str, Any], peer: int) -> None:
        self.id = str(uuid.uuid4())
        self.request, self.peer = request, peer
        self.began = time.monotonic()
        self.status: Optional[str] = None
        self.counts: dict[str, int] = {}
        self.segments: list[Optional[str]] = [None]

    def energy(self) -> dict[str, Any]:
        seconds = time.monotonic() - self.began
        cpu, dram, gpu = (int(seconds * watts * 1e6) for watts in (CPU_W, DRAM_W, GPU_W))
        row = {"device": "package-0", "source": "a stub", "quality": "measured", "static_uj": 0, "held_uj": 0}
        return {
            "cpu_ns": int(seconds * 1e9),
            "dynamic_uj": cpu + dram + gpu,
            "dynamic_low_uj": int((cpu + dram + gpu) * 0.9),
            "dynamic_high_uj": int((cpu + dram + gpu) * 1.1),
            "static_uj": 0,
            "held_uj": 0,
            "energy_uj": cpu + dram + gpu,
            "grams": None,
            "grams_low": None,
            "grams_high": None,
            "quality": "measured",
            "domains": [
                {**row, "domain": "package", "dynamic_uj": cpu},
                {**row, "domain": "dram", "dynamic_uj": dram},
                *([{**row, "domain": "gpu", "device": "0", "dynamic_uj": gpu}] if gpu else []),
            ],
        }


class Stub:
    def __init__(self, path: Path, zone: str = "WORLD", runs: bool = True) -> None:
        self.path, self.zone, self.follows = path, zone, runs
        # How long an answer waits that needs the end of a window.
        self.window_s = 0.0
        self.runs: dict[str, Run] = {}
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self._clients: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # shutdown wakes the thread that accepts; close alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.path.unlink(missing_ok=True)
        self.hang_up()

    def hang_up(self) -> None:
        for client in self._clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def wait_for(self, status: str, seconds: float = 10.0) -> Run:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for run in self.runs.values():
                if run.status == status:
                    return run
            time.sleep(0.01)
        raise AssertionError(f"no run is {status}: {[run.status for run in self.runs.values()]}")

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        peer = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        mine: list[Run] = []
        try:
            with client, client.makefile("rwb") as lines:
                for line in lines:
                    lines.write(json.dumps(self._answer(line, peer, mine)).encode() + b"\n")
                    lines.flush()
        except OSError:
            pass
        for run in mine:
            if run.status is None and run.request.get("bound") == "connection":
                run.status = "killed"

    def _answer(self, line: bytes, peer: int, mine: list[Run]) -> dict[str, Any]:
        answer: dict[str, Any] = {"version": 1, "ok": True}
        try:
            request = json.loads(line)
            self.requests.append(dict(request))
            answer.update(self._handle(request, peer, mine))
        except (Refused, ValueError) as error:
            code = error.code if isinstance(error, Refused) else "bad_request"
            return {"version": 1, "ok": False, "error": {"code": code, "message": str(error)}}
        return answer

    def _handle(self, request: dict[str, Any], peer: int, mine: list[Run]) -> dict[str, Any]:
        if request.pop("version", None) != 1:
            raise Refused("version", "1 is spoken")
        kind = request.pop("request", "")
        if kind not in KEYS or set(request) - KEYS[kind] - {"id"}:
            raise Refused("bad_request", f"{kind}: {sorted(request)}")
        if kind == "hello":
            about = {"server": "stub", "versions": [1], "runs": self.follows, "accounting": "books"}
            return {**about, "intensity": self._intensity()}
        if kind == "start":
            return self._start(request, peer, mine)
        run = self.runs.get(str(request.get("run")))
        if run is None or run.status is not None:
            raise Refused("no_such_run", "no run of yours is open under this id")
        if kind == "count":
            run.counts[request["unit"]] = run.counts.get(request["unit"], 0) + request["count"]
            return {"run": run.id, "unit": request["unit"], "count": run.counts[request["unit"]]}
        if kind in ("mark", "stop"):
            time.sleep(self.window_s)
        if kind == "stop":
            run.status = request.get("status", "done")
            ended = {"run": run.id, "status": run.status, "energy": run.energy(), "counts": run.counts}
            return {**ended, "intensity": self._intensity()}
        if kind == "mark":
            self._check_name("name", request.get("name"))
            run.segments.append(request.get("name"))
            return {"run": run.id, "segment": {}, "total": run.energy()}
        return {"run": run.id}

    def _intensity(self) -> dict[str, Any]:
        return {"g_per_kwh": 52.1, "zone": self.zone, "year": 2025, "source": "a stub's table"}

    def _start(self, request: dict[str, Any], peer: int, mine: list[Run]) -> dict[str, Any]:
        for name in NAMES:
            self._check_name(name, request.get(name))
        for tag in request.get("tags", []):
            self._check_name("tags", tag)
        zone = request.get("zone")
        if zone is not None and not ZONES.fullmatch(zone):
            raise Refused("bad_request", f"zone {zone!r} is unknown")
        if not self.follows:
            raise Refused("cannot_measure", "accounting by cpu.stat cannot follow processes that run already")
        run = Run(request, peer)
        self.runs[run.id] = run
        mine.append(run)
        return {"run": run.id, "start": "2026-03-01T12:00:00Z"}

    @staticmethod
    def _check_name(key: str, name: object) -> None:
        if name is not None and not (isinstance(name, str) and 1 <= len(name) <= 120 and name.isprintable()):
            raise Refused("bad_request", f"{key} is 1 to 120 printable characters")
