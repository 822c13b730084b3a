"""Results to a server that speaks CodeCarbon's API: `carbon serve`, or CodeCarbon's own.

What cannot be delivered is kept in a file and sent with the next results, of whatever program: an outage loses nothing. Each
post names run and sequence, so that a server which knows these takes none twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from typing import Any

from ..emissions import EmissionsData
from ..parameters import KNOWN
from ..say import warn, warn_once
from .base import BaseOutput
from .file import locked, replace
from .http import send_json

VARIABLE = "CARBON_SPOOL"
# As CodeCarbon's client: a server that does not answer holds nobody up.
TIMEOUT_S = 2.0
# CodeCarbon's own servers.
THEIRS = "codecarbon.io"
# A spool of a machine that never reaches its server stays small: about 1 KB each.
FILES_MAX = 10_000
# What comes again however often it is sent: of anything else, a wrong token too, somebody may mend the cause.
REFUSED_FOR_GOOD = (400, 409, 413, 422)
# What is said of emissions of a run that was removed from the server.
GONE = (404, 410)

_RUN = (
    "timestamp",
    "experiment_id",
    "os",
    "python_version",
    "codecarbon_version",
    "cpu_count",
    "cpu_model",
    "gpu_count",
    "gpu_model",
    "longitude",
    "latitude",
    "region",
    "ram_total_size",
    "tracking_mode",
)
_EMISSION = (
    "emissions_rate",
    "cpu_power",
    "gpu_power",
    "ram_power",
    "cpu_energy",
    "gpu_energy",
    "ram_energy",
    "energy_consumed",
    "cpu_utilization_percent",
    "gpu_utilization_percent",
    "ram_utilization_percent",
    "wue",
)


class Undelivered(Exception):
    """The server was not reached, or did not take it."""


class Refused(Exception):
    """The server will never take it."""


def spool_folder() -> str:
    """Where undelivered results wait."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.environ.get(VARIABLE) or os.path.join(state, "carbon", "spool")


def now() -> str:
    """The time with its zone, as the API wants it."""
    from datetime import datetime

    return datetime.now().astimezone().isoformat(timespec="seconds")


