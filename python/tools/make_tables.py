"""Makes src/carbon_tracker/_tables from the tables of ../data: run it after these have changed.

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
TARGET = PYTHON / "src" / "carbon_tracker" / "_tables"
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


Table = tuple[str, str, str, list[str]]


def parts() -> dict[str, list[Table]]:
    """File by file: name, type, what it is, lines. Each is imported where it is asked for, since all of them are 0.2 MiB."""
    return {
        "__init__": [
            (
                "CONSTANTS",
                "dict[str, tuple[float, float | None, float | None, int]]",
                "value, low, high, year",
                constants(),
            ),
        ],
        "countries": [
            (
                "COUNTRIES",
                "dict[str, tuple[str, str, float, int, str]]",
                "ISO 3166-1 alpha-3: alpha-2, name, g CO2e per kWh, year, source",
                countries(),
            ),
        ],
        "states": [
            (
                "STATES",
                "dict[str, tuple[str, float, int, str]]",
                "ISO 3166-2: name, g CO2e per kWh, year, source and boundary",
                states(),
            ),
        ],
        "clouds": [
            (
                "CLOUDS",
                "dict[str, tuple[str, str, str, float, float]]",
                "provider:region: city, ISO 3166-1 alpha-2, ISO 3166-2, latitude, longitude",
                clouds(),
            ),
        ],
        "processors": [
            (
                "PROCESSORS",
                "dict[tuple[str, int | None, int, int, tuple[int, int] | None], str]",
                "vendor, family, first and last model, steppings: microarchitecture",
                processors(),
            ),
            (
                "WATTS",
                "dict[str, tuple[float, float]]",
                "microarchitecture: W per hardware thread, idle and at full load",
                watts(),
            ),
        ],
    }


def files() -> dict[Path, str]:
    digest = hashlib.sha256(b"".join((DATA / name).read_bytes() for name in SOURCES)).hexdigest()
    made = {}
    for part, tables in parts().items():
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
        ]
        if part == "__init__":
            lines += ["", "# Of the tables that they were made from.", f"SHA256 = {digest!r}"]
        for one in tables:
            lines += table(*one)
        made[TARGET / f"{part}.py"] = "\n".join([*lines, ""])
    return made


def main() -> int:
    made = files()
    if "--check" in sys.argv[1:]:
        old = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
        if old:
            print(f"{old[0]} is older than the tables: run python3 {Path(__file__).name}", file=sys.stderr)
        return 1 if old else 0
    TARGET.mkdir(exist_ok=True)
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
