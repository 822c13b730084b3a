"""Quantities as CodeCarbon's `codecarbon.core.units` has them, for programs that use these."""

from __future__ import annotations

from dataclasses import dataclass

JOULES_PER_KWH = 3.6e6
KG_PER_POUND = 0.45359237


@dataclass(order=True)
class Energy:
    """In kWh."""

    kWh: float

    @classmethod
    def from_energy(cls, kWh: float) -> Energy:
        """From kWh."""
        return cls(kWh)

    @classmethod
    def from_joules(cls, joules: float) -> Energy:
        """From joules."""
        return cls(joules / JOULES_PER_KWH)

    @classmethod
    def from_ujoules(cls, ujoules: float) -> Energy:
        """From microjoules."""
        return cls(ujoules / JOULES_PER_KWH / 1e6)

    @classmethod
    def from_millijoules(cls, mjoules: float) -> Energy:
        """From millijoules."""
        return cls(mjoules / JOULES_PER_KWH / 1e3)

    @classmethod
    def from_power_and_time(cls, *, power: Power, time: Time) -> Energy:
        """A power held for a time."""
        return cls(power.kW * time.hours)

    def __add__(self, other: Energy) -> Energy:
        return Energy(self.kWh + other.kWh)

    def __sub__(self, other: Energy) -> Energy:
        return Energy(self.kWh - other.kWh)

    def __mul__(self, factor: float) -> Energy:
        return Energy(self.kWh * factor)

    def __float__(self) -> float:
        return float(self.kWh)


@dataclass(order=True)
class Power:
    """In kW."""

    kW: float

    @classmethod
    def from_watts(cls, watts: float) -> Power:
        """From watts."""
        return cls(watts / 1e3)

    @classmethod
    def from_milli_watts(cls, milli_watts: float) -> Power:
        """From milliwatts."""
        return cls(milli_watts / 1e6)

    @property
    def W(self) -> float:
        """In watts."""
        return self.kW * 1e3

    def __add__(self, other: Power) -> Power:
        return Power(self.kW + other.kW)

    def __mul__(self, factor: float) -> Power:
        return Power(self.kW * factor)


@dataclass(order=True)
class Time:
    """In seconds."""

    seconds: float

    @classmethod
    def from_seconds(cls, seconds: float) -> Time:
        """From seconds."""
        return cls(seconds)

    @property
    def hours(self) -> float:
        """In hours."""
        return self.seconds / 3600


@dataclass(order=True)
class Water:
    """In litres."""

    litres: float

    @classmethod
    def from_litres(cls, litres: float) -> Water:
        """From litres."""
        return cls(litres)

    def __add__(self, other: Water) -> Water:
        return Water(self.litres + other.litres)


@dataclass(order=True)
class EmissionsPerKWh:
    """In kg of CO2 equivalent."""

    kgs_per_kWh: float

    @classmethod
    def from_g_per_kWh(cls, g_per_kWh: float) -> EmissionsPerKWh:
        """From grams."""
        return cls(g_per_kWh / 1e3)

    @classmethod
    def from_kgs_per_kWh(cls, kgs_per_kWh: float) -> EmissionsPerKWh:
        """From kilograms."""
        return cls(kgs_per_kWh)

    @classmethod
    def from_lbs_per_mWh(cls, lbs_per_mWh: float) -> EmissionsPerKWh:
        """From pounds for a MWh."""
        return cls(lbs_per_mWh * KG_PER_POUND / 1e3)
