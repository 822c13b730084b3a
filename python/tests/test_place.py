from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PYTHON
from stub import Stub
from test_outputs import Web, web

from carbon_tracker import EmissionsTracker, OfflineEmissionsTracker, _tables, parameters, place
from carbon_tracker._tables.clouds import CLOUDS
from carbon_tracker._tables.countries import COUNTRIES

__all__ = ["web"]


def of(**arguments: Any) -> place.Place:
    return place.of_parameters(parameters.resolve(arguments))


def test_the_tables_are_those_of_the_project() -> None:
    subprocess.run([sys.executable, str(PYTHON / "tools" / "make_tables.py"), "--check"], check=True)


def test_an_unknown_place_is_the_world_and_never_a_country() -> None:
    # Without a network CodeCarbon 3.3.2 takes Quebec, 3.94 g/kWh.
    unknown = of()
    assert (unknown.g_per_kwh, unknown.known, unknown.country_iso_code) == (_tables.CONSTANTS["world_grid"][0], False, "")
    assert "no place is known" in unknown.source


def test_the_row_of_an_unknown_place_names_no_country(agent: Stub, said: pytest.LogCaptureFixture) -> None:
    with EmissionsTracker() as tracker:
        pass
    data = tracker.final_emissions_data
    assert data is not None
    assert (data.country_name, data.country_iso_code, data.on_cloud) == ("", "", "N")
    assert data.emissions == pytest.approx(data.energy_consumed * 0.458)
    assert "unknown place: world's average" in said.text


@pytest.mark.parametrize(
    ("given", "iso3", "region", "zone"),
    [
        ({"country_iso_code": "FRA"}, "FRA", "", "FR"),
        ({"country_iso_code": "fra"}, "FRA", "", "FR"),
        ({"country_2letter_iso_code": "FR"}, "FRA", "", "FR"),
        ({"country_iso_code": "USA", "region": "california"}, "USA", "california", "US-CA"),
        ({"country_iso_code": "CAN", "region": "Quebec"}, "CAN", "Quebec", "CA-QC"),
        ({"cloud_provider": "aws", "cloud_region": "eu-west-1"}, "IRL", "Dublin", "aws:eu-west-1"),
        ({"cloud_provider": "Google", "cloud_region": "europe-west9"}, "FRA", "Paris", "gcp:europe-west9"),
        ({"cloud_provider": "azure", "cloud_region": "westeurope"}, "NLD", None, "azure:westeurope"),
    ],
)
def test_places_that_are_known(given: dict[str, str], iso3: str, region: str | None, zone: str) -> None:
    found = of(**given)
    assert (found.country_iso_code, found.zone, found.known) == (iso3, zone, True)
    assert region is None or found.region == region
    assert 0 < found.g_per_kwh < 1500 and found.g_per_kwh != 458


def test_what_is_given_is_above_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARBON_ZONE", "DE")
    assert of().country_iso_code == "DEU"
    assert of(country_iso_code="FRA").country_iso_code == "FRA"
    forced = of(country_iso_code="FRA", force_carbon_intensity_g_co2e_kwh=0)
    assert (forced.g_per_kwh, forced.country_iso_code) == (0, "FRA")
    monkeypatch.setenv("CARBON_ZONE", "US-CA")
    assert (of().region, of().country_iso_code) == ("California", "USA")


def test_a_place_in_no_table_is_told(said: pytest.LogCaptureFixture) -> None:
    assert not of(country_iso_code="XXX").known
    assert not of(cloud_provider="aws", cloud_region="moon-1").known
    assert of(country_iso_code="USA", region="atlantis").g_per_kwh == of(country_iso_code="USA").g_per_kwh
    of(cloud_provider="aws")
    for words in ("country 'XXX'", "aws:moon-1", "'atlantis'", "only together"):
        assert words in said.text


def test_the_agents_place_is_taken_where_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub(tmp_path / "placed.sock", zone="FR")
    monkeypatch.setenv("CARBON_SOCKET", str(stub.path))
    with EmissionsTracker(output_methods="json") as tracker:
        pass
    with OfflineEmissionsTracker(country_iso_code="DEU", output_methods=[]) as other:
        pass
    stub.close()
    data, of_germany = tracker.final_emissions_data, other.final_emissions_data
    assert data is not None and of_germany is not None
    assert data.emissions == pytest.approx(data.energy_consumed * 52.1e-3)
    assert (data.country_iso_code, of_germany.country_iso_code) == ("FRA", "DEU")
    report = json.loads(Path(f"emissions_{data.run_id}.json").read_text())
    assert report["intensity"]["source"] == "a stub's table, 2025, zone FR"


def test_a_live_intensity_is_asked_for_once_and_replaced_where_it_fails(web: Web, said: pytest.LogCaptureFixture) -> None:
    found = of(country_iso_code="FRA")
    before = found.g_per_kwh
    place.ask_live(found, "token", web.url)
    assert found.g_per_kwh == before and "does not answer" in said.text
    unknown = of()
    place.ask_live(unknown, "token", web.url)
    assert web.got == [] and "no place is known" in said.text


def test_all_countries_and_clouds_have_an_intensity() -> None:
    for iso3 in COUNTRIES:
        assert of(country_iso_code=iso3).known
    for key in CLOUDS:
        provider, region = key.split(":", 1)
        assert of(cloud_provider=provider, cloud_region=region).known, key
