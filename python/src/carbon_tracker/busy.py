"""How busy all CPUs of the machine are, by its own counters; read at the start and at the end."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional


def cpu_times() -> Optional[tuple[int, int]]:
    """Busy and all ticks of the machine since its boot, by /proc/stat (proc(5)); none elsewhere."""
    try:
        with open("/proc/stat", "rb") as file:
            first = file.readline().split()
    except OSError:
        return None
    if len(first) < 6 or first[0] != b"cpu":
        return None
    ticks = [int(field) for field in first[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def cpu_percent(before: Optional[tuple[int, int]], after: Optional[tuple[int, int]]) -> float:
    """How busy all CPUs were between two looks."""
    if before is None or after is None or after[1] <= before[1]:
        return 0.0
    return min(100.0, 100.0 * (after[0] - before[0]) / (after[1] - before[1]))
