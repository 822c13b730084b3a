"""What the row says of the machine. Read at the end."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

GIB = 1024.0**3


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def cpu_model() -> str:
    """The processor's name for itself."""
    for line in _read("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    import platform

    return platform.processor() or platform.machine()


def cores() -> Optional[int]:
    """Cores of all processors, by Linux's list of who shares one with whom; none where it does not say."""
    import glob

    lists = {_read(path).strip() for path in glob.glob("/sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list")}
    return len(lists - {""}) or None


def gpus() -> list[str]:
    """Names of NVIDIA's accelerators, as their driver gives them; needs no nvidia-smi."""
    import glob

    names = []
    for path in sorted(glob.glob("/proc/driver/nvidia/gpus/*/information")):
        for line in _read(path).splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "Model":
                names.append(value.strip())
    return names


def gpu_summary(names: list[str]) -> str:
    """`2 x NVIDIA A100`, as CodeCarbon writes it."""
    kinds = dict.fromkeys(names)
    return " ".join(f"{names.count(kind)} x {kind}" for kind in kinds)


def memory() -> tuple[float, float]:
    """All memory, and what is in use of it, in GiB; zeros where the system does not say."""
    fields = {}
    for line in _read("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            fields[name] = int(words[0]) * 1024 / GIB
    if "MemTotal" in fields:
        return fields["MemTotal"], fields["MemTotal"] - fields.get("MemAvailable", fields["MemTotal"])
    if sys.platform == "win32":
        return _memory_of_windows()
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 0.0
    except (ValueError, OSError, AttributeError):
        return 0.0, 0.0


def _memory_of_windows() -> tuple[float, float]:
    """By GlobalMemoryStatusEx (sysinfoapi.h)."""
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            ("total", ctypes.c_uint64),
            ("available", ctypes.c_uint64),
            ("rest", ctypes.c_uint64 * 5),
        )

    status = Status(length=ctypes.sizeof(Status))
    windows = getattr(ctypes, "windll", None)
    if windows is None or not windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return 0.0, 0.0
    return status.total / GIB, (status.total - status.available) / GIB