class CodeCarbonAPIOutput(BaseOutput):
    """Creates the run at the first results, and then posts what is new each time."""

    def __init__(self, endpoint_url: str, experiment_id: str, api_key: str, experiment_name: str = "") -> None:
        self.endpoint_url, self.experiment_id = endpoint_url.rstrip("/"), experiment_id
        self.experiment_name = experiment_name
        self._key = api_key
        # Tells tokens apart without being one.
        self._mark = hashlib.sha256(api_key.encode()).hexdigest()[:16]
        self._sequence = 0
        self._path = ""

    def out(self, total: EmissionsData, delta: EmissionsData) -> None:
        """Adds to the spool, then empties it as far as the server takes it."""
        folder = spool_folder()
        os.makedirs(folder, mode=0o700, exist_ok=True)
        path = self._path = os.path.join(folder, f"{total.run_id}.json")
        with locked(os.path.join(folder, ".lock")):
            self._add(path, total, delta)
            waiting = [path, *(other for other in self._others(folder) if other != path)]
            for file in waiting:
                if file != path and not self._is_ours(file):
                    continue
                try:
                    self._deliver(file)
                except Refused as error:
                    aside = f"{file[: -len('.json')]}.{self._sequence}.refused"
                    os.replace(file, aside)
                    warn(f"{error}: these results are kept in {aside} and not sent again")
                except (Undelivered, OSError, ValueError) as error:
                    warn(f"{len(waiting)} runs wait in {folder} for {self.endpoint_url}: {error}")
                    return

    def _add(self, path: str, total: EmissionsData, delta: EmissionsData) -> None:
        run = {name: getattr(total, name) for name in _RUN}
        run["timestamp"], run["provider"] = now(), total.cloud_provider
        if THEIRS not in self.endpoint_url:
            # A server of one's own knows the machine by its name; nobody else is told.
            run["node"], run["experiment_name"] = platform.node(), self.experiment_name
        emission = {name: getattr(delta, name) for name in _EMISSION}
        # The API has whole seconds, and refuses less than one.
        emission["duration"] = max(1, round(delta.duration))
        emission["emissions_sum"], emission["timestamp"] = delta.emissions, now()
        emission.update(self._known(total, delta))
        fresh: dict[str, Any] = {"endpoint": self.endpoint_url, "token": self._mark, "run": run, "id": None, "emissions": []}
        entry = self._entry(path) or fresh
        entry["emissions"].append({"sequence": self._sequence, "body": emission})
        self._sequence += 1
        replace(path, json.dumps(entry))

    def _known(self, total: EmissionsData, delta: EmissionsData) -> dict[str, Any]:
        """What `carbon serve` takes beyond the API: the time as it is, and how the energy is known."""
        known: dict[str, Any] = {"seconds": delta.duration}
        method = self.beyond.get("method", {})
        if method.get("quality") in ("measured", "sampled", "modelled"):
            known["quality"] = method["quality"]
            width = method["energy_high_kwh"] - method["energy_low_kwh"]
            part = delta.energy_consumed / total.energy_consumed if total.energy_consumed else 0.0
            # Nine times in ten the truth is between the two: 1.645 standard deviations each way.
            known["stddev_energy"] = max(0.0, width * part / 2 / 1.645)
        return known

    @staticmethod
    def _entry(path: str) -> dict[str, Any]:
        try:
            with open(path, encoding="utf-8") as file:
                entry = json.load(file)
                return entry if isinstance(entry, dict) else {}
        except (OSError, ValueError):
            return {}

    def _others(self, folder: str) -> list[str]:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
        return [os.path.join(folder, name) for name in names[:FILES_MAX]]

    def _is_ours(self, path: str) -> bool:
        """Whether these results may be sent with this token: another project's would come to this one's."""
        entry = self._entry(path)
        if entry.get("endpoint") != self.endpoint_url:
            return False
        # An experiment that was made for one project is known by its id, whatever its token is by now.
        experiment = entry.get("run", {}).get("experiment_id")
        own = experiment == self.experiment_id and experiment != KNOWN["experiment_id"][0]
        if entry.get("token", self._mark) == self._mark or own:
            return True
        warn_once(
            f"results in {os.path.dirname(path)} wait for a tracker with the token that they were made with, or with their "
            "experiment_id: this one's token is another"
        )
        return False

    def _deliver(self, path: str) -> None:
        entry = self._entry(path)
        run_id = os.path.basename(path)[: -len(".json")]
        if entry["id"] is None:
            created = self._post("runs", entry["run"], f"{run_id}:run")
            entry["id"] = created.get("id")
            if not entry["id"]:
                raise Undelivered("the server gave the run no id")
            replace(path, json.dumps(entry))
        while entry["emissions"]:
            first = entry["emissions"][0]
            body = {**first["body"], "run_id": entry["id"]}
            self._post("emissions", body, f"{run_id}:{first['sequence']}", (*REFUSED_FOR_GOOD, *GONE))
            del entry["emissions"][0]
            replace(path, json.dumps(entry))
        # The file of the run that is open has the server's id for it, and stays until `exit`.
        if path != self._path:
            os.unlink(path)

    def exit(self) -> None:
        """The run has ended: what was delivered in full leaves no file."""
        if self._path and not self._entry(self._path).get("emissions", [None]):
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _post(self, route: str, body: object, key: str, for_good: tuple[int, ...] = REFUSED_FOR_GOOD) -> dict[str, Any]:
        headers = {"x-api-token": self._key, "Idempotency-Key": key}
        url = f"{self.endpoint_url}/{route}"
        try:
            status, answer = send_json(url, body, headers, timeout=TIMEOUT_S)
        except OSError as error:
            raise Undelivered(f"{url}: {error}") from error
        if status in for_good:
            raise Refused(f"{url} answers with status {status}")
        if status not in (200, 201):
            raise Undelivered(f"{url} answers with status {status}")
        try:
            value = json.loads(answer) if answer else {}
        except ValueError as error:
            raise Undelivered(f"{url} answers with no JSON") from error
        return value if isinstance(value, dict) else {}
