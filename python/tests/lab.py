"""A real agent on a meter whose truth is known; for tests, and for tools/truth.py."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

METER = Path(__file__).resolve().with_name("meter.py")
BURN = "import time\nend = time.monotonic() + {}\nwhile time.monotonic() < end: pass"


class Machine:
    """An agent in a folder of its own. `watts` are those of a busy CPU, above `idle` of the package.

    With `sysfs` the meter is one that is there already.
    """

    def __init__(self, folder: Path, program: Path, watts: float, idle: float, sysfs: Path | None = None) -> None:
        self.folder, self.program = folder, program
        self.socket, self.ledger = folder / "carbon.sock", folder / "ledger.db"
        self.sysfs = sys_root = sysfs or folder / "sys"
        self._counter = sys_root / "class" / "powercap" / "intel-rapl:0" / "energy_uj"
        self._processes: list[subprocess.Popen[bytes]] = []
        if sysfs is None:
            meter = [sys.executable, "-S", str(METER), str(sys_root), str(watts), str(idle)]
            self._processes.append(subprocess.Popen(meter))
            self._wait_for(self._counter)
        options = {
            "--sysfs-root": sys_root,
            "--socket": self.socket,
            "--store": self.ledger,
            "--config": os.devnull,
            "--listen": "none",
            "--resume": "none",
            "--state": "none",
            "--metadata": "off",
            "--meter": "powercap",
        }
        words = [str(word) for option in options.items() for word in option]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CARBON_")}
        with (folder / "said").open("w") as said:
            self._processes.append(subprocess.Popen([program, "agent", *words], stderr=said, env=environment))
        self._wait_for(self.socket)

    def _wait_for(self, path: Path) -> None:
        for _ in range(1200):
            if path.exists():
                return
            assert all(process.poll() is None for process in self._processes), self.said()
            time.sleep(0.05)
        raise AssertionError(f"no {path}: {self.said()}")

    def said(self) -> str:
        path = self.folder / "said"
        return path.read_text() if path.exists() else ""

    def energy_uj(self) -> int:
        return int(self._counter.read_text())

    def close(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait(30)


def neighbour(seconds: float) -> subprocess.Popen[bytes]:
    """A program beside it that does nothing but compute."""
    return subprocess.Popen([sys.executable, "-S", "-c", BURN.format(seconds)])
