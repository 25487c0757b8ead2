"""An OpenAI-compatible chat endpoint: one question, one reply, with retries."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message as Headers
from email.utils import parsedate_to_datetime
from typing import IO, Any, Final

from ponder.errors import InputError, StageError
from ponder.secrecy import without
from ponder.types import Message

_LARGEST_REPLY: Final = 1 << 22
_LONGEST_PAUSE: Final = 60.0
_LONGEST_WISHED_PAUSE: Final = 600.0
_TEMPORARY: Final = frozenset({408, 409, 429, *range(500, 600)})
_NOT_ALLOWED: Final = frozenset({401, 403})
_CHARACTERS_A_TOKEN: Final = 4
_TOLD: Final = ("requests", "retries", "waited_seconds", "endpoint_tokens")
_SHOWN: Final = 80
_SHOWN_OF_ERRORS: Final = 300
_READ_OF_ERRORS: Final = 1 << 16


class UnansweredError(Exception):
    """The endpoint gave no reply to this question, after all retries."""


class SpentError(StageError):
    """The budget is used up."""

    def __init__(self, limit: str, left: int = 0, needed: int = 1) -> None:
        super().__init__(limit)
        self.limit = limit
        """The option that sets it."""
        self.left = left
        self.needed = needed
        """What the next request may need."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked."""

    key: str
    """What tells it from others that are asked of the same endpoint."""
    messages: Sequence[Message]
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of this request alone, such as its seed."""

    @property
    def length(self) -> int:
        """Characters of all messages."""
        return sum(len(message["content"]) for message in self.messages)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the endpoint said."""

    text: str
    reasoning: str = ""
    """What the model thought, where the server gives it apart (`reasoning_content` or `reasoning`)."""
    finish_reason: str = ""
    """The server's word for why the reply ends; empty where it says nothing."""
    tokens: int = 0
    """Tokens of question and reply, as the endpoint counts them, or else guessed."""
    reply_tokens: int | None = None
    """Tokens of the reply alone, as the endpoint counts them; None where it does not."""


@dataclass(slots=True)
class Budget:
    """How much may still be asked, and how much was; shared by the threads that ask."""

    calls: int | None
    """Requests left; None for any number."""
    tokens: int | None
    """Tokens left; None for any number."""
    _asked: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_TOLD, 0.0))
    """What `statistics` tells."""
    _under_way: int = 0
    """Requests whose tokens are set aside and not yet counted."""
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, tokens: int, stopped: threading.Event) -> None:
        """Set a request and its likely tokens aside, once those under way have been counted if they do not fit beside them.

        Raises:
            UnansweredError: meanwhile no more is to be asked.
            SpentError: there is not enough, and nothing under way that may leave some.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._under_way == 0 or self._has(tokens))
            if stopped.is_set():
                raise UnansweredError("not asked, because the program stops")
            if self.calls is not None and self.calls < 1:
                raise SpentError("max_calls")
            if self.tokens is not None and self.tokens < tokens:
                raise SpentError("max_tokens", self.tokens, tokens)
            self.calls = None if self.calls is None else self.calls - 1
            self.tokens = None if self.tokens is None else self.tokens - tokens
            self._asked["requests"] += 1
            self._under_way += 1

    def pause(self, seconds: float) -> None:
        """Wait before a request is sent again."""
        with self._changed:
            self._asked["retries"] += 1
            self._asked["waited_seconds"] += seconds
        time.sleep(seconds)

    def settle(self, taken: int, used: int) -> None:
        """Put back what was set aside and not used, or take what was used beyond."""
        with self._changed:
            self.tokens = None if self.tokens is None else self.tokens + taken - used
            self._asked["endpoint_tokens"] += used
            self._under_way -= 1
            self._changed.notify_all()

    def statistics(self) -> dict[str, float]:
        """Requests, retries among them, what all threads waited before these, and tokens, since it was last asked."""
        with self._changed:
            told, self._asked = self._asked, dict.fromkeys(_TOLD, 0.0)
        return told

    def _has(self, tokens: int) -> bool:
        """Whether a request fits, or cannot fit any more because calls, unlike tokens, are never put back."""
        return self.tokens is None or self.tokens >= tokens or self.calls == 0


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where to ask, and how patiently."""

    whose: str
    """Who asks, as messages begin: "the judge"."""
    url: str
    key: str = field(repr=False)
    key_variable: str = ""
    """The environment variable that the key is from."""
    body: Mapping[str, Any]
    """The fields of each request besides `messages` and those of a question."""
    reply_tokens: int
    timeout: float
    retries: int
    backoff: float
    wants_text: bool = False
    """Whether an empty reply is a failure, which a second try may mend, unless it is empty because of its length limit."""

    def ask(self, question: Question, budget: Budget, stopped: threading.Event | None = None) -> Reply:
        """The reply to one question; no request is sent once `stopped` is set.

        Raises:
            UnansweredError: only failures that might pass, and no retries left.
            StageError: the endpoint refuses the request, or the budget is used up.
        """
        problem, stopped = "", stopped or threading.Event()
        for attempt in range(self.retries + 1):
            likely = question.length // _CHARACTERS_A_TOKEN + self.reply_tokens
            budget.take(likely, stopped)
            used, asked = 0, 0.0
            try:
                reply = self._once(question)
                used = reply.tokens
                if reply.text.strip() or reply.reasoning.strip() or not self.wants_text:
                    return reply
                if reply.finish_reason == "length":
                    return reply
                problem = "the reply is empty"
            except urllib.error.HTTPError as error:
                with error:
                    problem, asked = f"status {error.code}: {self._shown(error)}", _wished_pause(error.headers)
                if error.code not in _TEMPORARY:
                    raise StageError(self._refusal(error.code, problem, question)) from None
            except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, AttributeError) as error:
                problem = without(self.key, f"{type(error).__name__}: {error}")
            finally:
                budget.settle(likely, used)
            if attempt < self.retries:
                budget.pause(max(asked, min(_LONGEST_PAUSE, self.backoff * 2**attempt)))
        raise UnansweredError(f"no answer from {self.url} after {self.retries + 1} tries; the last: {problem}")

    def _once(self, question: Question) -> Reply:
        body = {**self.body, **question.fields, "messages": list(question.messages)}
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {self.key}"} if self.key else {})}
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers)
        deadline = time.monotonic() + self.timeout
        with _OPENER.open(request, timeout=self.timeout) as response:
            return _read_reply(json.loads(_read(response, deadline)), question.length)

    def _refusal(self, code: int, problem: str, question: Question) -> str:
        advice = f"; the question begins {question.messages[-1]['content'][:_SHOWN]!r}" if question.messages else ""
        if code in _NOT_ALLOWED:
            variable = self.key_variable
            advice = (
                f"; is the key in the environment variable {variable} the right one?"
                if variable
                else "; if it wants a key, name the environment variable that holds it in `key_variable`"
            )
        return f"{self.whose}'s endpoint {self.url} refuses: {problem}{advice}"

    def _shown(self, error: urllib.error.HTTPError) -> str:
        """The beginning of what an error says; cut only once the key is out, of which a piece would remain otherwise."""
        try:
            said = _beginning(error, time.monotonic() + self.timeout).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            said = str(error.reason)
        return without(self.key, said)[:_SHOWN_OF_ERRORS]


