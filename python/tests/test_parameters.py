from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carbon_tracker import EmissionsTracker, OfflineEmissionsTracker, OutputMethod, parameters

HOME = "[codecarbon]\nproject_name = of home\nexperiment_name = of home\noutput_dir = {}\nlog_level = error\n"


def values(**arguments: Any) -> dict[str, Any]:
    return parameters.resolve(arguments)


def test_arguments_are_above_the_environment_above_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home" / ".codecarbon.config").write_text(HOME.format("/of/home"))
    assert (values()["project_name"], values()["output_dir"]) == ("of home", "/of/home")
    Path(".codecarbon.config").write_text("[codecarbon]\nproject_name = of the folder\npue = 1.25\n")
    assert (values()["project_name"], values()["experiment_name"], values()["pue"]) == ("of the folder", "of home", 1.25)
    monkeypatch.setenv("CODECARBON_PROJECT_NAME", "of the environment")
    monkeypatch.setenv("codecarbon_wue", "0.5")
    assert (values()["project_name"], values()["wue"]) == ("of the environment", 0.5)
    assert values(project_name="of the call")["project_name"] == "of the call"
    # As in CodeCarbon: None says nothing.
    assert values(project_name=None)["project_name"] == "of the environment"


def test_what_is_wrong_is_told_and_never_raises(said: pytest.LogCaptureFixture) -> None:
    wrong = {"pue": 0.5, "wue": "x", "tracking_mode": "galaxy", "force_carbon_intensity_g_co2e_kwh": -1, "on_csv_write": "eat"}
    found = values(**wrong)
    assert (found["pue"], found["wue"], found["tracking_mode"]) == (1.0, 0.0, None)
    assert (found["force_carbon_intensity_g_co2e_kwh"], found["on_csv_write"]) == (None, "append")
    assert all(name in said.text for name in wrong)


def test_what_has_no_meaning_here_is_told_once(said: pytest.LogCaptureFixture) -> None:
    meaningless: dict[str, Any] = {
        "measure_power_secs": 1,
        "api_call_interval": 2,
        "gpu_ids": [0],
        "force_ram_power": 20,
        "force_mode_cpu_load": True,
        "allow_multiple_runs": False,
        "rapl_include_dram": True,
        "rapl_prefer_psys": True,
    }
    values(**meaningless)
    values(**meaningless)
    for name in meaningless:
        assert said.text.count(f"{name} has no effect") == 1, name
    said.clear()
    values(measure_power_secs=15, allow_multiple_runs=True)
    assert said.text == "", "the defaults, spelled out, are nothing to talk about"


def test_every_parameter_of_codecarbon_is_taken() -> None:
    # The signatures of CodeCarbon 3.3.2, in order.
    names = """
        project_name measure_power_secs api_call_interval api_endpoint api_key output_dir output_file output_methods
        save_to_file save_to_api save_to_logger logging_logger save_to_prometheus save_to_logfire prometheus_url
        output_handlers gpu_ids emissions_endpoint experiment_id experiment_name electricitymaps_api_token
        co2_signal_api_token tracking_mode log_level on_csv_write logger_preamble force_cpu_power force_ram_power pue
        wue force_carbon_intensity_g_co2e_kwh force_mode_cpu_load allow_multiple_runs rapl_include_dram
        rapl_prefer_psys metadata
    """.split()
    code = EmissionsTracker.__init__.__code__
    assert list(code.co_varnames[1 : code.co_argcount]) == names
    for name in ["country_iso_code", "region", "cloud_provider", "cloud_region", "country_2letter_iso_code"]:
        assert name in parameters.KNOWN
    assert set(parameters.KNOWN) >= set(names)


def test_an_unknown_parameter_is_told(said: pytest.LogCaptureFixture) -> None:
    EmissionsTracker(of_the_future=1, output_methods=[])
    assert "of_the_future" in said.text


def test_keys_of_other_programs_in_the_file_are_no_mistake(said: pytest.LogCaptureFixture) -> None:
    Path(".codecarbon.config").write_text("[codecarbon]\norganization_id = 1\nproject_id = 2\n")
    values()
    assert said.text == ""


def test_a_broken_file_is_told_and_not_used(said: pytest.LogCaptureFixture) -> None:
    Path(".codecarbon.config").write_text("no section\n")
    assert values()["project_name"] == "codecarbon"
    assert ".codecarbon.config is not used" in said.text


@pytest.mark.parametrize(
    ("given", "methods"),
    [
        ({}, [OutputMethod.CSV]),
        ({"save_to_file": False}, []),
        ({"save_to_file": "False", "save_to_api": "true"}, [OutputMethod.API]),
        ({"output_methods": "csv, json"}, [OutputMethod.CSV, OutputMethod.JSON]),
        ({"output_methods": [OutputMethod.BOAMPS], "save_to_api": True}, [OutputMethod.BOAMPS]),
        ({"output_methods": ["logfire", "csv", "carrier pigeon"]}, [OutputMethod.CSV]),
        ({"output_methods": []}, []),
    ],
)
def test_where_results_go(given: dict[str, Any], methods: list[OutputMethod]) -> None:
    assert values(**given)["output_methods"] == methods


def test_the_log_level_is_a_word_or_a_number(said: pytest.LogCaptureFixture) -> None:
    with OfflineEmissionsTracker(country_iso_code="FRA", log_level=30, output_methods=[]):
        pass
    assert "CO2e" not in said.text
    OfflineEmissionsTracker(country_iso_code="FRA", log_level="shout", output_methods=[])
    assert "unknown log_level 'shout'" in said.text
