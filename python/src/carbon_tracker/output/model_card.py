"""`co2_eq_emissions` for the model card of a Hugging Face repository (their metadata of README.md)."""

from __future__ import annotations

import json
import os
from typing import Any, Optional

from ..emissions import EmissionsData
from .base import BaseOutput
from .file import replace

KEY = "co2_eq_emissions:"


def co2_eq_emissions(data: EmissionsData, training_type: Optional[str] = None) -> dict[str, Any]:
    """The value: `emissions` in grams, and where they are from."""
    where = ", ".join(word for word in (data.region, data.country_name) if word)
    hardware = data.gpu_model or data.cpu_model
    value: dict[str, Any] = {
        "emissions": round(data.emissions * 1e3, 6),
        "source": f"{data.codecarbon_version}, {data.energy_consumed:.6g} kWh",
        "training_type": training_type,
        "geographical_location": where or None,
        "hardware_used": hardware or None,
    }
    return {key: item for key, item in value.items() if item is not None}


def as_yaml(value: dict[str, Any]) -> str:
    """The lines: strings in JSON's quotes are strings in YAML too."""
    return KEY + "\n" + "".join(f"  {key}: {json.dumps(item, ensure_ascii=False)}\n" for key, item in value.items())


def put_into(text: str, value: dict[str, Any]) -> str:
    """The text of a README.md with the value in its front matter, in place of one that is there."""
    lines = text.splitlines(keepends=True)
    if not lines or lines[0].rstrip() != "---":
        return f"---\n{as_yaml(value)}---\n{text}"
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        raise ValueError("the front matter has no end: a line ---")
    kept, inside = [], False
    for line in lines[1:end]:
        # What is indented, or empty, belongs to the key above it.
        inside = line.startswith(KEY) or (inside and (line.startswith((" ", "\t")) or not line.strip()))
        if not inside:
            kept.append(line)
    return "".join(["---\n", *kept, as_yaml(value), *lines[end:]])


def update(path: str, data: EmissionsData, training_type: Optional[str] = None) -> None:
    """Puts the value into a README.md."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        text = ""
    replace(path, put_into(text, co2_eq_emissions(data, training_type)))


class ModelCardOutput(BaseOutput):
    """`model_card_<run_id>.md`, to be put into the README.md; `update` does that."""

    def __init__(self, output_dir: str) -> None:
        if not os.path.isdir(output_dir):
            raise OSError(f"folder {output_dir!r} does not exist: make it, or give another output_dir")
        self.output_dir = output_dir

    def out(self, total: EmissionsData, delta: EmissionsData) -> None:
        """Writes the file anew."""
        update(os.path.join(self.output_dir, f"model_card_{total.run_id}.md"), total)
