"""A machine whose truth is known: a sysfs with one package that draws so many watts idle, and so many more for each busy CPU.

    python meter.py FOLDER WATTS IDLE

The counter is by the kernel's ticks of all CPUs (/proc/stat, proc(5)): whoever runs costs the same.
"""

from __future__ import annotations

import os
import sys
import time

STEP_S = 0.005


def busy_s() -> float:
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(field) for field in file.readline().split()[1:9]]
    # Idle, waiting for disks, and what a hypervisor took, are not busy.
    return (sum(ticks) - ticks[3] - ticks[4] - ticks[7]) / os.sysconf("SC_CLK_TCK")


def main(folder: str, watts: float, idle: float) -> None:
    zone = os.path.join(folder, "class", "powercap", "intel-rapl:0")
    os.makedirs(zone)
    # As sysfs has the control type beside its zones: a folder that leads back to the class.
    os.makedirs(os.path.join(folder, "class", "powercap", "intel-rapl"))
    os.symlink("..", os.path.join(folder, "class", "powercap", "intel-rapl", "subsystem"))
    for shared in ("devices", "kernel", "fs"):
        os.symlink(f"/sys/{shared}", os.path.join(folder, shared))
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "262143328850")):
        with open(os.path.join(zone, name), "w", encoding="ascii") as file:
            file.write(text)
    try:
        # A counter of silicon does not wait for its turn.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        pass
    begun, before = time.monotonic(), busy_s()
    while True:
        joules = idle * (time.monotonic() - begun) + watts * (busy_s() - before)
        with open(os.path.join(zone, "next"), "w", encoding="ascii") as file:
            file.write(str(5_000_000 + int(joules * 1e6)))
        os.replace(os.path.join(zone, "next"), os.path.join(zone, "energy_uj"))
        time.sleep(STEP_S)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
