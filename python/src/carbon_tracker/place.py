"""Where the electricity is used, and its carbon intensity.

What the user says is above what the agent was told, and that above what a cloud's metadata says; an unknown place is the
world's average, and is told as that. There is no silent default country.
"""

from __future__ import annotations

import os

from .say import warn, warn_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Optional

# Seconds that the one question to Electricity Maps may take; it is asked at flush and stop only.
LIVE_S = 10.0
LIVE_URL = "https://api.electricitymaps.com/v3/carbon-intensity/latest"

_PROVIDERS = {"google": "gcp", "amazon": "aws", "microsoft": "azure", "oracle": "oci"}


class Place:
    """A place: what of it is in the row of results, and its intensity."""

    def __init__(self) -> None:
        self.country_name = ""
        self.country_iso_code = ""
        """ISO 3166-1 alpha-3; empty where unknown."""
        self.country_2letter = ""
        self.region = ""
        self.cloud_provider = ""
        self.cloud_region = ""
        self.latitude: Optional[float] = None
        self.longitude: Optional[float] = None
        self.g_per_kwh = 0.0
        self.source = ""
        self.known = False
        """Whether the place is known, or the intensity was given."""
        self.zone: Optional[str] = None
        """As the program's --zone takes it."""

    def rate(self, g_per_kwh: float, source: str) -> None:
        """Takes an intensity that is known."""
        self.g_per_kwh, self.source, self.known = g_per_kwh, source, True


def of_parameters(values: Mapping[str, Any]) -> Place:
    """The place that parameters and `CARBON_ZONE` name; else an unknown one."""
    from ._tables import CONSTANTS

    place = Place()
    world, low, high, year = CONSTANTS["world_grid"]
    place.g_per_kwh = world
    place.source = f"world's average of {year}, {low:g} to {high:g}, since no place is known"
    provider, region = values.get("cloud_provider"), values.get("cloud_region")
    named = os.environ.get("CARBON_ZONE")
    if provider and region:
        if not _of_cloud(place, str(provider), str(region)):
            warn(f"cloud region {provider}:{region} is in no table")
            place.cloud_provider, place.cloud_region = str(provider), str(region)
    elif provider or region:
        warn("cloud_provider and cloud_region say something only together")
    if not place.known and values.get("country_iso_code"):
        _of_country(place, str(values["country_iso_code"]), values.get("region"))
    elif not place.known and values.get("country_2letter_iso_code"):
        _of_country(place, str(values["country_2letter_iso_code"]), values.get("region"))
    elif not place.known and named:
        of_zone(place, named)
    forced = values.get("force_carbon_intensity_g_co2e_kwh")
    if forced is not None:
        place.rate(float(forced), "given by force_carbon_intensity_g_co2e_kwh")
    return place


def of_zone(place: Place, zone: str) -> None:
    """A zone as the program takes it: a country, a state such as US-CA, a region such as aws:eu-west-1."""
    provider, colon, region = zone.partition(":")
    place.zone = zone
    if colon:
        _of_cloud(place, provider, region)
    elif "-" in zone and _of_state(place, zone.upper()):
        _name_country(place, zone.split("-", 1)[0])
    else:
        # Others, such as zones of Electricity Maps, are known to the program alone.
        _of_country(place, zone, None, tell=False)


def of_answer(place: Place, intensity: Optional[Mapping[str, Any]]) -> None:
    """Takes the intensity of whoever measured, where the user named no place that the tables have."""
    if place.known or not intensity:
        return
    zone, grams = intensity.get("zone"), intensity.get("g_per_kwh")
    if not zone or zone == "WORLD" or not isinstance(grams, (int, float)):
        return
    of_zone(place, str(zone))
    place.rate(float(grams), f"{intensity.get('source', 'carbon')}, {intensity.get('year', 'year unknown')}, zone {zone}")


def _of_cloud(place: Place, provider: str, region: str) -> bool:
    from ._tables.clouds import CLOUDS

    key = provider.strip().lower()
    key = _PROVIDERS.get(key, key)
    row = CLOUDS.get(f"{key}:{region.strip().lower()}")
    if row is None:
        return False
    city, country, state, latitude, longitude = row
    if not (state and _of_state(place, state)) and not _of_country(place, country, None, tell=False):
        return False
    _name_country(place, country)
    place.region = city
    place.cloud_provider, place.cloud_region = key, region.strip().lower()
    place.latitude, place.longitude = latitude, longitude
    place.zone = f"{key}:{region.strip().lower()}"
    return True


def _of_state(place: Place, code: str) -> bool:
    from ._tables.states import STATES

    row = STATES.get(code)
    if row is None:
        return False
    name, grams, year, source = row
    place.region, place.zone = name, code
    place.rate(grams, f"{source}, {year}, {name}")
    return True


def _name_country(place: Place, code: str) -> bool:
    from ._tables.countries import COUNTRIES

    code = code.strip().upper()
    for iso3, (iso2, name, _, _, _) in COUNTRIES.items():
        if code in (iso3, iso2):
            place.country_iso_code, place.country_2letter, place.country_name = iso3, iso2, name
            return True
    return False


def _of_country(place: Place, code: str, region: Optional[object], tell: bool = True) -> bool:
    from ._tables.countries import COUNTRIES

    if not _name_country(place, code):
        if tell:
            warn(f"country {code!r} is in no table: the world's average is used")
        return False
    _, name, grams, year, source = COUNTRIES[place.country_iso_code]
    place.zone = place.country_2letter
    place.rate(grams, f"{source}, {year}, {name}")
    if region:
        from ._tables.states import STATES

        place.region = str(region)
        for state, row in STATES.items():
            if state.startswith(place.country_2letter + "-") and row[0].lower() == place.region.strip().lower():
                _of_state(place, state)
                place.region = str(region)
                break
        else:
            warn_once(f"region {region!r} of {name} is in no table: the country's average is used")
    return True


def ask_live(place: Place, token: str, url: str = LIVE_URL) -> None:
    """Asks Electricity Maps for the present intensity; where that fails the table's value stands, and that is said."""
    import json
    import urllib.parse
    import urllib.request

    if place.country_2letter:
        query = {"zone": place.country_2letter}
    elif place.latitude is not None:
        query = {"lat": str(place.latitude), "lon": str(place.longitude)}
    else:
        warn_once("Electricity Maps is not asked: no place is known")
        return
    request = urllib.request.Request(f"{url}?{urllib.parse.urlencode(query)}", headers={"auth-token": token})
    try:
        with urllib.request.urlopen(request, timeout=LIVE_S) as answer:
            grams = json.load(answer)["carbonIntensity"]
            place.rate(float(grams), "Electricity Maps, latest")
    except (OSError, ValueError, KeyError, TypeError) as error:
        warn_once(f"Electricity Maps does not answer ({error}): {place.source} is used")
