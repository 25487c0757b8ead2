"""Requests to a server in JSON over HTTP, on the standard library."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from ponder.errors import StageError

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may be answered."""


class ServerAway(Exception):  # noqa: N818 - not an error of its own: the request is made again
    """The server cannot be reached, or gave no answer that can be used."""


def request(base: str, method: str, path: str, body: object = None, seconds: float = 30.0) -> Any:
    """What the server answers, read as JSON where it is any, else as text.

    Raises:
        ServerAway: no connection, no answer in time, an answer of the kind that passes (429, 5xx) or half of one.
        StageError: the server refuses the request.
    """
    parts = urlsplit(base)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request(
            method, parts.path.rstrip("/") + path, json.dumps(body), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        content = response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise ServerAway(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if response.status in _PASSING:
        raise ServerAway(f"status {response.status}: {_said(content)}")
    if response.status >= 300:
        raise StageError(f"{base}{path} answers {response.status}: {_said(content)}{_hint(path, response.status)}")
    return _read(content)


def _read(content: str) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content


def _said(content: str) -> str:
    """The message of an error in OpenAI's form, or the beginning of whatever it is."""
    answer = _read(content)
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    message = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(message).split())[:500]


def _hint(path: str, status: int) -> str:
    if status not in (404, 405):
        return ""
    if "lora" in path:
        return "; start the server with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment and --enable-lora"
    if path.startswith("/v1"):
        return "; is this a vLLM server of OpenAI's interface?"
    return "; start the server with VLLM_SERVER_DEV_MODE=1 in its environment, on a network that you trust"
