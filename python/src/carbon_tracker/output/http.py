"""Results to a web address: the whole record, posted at flush and stop."""

from __future__ import annotations

import dataclasses
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Optional

from ..emissions import EmissionsData
from ..say import warn
from .base import BaseOutput

TIMEOUT_S = 10.0

CA_VARIABLE = "CARBON_CA_FILE"
"""Names a file of certificates, in PEM, that servers may be signed with beside those that this system trusts."""


def _trust(url: str) -> Any:
    """The certificates that a server must show one of; none where nothing but the system's are asked for."""
    path = os.environ.get(CA_VARIABLE)
    if not path or not url.startswith("https://"):
        return None
    import ssl

    context = ssl.create_default_context()
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise OSError(f"{CA_VARIABLE}={path} cannot be used: {error}") from error
    return context


def send(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    method: str = "POST",
    timeout: float = TIMEOUT_S,
) -> tuple[int, bytes]:
    """One request; the status and the answer, of refusals too. Only web addresses are taken."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no web address: it begins with http:// or https://")
    request = urllib.request.Request(url, data=body, headers=dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=_trust(url)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def send_json(url: str, value: object, headers: Optional[Mapping[str, str]] = None, **how: Any) -> tuple[int, bytes]:
    """The same with JSON."""
    return send(url, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})}, **how)


class HTTPOutput(BaseOutput):
    """All columns and the user's name, to an address of one's own."""

    def __init__(self, endpoint_url: str) -> None:
        self.endpoint_url = endpoint_url

    def out(self, total: EmissionsData, delta: EmissionsData) -> None:
        """Sends it; what is not taken is told."""
        import getpass

        status, _ = send_json(self.endpoint_url, {**dataclasses.asdict(total), "user": getpass.getuser()})
        if not 200 <= status < 300:
            warn(f"{self.endpoint_url} answers with status {status}")
