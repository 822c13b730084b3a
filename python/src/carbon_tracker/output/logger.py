"""Results as a line of JSON to a logger."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any, Optional

from ..emissions import EmissionsData
from .base import BaseOutput


class LoggerOutput(BaseOutput):
    """To a logger of `logging`."""

    def __init__(self, logger: Any, severity: int = logging.INFO) -> None:
        self.logger, self.logging_severity = logger, severity

    def out(self, total: EmissionsData, delta: Optional[EmissionsData]) -> None:
        """Logs all columns."""
        self.logger.log(self.logging_severity, json.dumps(dataclasses.asdict(total)))


class GoogleCloudLoggerOutput(LoggerOutput):
    """To a logger of google-cloud-logging."""

    def out(self, total: EmissionsData, delta: Optional[EmissionsData]) -> None:
        """Logs all columns as a structure."""
        self.logger.log_struct(dataclasses.asdict(total), severity=self.logging_severity)
