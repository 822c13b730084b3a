"""Reference tables; made by tools/make_tables.py from the tables in data/, never edited.

Sources and licences: data/PROVENANCE.md. Countries: Ember (2026), with major processing by Our World in Data,
CC BY 4.0. States: US EPA eGRID2023 and others. Regions of clouds: Green Software Foundation, Real Time Cloud.
Watts: derived from SPECpower_ssj2008 results published by SPEC; whole servers at the wall, memory included.
"""

# fmt: off
# ruff: noqa: E501
from __future__ import annotations

# Of the tables that they were made from.
SHA256 = '7ef13871ccb150649190d5bc93e8c308fef5cb7f14bb1226d4a4516f15696301'

# value, low, high, year
CONSTANTS: dict[str, tuple[float, float | None, float | None, int]] = {
    'world_grid': (458.0, 435.0, 473.0, 2025),
    'cpu_unknown_idle_w_per_thread': (0.6, 0.21, 0.92, 2026),
    'cpu_unknown_max_w_per_thread': (2.51, 1.15, 4.63, 2026),
}
