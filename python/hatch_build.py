"""Puts the program `carbon` into the wheel: the one that `CARBON_BINARY` names, else none, and the wheel is pure Python.

A static program for musl runs on every Linux of its architecture: `CARBON_WHEEL_TAG` says which, for one that does not come
from this machine.
"""

from __future__ import annotations

import os
import stat
import sysconfig
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CarbonBuildHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        binary = os.environ.get("CARBON_BINARY")
        if not binary or version == "editable":
            return
        if not os.path.isfile(binary) or not os.stat(binary).st_mode & stat.S_IXUSR:
            raise FileNotFoundError(f"CARBON_BINARY={binary} is no program")
        build_data["shared_scripts"][binary] = "carbon"
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = os.environ.get("CARBON_WHEEL_TAG") or f"py3-none-{platform}"
