"""A stand-in for a vLLM server, on the standard library: in a thread, or as a program that can be killed.

It says tokens that depend on the prompt and the seed, each with the log-probability of a uniform distribution.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

VOCABULARY = 263
END = 1


class StubVllm:
    """What the server knows and was asked."""

    def __init__(self, context: int = 64) -> None:
        self.context = context
        self.asked: list[tuple[str, Any]] = []
        self.loaded: list[str] = []
        """Digests of the weights that were loaded, the first ones included."""
        self.adapters: list[str] = []
        self.faults: list[object] = []
        """What the next completions get instead: a status, or a text that is no JSON."""
        self.resets: list[bool] = []
        """Whether its cache can be reset, the next times."""
        self.offset = 0.0
        """How far log-probabilities are off."""
        self.dies_after: int | None = None
        self.lock = threading.Lock()

    def load(self, directory: str) -> None:
        self.loaded.append(hashlib.sha256((Path(directory) / "model.safetensors").read_bytes()).hexdigest())

    def answer(self, path: str, body: Any) -> tuple[int, object]:
        self.asked.append((path, body))
        if path == "/v1/completions":
            return self._complete(body)
        if path == "/v1/models":
            return 200, {"data": [{"id": "stub", "max_model_len": self.context}]}
        if path == "/collective_rpc":
            self.load(body["kwargs"]["weights_path"])
        elif path == "/v1/load_lora_adapter":
            if not (Path(body["lora_path"]) / "adapter_config.json").exists():
                return 400, {"error": {"message": "no adapter there"}}
            self.adapters.append(body["lora_name"])
        elif path == "/v1/unload_lora_adapter":
            self.adapters.remove(body["lora_name"])
        elif path == "/reset_prefix_cache":
            return 200, {"success": self.resets.pop(0) if self.resets else True}
        elif path != "/health":
            return 404, {"detail": "Not Found"}
        return 200, {}

    def _complete(self, body: Any) -> tuple[int, object]:
        with self.lock:
            if self.faults:
                fault = self.faults.pop(0)
                return (fault, {"error": {"message": "overloaded"}}) if isinstance(fault, int) else (200, fault)
            if self.dies_after is not None:
                self.dies_after -= 1
                if self.dies_after < 0:
                    os._exit(9)
        if body["model"] not in ("stub", *self.adapters):
            return 404, {"error": {"message": f"no model {body['model']}"}}
        draws = random.Random(json.dumps([body["prompt"], body["seed"]]))
        tokens = [draws.randrange(VOCABULARY) for _ in range(body["max_tokens"])]
        tokens = tokens[: tokens.index(END) + 1] if END in tokens else tokens
        logprobs = [self.offset - math.log(VOCABULARY)] * len(tokens)
        return 200, {"choices": [{"token_ids": tokens, "logprobs": {"token_logprobs": logprobs}}]}

    def serve(self, port: int = 0) -> ThreadingHTTPServer:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(None)

            def do_POST(self) -> None:
                self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _reply(self, body: Any) -> None:
                status, answer = stub.answer(self.path, body)
                content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    """Serve until killed, and note each start; the first process dies after STUB_DIES_AFTER completions."""
    parser = argparse.ArgumentParser()
    for name in ("--model", "--port", "--max-model-len"):
        parser.add_argument(name)
    options, _ = parser.parse_known_args()
    notes = Path(os.environ["STUB_NOTES"])
    earlier = len(notes.read_text().splitlines()) if notes.exists() else 0
    with notes.open("a") as file:
        file.write(f"{os.getpid()}\n")
    print("stub: starting", flush=True)
    if "STUB_FAILS" in os.environ:
        raise SystemExit("ValueError: the KV cache is too small")
    stub = StubVllm(int(options.max_model_len or 64))
    if earlier < int(os.environ.get("STUB_DEATHS", "0")):
        stub.dies_after = int(os.environ["STUB_DIES_AFTER"])
    stub.load(options.model)
    stub.serve(int(options.port)).serve_forever()


if __name__ == "__main__":
    main()
