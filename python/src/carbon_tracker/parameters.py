"""The parameters: CodeCarbon's, with their defaults; how text becomes a value; and which have nothing to do here.

Nothing that is wrong with a parameter raises: it is said once, and the default holds. A tracker must not end a training.
"""

from __future__ import annotations

from .config import configured
from .say import configure, warn, warn_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable, Union

    Parser = Callable[[Any], Any]
    Values = dict[str, Any]

# Those of `methods.OutputMethod`, which is made of them at the end: an enumeration costs 0.8 MiB and 2 ms.
METHODS = (
    "csv",
    "api",
    "logger",
    "prometheus",
    "logfire",
    "boamps",
    "json",
    "textfile",
    "webhook",
    "model_card",
    "mlflow",
    "wandb",
)

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


def to_bool(value: object) -> bool:
    """A truth value, or a word for one."""
    if isinstance(value, str):
        text = value.strip().lower()
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise ValueError("not true or false")
    return bool(value)


def to_float(value: Any) -> float:
    """A number that is one."""
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError("not a number")
    return number


def not_negative(value: Any) -> float:
    """A number, at least zero."""
    number = to_float(value)
    if number < 0:
        raise ValueError("below 0")
    return number


def above_zero(value: Any) -> float:
    """A number above zero."""
    number = to_float(value)
    if number <= 0:
        raise ValueError("not above 0")
    return number


def to_pue(value: Any) -> float:
    """Energy of the site over energy of its machines."""
    number = to_float(value)
    if number < 1:
        raise ValueError("below 1")
    return number


def one_of(*words: str) -> Callable[[object], str]:
    """One of some words."""

    def parse(value: object) -> str:
        text = str(value).strip().lower()
        if text not in words:
            raise ValueError(f"not one of {', '.join(words)}")
        return text

    return parse