def served_models(url: str, key: str, timeout: float = 10.0) -> list[str]:
    """The names of the models that an endpoint says it serves; none where it does not say.

    Raises:
        InputError: nobody answers there, or it wants another key.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"{url.rstrip('/')}/models", headers=headers)
    try:
        with _OPENER.open(request, timeout=timeout) as response:
            listed = json.loads(_read(response, time.monotonic() + timeout))
        return [str(model["id"]) for model in listed["data"]]
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _NOT_ALLOWED:
            raise InputError(
                f"the endpoint {url} refuses the key that it is given, or wants one: status {error.code}"
            ) from None
        return []
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"the endpoint {url} does not answer: {error}; is the server up, and the url right?") from None
    except (ValueError, LookupError, TypeError):
        return []


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key goes to the host that the recipe names, and to no other."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Headers, newurl: str
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


def _beginning(response: Any, deadline: float) -> bytes:
    """What comes before the deadline, and no more than an error may need."""
    content = b""
    while len(content) < _READ_OF_ERRORS and time.monotonic() < deadline:
        piece = response.read1(_READ_OF_ERRORS - len(content))
        if not piece:
            break
        content += piece
    return content


def _read_reply(answer: Mapping[str, Any], asked: int) -> Reply:
    """A reply from the endpoint's JSON; `asked` is the length of the question, in characters."""
    choice = answer["choices"][0]
    message = choice["message"]
    text, reasoning = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
    reasoning = reasoning if isinstance(reasoning, str) else ""
    if text is None and reasoning:
        text = ""
    if not isinstance(text, str):
        raise ValueError("the reply holds no text")
    usage = answer.get("usage") or {}
    total, own = _count(usage.get("total_tokens")), _count(usage.get("completion_tokens"))
    guessed = (asked + len(text) + len(reasoning)) // _CHARACTERS_A_TOKEN
    return Reply(text, reasoning, str(choice.get("finish_reason") or ""), guessed if total is None else total, own)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _wished_pause(headers: Headers) -> float:
    """What the server asks for in `Retry-After`, in seconds; 0 where it asks for nothing that can be read."""
    wish = str(headers.get("Retry-After") or "0")
    try:
        seconds = float(wish)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(wish) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(0.0, seconds), _LONGEST_WISHED_PAUSE)
