"""Where results go."""

from __future__ import annotations

from enum import Enum


class OutputMethod(str, Enum):
    """Where results go: CodeCarbon's names, and more."""

    CSV = "csv"
    API = "api"
    LOGGER = "logger"
    PROMETHEUS = "prometheus"
    LOGFIRE = "logfire"
    BOAMPS = "boamps"
    # Not in CodeCarbon.
    JSON = "json"
    TEXTFILE = "textfile"
    WEBHOOK = "webhook"
    MODEL_CARD = "model_card"
    MLFLOW = "mlflow"
    WANDB = "wandb"
