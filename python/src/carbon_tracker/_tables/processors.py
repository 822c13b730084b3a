"""Reference tables; made by tools/make_tables.py from the tables in data/, never edited.

Sources and licences: data/PROVENANCE.md. Countries: Ember (2026), with major processing by Our World in Data,
CC BY 4.0. States: US EPA eGRID2023 and others. Regions of clouds: Green Software Foundation, Real Time Cloud.
Watts: derived from SPECpower_ssj2008 results published by SPEC; whole servers at the wall, memory included.
"""

# fmt: off
# ruff: noqa: E501
from __future__ import annotations

# vendor, family, first and last model, steppings: microarchitecture
PROCESSORS: dict[tuple[str, int | None, int, int, tuple[int, int] | None], str] = {
    ('GenuineIntel', 6, 42, 42, None): 'Intel Sandy Bridge (E3)',
    ('GenuineIntel', 6, 45, 45, None): 'Intel Sandy Bridge',
    ('GenuineIntel', 6, 58, 58, None): 'Intel Ivy Bridge (E3)',
    ('GenuineIntel', 6, 62, 62, None): 'Intel Ivy Bridge',
    ('GenuineIntel', 6, 60, 60, None): 'Intel Haswell (E3)',
    ('GenuineIntel', 6, 63, 63, None): 'Intel Haswell',
    ('GenuineIntel', 6, 79, 79, None): 'Intel Broadwell',
    ('GenuineIntel', 6, 94, 94, None): 'Intel Skylake (E3)',
    ('GenuineIntel', 6, 85, 85, (0, 4)): 'Intel Skylake-SP',
    ('GenuineIntel', 6, 85, 85, (5, 7)): 'Intel Cascade Lake',
    ('GenuineIntel', 6, 85, 85, (10, 11)): 'Intel Cooper Lake',
    ('GenuineIntel', 6, 158, 158, None): 'Intel Kaby Lake (E3)',
    ('GenuineIntel', 6, 106, 106, None): 'Intel Ice Lake-SP',
    ('GenuineIntel', 6, 167, 167, None): 'Intel Rocket Lake (Xeon E)',
    ('GenuineIntel', 6, 143, 143, None): 'Intel Sapphire Rapids',
    ('GenuineIntel', 6, 207, 207, None): 'Intel Emerald Rapids',
    ('GenuineIntel', 6, 173, 173, None): 'Intel Granite Rapids',
    ('GenuineIntel', 6, 174, 174, None): 'Intel Granite Rapids',
    ('GenuineIntel', 6, 183, 183, None): 'Intel Raptor Lake (Xeon E)',
    ('GenuineIntel', 6, 175, 175, None): 'Intel Sierra Forest',
    ('AuthenticAMD', 23, 0, 47, None): 'AMD Zen (EPYC 1st Gen)',
    ('AuthenticAMD', 23, 48, 79, None): 'AMD Zen 2 (EPYC 2nd Gen)',
    ('AuthenticAMD', 23, 80, 95, None): 'AMD Zen (EPYC 1st Gen)',
    ('AuthenticAMD', 23, 96, 127, None): 'AMD Zen 2 (EPYC 2nd Gen)',
    ('AuthenticAMD', 23, 144, 145, None): 'AMD Zen 2 (EPYC 2nd Gen)',
    ('AuthenticAMD', 23, 160, 175, None): 'AMD Zen 2 (EPYC 2nd Gen)',
    ('AuthenticAMD', 25, 0, 15, None): 'AMD Zen 3 (EPYC 3rd Gen)',
    ('AuthenticAMD', 25, 16, 31, None): 'AMD Zen 4 (EPYC 4th Gen)',
    ('AuthenticAMD', 25, 32, 95, None): 'AMD Zen 3 (EPYC 3rd Gen)',
    ('AuthenticAMD', 25, 96, 159, None): 'AMD Zen 4 (EPYC 4004)',
    ('AuthenticAMD', 25, 160, 175, None): 'AMD Zen 4c (EPYC 4th Gen)',
    ('AuthenticAMD', 26, 0, 15, None): 'AMD Zen 5 (EPYC 5th Gen)',
    ('AuthenticAMD', 26, 16, 31, None): 'AMD Zen 5c (EPYC 5th Gen)',
    ('AuthenticAMD', 26, 32, 47, None): 'AMD Zen 5 (EPYC 5th Gen)',
    ('AuthenticAMD', 26, 64, 79, None): 'AMD Zen 5 (EPYC 4005)',
    ('AuthenticAMD', 26, 96, 127, None): 'AMD Zen 5 (EPYC 4005)',
    ('HygonGenuine', 24, 0, 255, None): 'AMD Zen (EPYC 1st Gen)',
    ('ARM:0x41', None, 3340, 3340, None): 'Ampere Altra (Neoverse N1)',
}

# microarchitecture: W per hardware thread, idle and at full load
WATTS: dict[str, tuple[float, float]] = {
    'AMD Zen (EPYC 1st Gen)': (0.744, 2.32),
    'AMD Zen 2 (EPYC 2nd Gen)': (0.437, 1.664),
    'AMD Zen 3 (EPYC 3rd Gen)': (0.424, 1.916),
    'AMD Zen 4 (EPYC 4004)': (2.017, 4.194),
    'AMD Zen 4 (EPYC 4th Gen)': (0.331, 1.865),
    'AMD Zen 4c (EPYC 4th Gen)': (0.276, 1.534),
    'AMD Zen 5 (EPYC 4005)': (0.877, 4.354),
    'AMD Zen 5 (EPYC 5th Gen)': (0.353, 1.977),
    'AMD Zen 5c (EPYC 5th Gen)': (0.209, 1.147),
    'Ampere Altra (Neoverse N1)': (0.617, 1.922),
    'Intel Broadwell': (0.53, 3.091),
    'Intel Cascade Lake': (0.603, 4.038),
    'Intel Coffee Lake (Xeon E)': (1.05, 5.975),
    'Intel Cooper Lake': (0.866, 4.629),
    'Intel Emerald Rapids': (0.828, 3.275),
    'Intel Granite Rapids': (0.622, 2.724),
    'Intel Haswell': (0.654, 3.812),
    'Intel Haswell (E3)': (2.0, 7.5),
    'Intel Ice Lake-SP': (0.924, 4.099),
    'Intel Ivy Bridge': (1.347, 5.435),
    'Intel Ivy Bridge (E3)': (2.375, 8.25),
    'Intel Kaby Lake (E3)': (1.55, 6.475),
    'Intel Nehalem/Westmere': (3.325, 10.792),
    'Intel Raptor Lake (Xeon E)': (1.387, 5.588),
    'Intel Rocket Lake (Xeon E)': (1.281, 4.875),
    'Intel Sandy Bridge': (1.753, 7.922),
    'Intel Sandy Bridge (E3)': (2.675, 12.3),
    'Intel Sapphire Rapids': (0.9, 3.987),
    'Intel Sierra Forest': (0.689, 2.509),
    'Intel Skylake (E3)': (1.9, 5.931),
    'Intel Skylake-SP': (0.53, 4.118),
}
