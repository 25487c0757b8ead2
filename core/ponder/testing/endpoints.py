"""An OpenAI-compatible endpoint on loopback that says what a test wants, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, TypeAlias

Body: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = str | Mapping[str, Any] | tuple[int, bytes, Mapping[str, str]]
"""A reply's text, or its message and what stands beside that, or a raw response: status, content, headers."""


class StubEndpoint(ThreadingHTTPServer):
    """Answers by `answer(number, body)`, requests counted from 1; a context manager that serves meanwhile."""

    daemon_threads = True

    def __init__(self, answer: Callable[[int, Body], Answer] = lambda number, body: "Fine.", *, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer: Callable[[int, Any], Answer] = answer
        self.asked: list[tuple[Body, Mapping[str, str]]] = []
        """The body and the headers of each request."""
        self.models = ["default"]
        self.models_status = 200
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """What an option `url` is given."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def note(self, body: Body, headers: Mapping[str, str]) -> int:
        """Remember a request; its number."""
        with self._lock:
            self.asked.append((body, headers))
            return len(self.asked)

    def respond(self, number: int, body: Body) -> Answer:
        """What to say to a request."""
        return self.answer(number, body)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.shutdown()
        self.server_close()


def completion(text: str | None, *, finish_reason: str = "stop", tokens: int = 10, **message: object) -> dict[str, Any]:
    """The JSON of a reply of so many tokens; further fields of the message, such as `reasoning_content`, by name."""
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
    return {"choices": [choice], "usage": {"total_tokens": 90 + tokens, "completion_tokens": tokens}}


class _Handler(BaseHTTPRequestHandler):
    server: StubEndpoint

    def do_POST(self) -> None:
        """Answer a request."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = self.server.note(body, dict(self.headers))
        answer = self.server.respond(number, body)
        status, content, headers = answer if isinstance(answer, tuple) else (200, _content(answer), {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        """Tell which models there are."""
        content = json.dumps({"data": [{"id": name} for name in self.server.models]}).encode()
        self.send_response(self.server.models_status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _content(answer: str | Mapping[str, Any]) -> bytes:
    return json.dumps(completion(answer) if isinstance(answer, str) else answer).encode()