def to_methods(value: object) -> list[str]:
    """A method, a list of them, or words with commas between them. One that is unknown is told and left out."""
    if isinstance(value, str) and not hasattr(value, "value"):
        items: Iterable[object] = [word for word in value.split(",") if word.strip()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = value
    else:
        items = [value]
    methods = []
    for item in items:
        # Members of our enumeration and of CodeCarbon's own: theirs are words too.
        word = str(getattr(item, "value", item)).strip().lower()
        if word in METHODS:
            methods.append(word)
        else:
            warn(f"unknown output method {word!r}: give some of {', '.join(METHODS)}")
    return methods


def as_is(value: Any) -> Any:
    """Whatever it is."""
    return value


# Name: default, parser. In the order of CodeCarbon's signature, then the offline tracker's, then ours.
KNOWN: dict[str, tuple[object, Parser]] = {
    "project_name": ("codecarbon", str),
    "measure_power_secs": (15.0, above_zero),
    "api_call_interval": (8, int),
    "api_endpoint": ("https://api.codecarbon.io", str),
    "api_key": ("api_key", str),
    "output_dir": (".", str),
    "output_file": ("emissions.csv", str),
    "output_methods": (None, to_methods),
    "save_to_file": (None, to_bool),
    "save_to_api": (None, to_bool),
    "save_to_logger": (None, to_bool),
    "logging_logger": (None, as_is),
    "save_to_prometheus": (None, to_bool),
    "save_to_logfire": (None, to_bool),
    "prometheus_url": ("localhost:9091", str),
    "output_handlers": (None, as_is),
    "gpu_ids": (None, as_is),
    "emissions_endpoint": (None, str),
    "experiment_id": ("5b0fa12a-3dd7-45bb-9766-cc326314d9f1", str),
    "experiment_name": ("base", str),
    "electricitymaps_api_token": (None, str),
    "co2_signal_api_token": (None, str),
    "tracking_mode": (None, one_of("process", "machine")),
    "log_level": ("info", as_is),
    "on_csv_write": ("append", one_of("append", "update")),
    "logger_preamble": ("", str),
    "force_cpu_power": (None, above_zero),
    "force_ram_power": (None, above_zero),
    "pue": (1.0, to_pue),
    "wue": (0.0, not_negative),
    "force_carbon_intensity_g_co2e_kwh": (None, not_negative),
    "force_mode_cpu_load": (False, to_bool),
    "allow_multiple_runs": (True, to_bool),
    "rapl_include_dram": (False, to_bool),
    "rapl_prefer_psys": (False, to_bool),
    "metadata": (None, as_is),
    "country_iso_code": (None, str),
    "region": (None, str),
    "cloud_provider": (None, str),
    "cloud_region": (None, str),
    "country_2letter_iso_code": (None, str),
    "backend": ("auto", one_of("auto", "agent", "child", "model")),
    "tags": (None, as_is),
}

# What names a place, or its intensity.
OF_PLACE = (
    "country_iso_code",
    "country_2letter_iso_code",
    "cloud_provider",
    "cloud_region",
    "force_carbon_intensity_g_co2e_kwh",
)

# Keys of the wizard and of the command line, which other programs read; nothing is ever told to anybody else.
_OF_OTHERS = {"organization_id", "project_id", "offline", "telemetry_level"}

# What these say has nothing to do here, and why.
MEANINGLESS: dict[str, str] = {
    "measure_power_secs": "nothing is polled in this process",
    "api_call_interval": "results are sent at flush and stop only, since nothing is polled in this process",
    "gpu_ids": "an accelerator's energy goes to the processes that used it, whichever they were given",
    "force_ram_power": "memory is metered, or part of the processor's model; it is never a fixed number of watts",
    "force_mode_cpu_load": "the model is used where there is no meter, and only there",
    "allow_multiple_runs": "trackers beside each other do not count anything twice, so none has to wait",
    "rapl_include_dram": "memory is counted wherever it is metered",
    "rapl_prefer_psys": "domains that contain each other are never added up",
}

NO_LOGFIRE = "nothing is sent to Logfire: the agent's metrics are there for Prometheus and OpenMetrics"

# The older switches, and what they switch.
SAVE_TO = {
    "save_to_file": "csv",
    "save_to_api": "api",
    "save_to_logger": "logger",
    "save_to_prometheus": "prometheus",
    "save_to_logfire": "logfire",
}


def resolve(arguments: dict[str, object]) -> Values:
    """Arguments above the environment above the files above the defaults. An argument that is `None` says nothing."""
    given: dict[str, object] = dict(configured())
    given.update({name: value for name, value in arguments.items() if value is not None})
    # First, so that what is said of the others is said as it is wanted.
    configure(given.get("log_level", KNOWN["log_level"][0]), str(given.get("logger_preamble", "")))
    unknown = sorted(name for name in given if name not in KNOWN and name not in _OF_OTHERS)
    if unknown:
        warn_once(f"unknown parameters are ignored: {', '.join(unknown)}")
    values: Values = {}
    for name, (default, parse) in KNOWN.items():
        value = given.get(name)
        values[name] = default if value is None else _parsed(name, value, default, parse)
    for name, reason in MEANINGLESS.items():
        if given.get(name) is not None and values[name] != KNOWN[name][0]:
            warn_once(f"{name} has no effect: {reason}")
    if values["co2_signal_api_token"] and not values["electricitymaps_api_token"]:
        values["electricitymaps_api_token"] = values["co2_signal_api_token"]
    values["output_methods"] = _methods(values)
    return values


def _parsed(name: str, value: object, default: object, parse: Parser) -> object:
    try:
        return parse(value)
    except (TypeError, ValueError) as error:
        shown = "the default" if default is None else repr(default)
        warn(f"{name}={value!r} is not used ({error}): {shown} is")
        return default


def _methods(values: Values) -> list[str]:
    """Where results go. The older switches are honoured where no list is given."""
    methods: Union[list[str], None] = values["output_methods"]
    if methods is None:
        on = {"csv": True}
        on.update({method: values[name] for name, method in SAVE_TO.items() if values[name] is not None})
        methods = [method for method, wanted in on.items() if wanted]
    if "logfire" in methods:
        warn_once(NO_LOGFIRE)
    return [method for method in methods if method != "logfire"]
