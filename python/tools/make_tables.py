"""Makes src/carbon_tracker/_tables.py from the tables of ../data: run it after these have changed.

Only what the client needs where there is no program `carbon` beside it: intensities of countries and states, regions of
clouds, and watts by processor. The table of Electricity Maps, which has another licence, is left to the program.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from pathlib import Path

PYTHON = Path(__file__).resolve().parent.parent
DATA = PYTHON.parent / "data"
TARGET = PYTHON / "src" / "carbon_tracker" / "_tables.py"
SOURCES = (
    "cloud-regions.csv",
    "constants.csv",
    "cpu-arch-power.csv",
    "cpu-ids.csv",
    "grid-countries.csv",
    "grid-subnational.csv",
)
CONSTANTS = ("world_grid", "cpu_unknown_idle_w_per_thread", "cpu_unknown_max_w_per_thread")


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float | None:
    return float(text) if text else None


def table(name: str, kind: str, comment: str, lines: list[str]) -> list[str]:
    return ["", f"# {comment}", f"{name}: {kind} = {{", *(f"    {line}," for line in lines), "}"]


def countries() -> list[str]:
    return [
        f"{row['iso3']!r}: ({row['iso2']!r}, {row['name']!r}, {float(row['intensity_g_per_kwh'])!r}, "
        f"{int(row['year'])}, {row['source']!r})"
        for row in rows("grid-countries.csv")
        if row["iso2"]
    ]


def states() -> list[str]:
    return [
        f"{row['iso3166_2']!r}: ({row['name']!r}, {float(row['intensity_g_per_kwh'])!r}, {int(row['year'])}, "
        f"{row['source'] + ', ' + row['boundary']!r})"
        for row in rows("grid-subnational.csv")
    ]


def clouds() -> list[str]:
    return [
        f"{row['provider'] + ':' + row['region']!r}: ({row['city']!r}, {row['iso2']!r}, {row['iso3166_2']!r}, "
        f"{float(row['lat'])!r}, {float(row['lon'])!r})"
        for row in rows("cloud-regions.csv")
    ]


def processors() -> list[str]:
    lines = []
    for row in rows("cpu-ids.csv"):
        if not row["microarchitecture"]:
            continue
        first, last = int(row["model_from"], 16), int(row["model_to"], 16)
        family = int(row["family"]) if row["family"] else None
        steppings = [int(number) for number in row["stepping"].split("-")] if row["stepping"] else None
        lines.append(
            f"({row['vendor']!r}, {family}, {first}, {last}, "
            f"{(steppings[0], steppings[-1]) if steppings else None}): {row['microarchitecture']!r}"
        )
    return lines


def watts() -> list[str]:
    return [
        f"{row['microarchitecture']!r}: ({float(row['idle_w_per_thread'])!r}, {float(row['max_w_per_thread'])!r})"
        for row in rows("cpu-arch-power.csv")
    ]


def constants() -> list[str]:
    lines = []
    for row in rows("constants.csv"):
        if row["id"] in CONSTANTS:
            year = int(row["year"])
            lines.append(f"{row['id']!r}: ({float(row['value'])!r}, {number(row['low'])}, {number(row['high'])}, {year})")
    return lines


def text() -> str:
    digest = hashlib.sha256(b"".join((DATA / name).read_bytes() for name in SOURCES)).hexdigest()
    lines = [
        '"""Reference tables; made by tools/make_tables.py from the tables in data/, never edited.',
        "",
        "Sources and licences: data/PROVENANCE.md. Countries: Ember (2026), with major processing by Our World in Data,",
        "CC BY 4.0. States: US EPA eGRID2023 and others. Regions of clouds: Green Software Foundation, Real Time Cloud.",
        "Watts: derived from SPECpower_ssj2008 results published by SPEC; whole servers at the wall, memory included.",
        '"""',
        "",
        "# fmt: off",
        "# ruff: noqa: E501",
        "from __future__ import annotations",
        "",
        "# Of the tables that it was made from.",
        f"SHA256 = {digest!r}",
        *table(
            "CONSTANTS",
            "dict[str, tuple[float, float | None, float | None, int]]",
            "value, low, high, year",
            constants(),
        ),
        *table(
            "COUNTRIES",
            "dict[str, tuple[str, str, float, int, str]]",
            "ISO 3166-1 alpha-3: alpha-2, name, g CO2e per kWh, year, source",
            countries(),
        ),
        *table(
            "STATES",
            "dict[str, tuple[str, float, int, str]]",
            "ISO 3166-2: name, g CO2e per kWh, year, source and boundary",
            states(),
        ),
        *table(
            "CLOUDS",
            "dict[str, tuple[str, str, str, float, float]]",
            "provider:region: city, ISO 3166-1 alpha-2, ISO 3166-2, latitude, longitude",
            clouds(),
        ),
        *table(
            "PROCESSORS",
            "dict[tuple[str, int | None, int, int, tuple[int, int] | None], str]",
            "vendor, family, first and last model, steppings: microarchitecture",
            processors(),
        ),
        *table(
            "WATTS",
            "dict[str, tuple[float, float]]",
            "microarchitecture: W per hardware thread, idle and at full load",
            watts(),
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    made = text()
    if "--check" in sys.argv[1:]:
        current = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
        if current != made:
            print(f"{TARGET} is older than the tables: run python3 {Path(__file__).name}", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
