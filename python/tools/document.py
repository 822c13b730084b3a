"""Sections of a page that a benchmark writes anew, between two comments; what stands around them stays."""

from __future__ import annotations

import os
import time
from pathlib import Path


def conditions() -> str:
    """Date, kernel and machine, as in the other pages."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        info = file.read()
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "unknown")
    with open("/proc/loadavg", encoding="ascii") as file:
        load = file.read().split()[0]
    virtual = ", a virtual machine" if "hypervisor" in info else ""
    return (
        f"*{time.strftime('%Y-%m-%d', time.gmtime())}, kernel {os.uname().release}, {os.cpu_count()} CPUs of {model}{virtual}"
        f"; load average at the end {load}.*"
    )


def write(document: Path, name: str, text: str) -> None:
    """Puts the section in its place, which the page must have."""
    before = document.read_text(encoding="utf-8")
    opening, closing = f"<!-- {name}: written by the command above -->", "<!-- end -->"
    head, found, rest = before.partition(opening)
    if not found:
        raise SystemExit(f"{document} has no line {opening}")
    document.write_text(f"{head}{opening}\n\n{text.strip()}\n\n{closing}{rest.partition(closing)[2]}", encoding="utf-8")
