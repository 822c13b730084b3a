"""Where results go. Each kind is in a file of its own, and imported only where it is asked for.

A handler of one's own is a subclass of `BaseOutput`, given by `output_handlers=[...]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..emissions import EmissionsData, TaskEmissionsData
from ..methods import OutputMethod
from ..say import warn
from .base import BaseOutput
from .file import FileOutput
from .logger import GoogleCloudLoggerOutput, LoggerOutput

__all__ = [
    "BaseOutput",
    "EmissionsData",
    "FileOutput",
    "GoogleCloudLoggerOutput",
    "LoggerOutput",
    "OutputMethod",
    "TaskEmissionsData",
    "make_outputs",
]


def make_outputs(values: Mapping[str, Any]) -> list[BaseOutput]:
    """The handlers that the parameters ask for. One that cannot be made is told, and the others work."""
    outputs: list[BaseOutput] = []
    methods = [OutputMethod(word) for word in values["output_methods"]]
    if values["emissions_endpoint"] and OutputMethod.WEBHOOK not in methods:
        methods.append(OutputMethod.WEBHOOK)
    if values["logging_logger"] is not None and OutputMethod.LOGGER not in methods:
        methods.append(OutputMethod.LOGGER)
    for method in methods:
        try:
            outputs.append(_make(method, values))
        except Exception as error:
            warn(f"no output by {method.value}: {error}")
    outputs.extend(values["output_handlers"] or ())
    return outputs


def _make(method: OutputMethod, values: Mapping[str, Any]) -> BaseOutput:
    folder = values["output_dir"]
    if method is OutputMethod.CSV:
        return FileOutput(values["output_file"], folder, values["on_csv_write"])
    if method is OutputMethod.JSON:
        from .json_file import JsonOutput

        return JsonOutput(folder)
    if method is OutputMethod.LOGGER:
        given = values["logging_logger"]
        if isinstance(given, BaseOutput):
            return given
        from .. import say

        return LoggerOutput(given if given is not None else say.logger())
    if method in (OutputMethod.PROMETHEUS, OutputMethod.TEXTFILE):
        from .prometheus import PrometheusOutput, TextfileOutput

        return PrometheusOutput(values["prometheus_url"]) if method is OutputMethod.PROMETHEUS else TextfileOutput(folder)
    if method is OutputMethod.WEBHOOK:
        from .http import HTTPOutput

        if not values["emissions_endpoint"]:
            raise ValueError("give emissions_endpoint, where it is sent to")
        return HTTPOutput(values["emissions_endpoint"])
    if method is OutputMethod.API:
        from .api import CodeCarbonAPIOutput

        words = [values[name] for name in ("api_endpoint", "experiment_id", "api_key", "experiment_name")]
        return CodeCarbonAPIOutput(*words)
    if method is OutputMethod.BOAMPS:
        from .boamps import BoAmpsOutput

        return BoAmpsOutput.of_metadata(folder, values["metadata"])
    if method is OutputMethod.MODEL_CARD:
        from .model_card import ModelCardOutput

        return ModelCardOutput(folder)
    from .loggers import MlflowOutput, WandbOutput

    return MlflowOutput() if method is OutputMethod.MLFLOW else WandbOutput()
