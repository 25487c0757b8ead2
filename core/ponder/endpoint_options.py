"""The options of whatever asks an OpenAI-compatible endpoint."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ponder.errors import InputError

if TYPE_CHECKING:
    from ponder.endpoint import Endpoint


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """Where to ask, how patiently, and how much."""

    url: str = "http://localhost:8000/v1"
    """The endpoint's base, to which `/chat/completions` is added."""
    model: str = "default"
    """The model's name, as the endpoint knows it."""
    key_variable: str = ""
    """The environment variable that holds the key, such as JUDGE_KEY; empty sends none. The key itself is never stored or logged."""
    request: dict[str, Any] = field(default_factory=dict)
    """Further fields of each request, such as {top_k: 20}; null takes a field out."""
    concurrency: int = 8
    """Requests under way at once."""
    timeout_seconds: float = 60.0
    """Time for one request."""
    retries: int = 4
    """How often a request is sent again after a time-out, a lost connection, a reply that is no JSON, or the status 408, 409, 429 or 5xx."""
    backoff_seconds: float = 1.0
    """Pause before the first retry; each further one is twice as long, up to a minute. A server's `Retry-After` is heeded."""
    max_calls: int | None = None
    """Requests, retries included, that one run of the program may send; null for any number. Then the stage stops, and says so."""
    max_tokens: int | None = None
    """The same for tokens of prompts and replies, as the endpoint counts them, or as guessed where it does not. A request is sent only where its longest reply fits."""

    def __post_init__(self) -> None:
        check_url(self.url)
        if not self.model.strip():
            raise ValueError("model must be a name that the endpoint knows")
        if self.key_variable and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key_variable):
            raise ValueError(
                "key_variable must be the name of an environment variable; the key itself belongs in there"
            )
        for name in ("concurrency", "max_calls", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        for name in ("retries", "backoff_seconds"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")
        if not (math.isfinite(self.timeout_seconds) and self.timeout_seconds > 0):
            raise ValueError(f"timeout_seconds must be above 0, not {self.timeout_seconds}")

    def body(self, **own: object) -> dict[str, object]:
        """The fields of each request: the model, what the caller sets itself, and over that what `request` says."""
        fields = {"model": self.model, **own, **self.request}
        return {name: value for name, value in fields.items() if value is not None}


def endpoint_of(
    options: EndpointOptions, whose: str, who: str, body: Mapping[str, object], reply_tokens: int, *, wants_text: bool
) -> Endpoint:
    """The endpoint that the options describe, with its key; see `Endpoint` and `key_of`."""
    from ponder.endpoint import Endpoint

    return Endpoint(
        whose=whose,
        url=options.url,
        key=key_of(options, who),
        key_variable=options.key_variable,
        body=body,
        reply_tokens=reply_tokens,
        timeout=options.timeout_seconds,
        retries=options.retries,
        backoff=options.backoff_seconds,
        wants_text=wants_text,
    )


def key_of(options: EndpointOptions, who: str) -> str:
    """The endpoint's key, from the environment; empty where the options name no variable.

    Raises:
        InputError: the variable is not set; `who` is what needs it: "reward judge".
    """
    if not options.key_variable:
        return ""
    key = os.environ.get(options.key_variable, "").strip()
    if not key:
        raise InputError(
            f"{who}: the environment variable {options.key_variable}, which should hold the endpoint's key, is not set"
        )
    return key


def check_url(url: str) -> None:
    """Raise ValueError for a base URL that is none, or that holds what belongs into the environment."""
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ValueError("url must begin with http:// or https:// and name a host")
    if "@" in parts.netloc:
        raise ValueError(
            "url must not hold a user or a password: put the key into an environment variable, see key_variable"
        )
    if parts.query or parts.fragment:
        raise ValueError("url must not hold a query (?) or a fragment (#)")
