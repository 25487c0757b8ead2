"""An OpenAI-compatible chat endpoint: one question, one reply, with retries."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import IO, Any, Final

from ponder.errors import StageError

_LARGEST_REPLY: Final = 1 << 20
_LONGEST_PAUSE: Final = 60.0
_TEMPORARY: Final = frozenset({408, 409, 429, *range(500, 600)})
_CHARACTERS_A_TOKEN: Final = 4


class UnansweredError(Exception):
    """The endpoint gave no reply to this question, after all retries."""


class SpentError(StageError):
    """The budget is used up."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the endpoint said, and how many tokens question and reply had."""

    text: str
    tokens: int


@dataclass(slots=True)
class Budget:
    """How much may still be asked; shared by the threads that ask."""

    calls: int | None
    """Requests left; None for any number."""
    tokens: int | None
    """Tokens left; None for any number."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, tokens: int) -> None:
        """Set a request and its likely tokens aside. Raises SpentError when there is not enough."""
        with self._lock:
            if self.calls is not None and self.calls < 1:
                raise SpentError("max_calls")
            if self.tokens is not None and self.tokens < tokens:
                raise SpentError("max_tokens")
            self.calls = None if self.calls is None else self.calls - 1
            self.tokens = None if self.tokens is None else self.tokens - tokens

    def settle(self, taken: int, used: int) -> None:
        """Put back what was set aside and not used, or take what was used beyond."""
        with self._lock:
            self.tokens = None if self.tokens is None else self.tokens + taken - used


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where to ask, and how patiently."""

    url: str
    key: str = field(repr=False)
    body: Mapping[str, Any]
    """The fields of each request besides `messages`."""
    reply_tokens: int
    timeout: float
    retries: int
    backoff: float

    def ask(self, prompt: str, budget: Budget) -> Reply:
        """The reply to one prompt.

        Raises:
            UnansweredError: only failures that might pass, and no retries left.
            StageError: the endpoint refuses the request, or the budget is used up.
        """
        problem = ""
        for attempt in range(self.retries + 1):
            likely = len(prompt) // _CHARACTERS_A_TOKEN + self.reply_tokens
            budget.take(likely)
            used, asked = 0, 0.0
            try:
                reply = self._once(prompt)
                used = reply.tokens
                return reply
            except urllib.error.HTTPError as error:
                with error:
                    problem, asked = f"status {error.code}: {self._shown(error)}", _wished_pause(error.headers)
                if error.code not in _TEMPORARY:
                    raise StageError(f"the judge's endpoint {self.url} refuses: {problem}") from None
            except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError, TypeError) as error:
                problem = self._hidden(f"{type(error).__name__}: {error}")
            finally:
                budget.settle(likely, used)
            if attempt < self.retries:
                time.sleep(min(_LONGEST_PAUSE, max(asked, self.backoff * 2**attempt)))
        raise UnansweredError(f"no answer from {self.url} after {self.retries + 1} tries; the last: {problem}")

    def _once(self, prompt: str) -> Reply:
        body = {**self.body, "messages": [{"role": "user", "content": prompt}]}
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {self.key}"} if self.key else {})}
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers)
        deadline = time.monotonic() + self.timeout
        with _OPENER.open(request, timeout=self.timeout) as response:
            answer = json.loads(_read(response, deadline))
        text = answer["choices"][0]["message"]["content"]
        if not isinstance(text, str):
            raise ValueError("the reply holds no text")
        usage = answer.get("usage") or {}
        used = usage.get("total_tokens")
        guessed = (len(prompt) + len(text)) // _CHARACTERS_A_TOKEN
        return Reply(text, used if isinstance(used, int) and used >= 0 else guessed)

    def _shown(self, error: urllib.error.HTTPError) -> str:
        try:
            return self._hidden(error.read(300).decode("utf-8", "replace"))
        except (OSError, http.client.HTTPException):
            return str(error.reason)

    def _hidden(self, text: str) -> str:
        """The text without the key, should the endpoint repeat it."""
        return text.replace(self.key, "***") if self.key else text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key goes to the host that the recipe names, and to no other."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def _read(response: Any, deadline: float) -> bytes:
    content = b""
    while piece := response.read1(1 << 16):
        content += piece
        if len(content) > _LARGEST_REPLY:
            raise ValueError(f"a reply of more than {_LARGEST_REPLY} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("the reply took too long")
    return content


def _wished_pause(headers: Message) -> float:
    """What the server asks for in `Retry-After`, in seconds; 0 where it asks for nothing that can be read."""
    try:
        return max(0.0, float(headers.get("Retry-After") or 0))
    except ValueError:
        return 0.0
